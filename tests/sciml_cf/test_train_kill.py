"""A training that is killed at random moments (nothing can be tidied up) and resumed ends in the same bits."""

import multiprocessing
import random
import signal

import pytest
import torch

from data_gen import DatasetSpec, generate
from sciml_cf.cli import main
from sciml_cf.training.checkpoints import read_tensors
from sciml_cf.training.run_folder import read_history
from tests.signalled import stop_at

SMALL = ("--resolution", "64", "--width", "8", "--modes", "8", "--layers", "2", "--batch-size", "8", "--seed", "1")
FLAGS = (*SMALL, "--average", "0.9", "--clip", "1", "--accelerator", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "burgers.h5"
    return generate(DatasetSpec(samples=64, resolution=64, method="cole-hopf"), path, progress=False)


def stopped(words, run, touches, delay):
    """The command in this process, which ends without a word a moment after its n-th touch of the run's folder."""
    stop_at(f"{run}/", touches, delay=delay)
    main(words)


class Forked:
    """A command in a process that is forked from one that has already imported everything (a second saved each)."""

    def __init__(self, function, *given):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sciml_cf.cli.train"])
        self.process = context.Process(target=function, args=given)
        self.process.start()

    def wait(self):
        self.process.join()
        return self.process.exitcode


def epoch_of(run):
    """Finished epochs that the folder tells of; -1 before its first file."""
    if not (run / "run.json").exists():
        return -1
    return len(read_history(run)) if (run / "history.csv").exists() else 0


def train_and_kill(data, run, epochs, kills, seed, more=()):
    """Kill at a random touch of the run's folder and some milliseconds on, and resume; returns epochs at death."""
    rng = random.Random(seed)
    words = ["train", "--out", str(run), "--epochs", str(epochs), *FLAGS, "--resume", *(more or ("--data", str(data)))]
    deaths = []
    for number in range(kills):
        # The first death may come before the first epoch; later ones hit any moment of some epochs.
        touches, delay = rng.randint(1, 60 if number else 4), rng.uniform(0, 0.01)
        assert Forked(stopped, words, run, touches, delay).wait() == -signal.SIGALRM
        deaths.append(epoch_of(run))
    assert Forked(main, words).wait() == 0
    return deaths


def assert_same_run(run, whole):
    for name in ("weights_last.pt", "weights_best.pt"):
        a, b = read_tensors(run / name), read_tensors(whole / name)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a), name
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in read_history(path)] for path in (run, whole)]
    assert rows[0] == rows[1]
    assert not list(run.glob("*.part"))


def check(data, folder, *, epochs, kills, seed, more=()):
    words = ["train", "--out", str(folder / "whole"), "--epochs", str(epochs), *FLAGS]
    words += more or ("--data", str(data))
    whole = Forked(main, words)
    deaths = train_and_kill(data, folder / "run", epochs, kills, seed, more)
    assert whole.wait() == 0
    assert deaths == sorted(deaths) and deaths[-1] < epochs
    assert_same_run(folder / "run", folder / "whole")


@pytest.mark.slow
def test_killed_twice_ends_in_the_same_bits(data, tmp_path):
    check(data, tmp_path, epochs=20, kills=2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "soap"])
def test_killed_with_any_optimizer_ends_in_the_same_bits(data, tmp_path, optimizer):
    if optimizer == "soap":
        pytest.importorskip("pytorch_optimizer")
    words = ("--optimizer", optimizer, *(("--learning-rate", "0.3") if optimizer == "sgd" else ()))
    check(data, tmp_path, epochs=12, kills=2, seed=5, more=("--data", str(data), *words))


@pytest.mark.slow
def test_killed_with_processes_that_read_ahead_ends_in_the_same_bits(data, tmp_path):
    reading = ("--lazy", "yes", "--loader-workers", "2", "--data", str(data))
    check(data, tmp_path, epochs=12, kills=2, seed=3, more=reading)


@pytest.mark.slow
def test_killed_on_samples_from_the_solver_ends_in_the_same_bits(data, tmp_path):
    words = "burgers --viscosity 0.3 --resolution 64 --samples 32"
    check(data, tmp_path, epochs=12, kills=2, seed=4, more=("--loader-workers", "1", "--generate", *words.split()))


@pytest.mark.slow
def test_killed_ten_times_ends_in_the_same_bits(data, tmp_path):
    check(data, tmp_path, epochs=120, kills=10, seed=1)
