"""Evaluation, baselines, adaptation and error bars on samples that are read when needed, and shared out."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml_cf.cli import main
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.items import calibration_samples
from sciml_cf.evaluate import baselines, evaluate_transfer
from sciml_cf.evaluate.adaptation import adapt, adapted_posterior
from sciml_cf.head.posterior import posterior
from sciml_cf.training.run_folder import load

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sampling", ["strided", "fourier"])
def test_evaluation_of_lazy_samples_is_that_in_memory(run_folder, burgers_file, sampling):
    words = {"resolutions": [32, 64], "reference": 128, "sampling": sampling}
    memory, lazy = (evaluate_transfer(load(run_folder), burgers_file, lazy=lazy, **words) for lazy in (False, True))
    assert set(memory.data_vars) == set(lazy.data_vars) and lazy.attrs == memory.attrs
    for name, values in memory.data_vars.items():
        np.testing.assert_allclose(lazy[name], values, rtol=1e-5, atol=1e-7, err_msg=str(name))


def test_fitted_baselines_take_what_fits_their_memory(run_folder, burgers_file, monkeypatch):
    monkeypatch.setattr(baselines, "_FITTED_BYTES", 10 * 2 * 64 * 4)
    words = {"resolutions": [64], "reference": 64}
    found = evaluate_transfer(load(run_folder), burgers_file, lazy=True, **words)
    assert found.attrs["fitted_samples"] == 10 and found.attrs["baseline_samples"] == 28
    whole = evaluate_transfer(load(run_folder), burgers_file, lazy=False, **words)
    assert whole.attrs["fitted_samples"] == 28
    errors, others = (one["baseline_mse"].sel(baseline="nearest_sample").item() for one in (found, whole))
    assert errors >= others > 0
    np.testing.assert_allclose(*(one["baseline_mse"].sel(baseline="training_mean") for one in (found, whole)))


def test_adaptation_and_error_bars_of_lazy_samples(run_folder, burgers_file):
    found = []
    for lazy in (False, True):
        parts = [FieldDataset(burgers_file, part, resolution=64, lazy=lazy) for part in ("train", "validation")]
        model = load(run_folder)
        result = adapt(model, parts[0])
        bars = adapted_posterior(model, parts[0], result)
        found.append([result.head, bars.noise, bars.scale, posterior(load(run_folder), *parts).gram])
    for memory, lazy in zip(*found, strict=True):
        torch.testing.assert_close(lazy, memory, rtol=1e-9, atol=1e-12)


def test_error_bars_of_many_lazy_samples_hold_some(burgers_file, monkeypatch):
    lazy = FieldDataset(burgers_file, "train", lazy=True)
    assert calibration_samples(lazy) == range(28)
    monkeypatch.setattr("sciml_cf.datasets.items._HELD_POINTS", 5 * 256)
    assert calibration_samples(lazy) == [0, 7, 14, 20, 27]
    assert calibration_samples(torch.utils.data.Subset(lazy, range(20))) == [0, 5, 10, 14, 19]
    assert calibration_samples(FieldDataset(burgers_file, "train")) == range(28)


def measured(processes: int, run: Path, data: Path, out: Path) -> dict[str, torch.Tensor]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [sys.executable, *(launcher if processes > 1 else []), "-m", "tests.sciml_cf.evaluate_worker"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*words, run, data, out], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


@pytest.mark.slow
def test_two_processes_measure_what_one_does(run_folder, burgers_file, tmp_path, monkeypatch):
    one, two = (measured(count, run_folder, burgers_file, tmp_path / f"{count}.pt") for count in (1, 2))
    assert one.keys() == two.keys()
    for name, values in one.items():
        torch.testing.assert_close(two[name], values, rtol=1e-10, atol=1e-10, equal_nan=True, msg=name)


@pytest.mark.slow
def test_commands_under_torchrun_speak_once(burgers_file, tmp_path):
    small = ["--width", "8", "--modes", "4", "--layers", "2", "--epochs", "1", "--batch-size", "8"]
    words = ["train", "--data", str(burgers_file), "--out", str(tmp_path / "run"), *small, "--lazy", "yes"]
    words += ["--resolution", "64"]
    commands = [words, ["evaluate", str(tmp_path / "run"), "--data", str(burgers_file), "--resolutions", "64"]]
    commands.append(["adapt", str(tmp_path / "run"), "--data", str(burgers_file), "--out", str(tmp_path / "new")])
    commands.append(["posterior", str(tmp_path / "run"), "--data", str(burgers_file), "--overwrite"])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in commands:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        whole = [*torchrun, "-m", "sciml_cf.cli", *command]
        done = subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count(str(tmp_path)) in (1, 2), done.stdout
    main(["report", str(tmp_path / "run")])
