"""PDEBench's HDF5 files: one tensor, Darcy flow, the fluid's named fields, or a group for each sample.

    one dimension    tensor (samples, times, x), x-coordinate, t-coordinate (times + 1); attribute Nu, beta or rho
    Darcy            tensor (samples, 1, x, y), nu (samples, x, y), x-coordinate, y-coordinate; attribute beta
    fluids           density, pressure, Vx, Vy, Vz (samples, times, x, ...) and the coordinates
    groups           0000/data (times, x, ..., components), 0000/grid/{x, y, t}; attribute config of each group

Burgers is solved there with viscosity Nu / pi. The order of the axes in space is kept where they are alike; where they
differ, the first is x, and the fields are transposed to y before x. The files do not record their boundaries: one
tensor is periodic and Darcy flow between walls, as published, fluids are periodic unless their name has ``trans``, and
groups are taken to have open boundaries.
Source: Takamoto et al. (2022), PDEBench: An Extensive Benchmark for Scientific Machine Learning, and its data files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.format import Format
from data_gen.formats.found import Found
from data_gen.formats.hdf5 import dataset, is_hdf5, numbers_in, open_hdf5, text_in
from data_gen.formats.merged_header import make_header
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import ForeignSource, Load, Readable, Source, blocks, series, trajectory_of
from data_gen.header import Boundary, Header

FORMAT = Format("pdebench", (".hdf5",), "PDEBench: tensor, Darcy, or a group for each sample", order=30)

_BOUNDARIES: dict[str, Boundary] = {"periodic": "periodic", "wall": "wall", "open": "open"}
_FLUID = ("density", "pressure", "Vx", "Vy", "Vz")
_NUMBER = re.compile(r"^ +([A-Za-z]\w*): *([-+]?\d[\d.]*(?:[eE][-+]?\d+)?) *$", re.MULTILINE)
# Settings of PDEBench's solvers that are no parameters of an equation.
_SETTINGS = {"t", "n", "n_steps", "seed", "tdim", "xdim", "ydim", "x_left", "x_right", "y_bottom", "y_top", "T_bdy"}


def recognizes(path: Path) -> bool:
    """Whether it has a tensor with coordinates, a fluid's density, or groups of samples."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return ("tensor" in file and "x-coordinate" in file) or "density" in file or bool(_groups(file))


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it cannot be read, or its variables do not fit together.
    """
    file = open_hdf5(path)
    try:
        groups = _groups(file)
        if groups and "tensor" not in file:
            found, make_load = _find_groups(path, file, groups)
        elif "nu" in file or (overrides.input_name and overrides.input_name in file):
            found, make_load = _find_steady(path, file, overrides)
        else:
            found, make_load = _find_tensor(path, file, overrides)
        header, dropped = make_header(path, found, overrides)
        return ForeignSource(path, header, make_load(header), file.close, dropped)
    except (DatasetError, ValueError):
        file.close()
        raise
    except (KeyError, TypeError, IndexError) as error:
        file.close()
        raise DatasetError(f"open_source: {path} does not fit together as a PDEBench file ({error}).") from None


_MakeLoad = Callable[[Header], Load]


def _groups(file: h5py.File) -> list[str]:
    return sorted(name for name in map(str, file) if name.isdigit() and f"{name}/data" in file)


def _boundary(file: h5py.File, usual: Boundary) -> Boundary:
    """The boundary that a file written here records, or the usual one."""
    return _BOUNDARIES.get(text_in(file.attrs, "boundary"), usual)


def _coordinates(file: h5py.File, dims: int) -> list[np.ndarray | None]:
    """Coordinates of each axis of the file, x first."""
    names = [f"{axis}-coordinate" for axis in "xyz"[:dims]]
    return [dataset(file, name)[()] if name in file else None for name in names]


def _turned(coordinates: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether the axes have to be transposed: x, the first, is not like the others."""
    known = [c for c in coordinates if c is not None]
    alike = all(c.shape == known[0].shape and np.allclose(c, known[0]) for c in known[1:]) if known else True
    return len(shape) > 1 and not (alike and len(set(shape)) == 1)


def _turn(fields: np.ndarray, dims: int, turned: bool) -> np.ndarray:
    """The axes in space, which are the last, in reverse order."""
    return fields.transpose(*range(fields.ndim - dims), *range(fields.ndim - 1, fields.ndim - dims - 1, -1)) if (
        turned
    ) else fields  # fmt: skip


def _space(coordinates: list[Any], shape: tuple[int, ...], turned: bool) -> dict[str, Any]:
    """Shape and coordinates, x last."""
    if turned:
        return {"shape": shape[::-1], "coordinates": coordinates[::-1]}
    return {"shape": shape, "coordinates": coordinates}


