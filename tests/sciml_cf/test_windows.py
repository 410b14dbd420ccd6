"""Runs on windows of trajectories: training, evaluation, prediction and adaptation cut the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate
from sciml_cf.cli.adapt import adapt_command
from sciml_cf.cli.predict import predict_command
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.field import Facts
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import load

WINDOWS = Facts(input_steps=2, output_steps=2, stride=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    spec = DatasetSpec(equation="heat", samples=12, resolution=32, times=tuple(0.01 * step for step in range(1, 6)))
    generate(spec, folder / "f.h5")
    config = FitConfig(epochs=1, batch_size=8, method="proximal")
    train_on_file(folder / "f.h5", folder / "run", config, model={"width": 8, "modes": 4}, facts=WINDOWS)
    return folder


def test_the_run_says_its_windows_and_they_are_used(folder: Path) -> None:
    stored = json.loads((folder / "run" / "run.json").read_text())["data"]
    assert stored["windows"] == {"input_steps": 2, "output_steps": 2, "stride": 1}
    found = evaluate_run(folder / "run", folder / "f.h5", [32])
    test = FieldDataset(folder / "f.h5", "test", facts=WINDOWS)
    assert found.attrs["own_data"] == 1 and found.sizes["sample"] == len(test)
    with torch.no_grad():
        error = (load(folder / "run")(test.x) - test.y).double().square().mean()
    np.testing.assert_allclose(float(found["mse"].sel(output="native")[0]), error, rtol=1e-4)


def test_predict_cuts_the_windows_of_the_run(folder: Path) -> None:
    predict_command([str(folder / "run"), "--input", str(folder / "f.h5"), "--output", str(folder / "out.npy")])
    every = FieldDataset(folder / "f.h5", "all", facts=WINDOWS)
    with torch.no_grad():
        expected = load(folder / "run")(every.x)
    np.testing.assert_allclose(np.load(folder / "out.npy"), expected, rtol=1e-4, atol=1e-5)


def test_adapt_cuts_the_windows_of_the_run(folder: Path) -> None:
    adapt_command([str(folder / "run"), "--data", str(folder / "f.h5"), "--out", str(folder / "adapted")])
    stored = json.loads((folder / "adapted" / "run.json").read_text())["data"]
    assert stored["windows"]["input_steps"] == 2


def test_other_windows_than_the_run_has_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="must have .*2 input channels and 2 output channels.*got .*3 input channels"):
        evaluate_run(folder / "run", folder / "f.h5", [32], facts=Facts(input_steps=3, output_steps=2))
