"""Validation of a dataset file: layout, checksums, finite values, and its samples against a truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data_gen.equation import Equation, SampleEquations
from data_gen.errors import DatasetError, check_count
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.info import Truth, spread_rows, truth_kind
from data_gen.sample_fields import initial_fields, known_solution
from data_gen.self_convergence import recompute
from data_gen.storage.dataset import Dataset
from data_gen.storage.verification import crc_of

#: An error above this multiple of the file's tolerance is a problem: the tolerance is kept to about, not exactly.
ALLOWED_FACTOR = 10.0
#: Samples solved again where there is no exact solution.
TRUTH_SAMPLES = 4


@dataclass(frozen=True)
class ValidationReport:
    """Result of checking a dataset file; ``problems`` is empty if it is valid.

    The errors are ``max |u - truth| / max |truth|`` a sample, at its worst time; None unless they were asked for.

    Args:
        path: the file.
        problems: faults of its bytes and values.
        num_samples: number of its samples.
        max_error: the largest error of the samples compared.
        median_error: the median error of the samples compared.
        worst_sample: the one with the largest error.
        truth: kind of solution they were compared with; empty if none.
        compared: the samples compared: all of them with an exact solution.
        allowed: the error above which ``inaccurate`` is set; None where the file records no tolerance.
        inaccurate: empty, or one line that says by how much the tolerance was missed.
        how: how the truth was found, in words.
    """

    path: Path
    problems: tuple[str, ...]
    num_samples: int
    max_error: float | None = None
    median_error: float | None = None
    worst_sample: int | None = None
    truth: Truth | Literal[""] = ""
    compared: tuple[int, ...] = ()
    allowed: float | None = None
    inaccurate: str = ""
    how: str = ""

    @property
    def ok(self) -> bool:
        """True if no problem was found, and no error that is too large."""
        return not self.problems and not self.inaccurate


def validate(
    path: str | Path,
    *,
    truth: bool = False,
    truth_samples: int = TRUTH_SAMPLES,
    progress: Callable[[int], object] | None = None,
) -> ValidationReport:
    """Check a dataset file, reading it block by block.

    With ``truth``, every sample is compared with the exact solution for its initial condition, or with the known one
    if it starts from a soliton or the like. Where there is neither, a few samples are solved again by other means (see
    ``recompute``): that is self-convergence, and covers only those samples. Errors above ``ALLOWED_FACTOR``
    times the tolerance that the file records, plus the rounding of the stored fields, are reported as inaccurate.

    Args:
        path: the file.
        truth: also compare samples with a truth.
        truth_samples: samples solved again where there is no exact solution: half of them those with the largest
            initial conditions, the others spread over the file.
        progress: called with the number of samples done after each block.

    Returns:
        The report. A file that cannot be opened raises instead.

    Raises:
        DatasetError: the file is missing, unreadable, unfinished, or of another layout.
        SolverDiverged, UnresolvedError: a sample cannot be solved again.
        ValueError: ``truth`` is asked for data of an unknown law, or ``truth_samples`` is below 1.
    """
    check_count("validate", "truth_samples", truth_samples)
    problems: list[str] = []
    errors: list[np.ndarray] = []
    amplitudes: list[np.ndarray] = []
    with Dataset(path, verify_fields=False) as data:
        if truth:
            _equations_of(data, slice(0, 1))
        kind = truth_kind(data) if truth else None
        size = data.header.block_samples
        stored = {name: data.block_checksums(name) for name in data.stored_names}
        for block, start in enumerate(range(0, data.num_samples, size)):
            rows = slice(start, min(start + size, data.num_samples))
            fields = _readable(data, rows, problems)
            if not fields:
                errors.append(np.full(rows.stop - start, np.nan))
                amplitudes.append(np.zeros(rows.stop - start))
                continue
            for name, field in fields.items():
                problems += _field_problems(name, field, start, int(stored[name][block]))
            if kind in ("exact", "known"):
                errors.append(_exact_errors(data, kind, rows, problems))
            elif kind is not None:
                amplitudes.append(_amplitudes(fields[data.stored_names[0]]))
            if progress is not None:
                progress(rows.stop)
        compared, how = np.arange(data.num_samples), f"the {kind} solution"
        if kind == "self-convergence":
            compared = _chosen_rows(np.concatenate(amplitudes), truth_samples)
            found, how = _recomputed_errors(data, compared, problems)
            errors.append(found)
        problems += _table_problems(data)
        return _report(data, problems, np.concatenate(errors or [np.empty(0)]), compared, kind, how)


def _readable(data: Dataset, rows: slice, problems: list[str]) -> dict[str, np.ndarray]:
    """The stored fields of a block; none, and a problem, where compressed bytes cannot be unpacked."""
    try:
        return {name: data.read_stored(name, rows) for name in data.stored_names}
    except DatasetError as error:
        problems.append(f"samples {rows.start}..{rows.stop - 1} cannot be read ({error})")
        return {}


def _report(
    data: Dataset, problems: list[str], errors: np.ndarray, compared: np.ndarray, kind: Truth | None, how: str
) -> ValidationReport:
    if not errors.size:
        return ValidationReport(data.path, tuple(problems), data.num_samples)
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    known = errors[np.isfinite(errors)]
    allowed = _allowed_error(data)
    inaccurate = ""
    if known.size and allowed is not None and known.max() > allowed:
        sample = compared[int(np.argmax(np.where(np.isnan(errors), -1, errors)))]
        inaccurate = (
            f"sample {sample} differs by {known.max():.3g} of its maximum from {how}, more than {allowed:.3g}: "
            f"{ALLOWED_FACTOR:g} times the file's tolerance, and rounding ({(known > allowed).sum()} of "
            f"{len(compared)} samples compared)"
        )
    return ValidationReport(
        data.path,
        tuple(dict.fromkeys(problems)),
        data.num_samples,
        float(errors[worst]),
        float(np.median(known)) if known.size else float("nan"),
        int(compared[worst]),
        kind or "",
        tuple(compared.tolist()),
        allowed,
        inaccurate,
        how,
    )


def _allowed_error(data: Dataset) -> float | None:
    """Ten times the tolerance, and the rounding to the stored precision."""
    if data.spec is None:
        return None
    return ALLOWED_FACTOR * data.spec.tolerance + float(np.finfo(data.dtype).eps)


def _field_problems(name: str, field: np.ndarray, start: int, checksum: int) -> list[str]:
    problems = []
    if crc_of(field) != checksum:
        problems.append(f"checksum of {name} differs in samples {start}..{start + len(field) - 1}: its bytes changed")
    bad = np.flatnonzero(~np.isfinite(field.reshape(len(field), -1)).all(axis=1))
    if bad.size:
        problems.append(f"{name} has NaN or infinity in sample {start + int(bad[0])} ({bad.size} of this block)")
    return problems


def _table_problems(data: Dataset) -> list[str]:
    """Parameters of samples that are not those which the file's description gives."""
    if data.spec is None:
        return []
    drawn = data.spec.parameter_table(range(data.num_samples))
    same = {name: np.allclose(data.table.get(name, np.nan), values, rtol=1e-12) for name, values in drawn.items()}
    return [f"{name} of the samples differs from the file's description" for name, fits in same.items() if not fits]