def _tensor_fields(path: Path, file: h5py.File, overrides: Overrides) -> tuple[list[str], list[h5py.Dataset]]:
    """Names and datasets of the target's components, each (samples, times, points)."""
    usual = [name for name in _FLUID if name in file] if "tensor" not in file else ["tensor"]
    names = [overrides.target_name] if overrides.target_name else usual
    fields = [dataset(file, name) for name in names or ["tensor"]]
    first = fields[0]
    if first.ndim < 3 or any(field.shape != first.shape for field in fields):
        raise DatasetError(
            f"open_source: {path} must have {', '.join(names)} (samples, times, points); got shape {first.shape}."
        )
    if first.shape[1] == 1:
        raise DatasetError(
            f"open_source: {path} has {names[0]} at one time and no nu, so nothing to predict it from. Give "
            f"--input-name, the variable that is the input."
        )
    return names, fields


def _find_tensor(path: Path, file: h5py.File, overrides: Overrides) -> tuple[Found, _MakeLoad]:
    names, fields = _tensor_fields(path, file, overrides)
    first = fields[0]
    samples, num_times, *points = first.shape
    shape = tuple(points)
    dims, coordinates = len(shape), _coordinates(file, len(shape))
    turned = _turned(coordinates, shape)
    times = dataset(file, "t-coordinate")[:num_times] if "t-coordinate" in file else []

    def read(start: int, stop: int, at: slice) -> np.ndarray:
        return _turn(np.stack([field[start:stop, at] for field in fields], axis=2), dims, turned)

    name, parameters = _equation(numbers_in(file.attrs), dims, len(names))
    found = Found(
        num_samples=samples,
        num_times=num_times,
        dtypes=[field.dtype for field in fields],
        channels=("u",) if len(names) == 1 else tuple(names),
        times=_exact_times(times),
        name=text_in(file.attrs, "equation_name", name),
        parameters=parameters,
        boundary=_boundary(file, "open" if "tensor" not in file and "trans" in path.name.lower() else "periodic"),
        probe=lambda: read(0, 2, slice(0, 3)),
        **_space(coordinates, shape, turned),
    )
    return found, lambda header: series(read, header)


def _find_steady(path: Path, file: h5py.File, overrides: Overrides) -> tuple[Found, _MakeLoad]:
    names = overrides.input_name or "nu", overrides.target_name or "tensor"
    given, target = (dataset(file, name) for name in names)
    shape = given.shape[1:]
    if target.shape not in (given.shape, (given.shape[0], 1, *shape)):
        raise DatasetError(
            f"open_source: {path} must have {names[1]} (samples, 1, points) of the points of {names[0]}; "
            f"got {target.shape} and {given.shape}."
        )
    dims, coordinates = len(shape), _coordinates(file, len(shape))
    turned = _turned(coordinates, shape)

    def make_load(header: Header) -> Load:
        def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
            block = (given if name == header.input_name else target)[start:stop]
            return _turn(block.reshape(len(block), 1, *shape), dims, turned)

        return load

    parameters = numbers_in(file.attrs)
    found = Found(
        num_samples=given.shape[0],
        num_times=1,
        dtypes=[given.dtype, target.dtype],
        inputs=("coefficient",),
        times=(0.0,),
        input_name="coefficient",
        name=str(file.attrs.get("equation_name", "")),
        parameters=parameters,
        boundary=_boundary(file, "wall"),
        **_space(coordinates, shape, turned),
    )
    return found, make_load


def _find_groups(path: Path, file: h5py.File, groups: list[str]) -> tuple[Found, _MakeLoad]:
    first, grid = dataset(file, f"{groups[0]}/data"), f"{groups[0]}/grid"
    num_times, *points, components = first.shape
    shape = tuple(points)
    dims = len(shape)
    coordinates = [dataset(file, f"{grid}/{a}")[()] if f"{grid}/{a}" in file else None for a in "xyz"[:dims]]
    turned = _turned(coordinates, shape)
    for name in groups:
        if dataset(file, f"{name}/data").shape != first.shape:
            raise DatasetError(f"open_source: {path} has samples of different shapes ({groups[0]} and {name}).")
    times = dataset(file, f"{grid}/t")[()] if f"{grid}/t" in file else np.array([])

    def read(start: int, stop: int, at: slice) -> np.ndarray:
        rows = [np.moveaxis(dataset(file, f"{name}/data")[at], -1, 1) for name in groups[start:stop]]
        return _turn(np.stack(rows), dims, turned)

    config = text_in(file[groups[0]].attrs, "config")
    parameters = {k: float(v) for k, v in _NUMBER.findall(config) if k not in _SETTINGS}
    found = Found(
        num_samples=len(groups),
        num_times=num_times,
        dtypes=[first.dtype],
        channels=_components(file, components),
        times=_exact_times(times.ravel()[:num_times]),
        name=str(file.attrs.get("equation_name", "")),
        parameters={**parameters, **numbers_in(file.attrs)},
        boundary=_boundary(file, "open"),
        probe=lambda: read(0, 2, slice(0, 3)),
        **_space(coordinates, shape, turned),
    )
    return found, lambda header: series(read, header)


