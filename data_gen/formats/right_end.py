"""Detection of a periodic file whose last point repeats its first one, and of walls, from the fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-5  # of float32 values, relative to the largest
_MANY = 4  # samples that a decision by fields alone needs


@dataclass(frozen=True)
class Repeats:
    """What the fields say of the two ends of an axis.

    Args:
        looks_so: both ends are equal to rounding, and closer than the first two points are.
        beyond_doubt: so they are in both fields and in many samples, the values there differ from sample to sample, and
            the fields are not symmetric.
        differs: the ends are further apart than noise.
        fixed: the first point has nearly one value in all samples, as at a wall.
        walls: in one of the fields both ends keep their values in all samples, and the points next to them do not.
    """

    looks_so: bool = False
    beyond_doubt: bool = False
    differs: bool = False
    fixed: bool = False
    walls: bool = False


def compare_ends(probes: Callable[[], Sequence[np.ndarray]] | None, axis: int) -> Repeats:
    """The ends of an axis, counted from the last, in the first samples ``(rows, ..., *points)`` of both fields."""
    fields = _usable(probes() if probes is not None else (), axis)
    if not fields:
        return Repeats()
    equal, closer, apart = zip(*(_ends_of(field, axis) for field in fields), strict=True)
    looks_so = all(equal) and any(closer)
    certain = looks_so and len(fields) > 1 and all(_tells(field, axis) for field in fields)
    fixed, walls = (test(_is(field, axis) for field in fields) for test, _is in ((all, _is_fixed), (any, _has_walls)))
    return Repeats(looks_so, certain, any(apart), fixed, walls)


def _usable(probes: Sequence[np.ndarray], axis: int) -> list[np.ndarray]:
    """The fields that have values and three points; none if one has fewer points."""
    fields = [np.asarray(field, dtype=np.float64) for field in probes]
    fields = [field for field in fields if field.size and np.isfinite(field).all()]
    return [] if any(field.shape[axis] < 3 for field in fields) else fields


def _ends_of(field: np.ndarray, axis: int) -> tuple[bool, bool, bool]:
    """Whether the ends are equal to rounding, far closer than the first two points, and apart beyond noise."""
    ends, step, noise = _gap(field, axis, 0, -1), _gap(field, axis, 0, 1), _noise(field)
    return ends <= noise and (ends < 1e-2 * step or step == 0), ends < 1e-2 * step, ends > max(1e-2 * step, 10 * noise)


def _gap(field: np.ndarray, axis: int, i: int, j: int) -> float:
    """Largest difference of two points of an axis over samples and all else."""
    return float(np.abs(field.take(i, axis) - field.take(j, axis)).max())


def _noise(field: np.ndarray) -> float:
    return _ROUNDING * float(np.abs(field).max())


def _tells(field: np.ndarray, axis: int) -> bool:
    """Whether equal ends can only be one point: many samples, no wall of one value, no mirror image."""
    if len(field) < _MANY:
        return False
    mirrored = np.abs(field - np.flip(field, axis)).reshape(len(field), -1).max(1) <= 10 * _noise(field)
    return not (_is_fixed(field, axis) or mirrored.any())


def _is_fixed(field: np.ndarray, axis: int) -> bool:
    """Whether the first point has nearly one value in all samples and along all other axes."""
    return bool(np.ptp(field.take(0, axis)) <= 0.05 * field.std())


def _has_walls(field: np.ndarray, axis: int) -> bool:
    """Whether each end has one value to rounding, and the point next to it varies, or differs from it."""
    noise, count = _noise(field), field.shape[axis]
    ends = [(field.take(end, axis), field.take(inner, axis)) for end, inner in ((0, 1), (count - 1, count - 2))]
    return all(
        end.size >= _MANY and np.ptp(end) <= noise and np.abs(inner - end).max() > 1e2 * noise for end, inner in ends
    )
