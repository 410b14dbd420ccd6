"""Training in several processes (gloo, on the CPU), started by torchrun; nccl needs GPUs and is not tested here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data_gen import DatasetSpec, generate
from tests.sciml_cf.ddp_worker import MLP_JOBS, OWN

ROOT = Path(__file__).parents[2]
EVERY_JOB = [*MLP_JOBS, "fno", *OWN, "normalised", "interrupted", "diverging"]


def start(processes, folder, jobs):
    """The reports of every process for each job."""
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [
        sys.executable,
        *(launcher if processes > 1 else []),
        "-m",
        "tests.sciml_cf.ddp_worker",
        str(folder),
        *jobs,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {job: json.loads((folder / (job.replace(" ", "_") + ".json")).read_text()) for job in jobs}


def weights(folder, job):
    return torch.load(folder / job.replace(" ", "_") / "weights_last.pt", weights_only=True)


def assert_equal_processes(reports, processes):
    assert len(reports) == processes
    assert all(report == reports[0] for report in reports)


def assert_equals_one_process(job, many, alone, folders):
    (one,) = alone[job]
    got, expected = json.loads(many[job][0]["outcome"]), json.loads(one["outcome"])
    tolerance = {"fno lbfgs": 1e-2, "fno nadam": 1e-4, "fno": 1e-4}.get(job, 1e-10)  # line searches amplify rounding
    torch.testing.assert_close(torch.tensor(got), torch.tensor(expected), rtol=tolerance, atol=0)
    if not job.startswith("fno"):
        a, b = (weights(folder, job) for folder in folders)
        for name, value in b.items():
            torch.testing.assert_close(a[name], value, rtol=1e-10, atol=1e-10)


def test_two_processes_are_one_with_the_same_batch(tmp_path):
    jobs = ["everything", "relative", "classes", "classes weighted"]
    many, alone = (start(count, tmp_path / str(count), jobs) for count in (2, 1))
    for job in jobs:
        assert_equal_processes(many[job], 2)
        assert len(many[job][0]["heads"]) >= 20
        assert_equals_one_process(job, many, alone, (tmp_path / "2", tmp_path / "1"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_agree_to_the_bit_and_with_one_process(processes, tmp_path):
    many = start(processes, tmp_path / "many", EVERY_JOB)
    alone = start(1, tmp_path / "one", [*MLP_JOBS, "fno", *OWN])
    for job in EVERY_JOB:
        assert_equal_processes(many[job], processes)
        if job not in ("l2", "relative l2", "classes l2", "diverging"):
            assert len(many[job][0]["heads"]) >= 20
    for job in alone:
        assert_equals_one_process(job, many, alone, (tmp_path / "many", tmp_path / "one"))
    assert many["interrupted"][0]["weights"] == many["proximal"][0]["weights"]
    assert "training loss" in many["diverging"][0]["outcome"]


@pytest.mark.slow
def test_own_loop_with_a_sharded_backbone_equals_one_process(tmp_path):
    report = start(2, tmp_path / "many", ["sharded"])["sharded"]
    for name in ("losses", "heads"):
        sharded, whole = (torch.tensor(values, dtype=torch.float64) for values in report[name])
        torch.testing.assert_close(sharded, whole, rtol=1e-10, atol=1e-12)
    assert report["losses"][0][-1] < 0.7 * report["losses"][0][0]


@pytest.mark.slow
def test_train_command_under_torchrun_speaks_once_and_resumes(tmp_path):
    data = generate(DatasetSpec(samples=64, resolution=64, method="cole-hopf"), tmp_path / "b.h5", progress=False)
    words = ["--data", str(data), "--resolution", "64", "--width", "8", "--modes", "8", "--layers", "2"]
    words += ["--epochs", "2", "--batch-size", "8", "--accelerator", "cpu", "--out", str(tmp_path / "run"), "--resume"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "sciml_cf.cli", "train", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = []
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        said.append([line for line in done.stdout.splitlines() if "relative L2 error" in line])
    assert len(said[0]) == 1 and said[0] == said[1]
