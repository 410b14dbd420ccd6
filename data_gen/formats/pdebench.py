"""PDEBench's HDF5 files: one tensor, Darcy flow, the fluid's named fields, or a group for each sample.

::

    one dimension    tensor (samples, times, x), x-coordinate, t-coordinate (times + 1); attribute Nu, beta or rho
    Darcy            tensor (samples, 1, x, y), nu (samples, x, y), x-coordinate, y-coordinate; attribute beta
    fluids           density, pressure, Vx, Vy, Vz (samples, times, x, ...) and the coordinates
    incompressible   velocity (samples, times, x, y, 2), particles, force (samples, x, y, 2), t (samples, times)
    groups           0000/data (times, x, ..., components), 0000/grid/{x, y, t}; attribute config of each group

Burgers is solved there with viscosity Nu / pi. The first axis in space is x, at every shape, as the generators write
it; the fields are read y before x. Groups are in the order of their numbers. The files do not record their boundaries:
one tensor is periodic and Darcy flow between walls, as published, fluids are periodic unless their name has ``trans``,
and groups and incompressible fluids are taken to have open boundaries.

References:
    Takamoto et al. (2022), PDEBench: An Extensive Benchmark for Scientific Machine Learning, and its data files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.axes import Axes
from data_gen.formats.fields import Field, Variable
from data_gen.formats.format import Format
from data_gen.formats.hdf5 import (
    boundary_in,
    dataset,
    datasets_in,
    exact_times,
    is_hdf5,
    line_of,
    numbers_in,
    open_hdf5,
    right_ends_in,
    text_in,
)
from data_gen.formats.overrides import Overrides, said_axes, split_names
from data_gen.formats.pairs import About, source_of_fields
from data_gen.formats.pdebench_groups import groups_in, has_groups, source_of_groups
from data_gen.formats.pdebench_output import write
from data_gen.formats.source import Source
from data_gen.header import Boundary
from data_gen.storage.hdf5_layout import TABLE

__all__ = ["FORMAT", "open_file", "recognizes", "write"]

FORMAT = Format("pdebench", (".hdf5",), "PDEBench: tensor, Darcy, fluids, or a group for each sample", order=30)

_FLUID = ("density", "pressure", "Vx", "Vy", "Vz")
_INCOMPRESSIBLE = ("velocity", "particles")


def recognizes(path: Path) -> bool:
    """Whether it has a tensor with coordinates, a fluid's fields with coordinates, or groups of samples."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path, check=False) as file:
        names = set(map(str, file))
        fluid = {"density", "x-coordinate"} <= names or set(_INCOMPRESSIBLE) <= names
        return {"tensor", "x-coordinate"} <= names or fluid or has_groups(file)


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it cannot be read, or its variables do not fit together.
    """
    file = open_hdf5(path, follow_links=overrides.follow_links)
    try:
        groups = groups_in(file)
        if groups and "tensor" not in file:
            return source_of_groups(path, file, groups, overrides)
        return _open(path, file, overrides)
    except (DatasetError, ValueError):
        file.close()
        raise
    except (KeyError, TypeError, IndexError, AttributeError, OSError, RuntimeError) as error:
        file.close()
        reason = " ".join(str(error).split())[:160]
        raise DatasetError(f"open_source: {path} does not fit together as a PDEBench file ({reason}).") from None


def _open(path: Path, file: h5py.File, overrides: Overrides) -> Source:
    targets, inputs = _names(path, file, overrides)
    dims = _num_dims(path, file, dataset(file, targets[0]))
    grid = _points(file, dims)
    target = _field(path, file, targets, dims, grid, overrides, "u" if len(targets) == 1 else "")
    given = _field(path, file, inputs, dims, grid, overrides, "") if inputs else None
    steady = given is not None and target.num_times <= 1
    usual: Boundary | None = "wall" if steady else "open" if "trans" in path.name.lower() or "t" in file else None
    numbers = numbers_in(file.attrs)
    name, parameters = ("", numbers) if steady else _equation(numbers, dims, len(targets))
    coefficient = inputs == ["nu"] and steady
    if given is not None and coefficient:
        given = Field("coefficient", given.parts, ("coefficient",))
    about = About(
        coordinates=grid,
        times=(0.0,) if steady else _times(path, file, target.num_times),
        parameters=parameters,
        name=text_in(file.attrs, "equation_name", name),
        table={name: found[()] for name, found in datasets_in(file, TABLE).items()},
        boundary=boundary_in(file.attrs, usual),
        right_ends=right_ends_in(file.attrs),
        input_name=given.name if given is not None and len(inputs) == 1 else "a",
        target_name="u",
        find=lambda name: (dataset(file, name), None),
    )
    return source_of_fields(path, given, target, overrides, about, file.close)


def _names(path: Path, file: h5py.File, overrides: Overrides) -> tuple[list[str], list[str]]:
    """The variables of the target and of the input."""
    known = [name for name in _FLUID if name in file] or [name for name in _INCOMPRESSIBLE if name in file]
    targets = list(split_names(overrides.target_name)) or (["tensor"] if "tensor" in file or not known else known)
    inputs = list(split_names(overrides.input_name))
    if not inputs and "nu" in file and overrides.target_name in (None, "tensor") and targets == ["tensor"]:
        inputs = ["nu"]
    return targets, inputs


def _num_dims(path: Path, file: h5py.File, first: h5py.Dataset) -> int:
    """Axes in space: as many as have coordinates; without any by the shape of the target."""
    dims = sum(f"{axis}-coordinate" in file for axis in "xyz")
    if dims and first.ndim in (dims + 1, dims + 2, dims + 3):
        return dims
    if dims or first.ndim < 3:
        raise DatasetError(
            f"open_source: {path} must have {str(first.name)[1:]} (samples, times, points) with {dims or 'its'} axes "
            f"in "
            f"space, as its coordinates say; got shape {first.shape}."
        )
    trailing = "velocity" in file or "particles" in file
    return first.ndim - 2 - trailing


def _points(file: h5py.File, dims: int) -> dict[str, np.ndarray]:
    """Coordinates of each axis by name."""
    names = [axis for axis in "xyz"[:dims] if f"{axis}-coordinate" in file]
    return {axis: line_of(file, f"{axis}-coordinate", "xyz".index(axis)) for axis in names}


def _field(
    path: Path, file: h5py.File, names: Sequence[str], dims: int, grid: dict[str, Any], overrides: Overrides, usual: str
) -> Field:
    """Variables of the file as one field, x first."""
    parts = []
    for name in names:
        stored = dataset(file, name)
        said = said_axes(overrides)
        axes = next((one for one in said if len(one) == stored.ndim), None) or _axes_of(path, file, stored, dims, grid)
        parts.append(Variable(name, stored, axes))
    if len({(part.size("time"), part.size("sample")) for part in parts}) > 1:
        raise DatasetError(f"open_source: {path} has {', '.join(names)} of different samples or times.")
    labels = tuple(label for part in parts for label in _labels(part, dims))
    return Field("_".join(names[:2]), tuple(parts), (usual,) if len(labels) == 1 and usual else labels)


def _labels(part: Variable, dims: int) -> list[str]:
    """Names of the components of a variable: of a vector those of the axes."""
    count = max(1, part.size("channel"))
    if count == 1:
        return [part.name]
    return (
        [f"{part.name}_{axis}" for axis in "xyz"[:count]]
        if count == dims
        else [f"{part.name}{i}" for i in range(count)]
    )


def _axes_of(path: Path, file: h5py.File, stored: h5py.Dataset, dims: int, grid: dict[str, Any]) -> Axes:
    """The axes of a variable by the law of these files: samples, times, x first, components last."""
    space = tuple("xyz"[:dims]) if not _is_old(file, stored, dims, grid) else tuple("zyx"[-dims:])
    points = tuple(len(grid[axis]) if axis in grid else 0 for axis in space)
    rest = stored.ndim - 1 - dims
    last = rest == 1 and _equal(stored.shape[1 : 1 + dims], points) and not _equal(stored.shape[2:], points)
    last = last or (rest == 1 and not any(points) and stored.shape[-1] == dims)
    bodies = {0: space, 1: (*space, "channel") if last else ("time", *space), 2: ("time", *space, "channel")}
    if rest not in bodies:
        raise DatasetError(
            f"open_source: {path} must have {str(stored.name)[1:]} (samples, times, points) with {dims} axes in space; "
            f"got shape {stored.shape}."
        )
    return ("sample", *bodies[rest])


def _equal(shape: tuple[int, ...], points: tuple[int, ...]) -> bool:
    return len(shape) == len(points) and all(n == m or not m for n, m in zip(shape, points, strict=True))


def _is_old(file: h5py.File, stored: h5py.Dataset, dims: int, grid: dict[str, Any]) -> bool:
    """Whether it was written by version 0.1, which kept y first where all axes are alike."""
    if "boundary" not in file.attrs or "axes" in file.attrs or dims < 2:
        return False
    known = list(grid.values())
    return len({len(points) for points in known}) == 1 and all(np.allclose(points, known[0]) for points in known)


def _times(path: Path, file: h5py.File, count: int) -> tuple[float, ...]:
    """The times of the file, as many as the fields have; incompressible fluids list them for each sample."""
    name = "t-coordinate" if "t-coordinate" in file else "t" if "t" in file else None
    if name is None:
        return ()
    times = np.atleast_1d(dataset(file, name)[()])
    if times.ndim > 1:
        if not (times == times[:1]).all():
            raise DatasetError(
                f"open_source: {path} has times that differ from sample to sample; they must be the same. Give --times."
            )
        times = times[0]
    return exact_times(times[:count] if count else times)


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
