"""What is said about a file beside what it holds, and the header that follows from both."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from data_gen.equations import equation_named, equation_names, equation_parameters
from data_gen.errors import DatasetError, check_finite, check_positive
from data_gen.header import Boundary, Header

_LOG = logging.getLogger(__name__)
RightEnd = Literal["excluded", "included"]
# Names that our own layout keeps for itself.
_RESERVED = {"sample", "time", "x", "y", "z", "channel", "input_channel", "tensor", "nu", "block", "integrity"}
_RESERVED |= {"dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"}
# And the attributes that it keeps, which no parameter may be called.
_TAKEN = {"layout", "layout_version", "title", "equation", "header", "extent", "input", "target", "versions", "spec"}
_TAKEN |= {"dataset_name", "grid_type", "n_spatial_dims", "n_trajectories", "simulation_parameters", "source"}
_TAKEN |= {"input_time", "target_time", "config_hash"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a foreign file does not say about itself; what is given here wins over the file.

    Args:
        extent: length of the domain, one number or one an axis.
        times: times of the fields, the input's first; one time for a steady problem.
        equation: name of the equation.
        parameters: its numbers, by name.
        boundary: what lies at the ends of an axis.
        right_end: whether the last point is the right end of the domain; on a periodic axis it is then left out.
        input_name, target_name: variables of the file to take.
        input_time, target_time: of a file with several times, the two that are used: the target then is the field at
            the second and the input the same field at the first.
    Raises:
        ValueError: ``extent`` is not above 0, ``boundary`` or ``right_end`` unknown, or a parameter not finite or of a
            name that dataset files use themselves.
    """

    extent: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    equation: str | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    boundary: Boundary | None = None
    right_end: RightEnd | None = None
    input_name: str | None = None
    target_name: str | None = None
    input_time: float | None = None
    target_time: float | None = None

    def __post_init__(self) -> None:
        for extent in self.extent:
            check_positive("Facts", "extent", extent)
        for name, known in (("boundary", get_args(Boundary)), ("right_end", get_args(RightEnd))):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise ValueError(f"Facts: `{name}` must be one of {', '.join(known)}; got {value!r}.")
        for name, value in self.parameters.items():
            check_finite("Facts", f"parameters {name}", value)
            if name in _TAKEN:
                raise ValueError(f"Facts: `parameters` must have names that dataset files do not use; got {name!r}.")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a reader found in a file.

    Args:
        num_samples: its samples.
        shape: points of each axis, the last of them x.
        channels, inputs: names of the components of the target, and of the input.
        dtypes: precisions of the fields; what is neither float32 nor float64 is widened without loss.
        coordinates: points along each axis, None where the file has none.
        times: the file's times, if it has any.
        num_times: how many times the fields have.
        input_name, target_name: what to call the fields.
        name, parameters, boundary: the equation, its numbers and the ends, as far as the file tells.
        right_end: whether files of this format include it, where there are no coordinates.
        probe: the first samples of the target, (rows, ..., *points), to look for a repeated point.
    """

    num_samples: int
    shape: tuple[int, ...]
    num_times: int
    dtypes: Sequence[np.dtype]
    channels: tuple[str, ...] = ("u",)
    inputs: tuple[str, ...] | None = None
    coordinates: Sequence[np.ndarray | None] = ()
    times: tuple[float, ...] = ()
    input_name: str = "a"
    target_name: str = "u"
    name: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    boundary: Boundary = "periodic"
    right_end: RightEnd = "excluded"
    probe: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class _Axis:
    points: int
    extent: float
    offset: float
    dropped: bool = False


def make_header(path: Path, found: Found, facts: Facts) -> tuple[Header, tuple[bool, ...]]:
    """The header of a file, and of each axis whether its last point is left out because it repeats the first.

    Raises:
        DatasetError: something is missing, or the file and the facts disagree.
    """
    dims = len(found.shape)
    if not 1 <= dims <= 3:
        raise DatasetError(f"open_source: {path} has fields of {dims} axes in space; one to three can be read.")
    if min(found.shape) < 2 or found.num_samples < 1:
        raise DatasetError(
            f"open_source: {path} has {found.num_samples} samples on {' x '.join(map(str, found.shape))} points; "
            f"at least one sample of two points an axis is needed."
        )
    boundary = facts.boundary or found.boundary
    axes = _axes(path, found, facts, boundary)
    name = facts.equation or found.name or "unknown"
    parameters = {**{k: v for k, v in found.parameters.items() if k not in _TAKEN}, **facts.parameters}
    times = _times(path, found, facts)
    inputs = found.inputs
    if len(times) == 1 and inputs is None:
        inputs = tuple(f"{found.input_name}{i}" for i in range(len(found.channels)))
        inputs = inputs if len(inputs) > 1 else (found.input_name,)
    header = Header(
        name,
        found.num_samples,
        tuple(axis.points for axis in axes),
        tuple(axis.extent for axis in axes),
        times,
        offsets=tuple(axis.offset for axis in axes),
        channels=found.channels,
        input_channels=inputs,
        input_name=_free(found.input_name, "a", found.target_name),
        target_name=_free(found.target_name, "u", found.input_name),
        dtype=_precision(path, found.dtypes),
        boundary=boundary,
        formula=_formula(path, name, parameters, facts),
        parameters=parameters,
    )
    return header, tuple(axis.dropped for axis in axes)


def _free(name: str, usual: str, other: str) -> str:
    """A name that the layout has not taken for itself."""
    if name in _RESERVED or "/" in name or name.endswith("-coordinate"):
        return usual if usual != other else f"{usual}_"
    return name


def _precision(path: Path, dtypes: Sequence[np.dtype]) -> str:
    for dtype in dtypes:
        if dtype.kind not in "fiub":
            raise DatasetError(f"open_source: {path} has fields of {dtype}; real numbers are needed.")
    exact = np.result_type(np.float32, *[d.newbyteorder("=") for d in dtypes])  # widens integers without loss
    return "float32" if exact == np.float32 else "float64"


def _formula(path: Path, name: str, parameters: Mapping[str, float], facts: Facts) -> str:
    if facts.equation and facts.equation not in equation_names():
        raise ValueError(
            f"open_source: `equation` must be one of {', '.join(equation_names())}; got {facts.equation!r}. Leave it "
            f"out for any other."
        )
    if name not in equation_names():
        return ""
    known = [p.name for p in equation_parameters(name)]
    missing = [key for key in known if key not in parameters]
    if facts.equation and missing:
        raise DatasetError(
            f"open_source: {path} has no {', '.join(missing)} of {name}: give --parameters "
            f"{' '.join(f'{key}=VALUE' for key in missing)}."
        )
    return "" if missing else equation_named(name)(**{key: parameters[key] for key in known}).formula


def _times(path: Path, found: Found, facts: Facts) -> tuple[float, ...]:
    times = facts.times or found.times
    if not times:
        steady = " (0 alone for a steady problem)" if found.num_times == 2 else ""
        raise DatasetError(
            f"open_source: {path} has no times: give --times, {found.num_times} numbers, the input's first{steady}."
        )
    steady = len(times) == 1 and found.num_times == 2 and facts.times
    if len(times) != found.num_times and not steady:
        source = "--times gives" if facts.times else "its axis of time has"
        raise DatasetError(
            f"open_source: {path} has fields at {found.num_times} times; {source} {len(times)}. Give --times."
        )
    if any(not math.isfinite(t) for t in times) or any(b <= a for a, b in itertools.pairwise(times)):
        raise DatasetError(f"open_source: {path} must have times that increase; got {list(times)[:6]}. Give --times.")
    return tuple(float(t) for t in times)


def _axes(path: Path, found: Found, facts: Facts, boundary: str) -> list[_Axis]:
    dims = len(found.shape)
    if len(facts.extent) not in (0, 1, dims):
        raise ValueError(
            f"open_source: `extent` must have one number or one for each of the {dims} axes; got {list(facts.extent)}."
        )
    given = facts.extent * dims if len(facts.extent) == 1 else facts.extent
    repeats = _repeats(found, boundary)
    axes = []
    for i, (points, label) in enumerate(zip(found.shape, "zyx"[-dims:], strict=True)):
        extent, known = given[i] if given else None, found.coordinates[i] if found.coordinates else None
        if known is not None:
            axes.append(_from_points(path, label, np.asarray(known), points, extent, facts, boundary, repeats[i]))
        elif extent is not None:
            axes.append(_from_extent(path, label, points, extent, facts, found, boundary, repeats[i]))
        else:
            raise DatasetError(f"open_source: {path} has no grid: give --extent, the length of the domain.")
    return axes


def _repeats(found: Found, boundary: str) -> list[bool]:
    """Of each axis, whether the last point of the fields is the first one again, far closer than its neighbour."""
    dims = len(found.shape)
    if boundary != "periodic" or found.probe is None:
        return [False] * dims
    probe, result = np.asarray(found.probe(), dtype=np.float64), []
    for axis in range(-dims, 0):
        ends, step = (np.abs(np.take(probe, i, axis) - np.take(probe, 0, axis)).sum() for i in (-1, 1))
        result.append(bool(ends < 1e-3 * step))
    return result


def _from_points(
    path: Path,
    label: str,
    known: np.ndarray,
    points: int,
    extent: float | None,
    facts: Facts,
    boundary: str,
    repeats: bool,
) -> _Axis:
    """An axis from the coordinates of its points."""
    rounding = float(np.finfo(known.dtype).eps) if known.dtype.kind == "f" else 0.0
    values = known.astype(np.float64)
    if values.shape != (points,):
        raise DatasetError(
            f"open_source: {path} has {label} coordinates of shape {values.shape} for fields of {points} points."
        )
    span = float(values[-1] - values[0])
    even = values[0] + np.arange(points) * span / (points - 1)
    if not np.isfinite(values).all() or span <= 0 or np.abs(values - even).max() > _slack(values, rounding, span):
        raise DatasetError(
            f"open_source: {path} has {label} coordinates that are not equally spaced and increasing; only such grids "
            f"can be used."
        )
    period = _tidy(span * points / (points - 1), rounding)
    close = 1e-6 * span + 8 * rounding * float(np.abs(values).max())
    included = facts.right_end == "included" or (facts.right_end is None and repeats)
    if extent is not None and abs(extent - span) <= close < abs(extent - period):
        included = True
    elif extent is not None and abs(extent - period) > close:
        raise DatasetError(
            f"open_source: {path} has {label} coordinates that span {period:.6g} (or {span:.6g} if the right end is "
            f"one of them), not --extent {extent:g}."
        )
    if boundary == "periodic" and included:
        _check_repeats(path, label, repeats)
        return _Axis(points - 1, _tidy(span, rounding), float(values[0]), dropped=True)
    if boundary == "periodic" and _is_round(span) and not _is_round(period) and facts.right_end is None:
        _LOG.warning(
            "%s: the %s coordinates run from %g to %g as if the right end were included, but the fields do not repeat "
            "there; the period is taken as %.6g. Say --right-end included or excluded if you know.",
            path, label, values[0], values[-1], period,
        )  # fmt: skip
    if extent is not None and not included:
        period = extent
    return _Axis(points, period, float(values[0]))


def _from_extent(
    path: Path, label: str, points: int, extent: float, facts: Facts, found: Found, boundary: str, repeats: bool
) -> _Axis:
    """An axis of known length alone: x_j = j L / n if periodic, centres of cells or points with both ends if not."""
    included = (facts.right_end or ("included" if repeats else found.right_end)) == "included"
    if boundary == "periodic" and included:
        _check_repeats(path, label, repeats)
        return _Axis(points - 1, extent, 0.0, dropped=True)
    if boundary == "periodic":
        return _Axis(points, extent, 0.0)
    if included:
        return _Axis(points, extent * points / (points - 1), 0.0)
    return _Axis(points, extent, 0.5 * extent / points)


def _check_repeats(path: Path, label: str, repeats: bool) -> None:
    if not repeats:
        raise DatasetError(
            f"open_source: {path} must repeat its first point at the right end of {label} if that end is included; the "
            f"fields differ there. Check --extent and --right-end."
        )
    _LOG.warning("%s: the right end of %s is included and repeats the first point; it is left out.", path, label)


def _slack(values: np.ndarray, rounding: float, span: float) -> float:
    return 1e-3 * span / len(values) + 4 * rounding * float(np.abs(values).max())


def _tidy(value: float, rounding: float) -> float:
    """The value as it is written, where the coordinates are too coarse to tell it from that."""
    if rounding < 1e-9:
        return value
    for tidy in (float(f"{value:.6g}"), round(value / math.pi * 1e6) * math.pi / 1e6):
        if abs(tidy - value) <= 8 * rounding * abs(value):
            return tidy
    return value


def _is_round(value: float) -> bool:
    """Whether a length is a number that people write: of three digits, or so many times pi."""
    return any(abs(v - float(f"{v:.3g}")) <= 1e-6 * abs(v) for v in (value, value / math.pi))
