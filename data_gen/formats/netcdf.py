"""netCDF files with named variables and dimensions, as xarray writes them.

Dimensions are recognized by their names, or by the attribute ``axis`` of their coordinates: ``sample`` (or batch,
trajectory, ensemble, member) the samples, ``time`` (or t) the times, ``channel`` (or component, variable) the
components, ``x``, ``y`` and ``z`` the axes in space, in any order. A variable without samples is one sample. The
attributes ``input`` and ``target`` name the variables; without them, a variable with times is a trajectory and of two
variables without times the first is the input. ``--input-name`` and ``--target-name`` take any, GROUP/NAME in a group,
and several as channels. Fill values and packed numbers are decoded, the default fill values too. Numbers among the
attributes are parameters, variables along the samples alone are parameters of each sample.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.files.stream import guarded
from data_gen.formats.format import Format
from data_gen.formats.hdf5 import is_hdf5, open_hdf5
from data_gen.formats.overrides import Overrides
from data_gen.formats.pdebench_output import boundaries_of, right_ends_of
from data_gen.formats.source import Readable, Source, blocks
from data_gen.formats.xarray_fields import source_of_datasets
from data_gen.header import Header
from data_gen.storage.hdf5_output import read_through

FORMAT = Format("netcdf", (".nc", ".nc4", ".cdf"), "netCDF with dimensions sample, time, channel, y, x", order=40)

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")


def recognizes(path: Path) -> bool:
    """Whether it is classic netCDF, or HDF5 with dimensions as netCDF-4 writes them."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        if file.read(4) in _CLASSIC:
            return True
    if not is_hdf5(path):
        return False
    with open_hdf5(path, check=False) as file:
        if "_NCProperties" in file.attrs:
            return True
        kept = (file[name] for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink))
        return any(item.attrs.get("CLASS") == b"DIMENSION_SCALE" for item in kept)


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it cannot be read, keeps data in other files, or its variables and dimensions are not understood.
    """
    if not path.is_file():
        raise DatasetError(f"open_source: {path} is not a file.")
    engine = _engine(path)
    if engine == "h5netcdf":
        open_hdf5(path, follow_links=overrides.follow_links).close()
    return source_of_datasets(path, engine, overrides, "netCDF")


def _engine(path: Path) -> str:
    """What reads the file: of classic netCDF the 64-bit variant with data of 64 bits needs the netCDF library."""
    if is_hdf5(path):
        return "h5netcdf"
    with open(path, "rb") as file:
        if file.read(4) != _CLASSIC[2]:
            return "scipy"
    try:
        import netCDF4  # noqa: F401
    except ImportError:
        raise DatasetError(
            f"open_source: {path} is netCDF of the 64-bit data variant (CDF5), which needs the package netCDF4: pip "
            f"install netCDF4. "
            f"Or convert it to netCDF-4 (nccopy -k nc4)."
        ) from None
    return "netcdf4"


def write(source: Readable, path: Path) -> None:
    """A netCDF-4 file with the input (but of trajectories), the target, their coordinates and the parameters."""
    import h5netcdf

    header = source.header
    with guarded(path) as disk, h5netcdf.File(disk, "w") as file:
        file.dimensions = _dimensions(header)
        file.attrs.update(header.parameters)
        file.attrs.update(
            equation_name=header.name, boundary=",".join(boundaries_of(header)), target=header.target_name
        )
        file.attrs["right_end"] = right_ends_of(header)
        if not header.trajectories:
            file.attrs["input"] = header.input_name
            file.attrs["times"] = np.array(header.times)
        for axis, points in zip(header.axes, header.coordinates, strict=True):
            file.create_variable(axis, (axis,), data=points)
        if header.trajectories:
            file.create_variable("time", ("time",), data=np.array(header.times))
        for name, values in source.table.items():
            file.create_variable(name, ("sample",), data=values)
        for name in header.stored_shapes:
            variable = file.create_variable(name, header.stored_axes(name), header.dtype)
            names = header.inputs if name == header.input_name else header.channels
            variable.attrs["components"] = ",".join(names)
        for rows, fields in disk.unbroken(blocks(source)):
            for name, field in fields.items():
                many = "channel" in "".join(header.stored_axes(name))
                file.variables[name][rows] = field if many else field.squeeze(-1 - header.num_dims)
    read_through(path)


def _dimensions(header: Header) -> dict[str, int]:
    """Lengths of the dimensions that the stored fields have, by name."""
    lengths = {"time": len(header.times), "channel": len(header.channels), "input_channel": len(header.inputs)}
    sizes = {"sample": header.num_samples, **dict(zip(header.axes, header.shape, strict=True))}
    for name in header.stored_shapes:
        for axis in header.stored_axes(name):
            if axis not in sizes:
                sizes[axis] = lengths[axis]
    return sizes
