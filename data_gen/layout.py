"""The layout of a dataset file: what is created, and what xarray, PDEBench and The Well find in it."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import h5py
import numpy as np

from data_gen.equations import Equation
from data_gen.errors import DatasetError
from data_gen.journal import BLOCK, FileMap
from data_gen.spec import INPUT, TARGET, DatasetSpec

LAYOUT = "sciml_cf dataset"
LAYOUT_VERSION = 1
#: Value of a checksum whose block has not been written.
UNWRITTEN = -1


def create_file(path: Path, spec: DatasetSpec) -> FileMap:
    """Create a file of full size with everything but the fields and their checksums, which are written in place later.

    Fields are contiguous, allocated early and never filled, and no object carries a time, so that one description
    gives one sequence of bytes.
    """
    equation, grid = spec.make_equation(), spec.grid
    with h5py.File(path, "w") as file:
        _write_attributes(file, spec, equation)
        scales = {
            "sample": (np.arange(spec.samples), "sample index"),
            "time": (np.array([0.0, *(spec.times or ())]), "time"),
            "x": (grid.points, "position"),
        }
        for name, (values, long_name) in scales.items():
            scale = file.create_dataset(name, data=values)
            scale.make_scale(name)
            scale.attrs.update(units="1", long_name=long_name)
        for name, shape in spec.sample_shapes.items():
            _create_field(file, name, (spec.samples, *shape), spec.dtype)
            _label(file, name, _long_name(name, spec))
        if INPUT not in spec.sample_shapes:
            _create_start(file, spec)
        _write_other_views(file, spec)
        integrity = file.create_group("integrity")
        block = integrity.create_dataset("block", data=np.arange(-(-spec.samples // BLOCK)))
        block.make_scale("block")
        for name in spec.sample_shapes:
            data = integrity.create_dataset(name, data=np.full(block.shape, UNWRITTEN, dtype=np.int64))
            data.attrs["long_name"] = f"CRC-32 of each {BLOCK} samples of {name}"
            data.dims[0].attach_scale(block)
    return read_map(path)


def _write_attributes(file: h5py.File, spec: DatasetSpec, equation: Equation) -> None:
    file.attrs.update(
        layout=LAYOUT,
        layout_version=LAYOUT_VERSION,
        title=f"{spec.equation}: {spec.samples} samples on {spec.resolution} points",
        equation=equation.formula,
        spec=spec.to_json(),
        config_hash=spec.config_hash,
        scheme=spec.method,
        tolerance=spec.tolerance,
        seed=spec.seed,
        initial_condition=str(spec.initial_condition),
        extent=spec.grid.extent,
        input=INPUT,
        target=TARGET,
        versions=json.dumps(_versions(), sort_keys=True),
        dataset_name=spec.equation,
        grid_type="cartesian",
        n_spatial_dims=1,
        n_trajectories=spec.samples,
    )
    times = spec.times or ()
    if len(times) > 1:
        file.attrs.update(input_time=0.0, target_time=times[-1])
    file.attrs["simulation_parameters"] = np.array(list(spec.parameters), dtype=h5py.string_dtype())
    for name, value in spec.parameters.items():
        file.attrs[name] = value
    if "viscosity" in spec.parameters:
        file.attrs["Nu"] = spec.parameters["viscosity"] * math.pi  # PDEBench solves with viscosity Nu / pi


def _versions() -> dict[str, str]:
    found = {}
    for package in ("sciml_cf", "numpy", "scipy", "h5py"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _create_field(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), settings)


def _long_name(name: str, spec: DatasetSpec) -> str:
    if name == INPUT:
        return "initial condition"
    times = spec.times or (0.0,)
    return f"solution at t = {times[-1]:g}" if len(times) == 1 else "solution at all times, 0 among them"


def _label(file: h5py.File, name: str, long_name: str) -> None:
    field = dataset_in(file, name)
    field.attrs.update(units="1", long_name=long_name)
    for axis, scale in enumerate(("sample", "x") if field.ndim == 2 else ("sample", "time", "x")):
        field.dims[axis].attach_scale(dataset_in(file, scale))


def _create_start(file: h5py.File, spec: DatasetSpec) -> None:
    """The input of trajectories: a view of their start."""
    whole = h5py.h5s.create_simple((spec.samples, *spec.sample_shapes[TARGET]))
    whole.select_hyperslab((0, 0, 0), (spec.samples, 1, spec.resolution))
    _create_view(file, INPUT, spec.dtype, (spec.samples, spec.resolution), [(TARGET, whole, None)])
    _label(file, INPUT, "initial condition, a view of u")


def _create_view(
    file: h5py.File,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    parts: Sequence[tuple[str, h5py.h5s.SpaceID, int | None]],
) -> h5py.Dataset:
    """A virtual dataset over others of the file. By the low-level calls, as it must not carry a time.

    Each part is a source, what is taken from it, and the index on the view's second axis where it goes (None: all).
    """
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    for source, selection, index in parts:
        if index is not None:
            space.select_hyperslab((0, index, 0), (shape[0], 1, shape[2]))
        settings.set_virtual(space, b".", source.encode(), selection)
    space.select_all()
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, space, settings)
    return dataset_in(file, name)


def _create_tensor(file: h5py.File, spec: DatasetSpec) -> h5py.Dataset:
    """(sample, time, x): a view of the fields."""
    shapes, points = spec.sample_shapes, spec.resolution
    rows = (spec.samples, 1 + len(spec.times or ()), points)
    sources = {name: h5py.h5s.create_simple((spec.samples, *shape)) for name, shape in shapes.items()}
    parts = [(name, source, i if len(shapes) > 1 else None) for i, (name, source) in enumerate(sources.items())]
    tensor = _create_view(file, "tensor", spec.dtype, rows, parts)
    for i, name in enumerate(("sample", "time", "x")):
        tensor.dims[i].attach_scale(dataset_in(file, name))
    label = "u at both times, a view of a and u" if len(shapes) > 1 else "u at all times, a view of u"
    tensor.attrs.update(units="1", long_name=label)
    return tensor


def _write_other_views(file: h5py.File, spec: DatasetSpec) -> None:
    """What PDEBench and The Well look for: a virtual tensor over the fields, links, and small copies."""
    tensor = _create_tensor(file, spec)
    tensor.attrs.update(dim_varying=np.array([True]), sample_varying=True, time_varying=True)
    for name, scale in (("x-coordinate", "x"), ("t-coordinate", "time")):
        copy = file.create_dataset(name, data=dataset_in(file, scale)[()])
        copy.dims[0].attach_scale(dataset_in(file, scale))
    empty = np.array([], dtype=h5py.string_dtype())
    for rank in range(3):
        names = np.array(["u"], dtype=h5py.string_dtype()) if rank == 0 else empty
        file.create_group(f"t{rank}_fields").attrs["field_names"] = names
    file["t0_fields/u"] = tensor
    file.create_group("scalars").attrs["field_names"] = empty
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = np.array(["x"], dtype=h5py.string_dtype())
    for name in ("time", "x"):
        dimensions[name] = dataset_in(file, name)
        dataset_in(file, name).attrs.update(sample_varying=False, time_varying=name == "time")
    walls = file.create_group("boundary_conditions").create_group("x_periodic")
    walls.attrs.update(bc_type="PERIODIC", sample_varying=False, time_varying=False)
    walls.attrs["associated_dims"] = np.array(["x"], dtype=h5py.string_dtype())
    walls.attrs["associated_fields"] = empty
    mask = np.zeros(spec.resolution, dtype=bool)
    mask[[0, -1]] = True
    walls.create_dataset("mask", data=mask).dims[0].attach_scale(dataset_in(file, "x"))


def dataset_in(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of the file, by name."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DatasetError(f"open_dataset: {file.filename} has no dataset {name}; it is damaged or of another layout.")
    return found


def read_map(path: Path) -> FileMap:
    """Where the blocks of a file of ours lie."""
    with h5py.File(path, "r") as file:
        stored = [name for name in (INPUT, TARGET) if f"integrity/{name}" in file] or [INPUT, TARGET]
        fields = [dataset_in(file, name) for name in stored]
        checksums = [dataset_in(file, f"integrity/{name}") for name in stored]
        offsets = [d.id.get_offset() for d in fields + checksums]
        if None in offsets:
            raise DatasetError(f"read_map: {path} has fields that are not contiguous; it cannot be written in place.")
        rows, *shape = fields[0].shape
        middle = len(stored)
        return FileMap(rows, math.prod(shape), fields[0].dtype.name, tuple(offsets[:middle]), tuple(offsets[middle:]))
