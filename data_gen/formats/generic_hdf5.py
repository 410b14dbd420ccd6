"""HDF5 files of no other layout, by the paths of their variables: --input-name group/a --target-name group/b,group/c.

Several variables of one shape become channels. The axes are those that dimension scales name, else as ``axes`` infers
them. One-dimensional ``x``, ``y``, ``z`` and ``t`` or ``time`` of the group of the target, or of the root, are
coordinates and times; numbers among the attributes are parameters, and variables of one number for each sample are a
table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.arrays import axes_of_arrays
from data_gen.formats.axes import Axes
from data_gen.formats.decoding import decoder_of
from data_gen.formats.fields import Field, Variable
from data_gen.formats.format import Format
from data_gen.formats.hdf5 import (
    boundary_in,
    dataset,
    exact_times,
    is_hdf5,
    listed_names,
    numbers_in,
    open_hdf5,
    right_ends_in,
    text_in,
)
from data_gen.formats.overrides import Overrides, split_names
from data_gen.formats.pairs import About, source_of_fields
from data_gen.formats.source import Source
from data_gen.formats.xarray_fields import role_of

FORMAT = Format("hdf5", (".hdf",), "any HDF5 file, by --input-name and --target-name", order=90)

_PAIRS = (("a", "u"), ("input", "target"), ("inputs", "targets"), ("inputs", "outputs"))
_TIMES = ("t", "time", "times", "t-coordinate")
_MOST = 1000  # variables of one number for each sample


def recognizes(path: Path) -> bool:
    """Whether it is HDF5."""
    return is_hdf5(path)


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it cannot be read, keeps data in other files, or does not say which variables are meant.
    """
    file = open_hdf5(path, follow_links=overrides.follow_links)
    try:
        return _open(path, file, overrides)
    except BaseException:
        file.close()
        raise


def _open(path: Path, file: h5py.File, overrides: Overrides) -> Source:
    inputs, targets = _chosen(path, file, overrides)
    givens, wanted = [dataset(file, name) for name in inputs], [dataset(file, name) for name in targets]
    for names, found in ((inputs, givens), (targets, wanted)):
        if len({one.shape for one in found}) > 1:
            shapes = ", ".join(f"{name} {one.shape}" for name, one in zip(names, found, strict=True))
            raise DatasetError(f"open_source: {path} must have variables of one shape as channels; got {shapes}.")
    place = wanted[0].parent
    group = place if isinstance(place, h5py.Group) else file
    about = _about(file, group, wanted[0], {*inputs, *targets})
    laws = [_scaled_axes(one) for one in (*givens[:1], wanted[0])]
    law: Any = ((laws[0] if givens else None), laws[-1]) if all(laws) else None
    names = (inputs[0] if inputs else "", targets[0])
    axes = axes_of_arrays(
        path, (givens[0].shape if givens else None, wanted[0].shape), overrides, names, about, law=law
    )
    given = _field(path, givens, axes[0]) if givens and axes[0] is not None else None
    return source_of_fields(path, given, _field(path, wanted, axes[1]), overrides, about, file.close)


def _chosen(path: Path, file: h5py.File, overrides: Overrides) -> tuple[list[str], list[str]]:
    """Paths of the input's variables, none of trajectories, and of the target's."""
    inputs, targets = list(split_names(overrides.input_name)), list(split_names(overrides.target_name))
    if not inputs and not targets:
        usual = next((pair for pair in _PAIRS if all(isinstance(file.get(one), h5py.Dataset) for one in pair)), None)
        if usual is not None:
            return [usual[0]], [usual[1]]
    if not targets:
        raise DatasetError(
            f"open_source: {path} is HDF5 of no known layout; it has {listed_names(file)}. Give --input-name and "
            f"--target-name, or --target-name alone for trajectories."
        )
    return inputs, targets


