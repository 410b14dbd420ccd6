"""Check a dataset file: layout, checksums, finite values, and each sample against the exact solution."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.exact import exact_solution
from data_gen.journal import BLOCK
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
        if truth and data.equation.exact is None:
            raise ValueError(f"validate: `truth` must be False for {data.equation.name}; it has no exact solution.")
        stored = {name: data.block_checksums(name) for name in data.stored_names}
        for block, start in enumerate(range(0, data.num_samples, BLOCK)):
            stop = min(start + BLOCK, data.num_samples)
            trajectory = data.read_trajectory(slice(start, stop))
            parts = [trajectory] if len(stored) == 1 else [trajectory[:, 0], trajectory[:, 1]]
            for name, field in zip(stored, parts, strict=True):
                problems += _field_problems(name, field, start, int(stored[name][block]))
            if truth:
                errors.append(_errors(data, trajectory))
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


def _errors(data: Dataset, trajectory: np.ndarray) -> np.ndarray:
    """(rows,), the largest error of each sample over the times; NaN where a field is not finite."""
    finite = np.isfinite(trajectory).all(axis=(1, 2, 3))
    safe = np.where(finite.reshape(-1, 1, 1, 1), trajectory, 0).astype(np.float64)
    errors = np.zeros(len(trajectory))
    for i, time in enumerate(data.times[1:], start=1):
        exact = exact_solution(data.equation, data.grid, safe[:, 0], time)
        size = np.abs(exact).max(axis=(1, 2))
        difference = np.abs(safe[:, i] - exact).max(axis=(1, 2))
        errors = np.maximum(errors, difference / np.where(size > 0, size, 1))
    return np.where(finite, errors, np.nan)
