"""The layout of a dataset file: its fields, scales and attributes, created at full size and written in place later."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.header import Header
from data_gen.spec import DatasetSpec
from data_gen.storage.hdf5_output import kind_of_layout, new_hdf5
from data_gen.storage.journal import FileMap
from data_gen.storage.seal import SEAL, SEAL_TEXT
from data_gen.storage.virtual_datasets import create_view, dataset_in, write_other_views

LAYOUT = "sciml_cf dataset"
LAYOUT_VERSION = 1
#: Makes a field of a name, a shape and a precision in a file.
CreateField = Callable[[h5py.File, str, tuple[int, ...], str], None]
#: Attribute with the blocks that another method solved.
METHODS = "methods_of_blocks"
#: Group of the parameters of each sample.
TABLE = "sample_parameters"
#: Value of a checksum whose block has not been written.
UNWRITTEN = -1
#: What ``generate`` and ``repack`` write, and may replace.
DATASET = kind_of_layout("a dataset file", LAYOUT)


def create_file(path: Path, spec: DatasetSpec) -> FileMap:
    """Create the file of a description; see ``create_empty``."""
    return create_empty(path, spec.header, spec_attributes(spec), spec.parameter_table(range(spec.samples)))


def spec_attributes(spec: DatasetSpec) -> dict[str, Any]:
    """The attributes of a generated file that its header does not give."""
    return {
        "spec": spec.to_json(),
        "config_hash": spec.config_hash,
        "scheme": spec.method,
        "tolerance": spec.tolerance,
        "seed": spec.seed,
        "initial_condition": spec.initial_condition,
    }


def create_empty(
    path: Path, header: Header, attributes: Mapping[str, Any], table: Mapping[str, np.ndarray] | None = None
) -> FileMap:
    """Create a file of full size with everything but the fields and their checksums.

    Fields are contiguous, allocated early and never filled, and no object carries a time, so that one description
    gives one sequence of bytes.

    Args:
        path: a file that does not exist yet.
        header: description of its content.
        attributes: further root attributes, such as where the data come from.
        table: parameters of each sample, ``(samples,)`` by name.

    Returns:
        Where its blocks lie, for ``journal.write_block`` and, once all are written, ``journal.write_checksums``.

    Raises:
        OSError: the file exists, or cannot be written.
    """
    with new_hdf5(path) as file:
        write_all_but_fields(file, header, attributes, _create_field, table)
    return read_map(path)


def write_all_but_fields(
    file: h5py.File,
    header: Header,
    attributes: Mapping[str, Any],
    create_field: CreateField,
    table: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write everything of a dataset file but its fields' values and checksums.

    Args:
        file: an empty file, open for writing.
        header: description of its content.
        attributes: further root attributes; one of the usual ones replaces it.
        create_field: makes one field, of a name, a shape and a precision.
        table: parameters of each sample, ``(samples,)`` by name.
    """
    _write_attributes(file, header, attributes)
    _write_scales(file, header)
    for name, shape in header.stored_shapes.items():
        create_field(file, name, (header.num_samples, *shape), header.dtype)
        _label(file, header, name, _long_name(name, header))
    if header.trajectories:
        _create_start(file, header)
    write_other_views(file, header)
    integrity = file.create_group("integrity")
    integrity.attrs["block_samples"] = header.block_samples
    block = integrity.create_dataset("block", data=np.arange(-(-header.num_samples // header.block_samples)))
    block.make_scale("block")
    for name in header.stored_shapes:
        data = integrity.create_dataset(name, data=np.full(block.shape, UNWRITTEN, dtype=np.int64))
        data.attrs["long_name"] = f"CRC-32 of each {header.block_samples} samples of {name}"
        data.dims[0].attach_scale(block)
    for name, values in (table or {}).items():
        data = file.create_dataset(f"{TABLE}/{name}", data=np.asarray(values, dtype=np.float64))
        data.attrs.update(units="1", long_name=f"{name} of each sample")
        data.dims[0].attach_scale(dataset_in(file, "sample"))


def _write_attributes(file: h5py.File, header: Header, attributes: Mapping[str, Any]) -> None:
    first, last = _attributes(header)
    file.attrs.update({**first, **attributes, **last})


def further_attributes(header: Header, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a file's root attributes that do not follow from its header: the further ones that it was made with."""
    first, last = _attributes(header)
    return {k: v for k, v in attributes.items() if k == "versions" or k not in {**first, **last}}


def _attributes(header: Header) -> tuple[dict[str, Any], dict[str, Any]]:
    """Root attributes that come before the further ones of a file, and those after."""
    points = " x ".join(map(str, header.shape))
    first = {
        "layout": LAYOUT,
        "layout_version": LAYOUT_VERSION,
        SEAL: SEAL_TEXT,
        "title": f"{header.name}: {header.num_samples} samples on {points} points",
        "equation": header.formula,
        "header": _stored_json(header),
        "extent": header.extents[0] if len(set(header.extents)) == 1 else np.array(header.extents),
        "input": header.input_name,
        "target": header.target_name,
        "versions": json.dumps(package_versions(), sort_keys=True),
        "dataset_name": header.name,
        "grid_type": "cartesian",
        "n_spatial_dims": header.num_dims,
        "n_trajectories": header.num_samples,
    }
    last: dict[str, Any] = {}
    if header.trajectories:
        last.update(input_time=header.times[0], target_time=header.times[-1])
    last["simulation_parameters"] = np.array(list(header.parameters), dtype=h5py.string_dtype())
    last.update(header.parameters)
    if "viscosity" in header.parameters and header.num_dims == 1:
        last["Nu"] = header.parameters["viscosity"] * math.pi  # PDEBench solves with viscosity Nu / pi
    return first, last


def _stored_json(header: Header) -> str:
    """The header without coordinates that are not equally spaced, which the scales have."""
    if header.points is None:
        return header.to_json()
    values = json.loads(header.to_json())
    values["points"] = [axis is not None for axis in header.points]
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _with_points(file: h5py.File, text: str) -> str:
    """The header's JSON with the coordinates of the scales in their places."""
    values = json.loads(text)
    if isinstance(values, dict) and isinstance(values.get("points"), list):
        axes = ("z", "y", "x")[-len(values["points"]) :]
        kept = [
            dataset_in(file, axis)[()].tolist() if own else None
            for axis, own in zip(axes, values["points"], strict=True)
        ]
        values["points"] = kept
        return json.dumps(values)
    return text


def package_versions() -> dict[str, str]:
    """Versions of the packages that a file depends on, for its attributes."""
    found = {}
    for package in ("sciml_cf", "numpy", "scipy", "h5py"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _write_scales(file: h5py.File, header: Header) -> None:
    scales = {"sample": (np.arange(header.num_samples), "sample index"), "time": (np.array(header.times), "time")}
    used = {axis for name in header.stored_shapes for axis in header.stored_axes(name)}
    for label, names in (("channel", header.channels), ("input_channel", header.inputs)):
        if label in used:
            scales[label] = (np.arange(len(names)), f"component: {', '.join(names)}")
    for axis, points in zip(header.axes, header.coordinates, strict=True):
        scales[axis] = (points, "position")
    for name, (values, long_name) in scales.items():
        scale = file.create_dataset(name, data=values)
        scale.make_scale(name)
        scale.attrs.update(units="1", long_name=long_name)


def _create_field(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), settings)


def _long_name(name: str, header: Header) -> str:
    if name == header.input_name:
        return ", ".join(header.inputs) if header.steady else "initial condition"
    if header.steady:
        return "solution"
    return (
        "solution at all times, the first among them" if header.trajectories else f"solution at t = {header.times[1]:g}"
    )


def _label(file: h5py.File, header: Header, name: str, long_name: str) -> None:
    field = dataset_in(file, name)
    field.attrs.update(units="1", long_name=long_name)
    for axis, scale in enumerate(header.stored_axes(name)):
        field.dims[axis].attach_scale(dataset_in(file, scale))


def _create_start(file: h5py.File, header: Header) -> None:
    """The input of trajectories: a view of their start."""
    target = (header.num_samples, *header.stored_shapes[header.target_name])
    start = h5py.h5s.create_simple(target)
    start.select_hyperslab((0,) * len(target), (target[0], 1, *target[2:]))
    rows = (target[0], *target[2:])
    create_view(file, header.input_name, header.dtype, rows, [(header.target_name, start, None)])
    _label(file, header, header.input_name, f"initial condition, a view of {header.target_name}")


def read_map(path: Path) -> FileMap:
    """Where the blocks of a dataset file lie."""
    with h5py.File(path, "r") as file:
        header = read_header(file)
        fields = [dataset_in(file, name) for name in header.stored_shapes]
        checksums = [dataset_in(file, f"integrity/{name}") for name in header.stored_shapes]
        offsets = [d.id.get_offset() for d in fields + checksums]
        if None in offsets:
            raise DatasetError(f"read_map: {path} has fields that are not contiguous; it cannot be written in place.")
        size, middle = fields[0].dtype.itemsize, len(fields)
        return FileMap(
            header.num_samples,
            header.block_samples,
            header.dtype,
            tuple(math.prod(field.shape[1:]) * size for field in fields),
            tuple(offsets[:middle]),
            tuple(offsets[middle:]),
        )


def record_methods(path: Path, methods: Mapping[int, str]) -> None:
    """Note in a file which blocks were solved by another method than its description's; once, as an attribute."""
    attribute = methods_attribute(methods)
    with h5py.File(path, "r") as file:
        if file.attrs.get(METHODS) == attribute[METHODS]:
            return
    with h5py.File(path, "r+") as file:
        file.attrs.update(attribute)


def methods_attribute(methods: Mapping[int, str]) -> dict[str, str]:
    """The root attribute for blocks that another method solved; none if there are none."""
    listed = {str(block): method for block, method in sorted(methods.items())}
    return {METHODS: json.dumps(listed)} if listed else {}


def read_header(file: h5py.File) -> Header:
    """The header that a dataset file has, or that of its description.

    Raises:
        DatasetError: it is of another layout, or of a newer version of it.
        KeyError, ValueError, TypeError: its header is damaged.
    """
    attributes: dict[str, Any] = dict(file.attrs)
    if attributes.get("layout") != LAYOUT:
        raise DatasetError(
            f"open_dataset: {file.filename} is HDF5 but not a dataset of this layout (no attribute layout = "
            f"{LAYOUT!r}). Convert it (sciml-cf convert), or point to a file made by generate."
        )
    if int(attributes["layout_version"]) > LAYOUT_VERSION:
        raise DatasetError(
            f"open_dataset: {file.filename} has layout version {attributes['layout_version']}, newer than "
            f"{LAYOUT_VERSION}. Update sciml_cf."
        )
    if "header" in attributes:
        return Header.from_json(_with_points(file, attributes["header"]))
    return DatasetSpec.from_dict(json.loads(attributes["spec"])).header
