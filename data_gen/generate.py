"""From a description to a dataset file: in blocks, resumable after any interruption, over several processes."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_gen import journal, store
from data_gen.errors import DatasetError, SolverDiverged, UnresolvedError, check_count
from data_gen.exact import exact_solution
from data_gen.grid import spectral_tail
from data_gen.initial import initial_fields
from data_gen.schemes import SCHEMES
from data_gen.solve import GROWTH_LIMIT, MIN_LIMIT, chunk_size, solve
from data_gen.spec import DatasetSpec

logger = logging.getLogger(__name__)

#: A stored field may have at most this share in the top eighth of its modes (sum of amplitudes over max |u|).
RESOLVED_TAIL = 1e-2
#: Samples tried before anything is written, by the number of dimensions.
PROBE = {1: 4, 2: 1}
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def generate(
    spec: DatasetSpec,
    path: str | Path,
    *,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the dataset that ``spec`` describes.

    The file is written as ``PATH.partial``, in blocks of up to 128 samples, each listed with its checksum in
    ``PATH.journal`` once it is on the disk; it takes its name when it is whole. So an interrupted run can be resumed,
    a reader never sees half a file, and an existing file is kept until the new one is ready. The bytes do not depend
    on the number of workers nor on interruptions. With several workers, a script must call this under
    ``if __name__ == "__main__":``.

    Args:
        spec: what to write.
        path: the file to write; its folder must exist.
        workers: processes; 1 computes in this one.
        resume: continue an unfinished file of the same spec, or start if there is none.
        overwrite: replace an existing file, drop an unfinished one.
        progress: show a bar on stderr.
    Returns:
        The path of the whole file.
    Raises:
        FileNotFoundError: the folder is missing.
        FileExistsError: the file or an unfinished one exists, and neither ``resume`` nor ``overwrite`` is set.
        DatasetError: the unfinished file is of another spec, or the disk is too small.
        UnresolvedError: the grid cannot hold the solution (see ``spec.allow_unresolved``).
        SolverDiverged: a sample could not be solved.
    """
    path = Path(path)
    check_count("generate", "workers", workers)
    if resume and overwrite:
        raise ValueError("generate: `resume` must not be combined with `overwrite`; got both. Choose one.")
    if _check_output(path, spec, resume=resume, overwrite=overwrite):
        return path
    partial, log = journal.partial_path(path), journal.journal_path(path)
    layout, done = _resumable_state(path, spec) if resume else (None, {})
    if layout is None:
        _check_resolved(spec)
        _check_space(path, spec)
        log.unlink(missing_ok=True)
        layout = store.create_file(partial, spec)
    journal.start_journal(log, spec.config_hash, done)
    missing = [block for block in range(layout.num_blocks) if block not in done]
    with tqdm(total=spec.samples, unit="sample", disable=not progress, desc=path.name) as bar:
        bar.update(sum(_rows(layout, block) for block in done))
        try:
            for block, checksums in _write_blocks(spec, partial, layout, missing, workers):
                journal.append_journal(log, block, checksums)
                done[block] = checksums
                bar.update(_rows(layout, block))
        except KeyboardInterrupt:
            logger.warning(
                "generate: interrupted with %d of %d blocks of %s written; resume to finish it (--resume).",
                len(done),
                layout.num_blocks,
                path,
            )
            raise
        except (UnresolvedError, SolverDiverged):
            partial.unlink(missing_ok=True)  # the same samples would fail again
            log.unlink(missing_ok=True)
            raise
    journal.write_checksums(partial, layout, done)
    os.replace(partial, path)
    log.unlink(missing_ok=True)
    return path


def compute_block(spec: DatasetSpec, block: int) -> tuple[np.ndarray, ...]:
    """The stored fields of a block, float64: inputs and targets (rows, C, *N), or trajectories (rows, T, C, *N).

    Where samples are marched in chunks a block is always computed whole, even where the dataset ends within it, so
    that a sample does not depend on the number of samples.
    """
    header = spec.header
    first, stop = block * header.block_samples, (block + 1) * header.block_samples
    if chunk_size(header.num_dims) == 1:
        stop = min(stop, spec.samples)
    u0, u = _compute_samples(spec, np.arange(first, stop))
    if header.trajectories:
        return (np.concatenate([u0[:, None], u], axis=1),)
    return u0, u[:, 0]


