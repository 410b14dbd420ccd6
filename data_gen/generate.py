"""Generation of a dataset file from a description: in blocks, resumable at any point, over several processes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.equation import SampleEquations
from data_gen.errors import DatasetError, SolverDiverged, UnresolvedError, check_count, with_parameters
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.executors.local import Runner, WorkerLost, processes, this_process
from data_gen.grids.periodic import spectral_tail
from data_gen.random_fields.own import FILE, FUNCTION
from data_gen.sample_fields import initial_fields
from data_gen.solvers.schemes import SCHEMES, fastest_scheme
from data_gen.solvers.solve import GROWTH_LIMIT, MIN_LIMIT, chunk_size, chunks, solve
from data_gen.spec import DatasetSpec
from data_gen.storage import journal
from data_gen.storage.chunked import LEVEL, Compression, check_compression
from data_gen.storage.journal import Checksums
from data_gen.storage.own_fields import equations_of, report_resampling
from data_gen.storage.writer import Output, Part, failed_write
from data_gen.terminal.quiet import progress_bar

logger = logging.getLogger(__name__)

#: A stored field may have at most this share in the top eighth of its modes (sum of amplitudes over max |u|).
RESOLVED_TAIL = 1e-2
#: Tolerance of the second solve of a sample of a chaotic equation, in tolerances; and the expected error, in
#: tolerances, from which it is a warning.
LOOSER, CHAOTIC_FACTOR = 10.0, 3.0
#: Schemes to try, in this order, where the one that "auto" takes fails.
FALLBACKS = ("etdrk4", "adams6", "lawson7")
#: Samples tried before anything is written, by the number of dimensions.
PROBE = {1: 4, 2: 1, 3: 1}


def generate(
    spec: DatasetSpec,
    path: str | Path,
    *,
    workers: int = 1,
    dask: str | None = None,
    shards: int = 1,
    compression: Compression = "none",
    level: int = LEVEL,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the dataset that ``spec`` describes.

    The file is written as ``PATH.partial``, in blocks of up to 128 samples, each listed with its checksum in
    ``PATH.journal`` once it is on the disk; it takes its name when it is whole. So an interrupted run can be resumed,
    a reader never sees half a file, and an existing file is kept until the new one is ready. The bytes do not depend
    on the number of workers, nor on where they run, nor on interruptions. With several workers or a local Dask
    cluster, a script must call this under ``if __name__ == "__main__":``.

    A block in which the scheme that "auto" takes fails is solved by another one; a warning and the file's attribute
    ``methods_of_blocks`` say which. A chaotic equation whose errors must be expected to exceed the tolerance is a
    warning too.

    Args:
        spec: description of the dataset.
        path: the file to write; its folder must exist.
        workers: processes; 1 computes in this one.
        dask: address of a Dask scheduler, whose workers compute; "local" starts a cluster of ``workers`` processes.
            A worker that sees this run's journal, at the same path, writes its blocks itself; any other sends them.
        shards: files for the samples, next to a small master file at ``path`` that lists them. No two processes write
            into one shard at a time, so at most as many work as there are shards.
        compression: "gzip" compresses the files in chunks, as ``repack`` does, once all blocks are written; until then
            they are plain, next to the compressed ones. It is no part of the description.
        level: effort of gzip, 1 to 9.
        resume: continue an unfinished file of the same spec and shards, or start if there is none.
        overwrite: replace an existing dataset file, drop an unfinished one.
        progress: show a bar on stderr.

    Returns:
        The path of the whole file.

    Raises:
        FileNotFoundError: the folder is missing.
        FileExistsError: the file or an unfinished one exists, and neither ``resume`` nor ``overwrite`` is set; or what
            exists is no dataset file.
        DatasetError: the unfinished file is of another spec, the disk is too small or refuses, or workers are lost.
        OutputError: another process is writing the file.
        UnresolvedError: the grid does not resolve the solution (see ``spec.allow_unresolved``).
        SolverDiverged: a sample could not be solved.
    """
    _check_arguments(spec, workers, dask, shards)
    if resume and overwrite:
        raise ValueError("generate: `resume` must not be combined with `overwrite`; got both. Choose one.")
    check_compression("generate", compression, level)
    output = Output(Path(path), spec, shards, level if compression == "gzip" else 0)
    with output.only_writer():
        if output.is_whole(resume=resume, overwrite=overwrite):
            return Path(path)
        done = output.resume() if resume else None
        if done is None:
            output.check_space()
        with _executor(workers, dask, output.num_blocks - len(done or {})) as run:
            if done is None:
                _check_resolved(spec)
                output.create()
                done = {}
            with _kept_on_failure(output, done):
                _write_blocks(output, done, run, progress=progress)
                output.finish(done)
    return Path(path)


