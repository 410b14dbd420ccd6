"""A training that is killed at random moments (SIGKILL: nothing can be tidied up) and resumed ends in the same bits."""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data_gen import DatasetSpec, generate
from sciml_cf.cli import main
from sciml_cf.training.checkpoints import read_tensors
from sciml_cf.training.run_folder import read_history

ROOT = Path(__file__).parents[2]
SMALL = ("--resolution", "64", "--width", "8", "--modes", "8", "--layers", "2", "--batch-size", "8", "--seed", "1")
FLAGS = (*SMALL, "--average", "0.9", "--clip", "1", "--accelerator", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "burgers.h5"
    return generate(DatasetSpec(samples=64, resolution=64, method="cole-hopf"), path, progress=False)


class Command:
    """`sciml-cf train ... --resume` in a fresh interpreter."""

    def __init__(self, words):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sciml_cf.cli", *words],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()

    def wait(self):
        return self.process.wait(timeout=300)


class Forked:
    """The same in a process that is forked from one that has already imported everything (a second saved each)."""

    def __init__(self, words):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sciml_cf.cli.train"])
        self.process = context.Process(target=main, args=(list(words),))
        self.process.start()

    def running(self):
        return self.process.is_alive()

    def kill(self):
        self.process.kill()

    def wait(self):
        self.process.join(timeout=300)
        return self.process.exitcode


def epoch_of(run):
    """Finished epochs that the folder tells of; -1 before its first file."""
    if not (run / "run.json").exists():
        return -1
    return len(read_history(run)) if (run / "history.csv").exists() else 0


def train_and_kill(launch, data, run, epochs, kills, seed):
    """Start, kill at a random moment after this process has written something new, resume; returns epochs at death."""
    rng = random.Random(seed)
    words = ("train", "--data", str(data), "--out", str(run), "--epochs", str(epochs), *FLAGS, "--resume")
    deaths = []
    for number in range(kills):
        before = epoch_of(run)
        job = launch(words)
        while job.running() and epoch_of(run) == before:
            time.sleep(0.002)
        # The first death may come before the first epoch; later ones hit any moment of about three epochs.
        time.sleep(rng.uniform(0, 0.3 if number else 0.05))
        assert job.running(), "the training ended before it was killed: it needs more epochs"
        job.kill()
        job.wait()
        deaths.append(epoch_of(run))
    job = launch(words)
    assert job.wait() == 0
    return deaths


def assert_same_run(run, whole):
    for name in ("weights_last.pt", "weights_best.pt"):
        a, b = read_tensors(run / name), read_tensors(whole / name)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a), name
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in read_history(path)] for path in (run, whole)]
    assert rows[0] == rows[1]
    assert not list(run.glob("*.part"))


def check(launch, data, folder, *, epochs, kills, seed):
    words = ("train", "--data", str(data), "--out", str(folder / "whole"), "--epochs", str(epochs), *FLAGS)
    whole = launch(words)
    deaths = train_and_kill(launch, data, folder / "run", epochs, kills, seed)
    assert whole.wait() == 0
    assert deaths == sorted(deaths) and deaths[-1] < epochs
    assert_same_run(folder / "run", folder / "whole")


def test_killed_twice_ends_in_the_same_bits(data, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the process that is forked from takes it over
    check(Forked, data, tmp_path, epochs=20, kills=2, seed=0)


@pytest.mark.slow
def test_killed_ten_times_ends_in_the_same_bits(data, tmp_path):
    check(Command, data, tmp_path, epochs=120, kills=10, seed=1)
