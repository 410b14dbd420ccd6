"""netCDF files with named variables and dimensions, as xarray writes them.

Dimensions are told by their names: ``sample`` (or batch, trajectory, ensemble, member) the samples, ``time`` (or t) the
times, ``channel`` (or component, variable) the components, ``x``, ``y`` and ``z`` the axes in space, in any order. The
attributes ``input`` and ``target`` name the variables; without them, a variable with times is a trajectory and of two
variables the first is the input. Numbers among the attributes are parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.found import Found
from data_gen.formats.hdf5 import is_hdf5, numbers_in, open_hdf5, text_in
from data_gen.formats.merged_header import make_header
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import ForeignSource, Load, Readable, Source, blocks
from data_gen.header import Boundary, Header

_ROLES = {
    "sample": ("sample", "samples", "batch", "trajectory", "ensemble", "member", "realization"),
    "time": ("time", "t"),
    "channel": ("channel", "channels", "component", "variable", "input_channel"),
    "z": ("z",),
    "y": ("y", "lat", "latitude"),
    "x": ("x", "lon", "longitude"),
}
_ENDS: dict[str, Boundary] = {"periodic": "periodic", "wall": "wall", "open": "open"}


def recognises(path: Path) -> bool:
    """Whether it is classic netCDF, or HDF5 with dimensions as netCDF-4 writes them."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        if file.read(4) in (b"CDF\x01", b"CDF\x02"):
            return True
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        named = any(item.attrs.get("CLASS") == b"DIMENSION_SCALE" for item in file.values())
        return named or "_NCProperties" in file.attrs


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it cannot be read, or its variables and dimensions are not understood.
    """
    import xarray as xr

    if not path.is_file():
        raise DatasetError(f"open_source: {path} is not a file.")
    try:
        data = xr.open_dataset(path, engine="h5netcdf" if is_hdf5(path) else "scipy", decode_times=False, cache=False)
    except Exception as error:  # every engine has its own kinds for a damaged file
        reason = " ".join(str(error).split())[:120]
        raise DatasetError(f"open_source: {path} cannot be read as netCDF ({reason}). Is it damaged?") from None
    try:
        return _open(path, data, overrides)
    except (DatasetError, ValueError):
        data.close()
        raise


def _open(path: Path, data: Any, overrides: Overrides) -> Source:
    names = _chosen(path, data, overrides)
    fields = [_ordered(path, data[name]) for name in names]
    target, given = fields[-1], fields[0]
    series = "time" in target.dims
    axes = [axis for axis in ("z", "y", "x") if axis in target.dims]
    shape = tuple(target.sizes[axis] for axis in axes)
    if "sample" not in target.dims or not axes:
        raise DatasetError(
            f"open_source: {path} must have {names[-1]} with dimensions sample, [time,] [channel,] [y,] x; got "
            f"({', '.join(map(str, data[names[-1]].dims))})."
        )
    if tuple(given.sizes.get(axis) for axis in ("sample", *axes)) != (target.sizes["sample"], *shape):
        raise DatasetError(f"open_source: {path} has {' and '.join(names)} of different samples or points.")
    has_start = series and (
        len(names) == 1 or (given.sizes.get("time", 1) == 1 and _times(data, target, True)[:1] == (0.0,))
    )
    found = Found(
        num_samples=target.sizes["sample"],
        shape=shape,
        num_times=(target.sizes["time"] + (not has_start)) if series else len(_times(data, target, False)) or 2,
        dtypes=[field.dtype for field in fields],
        channels=_labels(target, "u"),
        inputs=_inputs(data, fields, series),
        coordinates=[_coordinate(data, axis) for axis in axes],
        times=_times(data, target, series),
        input_name=names[0] if len(names) == 2 else "a",
        target_name=names[-1],
        name=text_in(data.attrs, "equation_name"),
        parameters={key: value for key, value in numbers_in(data.attrs).items() if key != "times"},
        boundary=_ENDS.get(str(data.attrs.get("boundary")), "periodic"),
        probe=lambda: target[:2].values,
    )
    header, dropped = make_header(path, found, overrides)
    return ForeignSource(path, header, _make_load(header, given, target, has_start), data.close, dropped)


def _make_load(header: Header, given: Any, target: Any, has_start: bool) -> Load:
    def rows_of(field: Any, start: int, stop: int) -> np.ndarray:
        """(rows, [times,] channels, *points)."""
        block = field[start:stop].values
        return block if "channel" in field.dims else np.expand_dims(block, block.ndim - header.num_dims)

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        if "time" not in target.dims:
            return rows_of(given if name == header.input_name else target, start, stop)
        block = rows_of(target, start, stop)
        if not has_start:
            first = rows_of(given, start, stop)
            block = np.concatenate([first if "time" in given.dims else first[:, None], block], axis=1)
        if header.trajectories:
            return block[:, at]
        return block[:, 0 if name == header.input_name else 1]

    return load


def _role(name: str) -> str:
    return next((role for role, names in _ROLES.items() if str(name).lower() in names), str(name))


def _ordered(path: Path, field: Any) -> Any:
    """A variable with its dimensions called and ordered as ours."""
    roles = {dim: _role(dim) for dim in field.dims}
    unknown = [dim for dim, role in roles.items() if role not in _ROLES]
    if unknown or len(set(roles.values())) < len(roles):
        raise DatasetError(
            f"open_source: {path} has {field.name} with dimensions ({', '.join(map(str, field.dims))}); they must be "
            f"sample, time, channel, z, y, x, each once at most. Rename them."
        )
    bare = field.variable if not field.coords else field.drop_vars(list(field.coords)).variable
    renamed = type(field)(bare, name=field.name).rename(roles)
    return renamed.transpose(*[role for role in _ROLES if role in renamed.dims])


def _chosen(path: Path, data: Any, overrides: Overrides) -> tuple[str, ...]:
    """The variables to take: input and target, or of trajectories the target alone."""
    fields = [str(name) for name, field in data.data_vars.items() if field.ndim >= 2]
    given = overrides.input_name or data.attrs.get("input")
    target = overrides.target_name or data.attrs.get("target")
    if target is None:
        timed = [name for name in fields if any(_role(dim) == "time" for dim in data[name].dims)]
        rest = [name for name in fields if name != given]
        target = timed[0] if len(timed) == 1 else rest[-1] if len(rest) == (1 if given else 2) else None
    if given is None and len(fields) == 2 and target in fields:
        given = next(name for name in fields if name != target)
    names = (given, target) if given in fields else (target,)
    timed_alone = len(names) == 2 or (target in fields and any(_role(dim) == "time" for dim in data[target].dims))
    if target not in fields or not timed_alone or (overrides.input_name and overrides.input_name not in fields):
        raise DatasetError(
            f"open_source: {path} does not say which variables are input and target; it holds "
            f"{', '.join(fields) or 'no fields'}. Give --input-name and --target-name."
        )
    return tuple(map(str, names))


def _labels(field: Any, usual: str) -> tuple[str, ...]:
    count = field.sizes.get("channel", 1)
    known = str(field.attrs.get("components", "")).split(",")
    if all(known) and len(set(known)) == count:
        return tuple(known)
    return tuple(f"{usual}{i}" for i in range(count)) if count > 1 else (usual,)


def _inputs(data: Any, fields: list[Any], series: bool) -> tuple[str, ...] | None:
    """Names of the input's components, where they are others than the target's."""
    if series or len(fields) == 1:
        return None
    given, target = (_labels(field, field.name) for field in fields)
    steady = len(_times(data, fields[-1], False)) == 1
    return given if steady or len(given) != len(target) else None


def _coordinate(data: Any, axis: str) -> np.ndarray | None:
    found = next((name for name in data.coords if _role(str(name)) == axis and data[name].ndim == 1), None)
    return None if found is None else data[found].values


def _times(data: Any, target: Any, series: bool) -> tuple[float, ...]:
    """Times of a series from its coordinate; of a pair from the attribute ``times``."""
    if not series:
        return tuple(map(float, np.atleast_1d(data.attrs.get("times", []))))
    found = next((name for name in data.coords if _role(str(name)) == "time" and data[name].ndim == 1), None)
    return () if found is None else tuple(map(float, data[found].values))


def write(source: Readable, path: Path) -> None:
    """A netCDF-4 file with the input (but of trajectories), the target, their coordinates and the parameters."""
    import h5netcdf

    header = source.header
    sizes = {"sample": header.num_samples, **dict(zip(header.axes, header.shape, strict=True))}
    for name in header.stored_shapes:
        axes = header.stored_axes(name)
        sizes |= {axis: len(header.times) for axis in axes if axis == "time"}
        sizes |= {axis: len(header.channels if axis == "channel" else header.inputs) for axis in axes if "chan" in axis}
    with h5netcdf.File(path, "w") as file:
        file.dimensions = sizes
        file.attrs.update(header.parameters)
        file.attrs.update(equation_name=header.name, boundary=header.boundary, target=header.target_name)
        if not header.trajectories:
            file.attrs["input"] = header.input_name
            file.attrs["times"] = np.array(header.times)
        for axis, points in zip(header.axes, header.coordinates, strict=True):
            file.create_variable(axis, (axis,), data=points)
        if header.trajectories:
            file.create_variable("time", ("time",), data=np.array(header.times))
        for name in header.stored_shapes:
            variable = file.create_variable(name, header.stored_axes(name), header.dtype)
            names = header.inputs if name == header.input_name else header.channels
            variable.attrs["components"] = ",".join(names)
        for rows, fields in blocks(source):
            for name, field in fields.items():
                many = "channel" in "".join(header.stored_axes(name))
                file.variables[name][rows] = field if many else field.squeeze(-1 - header.num_dims)