def _amplitudes(field: np.ndarray) -> np.ndarray:
    """``(rows,)``, ``max |u|`` of each sample; 0 where it is not finite."""
    flat = np.abs(field.reshape(len(field), -1)).max(axis=1)
    return np.where(np.isfinite(flat), flat, 0.0)


def _chosen_rows(amplitudes: np.ndarray, count: int) -> np.ndarray:
    """Half of ``count`` samples by size, the others spread over the file; increasing."""
    largest = np.argsort(-amplitudes, kind="stable")[: count // 2].tolist()
    spread = [row for row in spread_rows(len(amplitudes), count) if row not in largest]
    return np.array(sorted({*largest, *spread[: count - len(largest)]}))


def _samples(
    data: Dataset, rows: slice | np.ndarray, problems: list[str]
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...], np.ndarray]:
    """Inputs ``(B, C, *N)`` in double precision, solutions ``(B, T, C, *N)``, their times from the start on, and which
    are finite; inputs that are not are replaced by ones.

    Inputs stored in single precision are drawn again from the description, so that their rounding, which a solution
    may amplify, is no part of its error.
    """
    start, solution = data.read(data.input_name, rows).astype(np.float64), data.read_trajectory(rows)
    times = tuple(time - data.times[0] for time in data.times)
    if data.header.inputs == data.header.channels and not data.header.steady:
        solution = solution[:, 1:]
    times = times[-solution.shape[1] :]
    finite = np.array([np.isfinite(a).all() and np.isfinite(b).all() for a, b in zip(start, solution, strict=True)])
    start[~finite] = 1.0
    if data.spec is not None and data.dtype != np.float64:
        indices = np.arange(data.num_samples)[rows]
        drawn = initial_fields(data.spec, indices)
        away = np.abs(drawn - start).reshape(len(start), -1).max(axis=1) / np.abs(drawn).max()
        moved = indices[finite & (away > np.finfo(data.dtype).eps)]
        if moved.size:
            problems.append(f"{data.input_name} of sample {moved[0]} differs from the file's description")
        start[finite] = drawn[finite]
    return start, solution.astype(np.float64), times, finite


def _exact_errors(data: Dataset, kind: Truth, rows: slice, problems: list[str]) -> np.ndarray:
    """``(rows,)``, the largest error of each sample over the times; NaN where a field is not finite."""
    start, solution, times, finite = _samples(data, rows, problems)
    errors = np.zeros(len(start))
    for i, time in enumerate(times):
        if kind == "known" and data.spec is not None:
            exact = known_solution(data.spec, np.arange(data.num_samples)[rows], time)
        else:
            exact = exact_solution(_equations_of(data, rows), data.grid, start, time)
        errors = np.maximum(errors, _relative(solution[:, i], exact))
    return np.where(finite, errors, np.nan)


def _recomputed_errors(data: Dataset, rows: np.ndarray, problems: list[str]) -> tuple[np.ndarray, str]:
    """``(rows,)``, as ``_exact_errors``, against samples solved again; and how they were, in words."""
    start, solution, times, finite = _samples(data, rows, problems)
    if not finite.any():
        return np.full(len(rows), np.nan), "nothing"
    again = recompute(data, _equations_of(data, rows[finite]), start[finite], times)
    errors = np.full(len(rows), np.nan)
    found = [_relative(solution[finite][:, i], again.fields[:, i]) for i in range(len(times))]
    errors[finite] = np.max(found, axis=0)
    how = f"the result of {again.method} at tolerance {again.tolerance:.3g} on {again.num_points} points an axis"
    return errors, how


def _equations_of(data: Dataset, rows: slice | np.ndarray) -> Equation | SampleEquations:
    """The law of these samples: one for all, or where its parameters vary one for each."""
    found = data.equations(rows)
    if found is None:
        raise ValueError(
            f"validate: `truth` must be False for {data.header.name}; the file does not name a law known here."
        )
    return found


def _relative(u: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """``(rows,)``, ``max |u - truth| / max |truth|``."""
    size = np.abs(truth).reshape(len(truth), -1).max(axis=1)
    difference = np.abs(u - truth).reshape(len(truth), -1).max(axis=1)
    return difference / np.where(size > 0, size, 1)
