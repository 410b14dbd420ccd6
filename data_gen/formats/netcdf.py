"""netCDF files with named variables and dimensions, as xarray writes them.

Dimensions are recognized by their names: ``sample`` (or batch, trajectory, ensemble, member) the samples, ``time`` (or
t) the times, ``channel`` (or component, variable) the components, ``x``, ``y`` and ``z`` the axes in space, in any
order. The attributes ``input`` and ``target`` name the variables; without them, a variable with times is a trajectory
and of two variables the first is the input. Numbers among the attributes are parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.format import Format
from data_gen.formats.found import Found
from data_gen.formats.hdf5 import is_hdf5, numbers_in, open_hdf5, text_in
from data_gen.formats.merged_header import make_header
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import ForeignSource, Load, Readable, Source, blocks
from data_gen.header import Boundary, Header

FORMAT = Format("netcdf", (".nc", ".nc4", ".cdf"), "netCDF with dimensions sample, time, channel, y, x", order=40)

_ROLES = {
    "sample": ("sample", "samples", "batch", "trajectory", "ensemble", "member", "realization"),
    "time": ("time", "t"),
    "channel": ("channel", "channels", "component", "variable", "input_channel"),
    "z": ("z",),
    "y": ("y", "lat", "latitude"),
    "x": ("x", "lon", "longitude"),
}
_BOUNDARIES: dict[str, Boundary] = {"periodic": "periodic", "wall": "wall", "open": "open"}


def recognizes(path: Path) -> bool:
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
    _check_fit(path, names, fields, data[names[-1]].dims)
    has_start = _has_start(data, fields)
    header, dropped = make_header(path, _found(data, names, fields, has_start), overrides)
    load = _make_load(header, fields[0], fields[-1], has_start)
    return ForeignSource(path, header, load, data.close, dropped)


def _axes_in(field: Any) -> list[str]:
    return [axis for axis in ("z", "y", "x") if axis in field.dims]


def _check_fit(path: Path, names: tuple[str, ...], fields: list[Any], dims: Any) -> None:
    """Refuse a target without samples or points, and an input of others; ``dims`` are the target's in the file."""
    given, target = fields[0], fields[-1]
    axes = _axes_in(target)
    if "sample" not in target.dims or not axes:
        raise DatasetError(
            f"open_source: {path} must have {names[-1]} with dimensions sample, [time,] [channel,] [y,] x; got "
            f"({', '.join(map(str, dims))})."
        )
    if any(given.sizes.get(axis) != target.sizes[axis] for axis in ("sample", *axes)):
        raise DatasetError(f"open_source: {path} has {' and '.join(names)} of different samples or points.")


def _has_start(data: Any, fields: list[Any]) -> bool:
    """Whether the target is a series that begins with the input."""
    given, target = fields[0], fields[-1]
    if "time" not in target.dims:
        return False
    return len(fields) == 1 or (given.sizes.get("time", 1) == 1 and _times(data, target)[:1] == (0.0,))


def _found(data: Any, names: tuple[str, ...], fields: list[Any], has_start: bool) -> Found:
    target = fields[-1]
    times, axes = _times(data, target), _axes_in(target)
    num_times = target.sizes["time"] + (not has_start) if "time" in target.dims else len(times) or 2
    return Found(
        num_samples=target.sizes["sample"],
        shape=tuple(target.sizes[axis] for axis in axes),
        num_times=num_times,
        dtypes=[field.dtype for field in fields],
        channels=_labels(target, "u"),
        inputs=_inputs(data, fields),
        coordinates=[_coordinate(data, axis) for axis in axes],
        times=times,
        input_name=names[0] if len(names) == 2 else "a",
        target_name=names[-1],
        name=text_in(data.attrs, "equation_name"),
        parameters={key: value for key, value in numbers_in(data.attrs).items() if key != "times"},
        boundary=_BOUNDARIES.get(str(data.attrs.get("boundary")), "periodic"),
        probe=lambda: target[:2].values,
    )


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
    """A variable with the dimensions named by ``_ROLES``, in its order."""
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