@contextlib.contextmanager
def _kept_on_failure(output: Output, done: dict[int, Checksums]) -> Iterator[None]:
    """Keep the blocks that are written when the body fails, unless the same samples would fail again; say which."""
    try:
        yield
    except KeyboardInterrupt:
        logger.warning("generate: interrupted with %s (--resume).", _state(output, done))
        raise
    except (UnresolvedError, SolverDiverged):
        output.drop()  # the same samples would fail again
        raise
    except (MemoryError, ValueError):
        if not done:
            output.drop()
        raise
    except WorkerLost as error:
        raise DatasetError(f"generate: {error}, with {_state(output, done)} (--resume).") from None
    except OSError as error:
        raise failed_write(output.path, error, len(done), output.num_blocks) from None


def _check_arguments(spec: DatasetSpec, workers: int, dask: str | None, shards: int) -> None:
    check_count("generate", "workers", workers)
    check_count("generate", "shards", shards)
    if dask is not None and (not isinstance(dask, str) or not dask):
        raise ValueError(f"generate: `dask` must be 'local' or a scheduler's address; got {dask!r}.")
    if dask not in (None, "local") and workers != 1:
        raise ValueError(
            f"generate: `workers` must be left out with the address of a Dask cluster, which has its own; got "
            f"{workers}."
        )
    if spec.seed >= 2**63:
        raise ValueError(f"generate: `seed` must be below 2**63; got {spec.seed}.")
    if spec.samples * spec.header.row_bytes >= 2**63:
        raise ValueError(
            f"generate: `resolution` and `samples` must make a file of less than 2**63 bytes; got {spec.resolution} "
            f"and {spec.samples}."
        )


def _executor(workers: int, dask: str | None, blocks: int) -> AbstractContextManager[Runner]:
    if dask is not None:
        from data_gen.executors.dask_cluster import dask_cluster

        return dask_cluster(dask, workers)
    workers = min(workers, blocks)
    return processes(workers) if workers > 1 else this_process()


def _state(output: Output, done: dict[int, Checksums]) -> str:
    return f"{len(done)} of {output.num_blocks} blocks of {output.path} written; resume to finish it"


def _write_blocks(output: Output, done: dict[int, Checksums], run: Runner, *, progress: bool) -> None:
    """Compute and write the blocks that are not done, listing each in the journal once it is on the disk."""
    output.start_journal(done)
    parts = {block: part for part in output.parts for block in part.blocks}
    sight = output.journal.absolute(), output.token
    with progress_bar(shown=progress, total=output.spec.samples, unit="sample", desc=output.path.name) as bar:
        bar.update(sum(parts[block].rows(block) for block in done))
        for block, checksums, computed in run(_make_block, _lanes(output, done, sight)):
            if checksums is None:
                checksums = parts[block].write(block, computed.fields)
            output.list_block(block, checksums, computed.method)
            if computed.method != output.spec.method:
                logger.warning(
                    "generate: %s failed in block %d, which %s solved; the file says so.",
                    output.spec.method,
                    block,
                    computed.method,
                )
            done[block] = checksums
            bar.update(parts[block].rows(block))


def _lanes(
    output: Output, done: dict[int, Checksums], sight: tuple[Path, str]
) -> Iterator[list[tuple[DatasetSpec, Part, int, tuple[Path, str]]]]:
    """The tasks: one lane for each shard, or where there are none for each block."""
    for part in output.parts:
        tasks = [(output.spec, part, block, sight) for block in part.blocks if block not in done]
        if output.shards > 1:
            yield tasks
        else:
            yield from ([task] for task in tasks)