def _components(file: h5py.File, count: int) -> tuple[str, ...]:
    """Names of the components: those that files written here list, else u, or u0, u1, ..."""
    listed = tuple(str(file.attrs.get("components", "")).split(","))
    if len(listed) == count and all(listed):
        return listed
    return tuple(f"u{i}" for i in range(count)) if count > 1 else ("u",)


def _exact_times(times: Any) -> tuple[float, ...]:
    """Times as decimal numbers where they were stored in float32, so that 0.01 is 0.01."""
    array = np.asarray(times)
    return tuple(float(str(t)) if array.dtype == np.float32 else float(t) for t in array)


def _equation(numbers: dict[str, float], dims: int, components: int) -> tuple[str, dict[str, float]]:
    """Equation of a one-dimensional file by its attributes, and its parameters by their names here."""
    if dims != 1 or components != 1:
        return "", numbers
    rest = {key: value for key, value in numbers.items() if key not in ("Nu", "beta", "rho")}
    if {"Nu", "rho"} <= set(numbers):
        return "fisher_kpp", {"diffusivity": numbers["Nu"], "rate": numbers["rho"], **rest}
    if "Nu" in numbers:
        return "burgers", {"viscosity": numbers["Nu"] / math.pi, **rest}
    if "beta" in numbers:
        return "advection", {"speed": numbers["beta"], **rest}
    return "", numbers


def write(source: Readable, path: Path) -> None:
    """A PDEBench file: as for Darcy flow, one tensor in one dimension, else a group for each sample.

    Raises:
        ValueError: the input is another quantity than the target of a problem in time, which has no place there.
    """
    header = source.header
    if not header.steady and header.inputs != header.channels:
        raise ValueError(
            f"convert: `out` must hold an input of other components ({', '.join(header.inputs)}); PDEBench cannot."
        )
    with h5py.File(path, "w") as file:
        file.attrs.update(equation_name=header.name, boundary=header.boundary, **header.parameters)
        for theirs, value in _their_numbers(header).items():
            file.attrs[theirs] = value
        if header.steady:
            _write_steady(file, source)
        elif header.num_dims == 1 and len(header.channels) == 1:
            _write_tensor(file, source)
        else:
            _write_groups(file, source)


def _their_numbers(header: Header) -> dict[str, float]:
    numbers = header.parameters
    if header.num_dims != 1:
        return {}
    return {
        "burgers": {"Nu": numbers.get("viscosity", 0.0) * math.pi},
        "fisher_kpp": {"Nu": numbers.get("diffusivity", 0.0), "rho": numbers.get("rate", 0.0)},
        "advection": {"beta": numbers.get("speed", 0.0)},
    }.get(header.name, {})


def _write_coordinates(file: h5py.File, header: Header) -> None:
    for axis, points in zip(header.axes, header.coordinates, strict=True):
        file[f"{axis}-coordinate"] = points


def _their_order(header: Header) -> bool:
    """Whether the fields have to be transposed, x first."""
    return _turned(list(header.coordinates), header.shape)


def _write_tensor(file: h5py.File, source: Readable) -> None:
    header = source.header
    shape = (header.num_samples, len(header.times), *header.shape)
    tensor = file.create_dataset("tensor", shape, header.dtype)
    _write_coordinates(file, header)
    file["t-coordinate"] = [*header.times, 2 * header.times[-1] - header.times[-2]]  # one more, as in theirs
    for rows, fields in blocks(source):
        tensor[rows] = trajectory_of(header, fields)[:, :, 0]


def _write_steady(file: h5py.File, source: Readable) -> None:
    header, turned = source.header, _their_order(source.header)
    if len(header.channels) > 1 or len(header.inputs) > 1:
        raise ValueError("convert: `out` must hold several components of a steady problem; PDEBench cannot.")
    shape = header.shape[::-1] if turned else header.shape
    tensor = file.create_dataset("tensor", (header.num_samples, 1, *shape), header.dtype)
    given = file.create_dataset("nu", (header.num_samples, *shape), header.dtype)
    _write_coordinates(file, header)
    for rows, fields in blocks(source):
        tensor[rows] = _turn(fields[header.target_name], header.num_dims, turned)
        given[rows] = _turn(fields[header.input_name], header.num_dims, turned)[:, 0]


def _write_groups(file: h5py.File, source: Readable) -> None:
    header, turned = source.header, _their_order(source.header)
    file.attrs["components"] = ",".join(header.channels)
    config = "sim:\n" + "".join(f"  {name}: {value!r}\n" for name, value in header.parameters.items())
    digits = max(4, len(str(header.num_samples - 1)))
    for rows, fields in blocks(source):
        whole = np.moveaxis(_turn(trajectory_of(header, fields), header.num_dims, turned), 2, -1)
        for row, sample in zip(range(rows.start, rows.stop), whole, strict=True):
            group = file.create_group(f"{row:0{digits}d}")
            group.attrs["config"] = config
            group["data"] = sample
            for axis, points in zip(header.axes, header.coordinates, strict=True):
                group[f"grid/{axis}"] = points
            group["grid/t"] = header.times
