"""Detection at the ends of an axis, from fields: of a last point that repeats the first, of walls, of a jump."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-5  # of float32 values, relative to the largest
_MANY = 4  # samples that a decision by fields alone needs
_FAR = 3.0  # times the largest step between neighbors; the ends of a periodic axis are neighbors too


@dataclass(frozen=True)
class Ends:
    """What the fields say of the two ends of an axis.

    Args:
        looks_so: both ends are equal to rounding, and closer than the first two points are.
        beyond_doubt: so they are in both fields and in many samples, the values there differ from sample to sample, and
            the fields are not symmetric.
        differs: the ends are further apart than noise.
        fixed: the first point has nearly one value in all samples, as at a wall.
        walls: a channel of the target keeps one value at each end in all samples, and the points next to them do not.
        apart: a channel of the target is further apart between the two ends than between any two neighbors.
    """

    looks_so: bool = False
    beyond_doubt: bool = False
    differs: bool = False
    fixed: bool = False
    walls: bool = False
    apart: bool = False


def compare_ends(probes: Callable[[], Sequence[np.ndarray]] | None, axis: int) -> Ends:
    """The ends of an axis, counted from the last, in the first samples ``(rows, times, channels, *points)``.

    Args:
        probes: those of the input and the target, the target last.
        axis: see above.
    """
    given = probes() if probes is not None else ()
    fields = _usable(given, axis)
    if not fields:
        return Ends()
    equal, closer, differs = zip(*(_ends_of(field, axis) for field in fields), strict=True)
    looks_so = all(equal) and any(closer)
    certain = looks_so and len(fields) > 1 and all(_tells(field, axis) for field in fields)
    channels = _channels(given[-1:], axis)
    return Ends(
        looks_so,
        certain,
        any(differs),
        fixed=all(_is_fixed(field, axis) for field in fields),
        walls=any(_has_walls(channel, axis) for channel in channels),
        apart=any(_is_apart(channel, axis) for channel in channels),
    )


def _channels(targets: Sequence[np.ndarray], axis: int) -> list[np.ndarray]:
    """The channels of the target, if it can be used."""
    return [channel for field in _usable(targets, axis) for channel in np.moveaxis(field, 2, 0)]


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


def _is_apart(field: np.ndarray, axis: int) -> bool:
    """Whether some sample's ends are much further apart than any neighbors of any sample; of few samples no."""
    if len(field) < _MANY:
        return False
    steps = float(np.abs(np.diff(field, axis=axis)).max())
    return _gap(field, axis, 0, -1) > _FAR * steps + 1e2 * _noise(field)