def _compute_samples(spec: DatasetSpec, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Initial conditions (B, C, *N) and solutions (B, T, C, *N)."""
    u0 = initial_fields(spec, indices)
    equation, times = spec.make_equation(), spec.times or (0.0,)
    if spec.method in SCHEMES:
        u = solve(
            equation,
            spec.periodic_grid,
            u0,
            times,
            method=spec.method,
            tolerance=spec.tolerance,
            allow_unresolved=spec.allow_unresolved,
            first_sample=int(indices[0]),
        )
    else:
        u = np.stack([exact_solution(equation, spec.grid, u0, time) for time in times], axis=1)
    if not np.isfinite(u).all():
        row, time = np.argwhere(~np.isfinite(u))[0, :2]
        raise SolverDiverged(
            f"generate: sample {indices[row]} is not finite at t = {times[time]:g}. Check the parameters."
        )
    if equation.nonlinear is not None and not spec.allow_unresolved:
        stored = indices < spec.samples
        _check_tail(spec, u[stored], indices[stored])
    return u0, u


def _check_tail(spec: DatasetSpec, u: np.ndarray, indices: np.ndarray) -> None:
    tail = spectral_tail(u, spec.header.num_dims).max(axis=(1, 2))
    worst = int(np.argmax(tail)) if tail.size else 0
    if tail.size and tail[worst] > RESOLVED_TAIL:
        u0 = initial_fields(spec, indices[worst : worst + 1])
        raise _unresolved(spec, u0, RESOLVED_TAIL, f"{tail[worst]:.1e} of sample {indices[worst]} in its top modes")


def _unresolved(spec: DatasetSpec, u0: np.ndarray, tail: float, finding: str) -> UnresolvedError:
    width = spec.make_equation().front_width(u0, spec.periodic_grid, (spec.times or (0.0,))[-1])
    modes = max(_modes_needed(width, spec, tail), spec.grid.num_points)
    points = 2 ** int(np.ceil(np.log2(2 * modes)))
    return UnresolvedError(
        f"generate: `resolution` must hold the solution of {spec.equation} with {dict(spec.parameters)}; got "
        f"{spec.resolution}, with {finding}. It needs about {modes} modes ({points} points); use more points, or "
        f"--allow-unresolved."
    )


def _modes_needed(width: float, spec: DatasetSpec, tail: float) -> int:
    """Modes above which a front tanh(x / width) leaves less than ``tail``: its modes fall as exp(-pi k width / 2)."""
    if not np.isfinite(width):
        return 0
    return int(np.ceil(2 * np.log(4 / tail) / (np.pi * width) * spec.grid.extent / (2 * np.pi)))


def _check_resolved(spec: DatasetSpec) -> None:
    """Refuse a grid that cannot hold the solution: by the width of its fronts, then by trying the largest samples."""
    equation = spec.make_equation()
    if equation.nonlinear is None or spec.allow_unresolved:
        return
    indices = np.arange(min(spec.header.block_samples, spec.samples))
    u0 = initial_fields(spec, indices)
    largest = np.argsort(np.abs(u0).reshape(len(u0), -1).max(axis=1), kind="stable")
    hardest = np.sort(largest[-PROBE[spec.header.num_dims] :])
    width = equation.front_width(u0[hardest], spec.periodic_grid, (spec.times or (0.0,))[-1])
    finding = f"fronts as thin as {width:.1e}"
    if _modes_needed(width, spec, RESOLVED_TAIL) > 2 * spec.grid.num_points:
        raise _unresolved(spec, u0[hardest], RESOLVED_TAIL, finding)
    limit = max(GROWTH_LIMIT * spec.grid.num_points, MIN_LIMIT)
    if spec.method == "etdrk4" and 2 * _modes_needed(width, spec, spec.tolerance) > 1.5 * limit:
        raise _unresolved(spec, u0[hardest], spec.tolerance, f"{finding} and a tolerance of {spec.tolerance:.1e}")
    for index in hardest:
        _compute_samples(spec, indices[index : index + 1])


def _check_output(path: Path, spec: DatasetSpec, *, resume: bool, overwrite: bool) -> bool:
    """Refuse an unusable output before any work; True if it is there already, whole."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"generate: `path` must lie in an existing folder; got {path}. Create it first.")
    if path.is_dir():
        raise IsADirectoryError(f"generate: `path` must be a file; got the folder {path}.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"generate: `path` must lie in a folder that can be written; got {path}.")
    if overwrite:
        return False
    if path.exists():
        if not resume:
            raise FileExistsError(f"generate: `path` must not exist; got {path}. Pass overwrite=True (--overwrite).")
        with store.open_dataset(path) as data:
            made_from = data.spec
        if made_from is None:
            raise DatasetError(f"generate: {path} was converted, not generated, so it cannot be resumed. Move it away.")
        if made_from.config_hash == spec.config_hash:
            return True
        difference = _difference(made_from, spec)
        raise DatasetError(f"generate: {path} is a whole dataset of another configuration: {difference}.")
    if journal.partial_path(path).exists() and not resume:
        raise FileExistsError(
            f"generate: `path` must not be unfinished; got {path} with {journal.partial_path(path).name} beside it. "
            f"Finish it with resume=True (--resume), or drop it with overwrite=True (--overwrite)."
        )
    return False


def _difference(old: DatasetSpec, new: DatasetSpec) -> str:
    before, after = old.to_dict(), new.to_dict()
    return "; ".join(f"{k} is {before[k]!r}, asked for {after[k]!r}" for k in before if before[k] != after[k])


def _resumable_state(path: Path, spec: DatasetSpec) -> tuple[journal.FileMap | None, dict[int, journal.Checksums]]:
    """The map of the unfinished file and its sound blocks; (None, {}) if there is nothing to resume."""
    partial = journal.partial_path(path)
    config_hash, listed = journal.read_journal(journal.journal_path(path))
    if not config_hash or not partial.exists():
        return None, {}
    if config_hash != spec.config_hash:
        raise DatasetError(
            f"generate: {partial} is of another configuration than the one asked for, so it cannot be resumed. Ask for "
            f"the same, or start again with overwrite=True (--overwrite)."
        )
    try:
        layout = store.read_map(partial)
    except (OSError, DatasetError) as error:
        raise DatasetError(
            f"generate: {partial} is damaged ({error}). Start again with overwrite=True (--overwrite)."
        ) from None
    sound = {b: c for b, c in listed.items() if 0 <= b < layout.num_blocks}
    return layout, {b: c for b, c in sound.items() if journal.read_checksums(partial, layout, b) == c}


def _check_space(path: Path, spec: DatasetSpec) -> None:
    free, needed = shutil.disk_usage(path.parent).free, spec.samples * spec.header.row_bytes
    if needed > free:
        raise DatasetError(f"generate: {path} needs {needed / 1e6:.0f} MB and its disk has {free / 1e6:.0f} MB free.")


def _rows(layout: journal.FileMap, block: int) -> int:
    start, stop = layout.block_rows(block)
    return stop - start


def _make_block(spec: DatasetSpec, partial: Path, layout: journal.FileMap, block: int) -> tuple[int, journal.Checksums]:
    rows = _rows(layout, block)
    fields = tuple(field[:rows] for field in compute_block(spec, block))
    return block, journal.write_block(partial, layout, block, fields)


def _write_blocks(
    spec: DatasetSpec, partial: Path, layout: journal.FileMap, blocks: list[int], workers: int
) -> Iterator[tuple[int, journal.Checksums]]:
    """Compute and write blocks, giving each one's checksums once it is on the disk."""
    if workers == 1 or len(blocks) <= 1:
        for block in blocks:
            yield _make_block(spec, partial, layout, block)
        return
    context = multiprocessing.get_context("spawn")
    with _single_threaded_children(), ProcessPoolExecutor(workers, context, _start_worker) as pool:
        futures = [pool.submit(_make_block, spec, partial, layout, block) for block in blocks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


@contextlib.contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started within compute with one thread each; workers are meant to be the only parallelism."""
    before: Mapping[str, str | None] = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
