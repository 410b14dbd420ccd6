"""Check a dataset file: layout, checksums, finite values, and each sample against the exact solution."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.equations import Equation
from data_gen.exact import exact_solution
from data_gen.store import Dataset, open_dataset


@dataclass(frozen=True)
class ValidationReport:
    """What was found in a dataset file; ``problems`` is empty if all is well.

    The errors are max |u - exact| / max |exact| a sample, at its worst time; None unless they were asked for.
    """

    path: Path
    problems: tuple[str, ...]
    num_samples: int
    max_error: float | None = None
    median_error: float | None = None
    worst_sample: int | None = None

    @property
    def ok(self) -> bool:
        """True if no problem was found."""
        return not self.problems


def validate(
    path: str | Path, *, truth: bool = False, progress: Callable[[int], object] | None = None
) -> ValidationReport:
    """Check a dataset file, reading it block by block.

    Args:
        path: the file.
        truth: also compare each sample with the exact solution for its stored initial condition.
        progress: called with the number of samples done after each block.
    Returns:
        The report. A file that cannot be opened raises instead.
    Raises:
        DatasetError: the file is missing, unreadable, unfinished, or of another layout.
        ValueError: ``truth`` is asked for an equation without an exact solution.
    """
    problems: list[str] = []
    errors: list[np.ndarray] = []
    with open_dataset(path) as data:
        equation = data.equation
        if truth and (equation is None or equation.exact is None):
            raise ValueError(f"validate: `truth` must be False for {data.header.name}; it has no exact solution.")
        size = data.header.block_samples
        stored = {name: data.block_checksums(name) for name in data.stored_names}
        for block, start in enumerate(range(0, data.num_samples, size)):
            stop = min(start + size, data.num_samples)
            fields = {name: data.read_stored(name, slice(start, stop)) for name in stored}
            for name, field in fields.items():
                problems += _field_problems(name, field, start, int(stored[name][block]))
            if truth and equation is not None:
                errors.append(_errors(data, equation, slice(start, stop)))
            if progress is not None:
                progress(stop)
        found = np.concatenate(errors) if errors else np.empty(0)
        if not found.size:
            return ValidationReport(data.path, tuple(problems), data.num_samples)
        worst = int(np.argmax(np.where(np.isnan(found), np.inf, found)))
        return ValidationReport(
            data.path, tuple(problems), data.num_samples, float(found[worst]), float(np.nanmedian(found)), worst
        )


def _field_problems(name: str, field: np.ndarray, start: int, checksum: int) -> list[str]:
    problems = []
    if zlib.crc32(np.ascontiguousarray(field).data.cast("B")) != checksum:
        problems.append(f"checksum of {name} differs in samples {start}..{start + len(field) - 1}: its bytes changed")
    bad = np.flatnonzero(~np.isfinite(field.reshape(len(field), -1)).all(axis=1))
    if bad.size:
        problems.append(f"{name} has NaN or infinity in sample {start + int(bad[0])} ({bad.size} of this block)")
    return problems


def _errors(data: Dataset, equation: Equation, rows: slice) -> np.ndarray:
    """(rows,), the largest error of each sample over the times; NaN where a field is not finite."""
    start = data.read(data.input_name, rows).astype(np.float64)
    solution = data.read_trajectory(rows).astype(np.float64)
    times = data.times
    if solution.shape[1] > 1:
        solution, times = solution[:, 1:], data.times[1:]
    finite = np.array([np.isfinite(a).all() and np.isfinite(b).all() for a, b in zip(start, solution, strict=True)])
    start[~finite] = 1.0
    errors = np.zeros(len(start))
    for i, time in enumerate(times):
        exact = exact_solution(equation, data.grid, start, time - data.times[0])
        size = np.abs(exact).reshape(len(exact), -1).max(axis=1)
        difference = np.abs(solution[:, i] - exact).reshape(len(exact), -1).max(axis=1)
        errors = np.maximum(errors, difference / np.where(size > 0, size, 1))
    return np.where(finite, errors, np.nan)
