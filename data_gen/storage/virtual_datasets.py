"""Views of the fields of a dataset file for the readers of xarray, PDEBench and The Well; no byte is stored twice."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.header import Header

_BOUNDARIES = {"periodic": "PERIODIC", "wall": "WALL", "open": "OPEN"}


def create_view(
    file: h5py.File,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    parts: Sequence[tuple[str, h5py.h5s.SpaceID, int | None]],
) -> h5py.Dataset:
    """A virtual dataset over others of the file. By the low-level calls, as it must not carry a time.

    Each part is a source, a selection of it, and its index on the view's second axis (None: all).
    """
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    for source, selection, index in parts:
        if index is not None:
            space.select_hyperslab((0, index, *(0,) * len(shape[2:])), (shape[0], 1, *shape[2:]))
        settings.set_virtual(space, b".", source.encode(), selection)
    space.select_all()
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, space, settings)
    return dataset_in(file, name)


def dataset_in(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of the file, by name."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DatasetError(f"open_dataset: {file.filename} has no dataset {name}; it is damaged or of another layout.")
    return found


def write_other_views(file: h5py.File, header: Header) -> None:
    """Write the names that the other readers look for: views of the fields, links, and small copies of the scales."""
    for name, scale in [("t-coordinate", "time"), *((f"{axis}-coordinate", axis) for axis in header.axes)]:
        copy = file.create_dataset(name, data=dataset_in(file, scale)[()])
        copy.dims[0].attach_scale(dataset_in(file, scale))
    _write_fields(file, header)
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = _words(header.axes)
    for name in ("time", *header.axes):
        dimensions[name] = dataset_in(file, name)
        dataset_in(file, name).attrs.update(sample_varying=False, time_varying=name == "time")
    walls = file.create_group("boundary_conditions")
    for axis, points, boundary in zip(header.axes, header.shape, header.axis_boundaries, strict=True):
        wall = walls.create_group(f"{axis}_{boundary}")
        kind = _BOUNDARIES[boundary]
        wall.attrs.update(bc_type=kind, sample_varying=False, time_varying=False)
        wall.attrs.update(associated_dims=_words((axis,)), associated_fields=_words(()))
        mask = np.zeros(points, dtype=bool)
        mask[[0, -1]] = True
        wall.create_dataset("mask", data=mask).dims[0].attach_scale(dataset_in(file, axis))


def _write_fields(file: h5py.File, header: Header) -> None:
    """The groups of The Well, a view of each component in the first; of one component, PDEBench's ``tensor`` too."""
    rank0 = file.create_group("t0_fields")
    names = list(header.channels)
    if len(names) == 1:
        tensor = _create_component(file, header, "tensor", 0)
        tensor.attrs["long_name"] = f"{header.target_name} at all times, a view"
        file[f"t0_fields/{names[0]}"] = tensor
    else:
        for index, name in enumerate(names):
            view = _create_component(file, header, f"t0_fields/{name}", index)
            view.attrs["long_name"] = f"{name} at all times, a view"
    if header.inputs != header.channels:
        names += [_input_view(file, header, index) for index in range(len(header.inputs))]
        if header.steady and len(header.inputs) == 1:
            file["nu"] = dataset_in(file, header.input_name)  # PDEBench's name for the coefficient of Darcy flow
    rank0.attrs["field_names"] = _words(names)
    for rank in (1, 2):
        file.create_group(f"t{rank}_fields").attrs["field_names"] = _words(())
    file.create_group("scalars").attrs["field_names"] = _words(())


def _create_component(file: h5py.File, header: Header, name: str, index: int) -> h5py.Dataset:
    """``(sample, time, *axes)``: one component of the target at every time, over the stored fields.

    There is no axis of time where the input is another quantity: the target is then at the last time only.
    """
    samples, many = header.num_samples, len(header.channels) > 1
    pair = not header.trajectories and not header.steady and header.inputs == header.channels
    sources = [header.input_name, header.target_name] if pair else [header.target_name]
    timed = pair or header.trajectories or header.steady
    times = (len(header.times),) if timed else ()
    parts: list[tuple[str, h5py.h5s.SpaceID, int | None]] = []
    for place, source in enumerate(sources):
        shape = (samples, *header.stored_shapes[source])
        axes = header.stored_axes(source)
        chosen = h5py.h5s.create_simple(shape)
        if many:
            at = axes.index("channel")
            start, count = [0] * len(shape), list(shape)
            start[at], count[at] = index, 1
            chosen.select_hyperslab(tuple(start), tuple(count))
        parts.append((source, chosen, place if pair else None))
    view = create_view(file, name, header.dtype, (samples, *times, *header.shape), parts)
    for axis, scale in enumerate(("sample", *(("time",) if timed else ()), *header.axes)):
        view.dims[axis].attach_scale(dataset_in(file, scale))
    view.attrs.update(units="1", dim_varying=np.ones(header.num_dims, bool), sample_varying=True, time_varying=timed)
    return view


def _input_view(file: h5py.File, header: Header, index: int) -> str:
    """A component of an input of other components than the target's, as a field that does not vary in time.

    Its name is that of the component, after the input's name where the target has one of the same name.
    """
    name = header.inputs[index]
    while f"t0_fields/{name}" in file:
        name = f"{header.input_name}_{name}"
    shape = (header.num_samples, *header.stored_shapes[header.input_name])
    chosen = h5py.h5s.create_simple(shape)
    if len(header.inputs) > 1:
        chosen.select_hyperslab((0, index, *(0,) * header.num_dims), (shape[0], 1, *header.shape))
    rows = (header.num_samples, *header.shape)
    view = create_view(file, f"t0_fields/{name}", header.dtype, rows, [(header.input_name, chosen, None)])
    for axis, scale in enumerate(("sample", *header.axes)):
        view.dims[axis].attach_scale(dataset_in(file, scale))
    view.attrs.update(units="1", long_name=f"{name}, a view of {header.input_name}")
    view.attrs.update(dim_varying=np.ones(header.num_dims, bool), sample_varying=True, time_varying=False)
    return name


def _words(names: Sequence[str]) -> np.ndarray:
    return np.array(list(names), dtype=h5py.string_dtype())
