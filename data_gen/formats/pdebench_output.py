"""Output of PDEBench's HDF5 files; x is the first axis in space, as the generator of PDEBench writes it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from data_gen.files.stream import guarded
from data_gen.formats.source import Readable, blocks, check_one_quantity, trajectory_of
from data_gen.header import Header
from data_gen.storage.hdf5_layout import TABLE
from data_gen.storage.hdf5_output import read_through

#: The rows of a source and its stored fields there, block after block.
Parts = Iterator[tuple[slice, dict[str, np.ndarray]]]


def write(source: Readable, path: Path) -> None:
    """A PDEBench file: as for Darcy flow, one tensor in one dimension, else a group for each sample.

    Raises:
        ValueError: the input is another quantity than the target of a problem in time, which has no place there.
    """
    header = source.header
    check_one_quantity(header, "PDEBench")
    with guarded(path) as disk, h5py.File(disk, "w") as file:
        file.attrs.update(equation_name=header.name, boundary=",".join(boundaries_of(header)), **header.parameters)
        file.attrs["right_end"] = right_ends_of(header)
        file.attrs["axes"] = ",".join(reversed(header.axes))
        for theirs, value in _their_numbers(header).items():
            file.attrs[theirs] = value
        if header.steady:
            _write_steady(file, source, disk.unbroken(blocks(source)))
        elif header.num_dims == 1 and len(header.channels) == 1:
            _write_tensor(file, source, disk.unbroken(blocks(source)))
        else:
            _write_groups(file, source, disk.unbroken(blocks(source)))
    read_through(path)


def boundaries_of(header: Header) -> tuple[str, ...]:
    """The kind of boundary, or that of each axis where they differ."""
    return header.boundaries or (header.boundary,)


def right_ends_of(header: Header) -> str:
    """Of each axis whether its last point is the right end of the domain, as files record it."""
    return ",".join("included" if kind == "nodes" else "excluded" for kind in header.placements)


def _their_numbers(header: Header) -> dict[str, float]:
    """Their names of the parameters that all samples share."""
    if header.num_dims != 1:
        return {}
    names = {
        "burgers": {"Nu": ("viscosity", math.pi)},
        "fisher_kpp": {"Nu": ("diffusivity", 1.0), "rho": ("rate", 1.0)},
        "advection": {"beta": ("speed", 1.0)},
    }.get(header.name, {})
    numbers = header.parameters
    return {theirs: numbers[ours] * factor for theirs, (ours, factor) in names.items() if ours in numbers}


def _write_coordinates(file: h5py.File, header: Header) -> None:
    for axis, points in zip(header.axes, header.coordinates, strict=True):
        file[f"{axis}-coordinate"] = points


def _write_table(file: h5py.File, source: Readable) -> None:
    """Parameters of each sample, which these files have no name for."""
    for name, values in source.table.items():
        file[f"{TABLE}/{name}"] = values


def _x_first(fields: np.ndarray, dims: int) -> np.ndarray:
    """The axes in space, which are the last, in reverse order."""
    return fields.transpose(*range(fields.ndim - dims), *range(fields.ndim - 1, fields.ndim - dims - 1, -1))


def _write_tensor(file: h5py.File, source: Readable, parts: Parts) -> None:
    header = source.header
    shape = (header.num_samples, len(header.times), *header.shape)
    tensor = file.create_dataset("tensor", shape, header.dtype)
    _write_coordinates(file, header)
    _write_table(file, source)
    file["t-coordinate"] = [*header.times, 2 * header.times[-1] - header.times[-2]]  # one more, as in theirs
    for rows, fields in parts:
        tensor[rows] = trajectory_of(header, fields)[:, :, 0]


def _write_steady(file: h5py.File, source: Readable, parts: Parts) -> None:
    header = source.header
    if len(header.channels) > 1 or len(header.inputs) > 1:
        raise ValueError("convert: `out` must hold several components of a steady problem; PDEBench cannot.")
    shape = header.shape[::-1]
    tensor = file.create_dataset("tensor", (header.num_samples, 1, *shape), header.dtype)
    given = file.create_dataset("nu", (header.num_samples, *shape), header.dtype)
    _write_coordinates(file, header)
    _write_table(file, source)
    for rows, fields in parts:
        tensor[rows] = _x_first(fields[header.target_name], header.num_dims)
        given[rows] = _x_first(fields[header.input_name], header.num_dims)[:, 0]


def _write_groups(file: h5py.File, source: Readable, parts: Parts) -> None:
    header = source.header
    file.attrs["components"] = ",".join(header.channels)
    config = "sim:\n" + "".join(f"  {name}: {value!r}\n" for name, value in header.parameters.items())
    digits = max(4, len(str(header.num_samples - 1)))
    for rows, fields in parts:
        whole = np.moveaxis(_x_first(trajectory_of(header, fields), header.num_dims), 2, -1)
        for row, sample in zip(range(rows.start, rows.stop), whole, strict=True):
            group = file.create_group(f"{row:0{digits}d}")
            group.attrs["config"] = config
            group.attrs.update({name: values[row] for name, values in source.table.items()})
            group["data"] = sample
            for axis, points in zip(header.axes, header.coordinates, strict=True):
                group[f"grid/{axis}"] = points
            group["grid/t"] = header.times
