"""Small dataset files and a trained run, made once a session."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from data_gen import DatasetSpec, generate
from data_gen.terminal.quiet import restored
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file

#: Of torch and of numpy's and scipy's BLAS, here and in the processes that tests start: results depend on it.
THREADS = int(os.environ.get("TEST_THREADS", "1"))


def pytest_configure():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in its background
    os.environ.update({f"{name}_NUM_THREADS": str(THREADS) for name in ("OMP", "OPENBLAS", "MKL")})
    # What is on the disk after a power cut is no test's matter, and waiting for the disk took half of the time of a
    # training. Tests of a full or failing disk put their own in this place.
    os.fsync = lambda fd: None
    torch.set_num_threads(THREADS)
    threadpool_limits(THREADS)


def pytest_runtest_setup():
    torch.manual_seed(0)  # else numbers drawn without a seed would depend on the tests that the same worker ran before


@pytest.fixture(autouse=True)
def not_quiet() -> Iterator[None]:
    """What a command called with --quiet by its function leaves behind is as before."""
    with restored():
        yield


@pytest.fixture(scope="session")
def burgers_file(tmp_path_factory) -> Path:
    """40 samples of Burgers on 256 points."""
    path = tmp_path_factory.mktemp("data") / "burgers.h5"
    return generate(DatasetSpec(samples=40, resolution=256), path, progress=False)


@pytest.fixture(scope="session")
def heat_file(tmp_path_factory) -> Path:
    """24 samples of the heat equation on 256 points: a problem whose solution operator is known in closed form."""
    path = tmp_path_factory.mktemp("data") / "heat.h5"
    spec = DatasetSpec(equation="heat", parameters={"diffusivity": 0.1}, samples=24, resolution=256)
    return generate(spec, path, progress=False)


@pytest.fixture(scope="session")
def run_folder(burgers_file, tmp_path_factory) -> Path:
    """A small run on ``burgers_file``, trained at 64 points and evaluated. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "small"
    config = FitConfig(epochs=4, batch_size=8, accelerator="cpu", normalize="none")
    train_on_file(burgers_file, out, config, resolution=64, model={"width": 8, "modes": 8, "layers": 2})
    evaluate_run(out, burgers_file, (64, 256))
    return out