def _make_block(
    spec: DatasetSpec, part: Part, block: int, sight: tuple[Path, str]
) -> tuple[int, Checksums | None, Computed]:
    """Compute a block and write it, giving its checksums; or if the file cannot be seen from here, give the fields.

    ``sight`` is a journal and the token of its run: a worker whose run has died finds another token there, and writes
    nothing into the files of the run that follows.
    """
    computed = compute_block(spec, block)
    fields = tuple(field[: part.rows(block)] for field in computed.fields)
    if journal.read_start(sight[0]).get("token") == sight[1]:
        return block, part.write(block, fields), Computed((), computed.method)
    return block, None, Computed(fields, computed.method)


@dataclass(frozen=True)
class Computed:
    """A block's stored fields, and the method that solved it."""

    fields: tuple[np.ndarray, ...]
    method: str


def compute_block(spec: DatasetSpec, block: int) -> Computed:
    """The stored fields of a block, float64: inputs and targets ``(rows, C, *N)``, or trajectories
    ``(rows, T, C, *N)``.

    Where samples are integrated in chunks a block is always computed whole, even if the dataset ends within it, so
    that a sample does not depend on the number of samples.
    """
    header = spec.header
    first, stop = block * header.block_samples, (block + 1) * header.block_samples
    if chunk_size(header.num_dims, spec.device) == 1:
        stop = min(stop, spec.samples)
    u0, u, method = _compute_samples(spec, np.arange(first, stop))
    if header.trajectories:
        return Computed((np.concatenate([u0[:, None], u], axis=1),), method)
    return Computed((u0, u[:, 0]), method)


def _methods(spec: DatasetSpec) -> list[str]:
    """The description's method, and if it is the one that "auto" takes those to try where it fails."""
    usual = fastest_scheme(spec.make_equation())
    if spec.method != usual or spec.make_equation().nonlinear is None:
        return [spec.method]
    on_device = [name for name in FALLBACKS if spec.device == "cpu" or not SCHEMES[name].memory]
    return [usual, *(name for name in on_device if name != usual)]


def _stepped(spec: DatasetSpec, indices: np.ndarray, u0: np.ndarray) -> tuple[np.ndarray, str]:
    """Solutions ``(B, T, C, *N)`` by time stepping, and the method that reached the tolerance for all samples."""
    failure: SolverDiverged | None = None
    for method in _methods(spec):
        try:
            u = _solved(spec, indices, u0, method, spec.tolerance)
        except SolverDiverged as error:
            failure = failure or error
            continue
        return u, method
    raise failure or AssertionError("unreachable: there is a method")


def _solved(spec: DatasetSpec, indices: np.ndarray, u0: np.ndarray, method: str, tolerance: float) -> np.ndarray:
    """Solutions ``(B, T, C, *N)`` of samples by one method of time stepping."""
    return solve(
        equations_of(spec, indices),
        spec.periodic_grid,
        u0,
        spec.times,
        method=method,
        tolerance=tolerance,
        allow_unresolved=spec.allow_unresolved,
        first_sample=int(indices[0]),
        device=spec.device,
    )


