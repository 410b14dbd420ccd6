"""PDEBench's files with a group for each sample: 0000/data (times, x, ..., components), 0000/grid/{x, y, t}."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.axes import Axes
from data_gen.formats.fields import Field, Variable
from data_gen.formats.hdf5 import boundary_in, dataset, exact_times, line_of, numbers_in, right_ends_in, text_in
from data_gen.formats.overrides import Overrides, said_axes, split_names
from data_gen.formats.pairs import About, source_of_fields
from data_gen.formats.source import Source
from data_gen.formats.tables import parameters_and_table

_NUMBER = re.compile(r"^ +([A-Za-z]\w*): *([-+]?\d[\d.]*(?:[eE][-+]?\d+)?) *$", re.MULTILINE)
# Settings of PDEBench's solvers that are no parameters of an equation.
_SETTINGS = {"t", "n", "n_steps", "seed", "tdim", "xdim", "ydim", "x_left", "x_right", "y_bottom", "y_top", "T_bdy"}


def groups_in(file: h5py.File) -> list[str]:
    """The groups that are numbers and have data, in the order of the numbers."""
    names = [name for name in map(str, file) if name.isdecimal() and name.isascii() and f"{name}/data" in file]
    return sorted(names, key=lambda name: (int(name), name))


def has_groups(file: h5py.File) -> bool:
    """Whether there are such groups in the file itself; no link is followed."""
    numbers = [name for name in map(str, file) if name.isdecimal() and name.isascii()]
    own = (file[name] for name in numbers if isinstance(file.get(name, getlink=True), h5py.HardLink))
    return any(isinstance(group, h5py.Group) and "data" in set(map(str, group)) for group in own)


class _Stack:
    """One dataset of every group as an array whose first axis is the group's."""

    def __init__(self, file: h5py.File, groups: list[str], name: str) -> None:
        self.file, self.groups, self.name = file, groups, name
        first = dataset(file, f"{groups[0]}/{name}")
        self.shape, self.dtype = (len(groups), *first.shape), first.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, *rest = index
        return np.stack([dataset(self.file, f"{name}/{self.name}")[tuple(rest)] for name in self.groups[rows]])


def source_of_groups(path: Path, file: h5py.File, groups: list[str], overrides: Overrides) -> Source:
    """The groups of a file as samples.

    Raises:
        DatasetError: they differ in shape, precision, grid or times.
    """
    grid = f"{groups[0]}/grid"
    known = [axis for axis in "xyz" if f"{grid}/{axis}" in file]
    target = _field(path, file, groups, split_names(overrides.target_name) or ("data",), len(known), overrides)
    named = split_names(overrides.input_name)
    given = _field(path, file, groups, named, len(known), overrides) if named else None
    _check_alike(path, file, groups, [part.name for one in (given, target) if one for part in one.parts])
    times = exact_times(dataset(file, f"{grid}/t")[()])[: target.num_times] if f"{grid}/t" in file else ()
    parameters, table = parameters_and_table([_parameters(file, name) for name in groups])
    about = About(
        coordinates={axis: line_of(file, f"{grid}/{axis}", i) for i, axis in enumerate(known)},
        times=times,
        name=text_in(file.attrs, "equation_name"),
        parameters={**parameters, **numbers_in(file.attrs)},
        table=table,
        boundary=boundary_in(file.attrs, "open"),
        right_ends=right_ends_in(file.attrs),
        target_name="u",
    )
    return source_of_fields(path, given, target, overrides, about, file.close)


def _field(
    path: Path, file: h5py.File, groups: list[str], names: tuple[str, ...], dims: int, overrides: Overrides
) -> Field:
    parts = []
    for name in names:
        stack = _Stack(file, groups, name)
        said = next((one for one in said_axes(overrides) if len(one) == len(stack.shape)), None)
        parts.append(Variable(name, stack, said or _axes_of(path, file, stack, dims)))
    listed = tuple(text_in(file.attrs, "components").split(","))
    labels = listed if all(listed) and len(names) == 1 else ()
    return Field("_".join(names), tuple(parts), labels, "u" if names == ("data",) else "")


def _axes_of(path: Path, file: h5py.File, stack: _Stack, dims: int) -> Axes:
    """Times, x first, components last; without a grid as many axes in space as are left."""
    inner = len(stack.shape) - 1
    dims = dims or max(1, inner - 2)
    space = tuple("zyx"[-dims:]) if _is_old(file, stack, dims) else tuple("xyz"[:dims])
    bodies = {0: space, 1: ("time", *space), 2: ("time", *space, "channel")}
    if inner - dims not in bodies:
        raise DatasetError(
            f"open_source: {path} must have groups with {stack.name} (times, points, components) with {dims} axes in "
            f"space; got shape {stack.shape[1:]}."
        )
    return ("sample", *bodies[inner - dims])


def _is_old(file: h5py.File, stack: _Stack, dims: int) -> bool:
    """Whether it was written by version 0.1, which kept y first where all axes are alike."""
    if "boundary" not in file.attrs or "axes" in file.attrs or dims < 2:
        return False
    lines = [line_of(file, f"{stack.groups[0]}/grid/{axis}", i) for i, axis in enumerate("xyz"[:dims])]
    return len({len(points) for points in lines}) == 1 and all(np.allclose(points, lines[0]) for points in lines)


def _check_alike(path: Path, file: h5py.File, groups: list[str], names: list[str]) -> None:
    """Refuse groups of other shapes, precisions, grids or times than the first."""
    first = groups[0]
    grids = [f"grid/{axis}" for axis in "xyzt" if f"{first}/grid/{axis}" in file]
    values = {name: dataset(file, f"{first}/{name}")[()] for name in grids}
    like = {name: dataset(file, f"{first}/{name}") for name in names}
    for group in groups[1:]:
        for name, wanted in like.items():
            found = dataset(file, f"{group}/{name}")
            if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
                raise DatasetError(f"open_source: {path} has samples of different shapes ({first} and {group}).")
        for name, wanted in values.items():
            found = dataset(file, f"{group}/{name}")
            if found.shape != wanted.shape or not np.array_equal(found[()], wanted):
                raise DatasetError(
                    f"open_source: {path} has samples on different grids: {name} of {group} is not that of {first}. "
                    f"Put samples of one grid into one file."
                )


def _parameters(file: h5py.File, name: str) -> dict[str, float]:
    """The numbers among the settings and the attributes of a group."""
    attributes = file[name].attrs
    found = {key: float(value) for key, value in _NUMBER.findall(text_in(attributes, "config"))}
    found |= {key: value for key, value in numbers_in(attributes).items() if key != "config"}
    return {key: value for key, value in found.items() if key not in _SETTINGS}
