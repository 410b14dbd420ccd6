"""The axes in space of a file: their points and lengths, from coordinates or from the length alone."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.axis_ends import Ends, compare_ends
from data_gen.formats.found import Found
from data_gen.formats.overrides import Overrides, RightEnd
from data_gen.header import Boundary

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Axis:
    """An axis of the fields that are read.

    Args:
        points: number of points, without one that is dropped.
        extent: its length.
        offset: its first coordinate.
        dropped: whether the file's last point is left out because it repeats the first.
        coordinates: its points, where they are not equally spaced or fall.
        boundary: its kind.
        right_end: whether the last point is the right end of the domain, as far as is known.
    """

    points: int
    extent: float
    offset: float
    dropped: bool = False
    coordinates: tuple[float, ...] | None = None
    boundary: Boundary = "periodic"
    right_end: RightEnd | None = None


@dataclass(frozen=True)
class _Known:
    """An axis of a file, without its coordinates: shape, overrides, and whether the fields repeat."""

    path: Path
    label: str
    points: int
    extent: float | None
    right_end: RightEnd | None
    boundary: Boundary
    ends: Ends

    @property
    def periodic(self) -> bool:
        return self.boundary == "periodic"


def axes_of(path: Path, found: Found, overrides: Overrides) -> list[Axis]:
    """The axes of a file.

    Raises:
        DatasetError: there is no grid, or the coordinates are not usable or differ from the overrides.
        ValueError: ``overrides.extent`` or ``overrides.boundary`` has not one value an axis.
    """
    dims = len(found.shape)
    given = _each("extent", overrides.extent, dims)
    kinds = _each("boundary", overrides.boundary or found.boundary or "periodic", dims)
    axes = []
    for i, (points, label) in enumerate(zip(found.shape, "zyx"[-dims:], strict=True)):
        extent, coordinates = given[i] if given else None, found.coordinates[i] if found.coordinates else None
        ends = compare_ends(found.probes, i - dims) if kinds[i] != "open" else Ends()
        known = _Known(path, label, points, extent, _said_right_end(found, overrides, i), kinds[i], ends)
        if not (overrides.boundary or found.boundary):
            known = _with_boundary(known)
        if coordinates is not None:
            said = overrides.boundary is not None or known.boundary == "wall"
            axes.append(_from_points(known, np.asarray(coordinates), said=said))
        elif extent is not None:
            axes.append(_from_extent(known, extent, found.right_end))
        else:
            raise DatasetError(f"open_source: {path} has no grid: give --extent, the length of the domain.")
    return axes


def _with_boundary(axis: _Known) -> _Known:
    """An axis of unknown boundary: walls where the fields are fixed at both ends, open where these do not meet."""
    if axis.ends.walls and not axis.ends.beyond_doubt and axis.right_end != "excluded":
        _LOG.warning(
            "%s: the fields keep their values at both ends of %s in all samples: these are taken as walls, with a "
            "point on each. If they are not, say --boundary periodic.", axis.path, axis.label,
        )  # fmt: skip
        return replace(axis, boundary="wall", right_end="included")
    if axis.ends.apart:
        _LOG.warning(
            "%s: the fields are further apart between the ends of %s than between any two neighbors: its boundary is "
            "taken as open. Say --boundary wall or periodic if it is.", axis.path, axis.label,
        )  # fmt: skip
        return replace(axis, boundary="open")
    return axis


def _said_right_end(found: Found, overrides: Overrides, axis: int) -> RightEnd | None:
    """Whether the last point of an axis is the right end, as is said, else as the file says; None if neither does."""
    recorded = found.right_ends[axis] if len(found.right_ends) == len(found.shape) else None
    return overrides.right_end or recorded


def _each(name: str, values: Any, dims: int) -> tuple[Any, ...]:
    """One value an axis, from one for all or one each; none of none."""
    listed = (values,) if isinstance(values, str) else tuple(values)
    if len(listed) not in (0, 1, dims):
        raise ValueError(
            f"open_source: `{name}` must have one value or one for each of the {dims} axes; got {list(listed)}."
        )
    return listed * dims if len(listed) == 1 else listed


def _from_points(axis: _Known, coordinates: np.ndarray, *, said: bool) -> Axis:
    """An axis from the coordinates of its points; one that is not equally spaced is open unless its kind is said."""
    rounding = float(np.finfo(coordinates.dtype).eps) if coordinates.dtype.kind == "f" else 0.0
    values = _checked(axis, coordinates)
    if not _is_even(axis, values, rounding):
        return _from_uneven(axis, values, said=said)
    span = float(values[-1] - values[0])
    period = _tidy(span * axis.points / (axis.points - 1), rounding)
    if axis.periodic and _includes_right_end(axis, values, rounding, period):
        _LOG.warning(
            "%s: the right end of %s is included and repeats the first point; it is left out.", axis.path, axis.label
        )
        end = axis.right_end
        return Axis(axis.points - 1, _tidy(span, rounding), float(values[0]), dropped=True, right_end=end)
    if axis.extent is not None and not _is_span(axis, values, rounding, period):
        period = axis.extent
    return Axis(axis.points, period, float(values[0]), boundary=axis.boundary, right_end=axis.right_end)


def _from_uneven(axis: _Known, values: np.ndarray, *, said: bool) -> Axis:
    span = abs(float(values[-1] - values[0]))
    extent = axis.extent if axis.extent is not None and axis.extent > span else span * axis.points / (axis.points - 1)
    if not said:
        _LOG.warning(
            "%s: the %s coordinates are not equally spaced and increasing; they are kept, with an open boundary. "
            "Fourier methods cannot use them.", axis.path, axis.label,
        )  # fmt: skip
    kind = axis.boundary if said else "open"
    points = tuple(map(float, values))
    return Axis(axis.points, extent, float(values[0]), coordinates=points, boundary=kind, right_end=axis.right_end)


def _checked(axis: _Known, coordinates: np.ndarray) -> np.ndarray:
    """The coordinates in float64, finite, of one direction, and as many as there are points."""
    if coordinates.dtype.kind not in "fiu":
        raise DatasetError(
            f"open_source: {axis.path} has {axis.label} coordinates of {coordinates.dtype}; numbers are needed. Give "
            f"--extent and leave them out."
        )
    if coordinates.shape != (axis.points,):
        raise DatasetError(
            f"open_source: {axis.path} has {axis.label} coordinates of shape {coordinates.shape} for fields of "
            f"{axis.points} points."
        )
    values = coordinates.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.diff(values)
    if not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise DatasetError(
            f"open_source: {axis.path} has {axis.label} coordinates that neither increase nor decrease throughout; "
            f"only such grids can be used."
        )
    return values


def _is_even(axis: _Known, values: np.ndarray, rounding: float) -> bool:
    span = float(values[-1] - values[0])
    even = values[0] + np.arange(axis.points) * span / (axis.points - 1)
    slack = 1e-3 * span / len(values) + 4 * rounding * float(np.abs(values).max())
    return span > 0 and bool(np.abs(values - even).max() <= slack)


def _is_span(axis: _Known, values: np.ndarray, rounding: float, period: float) -> bool:
    """Whether the length that is given is that from the first point to the last, and not the period."""
    span, extent = float(values[-1] - values[0]), axis.extent
    if extent is None:
        return False
    close = 1e-6 * span + 8 * rounding * float(np.abs(values).max())
    if abs(extent - span) <= close < abs(extent - period):
        return True
    if abs(extent - period) > close:
        raise DatasetError(
            f"open_source: {axis.path} has {axis.label} coordinates that span {period:.6g} (or {span:.6g} if the right "
            f"end is one of them), not --extent {extent:g}."
        )
    return False


def _includes_right_end(axis: _Known, values: np.ndarray, rounding: float, period: float) -> bool:
    """Whether the last point of a periodic axis is the first one again: as is said, else by the coordinates."""
    span = float(values[-1] - values[0])
    if _is_span(axis, values, rounding, period) or axis.right_end == "included":
        _check_repeats(axis)
        return True
    if axis.extent is not None or axis.right_end == "excluded" or _on_cells(values):
        return False
    round_span, round_period = _digits(span), _digits(period)
    if round_span == round_period:
        return axis.ends.beyond_doubt
    if round_span > round_period:
        return False
    repeats = axis.ends.looks_so and not axis.ends.fixed
    if not repeats:
        _LOG.warning(
            "%s: the %s coordinates run from %g to %g as if the right end were included, but the fields do not repeat "
            "there, or are fixed as at a wall; the period is taken as %.6g. Say --right-end or --boundary if you know.",
            axis.path, axis.label, values[0], values[-1], period,
        )  # fmt: skip
    return repeats


def _on_cells(values: np.ndarray) -> bool:
    """Whether points start half a spacing after 0, as centres of cells do."""
    step = float(values[-1] - values[0]) / (len(values) - 1)
    return abs(values[0] / step - 0.5) < 1e-3


def _from_extent(axis: _Known, extent: float, usual: RightEnd) -> Axis:
    """An axis of known length alone: x_j = j L / n if periodic, else cell centres, or points from end to end."""
    if axis.periodic:
        return _periodic(axis, extent, usual)
    if (axis.right_end or usual) == "included" or _is_on_walls(axis):
        length = extent * axis.points / (axis.points - 1)
        return Axis(axis.points, length, 0.0, boundary=axis.boundary, right_end=axis.right_end)
    return Axis(axis.points, extent, 0.5 * extent / axis.points, boundary=axis.boundary, right_end=axis.right_end)


def _is_on_walls(axis: _Known) -> bool:
    """Whether the fields show that the first and last points lie on walls, where nothing else says so."""
    found = axis.boundary == "wall" and axis.right_end is None and axis.ends.walls
    if found:
        _LOG.warning(
            "%s: the fields keep their values at both ends of %s in all samples: the points are taken to lie from wall "
            "to wall. If they are centres of cells, say --right-end excluded.", axis.path, axis.label,
        )  # fmt: skip
    return found


def _periodic(axis: _Known, extent: float, usual: RightEnd) -> Axis:
    """A periodic axis of known length, without a last point that repeats the first one."""
    included = (axis.right_end or usual) == "included"
    if axis.right_end == "included":
        _check_repeats(axis)
    elif axis.right_end is None and axis.ends.beyond_doubt:
        included = True
    elif axis.right_end is None and axis.ends.looks_so:
        _LOG.warning(
            "%s: the fields have equal values at both ends of %s, which are taken as two points of a periodic grid; "
            "say --right-end included if the last point is the first again, or --boundary wall.", axis.path, axis.label,
        )  # fmt: skip
    if not included:
        return Axis(axis.points, extent, 0.0, right_end=axis.right_end)
    _LOG.warning(
        "%s: the right end of %s is included and repeats the first point; it is left out.", axis.path, axis.label
    )
    return Axis(axis.points - 1, extent, 0.0, dropped=True, right_end=axis.right_end)


def _check_repeats(axis: _Known) -> None:
    if axis.ends.differs:
        raise DatasetError(
            f"open_source: {axis.path} must repeat its first point at the right end of {axis.label} if that end is "
            f"included; the fields differ there. Check --extent and --right-end."
        )


def _tidy(value: float, rounding: float) -> float:
    """The decimal number, or multiple of pi, that the value is to the precision of the coordinates."""
    if rounding < 1e-9:
        return value
    for tidy in (float(f"{value:.6g}"), round(value / math.pi * 1e6) * math.pi / 1e6):
        if abs(tidy - value) <= 8 * rounding * abs(value):
            return tidy
    return value


def _digits(value: float) -> int:
    """How many digits it takes to write a length, or its ratio to pi; 4 for more than three."""
    found = 4
    for one in (value, value / math.pi):
        found = min([found, *(n for n in (1, 2, 3) if abs(one - float(f"{one:.{n}g}")) <= 1e-6 * abs(one))])
    return found
