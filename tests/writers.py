"""Every command that writes, run in a process of its own that stops, dies or meets a full disk where it is told to."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_gen import open_source, validate
from data_gen.files.whole import is_aside

#: Words of a refused second writer.
BUSY = ("one writer at a time", "one training at a time")
_EVENTS = ("open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree")
SMALL = ("--resolution", "64", "--epochs", "2", "--accelerator", "cpu", "--width", "8", "--modes", "8", "--layers", "1")


@dataclass(frozen=True)
class Base:
    """What the commands read."""

    data: Path
    run: Path


@dataclass(frozen=True)
class Writer:
    """A command that writes into a folder.

    Args:
        words: of the command, from the folder and what it reads.
        output: name of what it writes in the folder.
        check: raises unless the output is whole.
        again: flags with which it goes on after a kill.
        own_run: it writes into a run, a copy of which is at the output's place.
        resumes: what an interrupted one leaves may be gone on with.
    """

    words: Callable[[Path, Base], list[Any]]
    output: str
    check: Callable[[Path, Base], Any]
    again: tuple[str, ...] = ("--overwrite",)
    own_run: bool = False
    resumes: bool = False
    names: tuple[str, ...] = field(default=())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all that it writes in the folder."""
        return self.names or (self.output,)

    def prepare(self, place: Path, base: Base) -> None:
        """An empty folder, or one with a run."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if self.own_run:
            shutil.copytree(base.run, place / self.output)


def _same_fields(path: Path, base: Base, **how: Any) -> None:
    with open_source(path, **how) as found, open_source(base.data) as data:
        for name, own in ((found.input_name, data.input_name), (found.target_name, data.target_name)):
            np.testing.assert_array_equal(found.read(name).squeeze(), data.read(own).squeeze())


def _dataset(path: Path, base: Base) -> None:
    assert validate(path).ok


def _npy(path: Path, base: Base) -> None:
    with open_source(base.data) as data:
        np.testing.assert_array_equal(np.load(path.with_name("x.npy")), data.read(data.input_name)[:, 0])
        np.testing.assert_array_equal(np.load(path.with_name("y.npy")), data.read(data.target_name)[:, 0])


def _pt(path: Path, base: Base) -> None:
    import torch

    found = torch.load(path, weights_only=True)
    with open_source(base.data) as data:
        np.testing.assert_array_equal(found["y"].numpy(), data.read(data.target_name)[:, 0])


def _png(path: Path, base: Base) -> None:
    from matplotlib.image import imread

    assert imread(path).ndim == 3


def _predicted(path: Path, base: Base) -> None:
    for name in ("u.npy", "s.npy"):
        assert np.load(path.with_name(name)).shape == (40, 1, 256)


def _run(path: Path, base: Base) -> None:
    from sciml_cf import load, read_posterior
    from sciml_cf.training.run_folder import read_history

    load(path, which="last")
    load(path)
    read_posterior(path)
    assert len(read_history(path)) == 2


def _evaluated(path: Path, base: Base) -> None:
    from sciml_cf.training.run_folder import read_evaluation

    assert np.isfinite(read_evaluation(path)["mse"]).all()


def _posterior(path: Path, base: Base) -> None:
    from sciml_cf import read_posterior

    read_posterior(path)


def _page(folder: Path) -> None:
    assert (folder / "index.html").read_text().endswith("</html>\n")
    for picture in folder.glob("*.png"):
        _png(picture, None)  # type: ignore[arg-type]


def _report(path: Path, base: Base) -> None:
    _page(path / "report")
    assert (path / "report" / "transfer.csv").read_text().count("\n") == 3


def _comparison(path: Path, base: Base) -> None:
    _page(path)
    assert (path / "comparison.csv").read_text().count("\n") == 3


def _study(path: Path, base: Base) -> None:
    _comparison(path / "comparison", base)
    _report(path / "l2", base)


def _converted(output: str, check: Callable[[Path, Base], Any], *more: str) -> Writer:
    names = tuple(output.split(","))
    return Writer(
        lambda place, base: ["convert", base.data, ",".join(str(place / name) for name in names), *more],
        names[0],
        check,
        names=names,
    )


GENERATE = ["generate", "burgers", "--samples", 600, "--resolution", 64, "--method", "cole-hopf", "--out"]
STUDY = ["study", "burgers-fno", "--samples", 20, "--stored-resolution", 64, "--resolution", 32, "--epochs", 1]
WRITERS = {
    "generate": Writer(
        lambda place, base: [*GENERATE, place / "o.h5"], "o.h5", _dataset, again=("--resume",), resumes=True
    ),
    "generate in shards": Writer(
        lambda place, base: [*GENERATE, place / "o.h5", "--shards", 2], "o.h5", _dataset, ("--resume",), resumes=True
    ),
    "convert to h5": _converted("o.h5", _same_fields),
    "convert to npy": _converted("x.npy,y.npy", _npy),
    "convert to netCDF": _converted("o.nc", _same_fields),
    "convert to mat 5": _converted("o.mat", _same_fields),
    "convert to mat 7.3": _converted("o.mat", _same_fields, "--mat-version", "7.3"),
    "convert to pt": _converted("o.pt", _pt),
    "convert to PDEBench": _converted("o.hdf5", _same_fields),
    "convert to The Well": _converted("well", _same_fields),
    "repack to gzip": Writer(lambda place, base: ["repack", base.data, "--out", place / "o.h5"], "o.h5", _dataset),
    "repack to plain": Writer(
        lambda place, base: ["repack", base.data, "--out", place / "o.h5", "--compression", "none"], "o.h5", _dataset
    ),
    "plot": Writer(lambda place, base: ["plot", base.data, "--out", place / "o.png"], "o.png", _png),
    "predict": Writer(
        lambda place, base: [
            *("predict", base.run, "--input", base.data, "--output", place / "u.npy", "--std", place / "s.npy")
        ],
        "u.npy",
        _predicted,
        names=("u.npy", "s.npy"),
    ),
    "train": Writer(
        lambda place, base: ["train", "--data", base.data, "--out", place / "run", *SMALL],
        "run",
        _run,
        again=("--resume",),
        resumes=True,
    ),
    "adapt": Writer(
        lambda place, base: ["adapt", base.run, "--data", base.data, "--out", place / "new", "--samples", 8],
        "new",
        _run,
    ),
    "evaluate": Writer(
        lambda place, base: ["evaluate", place / "run", "--data", base.data, "--resolutions", 64, 256],
        "run",
        _evaluated,
        again=(),
        own_run=True,
    ),
    "posterior": Writer(
        lambda place, base: ["posterior", place / "run", "--data", base.data, "--overwrite"],
        "run",
        _posterior,
        again=(),
        own_run=True,
    ),
    "report": Writer(lambda place, base: ["report", place / "run"], "run", _report, again=(), own_run=True),
    "compare": Writer(lambda place, base: ["compare", base.run, "--out", place / "one"], "one", _comparison, again=()),
    "study": Writer(
        lambda place, base: [*STUDY, "--methods", "l2", "--resolutions", 32, 64, "--out", place / "study"],
        "study",
        _study,
        again=("--resume",),
        resumes=True,
    ),
}


def _child(words: list[str], folder: str, at: int, how: int, limit: int | None, said: str, told: Any) -> None:
    """Run a command; at its n-th touch of the folder send itself a signal, and at the end tell how many there were."""
    from sciml_cf.cli import main

    count = 0
    if limit is None:
        for descriptor, name in ((1, f"{said}.out"), (2, f"{said}.err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    else:  # a limit of file sizes is one of the messages' too
        ends = os.pipe()
        os.set_blocking(ends[1], False)
        os.dup2(ends[1], 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def watch(event: str, given: tuple) -> None:
        nonlocal count
        if event in _EVENTS and not isinstance(given[0], int | None) and os.fsdecode(given[0]).startswith(folder):
            count += 1
            if count == at:
                told.send(count)
                os.kill(os.getpid(), how)

    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.addaudithook(watch)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        main(words)
    finally:
        sys.stderr.flush()
        if limit is not None:
            told.send(os.read(ends[0], 10**5).decode() if _has_data(ends[0]) else "")
        else:
            told.send(count)


def _has_data(descriptor: int) -> bool:
    import select

    return bool(select.select([descriptor], [], [], 0)[0])


class Child:
    """A command that runs in a process forked from one that has imported everything.

    Args:
        words: of the command.
        folder: whose touches count.
        said: path of its output, with .out and .err.
        at: number of the touch at which it sends itself a signal.
        how: the signal.
        limit: bytes that no file may exceed.
    """

    def __init__(
        self, words: list[Any], folder: Path, said: Path, at: int = 0, how: int = 0, limit: int | None = None
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sciml_cf.cli.train", "sciml_cf.report", "sciml_cf.evaluate.run"])
        self._told, end = context.Pipe(duplex=False)
        self._said, self._limited = said, limit is not None
        given = (list(map(str, words)), f"{folder}/", at, int(how), limit, str(said), end)
        self.process = context.Process(target=_child, args=given)
        self.process.start()
        end.close()

    def stopped(self) -> bool:
        """Wait until it has stopped itself, or has ended; whether it has stopped."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        while self.process.is_alive():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if stat.read_text().rpartition(")")[2].split()[0] == "T":
                    return True
            time.sleep(0.005)
        return False

    def go_on(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGCONT)

    def wait(self) -> tuple[int, str]:
        """Its exit status, and the last line that it said on standard error."""
        told = self._told.recv() if self._limited else ""
        self.process.join()
        text = told or ("" if self._limited else self._said.with_name(self._said.name + ".err").read_text())
        lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
        assert "Traceback" not in text, text
        return self.process.exitcode or 0, lines[-1] if lines else ""

    def touches(self) -> int:
        """How many touches there were."""
        self.process.join()
        return self._told.recv()


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """All that a folder holds, but for what is being written and locks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not any(is_aside(part) or part.endswith(".lock") for part in name.parts):
            found[str(name)] = path.read_bytes() if path.is_file() else None
    return found


def litter(folder: Path) -> list[str]:
    """What no command should leave: things written aside, and locks; but those that a killed run of a part leaves."""
    return [str(path) for path in folder.rglob("*") if is_aside(path.name) or path.name.endswith(".lock")]


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of so many bytes at a folder; yields False where none can be mounted."""
    import subprocess

    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    done = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(folder)], check=True)