def _has_times(field: Any) -> bool:
    return any(_role(dim) == "time" for dim in field.dims)


def _chosen(path: Path, data: Any, overrides: Overrides) -> tuple[str, ...]:
    """The variables to take: input and target, or of trajectories the target alone."""
    fields = [str(name) for name, field in data.data_vars.items() if field.ndim >= 2]
    given = overrides.input_name or data.attrs.get("input")
    target = overrides.target_name or data.attrs.get("target")
    if target is None:
        target = _likely_target(data, fields, given)
    if given is None:
        given = _likely_input(fields, target)
    names = (given, target) if given in fields else (target,)
    unknown = overrides.input_name and overrides.input_name not in fields
    if unknown or not _is_enough(data, fields, names):
        raise DatasetError(
            f"open_source: {path} does not say which variables are input and target; it has "
            f"{', '.join(fields) or 'no fields'}. Give --input-name and --target-name."
        )
    return tuple(map(str, names))


def _is_enough(data: Any, fields: list[str], names: tuple[Any, ...]) -> bool:
    """Whether there are an input and a target, or a target with times."""
    return names[-1] in fields and (len(names) == 2 or _has_times(data[names[-1]]))


def _likely_target(data: Any, fields: list[str], given: str | None) -> str | None:
    """The one variable with times, else the last of two, or the one besides the input; None if it is not clear."""
    timed = [name for name in fields if _has_times(data[name])]
    if len(timed) == 1:
        return timed[0]
    rest = [name for name in fields if name != given]
    return rest[-1] if len(rest) == (1 if given else 2) else None


def _likely_input(fields: list[str], target: str | None) -> str | None:
    """The other of two variables."""
    others = [name for name in fields if name != target]
    return others[0] if len(fields) == 2 and len(others) == 1 else None


def _labels(field: Any, usual: str) -> tuple[str, ...]:
    count = field.sizes.get("channel", 1)
    known = str(field.attrs.get("components", "")).split(",")
    if all(known) and len(set(known)) == count:
        return tuple(known)
    return tuple(f"{usual}{i}" for i in range(count)) if count > 1 else (usual,)


def _inputs(data: Any, fields: list[Any]) -> tuple[str, ...] | None:
    """Names of the input's components, where they are others than the target's."""
    if "time" in fields[-1].dims or len(fields) == 1:
        return None
    given, target = (_labels(field, field.name) for field in fields)
    steady = len(_times(data, fields[-1])) == 1
    return given if steady or len(given) != len(target) else None


def _coordinate(data: Any, axis: str) -> np.ndarray | None:
    found = next((name for name in data.coords if _role(str(name)) == axis and data[name].ndim == 1), None)
    return None if found is None else data[found].values


def _times(data: Any, target: Any) -> tuple[float, ...]:
    """Times of a series from its coordinate; of a pair from the attribute ``times``."""
    if "time" not in target.dims:
        return tuple(map(float, np.atleast_1d(data.attrs.get("times", []))))
    found = _coordinate(data, "time")
    return () if found is None else tuple(map(float, found))


def write(source: Readable, path: Path) -> None:
    """A netCDF-4 file with the input (but of trajectories), the target, their coordinates and the parameters."""
    import h5netcdf

    header = source.header
    with h5netcdf.File(path, "w") as file:
        file.dimensions = _dimensions(header)
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


def _dimensions(header: Header) -> dict[str, int]:
    """Lengths of the dimensions that the stored fields have, by name."""
    lengths = {"time": len(header.times), "channel": len(header.channels), "input_channel": len(header.inputs)}
    sizes = {"sample": header.num_samples, **dict(zip(header.axes, header.shape, strict=True))}
    for name in header.stored_shapes:
        for axis in header.stored_axes(name):
            if axis not in sizes:
                sizes[axis] = lengths[axis]
    return sizes