def _field(path: Path, found: Sequence[h5py.Dataset], axes: Axes) -> Field:
    parts = []
    for one in found:
        decode, dtype = decoder_of(path, str(one.name), one.dtype, dict(one.attrs), defaults=False)
        parts.append(Variable(_last(one), one, axes, decode, dtype))
    return Field(
        "_".join(part.name for part in parts[:3]), tuple(parts), usual="" if len(parts) > 1 else _last(found[0])
    )


def _last(found: h5py.Dataset) -> str:
    return str(found.name).rpartition("/")[2]


def _scaled_axes(found: h5py.Dataset) -> Axes | None:
    """Roles of the axes by the labels and scales that are attached to them; None unless all are clear."""
    axes = tuple(role for role in map(_role_of_dimension, found.dims) if role is not None)
    space = {axis for axis in axes if axis in "xyz"}
    clear = len(axes) == found.ndim and len(set(axes)) == len(axes)
    return axes if clear and space in ({"x"}, {"x", "y"}, {"x", "y", "z"}) else None


def _role_of_dimension(dimension: Any) -> str | None:
    """The role of the label of an axis, or of the first of its scales that has one."""
    labels = [dimension.label, *(text_in(scale.attrs, "NAME") for scale in dimension.values())]
    roles = (role_of(str(label).rpartition("/")[2]) for label in labels if label)
    return next((role for role in roles if role is not None), None)


def _about(file: h5py.File, group: h5py.Group, target: h5py.Dataset, taken: set[str]) -> About:
    places = (group, file) if group.name != "/" else (file,)
    coordinates = {}
    for axis in "xyz":
        found = _scale(target, axis) or _first(places, (axis, f"{axis}-coordinate", f"grid/{axis}"), taken)
        if found is not None and found.ndim == 1 and found.shape[0] in target.shape and found.dtype.kind in "fiu":
            coordinates[axis] = found[()]
    whole = set(coordinates) in ({"x"}, {"x", "y"}, {"x", "y", "z"})
    times = _scale(target, "time") or _first(places, _TIMES, taken)
    attributes = {**dict(file.attrs), **dict(group.attrs)}
    usable = times is not None and times.ndim == 1 and times.shape[0] in target.shape
    return About(
        coordinates=coordinates if whole else {},
        times=exact_times(times[()]) if usable and times is not None else (),
        parameters=numbers_in(attributes),
        table=_table(group, target, taken),
        name=text_in(attributes, "equation_name"),
        boundary=boundary_in(attributes),
        right_ends=right_ends_in(attributes),
        find=lambda name: (dataset(file, name), None),
    )


def _scale(target: h5py.Dataset, role: str) -> h5py.Dataset | None:
    """The scale of an axis of a role."""
    for axis in target.dims:
        for scale in axis.values():
            if role_of(text_in(scale.attrs, "NAME").rpartition("/")[2]) == role and scale.attrs.get("NAME"):
                return scale
    return None


def _first(places: Sequence[h5py.Group], names: Sequence[str], taken: set[str]) -> h5py.Dataset | None:
    for place in places:
        for name in names:
            found = place.get(name)
            if isinstance(found, h5py.Dataset) and str(found.name).strip("/") not in taken:
                return found
    return None


def _table(group: h5py.Group, target: h5py.Dataset, taken: set[str]) -> dict[str, np.ndarray]:
    """One-dimensional variables next to the target, of one number for each sample."""
    found: dict[str, np.ndarray] = {}
    for name in [str(one) for one in group][:_MOST]:
        one = group.get(name)
        skipped = name in ("x", "y", "z", *_TIMES) or name.endswith("-coordinate") or name in taken
        if skipped or not isinstance(one, h5py.Dataset) or one.attrs.get("CLASS") == b"DIMENSION_SCALE":
            continue
        if one.shape == target.shape[:1] and one.dtype.kind in "fiu":
            found[str(name)] = one[()].astype(np.float64)
    return found
