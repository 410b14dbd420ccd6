"""A grid of trials: run in parallel, interrupted at any time, and never run twice."""

from __future__ import annotations

import itertools
import json
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock

from data_gen.executors.local import Runner, WorkerLost, processes, this_process
from data_gen.terminal.quiet import progress_bar
from sciml_cf.errors import BenchmarkError, check_count
from sciml_cf.training.checkpoints import write_atomically
from sciml_cf.training.malloc import keep_memory

TRIAL_FOLDER = "trials"
_ONE_THREAD = threading.Lock()  # of this process, which names its trial in warnings
Work = Callable[[dict[str, Any], Path], dict[str, Any]]  # (settings, scratch) -> result
RunTrials = Callable[["Sequence[Trial]", str], list[dict[str, Any]]]  # (trials, label) -> results, in order


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Make FOLDER's files inside this block; others that come to it meanwhile, such as tasks of an array, wait.

    A file system without locks is used unlocked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    with suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Trial:
    """One cell of a grid: a unique name, and the settings that decide its result (plain values, as in JSON)."""

    name: str
    settings: dict[str, Any]


def combinations(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of these settings, the last one changing first."""
    return [dict(zip(values, choice, strict=True)) for choice in itertools.product(*values.values())]


def trials_over(name: str, common: Mapping[str, Any], **values: Iterable[Any]) -> list[Trial]:
    """A trial for each combination of settings, with the common ones, under ``name.format(**settings)``."""
    return [Trial(name.format(**one), {**common, **one}) for one in combinations(**values)]


@dataclass(frozen=True)
class Workers:
    """Where trials run.

    Args:
        count: processes on this machine, of one thread each.
        dask: a Dask scheduler's address, or "local", instead; all its workers must see the output folder.
        shard: (k, n): only every n-th cell of the grid, from the k-th (from 1) on, as one task of a SLURM array.
    """

    count: int = 1
    dask: str | None = None
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_count("study", "workers", self.count)
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ValueError(
                f"study: `shard` must be K N with K from 1 to N; got {self.shard[0]} {self.shard[1]}. In a SLURM array "
                "of N tasks, give each task its number."
            )

    def own(self, cells: Sequence[Any]) -> list[Any]:
        """The cells that this task of an array has to run; all of them without one."""
        return list(cells) if self.shard is None else list(cells)[self.shard[0] - 1 :: self.shard[1]]

    def runner(self) -> AbstractContextManager[Runner]:
        """Where to call a function on tasks, see data_gen.executors.local."""
        if self.dask is not None:
            from data_gen.executors.dask_cluster import dask_cluster

            return dask_cluster(self.dask, self.count, function="study")
        return processes(self.count) if self.count > 1 else this_process()


def run_trials(
    trials: Sequence[Trial], work: Work, folder: Path, *, workers: Workers, label: str
) -> list[dict[str, Any]]:
    """The result of ``work(settings, scratch)`` for every trial, in order.

    Each result goes into FOLDER/NAME.json as soon as it is there, with its settings; a trial that has one is not run
    again. An interrupted trial gets the same scratch folder again, FOLDER/NAME, and may resume from it.

    Args:
        trials: their names become names of files.
        work: a function of a module; its result is a dict of plain values.
        folder: made if it is missing.
        workers: where to run.
        label: what the progress bar says.

    Raises:
        BenchmarkError: a result in the folder belongs to other settings, or a worker died.
    """
    _check_names([trial.name for trial in trials])
    folder.mkdir(parents=True, exist_ok=True)
    found = {trial.name: _read(trial, folder) for trial in trials}
    missing = [trial for trial in trials if found[trial.name] is None]
    done = len(trials) - len(missing)
    with progress_bar(shown=bool(missing), total=len(trials), initial=done, desc=label, unit="trial") as bar:
        for name, result in _run_missing(missing, work, folder, workers):
            found[name] = result
            bar.update()
    return [result for trial in trials if (result := found[trial.name]) is not None]


def trial_runner(study: str, out: Path, work: Work, workers: Workers) -> RunTrials:
    """``run_trials`` of one study, in its folder OUT/trials; trials that are the same are made once."""

    def run(trials: Sequence[Trial], label: str) -> list[dict[str, Any]]:
        unique = {trial.name: trial for trial in trials}
        same = all(unique[trial.name] == trial for trial in trials)
        asked = list(unique.values()) if same else trials  # others of one name are refused
        results = run_trials(asked, work, out / TRIAL_FOLDER, workers=workers, label=f"{study}: {label}")
        found = dict(zip(unique, results, strict=True))
        return [found[trial.name] for trial in trials]

    return run


def run_parts(
    parts: Mapping[str, tuple[Work, Sequence[Trial]]], folder: Path, *, workers: Workers, label: str
) -> dict[str, list[dict[str, Any]]]:
    """For each part of a study its trials' settings and results, one dict each; none on a shard, which runs its own."""
    if workers.shard is not None:
        for work, trial in workers.own([(work, trial) for work, trials in parts.values() for trial in trials]):
            run_trials([trial], work, folder, workers=Workers(1), label=label)
        return {}
    found = {}
    for name, (work, trials) in parts.items():
        results = run_trials(trials, work, folder, workers=workers, label=f"{label}: {name}")
        found[name] = [{**trial.settings, **result} for trial, result in zip(trials, results, strict=True)]
    return found


def _check_names(names: Sequence[str]) -> None:
    wrong = [name for name in names if names.count(name) > 1 or not re.fullmatch(r"[\w .=+-]+", name)]
    if wrong:
        raise ValueError(f"run_trials: `trials` must have unique names that can be names of files; got {wrong[0]!r}.")


def _run_missing(
    missing: Sequence[Trial], work: Work, folder: Path, workers: Workers
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and results in the order in which they are done; nothing is started for no trial."""
    if not missing:
        return
    with workers.runner() as run:
        try:
            yield from run(_run_one, ([(work, trial, folder)] for trial in missing))
        except WorkerLost as error:
            raise BenchmarkError(
                f"study: every worker must live until its trial is done; {error}. Finished trials are kept: "
                "the same command goes on, perhaps with fewer workers."
            ) from None


def _run_one(work: Work, trial: Trial, folder: Path) -> tuple[str, dict[str, Any]]:
    keep_memory()
    with _warnings_of(trial.name):
        result = work(trial.settings, folder / trial.name)
    content = {"settings": trial.settings, "result": result}
    write_atomically(folder / f"{trial.name}.json", json.dumps(content, indent=1) + "\n")
    return trial.name, result


@contextmanager
def _warnings_of(name: str) -> Iterator[None]:
    """Put NAME before what this thread warns of inside this block, as soon as it does: a bar shows many trials at once.

    Of several threads, as a worker of Dask may have, one at a time does so: they show warnings by the same function.
    """
    if not _ONE_THREAD.acquire(blocking=False):
        yield
        return
    try:
        with warnings.catch_warnings():  # so that each trial warns of what an earlier one did
            show, thread = warnings.showwarning, threading.get_ident()

            def show_named(
                message: Warning | str,
                category: type[Warning],
                filename: str,
                lineno: int,
                file: TextIO | None = None,
                line: str | None = None,
            ) -> None:
                words = f"{name}: {message}" if threading.get_ident() == thread else message
                show(words, category, filename, lineno, file, line)

            warnings.showwarning = show_named
            yield
    finally:
        _ONE_THREAD.release()


def _read(trial: Trial, folder: Path) -> dict[str, Any] | None:
    path = folder / f"{trial.name}.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        stored, result = content["settings"], content["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(
            f"study: {path} must be a whole result; it cannot be read ({error}). Delete it."
        ) from error
    if stored != json.loads(json.dumps(trial.settings)):
        raise BenchmarkError(
            f"study: `out` must hold results of the same settings; {path} has others. Use another folder."
        )
    return result
