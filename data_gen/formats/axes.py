"""The axes in space of a file: their points and lengths, from coordinates or from the length alone."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.found import Found
from data_gen.formats.overrides import Overrides, RightEnd

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Axis:
    """An axis of the fields that are read.

    Args:
        points: number of points, without one that is dropped.
        extent: its length.
        offset: its first coordinate.
        dropped: whether the file's last point is left out because it repeats the first.
    """

    points: int
    extent: float
    offset: float
    dropped: bool = False


@dataclass(frozen=True)
class _Known:
    """An axis of a file, without its coordinates: shape, overrides, and whether the fields repeat."""

    path: Path
    label: str
    points: int
    extent: float | None
    right_end: RightEnd | None
    periodic: bool
    repeats: bool


def axes_of(path: Path, found: Found, overrides: Overrides, boundary: str) -> list[Axis]:
    """The axes of a file.

    Raises:
        DatasetError: there is no grid, or the coordinates are not usable or differ from the overrides.
        ValueError: ``overrides.extent`` has not one number an axis.
    """
    dims = len(found.shape)
    if len(overrides.extent) not in (0, 1, dims):
        raise ValueError(
            f"open_source: `extent` must have one number or one for each of the {dims} axes; got "
            f"{list(overrides.extent)}."
        )
    given = overrides.extent * dims if len(overrides.extent) == 1 else overrides.extent
    repeats, periodic = _repeats(found, boundary), boundary == "periodic"
    axes = []
    for i, (points, label) in enumerate(zip(found.shape, "zyx"[-dims:], strict=True)):
        extent, coordinates = given[i] if given else None, found.coordinates[i] if found.coordinates else None
        known = _Known(path, label, points, extent, overrides.right_end, periodic, repeats[i])
        if coordinates is not None:
            axes.append(_from_points(known, np.asarray(coordinates)))
        elif extent is not None:
            axes.append(_from_extent(known, extent, found.right_end))
        else:
            raise DatasetError(f"open_source: {path} has no grid: give --extent, the length of the domain.")
    return axes


def _repeats(found: Found, boundary: str) -> list[bool]:
    """Of each axis, whether the last point of the fields is the first one again, far closer than its neighbor."""
    dims = len(found.shape)
    if boundary != "periodic" or found.probe is None:
        return [False] * dims
    probe, result = np.asarray(found.probe(), dtype=np.float64), []
    for axis in range(-dims, 0):
        last, step = (np.abs(np.take(probe, i, axis) - np.take(probe, 0, axis)).sum() for i in (-1, 1))
        result.append(bool(last < 1e-3 * step))
    return result


def _from_points(axis: _Known, coordinates: np.ndarray) -> Axis:
    """An axis from the coordinates of its points."""
    rounding = float(np.finfo(coordinates.dtype).eps) if coordinates.dtype.kind == "f" else 0.0
    values = coordinates.astype(np.float64)
    _check_spacing(axis, values, rounding)
    span = float(values[-1] - values[0])
    period = _tidy(span * axis.points / (axis.points - 1), rounding)
    included = _includes_right_end(axis, values, rounding, period)
    if axis.periodic and included:
        _check_repeats(axis)
        return Axis(axis.points - 1, _tidy(span, rounding), float(values[0]), dropped=True)
    if axis.periodic and axis.right_end is None and _is_round(span) and not _is_round(period):
        _LOG.warning(
            "%s: the %s coordinates run from %g to %g as if the right end were included, but the fields do not repeat "
            "there; the period is taken as %.6g. Say --right-end included or excluded if you know.",
            axis.path, axis.label, values[0], values[-1], period,
        )  # fmt: skip
    if axis.extent is not None and not included:
        period = axis.extent
    return Axis(axis.points, period, float(values[0]))


def _check_spacing(axis: _Known, values: np.ndarray, rounding: float) -> None:
    if values.shape != (axis.points,):
        raise DatasetError(
            f"open_source: {axis.path} has {axis.label} coordinates of shape {values.shape} for fields of "
            f"{axis.points} points."
        )
    span = float(values[-1] - values[0])
    even = values[0] + np.arange(axis.points) * span / (axis.points - 1)
    if not np.isfinite(values).all() or span <= 0 or np.abs(values - even).max() > _slack(values, rounding, span):
        raise DatasetError(
            f"open_source: {axis.path} has {axis.label} coordinates that are not equally spaced and increasing; only "
            f"such grids can be used."
        )


def _includes_right_end(axis: _Known, values: np.ndarray, rounding: float, period: float) -> bool:
    """Whether the last point is the right end: by the length that is given, else by the fields."""
    span, extent = float(values[-1] - values[0]), axis.extent
    close = 1e-6 * span + 8 * rounding * float(np.abs(values).max())
    if extent is not None and abs(extent - span) <= close < abs(extent - period):
        return True
    if extent is not None and abs(extent - period) > close:
        raise DatasetError(
            f"open_source: {axis.path} has {axis.label} coordinates that span {period:.6g} (or {span:.6g} if the right "
            f"end is one of them), not --extent {extent:g}."
        )
    return axis.right_end == "included" or (axis.right_end is None and axis.repeats)


def _from_extent(axis: _Known, extent: float, usual: RightEnd) -> Axis:
    """An axis of known length alone: x_j = j L / n if periodic, else cell centres, or points from end to end."""
    included = (axis.right_end or ("included" if axis.repeats else usual)) == "included"
    if axis.periodic and included:
        _check_repeats(axis)
        return Axis(axis.points - 1, extent, 0.0, dropped=True)
    if axis.periodic:
        return Axis(axis.points, extent, 0.0)
    if included:
        return Axis(axis.points, extent * axis.points / (axis.points - 1), 0.0)
    return Axis(axis.points, extent, 0.5 * extent / axis.points)


def _check_repeats(axis: _Known) -> None:
    if not axis.repeats:
        raise DatasetError(
            f"open_source: {axis.path} must repeat its first point at the right end of {axis.label} if that end is "
            f"included; the fields differ there. Check --extent and --right-end."
        )
    _LOG.warning(
        "%s: the right end of %s is included and repeats the first point; it is left out.", axis.path, axis.label
    )


def _slack(values: np.ndarray, rounding: float, span: float) -> float:
    return 1e-3 * span / len(values) + 4 * rounding * float(np.abs(values).max())


def _tidy(value: float, rounding: float) -> float:
    """The decimal number, or multiple of pi, that the value is to the precision of the coordinates."""
    if rounding < 1e-9:
        return value
    for tidy in (float(f"{value:.6g}"), round(value / math.pi * 1e6) * math.pi / 1e6):
        if abs(tidy - value) <= 8 * rounding * abs(value):
            return tidy
    return value


def _is_round(value: float) -> bool:
    """Whether a length is a number that people write: of three digits, or so many times pi."""
    return any(abs(v - float(f"{v:.3g}")) <= 1e-6 * abs(v) for v in (value, value / math.pi))
