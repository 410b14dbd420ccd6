"""The header of a foreign file, from its own metadata and the overrides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_gen.equations import equation_named, equation_names, equation_parameters, is_known, is_typed
from data_gen.errors import DatasetError
from data_gen.formats.found import Found
from data_gen.formats.grid_axes import Axis, axes_of
from data_gen.formats.overrides import TAKEN, Overrides
from data_gen.header import Boundary, Header, RightEnd

# Names that the HDF5 layout of a dataset file reserves.
_RESERVED = {"sample", "time", "x", "y", "z", "channel", "input_channel", "tensor", "nu", "block", "integrity"}
_RESERVED |= {"dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"}


def make_header(path: Path, found: Found, overrides: Overrides) -> tuple[Header, tuple[bool, ...]]:
    """The header of a file, and of each axis whether its last point is left out because it repeats the first.

    Raises:
        DatasetError: something is missing, or the file and the overrides disagree.
    """
    _check_size(path, found)
    dtype = _precision(path, found.dtypes)
    axes = axes_of(path, found, overrides)
    boundaries: tuple[Boundary, ...] = tuple(axis.boundary for axis in axes)
    name = overrides.equation or found.name or "unknown"
    parameters = {**{k: v for k, v in found.parameters.items() if k not in TAKEN}, **overrides.parameters}
    times = _times(path, found, overrides)
    given_name, target_name = _names(found)
    header = Header(
        name,
        found.num_samples,
        tuple(axis.points for axis in axes),
        tuple(axis.extent for axis in axes),
        times,
        offsets=tuple(axis.offset for axis in axes),
        channels=found.channels,
        input_channels=_inputs(found) if len(times) == 1 else found.inputs,
        input_name=given_name,
        target_name=target_name,
        dtype=dtype,
        boundary=boundaries[0],
        boundaries=boundaries,
        points=tuple(axis.coordinates for axis in axes),
        right_ends=_right_ends(axes),
        formula=_formula(path, name, parameters, overrides),
        parameters=parameters,
    )
    return header, tuple(axis.dropped for axis in axes)


def _right_ends(axes: Sequence[Axis]) -> tuple[RightEnd, ...] | None:
    """Of each axis whether its last point is the right end; None where no axis has it, or one between ends lacks it."""
    if not any(axis.right_end for axis in axes):
        return None
    usual: dict[Boundary, RightEnd] = {"periodic": "excluded"}
    known: list[RightEnd] = [end for axis in axes if (end := axis.right_end or usual.get(axis.boundary))]
    return tuple(known) if len(known) == len(axes) else None


def _check_size(path: Path, found: Found) -> None:
    dims = len(found.shape)
    if not 1 <= dims <= 3:
        raise DatasetError(f"open_source: {path} has fields of {dims} axes in space; one to three can be read.")
    if min(found.shape) < 2 or found.num_samples < 1:
        raise DatasetError(
            f"open_source: {path} has {found.num_samples} samples on {' x '.join(map(str, found.shape))} points; "
            f"at least one sample of two points an axis is needed."
        )


def _inputs(found: Found) -> tuple[str, ...]:
    """The components of a steady problem's input: as many as the target's, unless the file names them."""
    if found.inputs is not None:
        return found.inputs
    count = len(found.channels)
    return tuple(f"{found.input_name}{i}" for i in range(count)) if count > 1 else (found.input_name,)


def _names(found: Found) -> tuple[str, str]:
    """Names of the input and the target that differ and that the layout does not reserve."""
    given, target = _free(found.input_name, "a"), _free(found.target_name, "u")
    if given != target:
        return given, target
    return (f"{given}_", target) if target == found.target_name else (given, f"{target}_")


def _free(name: str, usual: str) -> str:
    """The name, or the usual one where the layout reserves it."""
    return usual if name in _RESERVED or "/" in name or name.endswith("-coordinate") else name


def _precision(path: Path, dtypes: Sequence[np.dtype]) -> str:
    for dtype in dtypes:
        if dtype.kind not in "fiub":
            raise DatasetError(f"open_source: {path} has fields of {dtype}; real numbers are needed.")
    exact = np.result_type(np.float32, *[d.newbyteorder("=") for d in dtypes])  # widens integers without loss
    return "float32" if exact == np.float32 else "float64"


def _check_equation(overrides: Overrides) -> None:
    """Raise ValueError unless the equation that is said to be that of the file is known, or a text without mistake."""
    if overrides.equation and is_typed(overrides.equation):
        equation_named(overrides.equation)  # raises with the place of a mistake
    elif overrides.equation and overrides.equation not in equation_names():
        raise ValueError(
            f"open_source: `equation` must be one of {', '.join(equation_names())}; got {overrides.equation!r}. Leave "
            f"it out for any other."
        )


def _formula(path: Path, name: str, parameters: Mapping[str, float], overrides: Overrides) -> str:
    _check_equation(overrides)
    if not is_known(name):
        return ""
    known = [p.name for p in equation_parameters(name)]
    missing = [key for key in known if key not in parameters]
    if overrides.equation and missing:
        raise DatasetError(
            f"open_source: {path} has no {', '.join(missing)} of {name}: give --parameters "
            f"{' '.join(f'{key}=VALUE' for key in missing)}."
        )
    return "" if missing else equation_named(name)(**{key: parameters[key] for key in known}).formula


def _times(path: Path, found: Found, overrides: Overrides) -> tuple[float, ...]:
    times = overrides.times or found.times
    if not times:
        steady = " (0 alone for a steady problem)" if found.num_times == 2 else ""
        raise DatasetError(
            f"open_source: {path} has no times: give --times, {found.num_times} numbers, the input's first{steady}."
        )
    steady = len(overrides.times) == 1 and found.num_times == 2
    if len(times) != found.num_times and not steady:
        source = "--times gives" if overrides.times else "its axis of time has"
        raise DatasetError(
            f"open_source: {path} has fields at {found.num_times} times; {source} {len(times)}. Give --times."
        )
    _check_increase(path, times)
    return tuple(float(t) for t in times)


def _check_increase(path: Path, times: Sequence[float]) -> None:
    if any(not math.isfinite(t) for t in times) or any(b <= a for a, b in itertools.pairwise(times)):
        raise DatasetError(f"open_source: {path} must have times that increase; got {list(times)[:6]}. Give --times.")