def _compute_samples(spec: DatasetSpec, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Initial conditions ``(B, C, *N)``, solutions ``(B, T, C, *N)``, and the method that found them."""
    u0 = initial_fields(spec, indices)
    equation, times, method = equations_of(spec, indices), spec.times or (0.0,), spec.method
    if spec.method in SCHEMES:
        u, method = _stepped(spec, indices, u0)
    else:
        u = np.stack([exact_solution(equation, spec.grid, u0, time) for time in times], axis=1)
    if not np.isfinite(u).all():
        row, time = np.argwhere(~np.isfinite(u))[0, :2]
        raise SolverDiverged(
            f"generate: sample {indices[row]} is not finite at t = {times[time]:g}. Check the parameters."
        )
    if spec.make_equation().nonlinear is not None and not spec.allow_unresolved:
        stored = indices < spec.samples
        _check_tail(spec, u[stored], indices[stored])
    return u0, u, method


def _check_tail(spec: DatasetSpec, u: np.ndarray, indices: np.ndarray) -> None:
    tail = spectral_tail(u, spec.header.num_dims).max(axis=(1, 2))
    worst = int(np.argmax(tail)) if tail.size else 0
    if tail.size and tail[worst] > RESOLVED_TAIL:
        row = indices[worst : worst + 1]
        width = _front_width(spec, initial_fields(spec, row), row)
        raise _unresolved(spec, width, RESOLVED_TAIL, f"{tail[worst]:.1e} of sample {row[0]} in its top modes")


def _front_width(spec: DatasetSpec, u0: np.ndarray, indices: np.ndarray) -> float:
    """The width of the thinnest front of some samples, infinity where none forms."""
    laws, grid, last = equations_of(spec, indices), spec.periodic_grid, (spec.times or (0.0,))[-1]
    if isinstance(laws, SampleEquations):
        return min(law.front_width(field[None], grid, last) for law, field in zip(laws, u0, strict=True))
    return laws.front_width(u0, grid, last)


def _unresolved(spec: DatasetSpec, width: float, tail: float, finding: str) -> UnresolvedError:
    modes = max(_modes_needed(width, spec, tail), spec.grid.num_points)
    points = 2 ** int(np.ceil(np.log2(2 * modes)))
    return UnresolvedError(
        f"generate: `resolution` must resolve the solution of {spec.equation}{with_parameters(spec.parameters)}; got "
        f"{spec.resolution}, with {finding}. It needs about {modes} modes ({points} points); use more points, or "
        f"--allow-unresolved."
    )


def _modes_needed(width: float, spec: DatasetSpec, tail: float) -> int:
    """Modes above which a front tanh(x / width) leaves less than ``tail``: its modes fall as exp(-pi k width / 2)."""
    if not np.isfinite(width):
        return 0
    return int(np.ceil(2 * np.log(4 / tail) / (np.pi * width) * max(spec.grid.extents) / (2 * np.pi)))


def _check_resolved(spec: DatasetSpec) -> None:
    """Refuse a grid that does not resolve the solution: by the width of its fronts, then by trying large samples."""
    equation = spec.make_equation()
    report_resampling(spec)
    if equation.nonlinear is None or spec.allow_unresolved:
        if spec.initial_condition in (FILE, FUNCTION) or spec.field_files:
            _compute_samples(spec, np.arange(1))
        return
    indices = np.arange(min(spec.header.block_samples, spec.samples))
    u0 = initial_fields(spec, indices)
    largest = np.concatenate(list(chunks(equations_of(spec, indices), spec.periodic_grid, u0)))
    hardest = np.sort(largest[-PROBE[spec.header.num_dims] :])
    width = _front_width(spec, u0[hardest], indices[hardest])
    finding = f"fronts as thin as {width:.1e}"
    if _modes_needed(width, spec, RESOLVED_TAIL) > 2 * spec.grid.num_points:
        raise _unresolved(spec, width, RESOLVED_TAIL, finding)
    limit = max(GROWTH_LIMIT * spec.grid.num_points, MIN_LIMIT)
    if spec.method in SCHEMES and 2 * _modes_needed(width, spec, spec.tolerance) > 1.5 * limit:
        raise _unresolved(spec, width, spec.tolerance, f"{finding} and a tolerance of {spec.tolerance:.1e}")
    for index in hardest:
        u0, u, method = _compute_samples(spec, indices[index : index + 1])
        if equation.chaotic and index == hardest[-1]:
            _warn_of_chaos(spec, indices[index : index + 1], u0, u, method)


def _warn_of_chaos(spec: DatasetSpec, index: np.ndarray, u0: np.ndarray, u: np.ndarray, method: str) -> None:
    """Warn where a second solve of a sample, at a larger tolerance, shows that errors exceed the tolerance asked for.

    Errors are about in proportion to the tolerance, so that the first solve has a tenth of the difference.
    """
    again = _solved(spec, index, u0, method, LOOSER * spec.tolerance)
    error = float((np.abs(u - again)[:, -1].max() / np.abs(u[:, -1]).max()) / LOOSER)
    if error > CHAOTIC_FACTOR * spec.tolerance:
        logger.warning(
            "generate: %s is chaotic; at t = %g errors of about %.0e must be expected, above the tolerance %.0e (from "
            "a second solve of sample %d). Ask for a shorter time, or a tolerance of about %.0e.",
            spec.equation,
            spec.times[-1],
            error,
            spec.tolerance,
            index[0],
            error,
        )
