"""Output of The Well's folders: data/train/NAME.hdf5 with all samples, and stats.yaml with their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from data_gen.files.stream import guarded
from data_gen.formats.hdf5 import dataset, words
from data_gen.formats.pdebench_output import right_ends_of
from data_gen.formats.source import Readable, blocks, check_one_quantity, trajectory_of
from data_gen.formats.well_statistics import Statistics, statistics_yaml
from data_gen.header import Header
from data_gen.storage.hdf5_output import read_through


def write(source: Readable, path: Path) -> None:
    """A folder of The Well: data/train/NAME.hdf5 with all samples, and stats.yaml with the statistics of its fields.

    Raises:
        ValueError: the input is another quantity than the target of a problem in time, which has no place there.
    """
    header = source.header
    check_one_quantity(header, "The Well")
    (path / "data" / "train").mkdir(parents=True)
    names = (*header.channels, *(header.inputs if header.steady else ()))
    statistics = {name: Statistics() for name in names}
    whole = path / "data" / "train" / f"{path.name}.hdf5"
    with guarded(whole) as disk, h5py.File(disk, "w") as file:
        _write_description(file, header, source.table)
        fields = file.create_group("t0_fields")
        fields.attrs["field_names"] = words(names)
        for name in names:
            steps = (len(header.times),) if name in header.channels else ()
            data = fields.create_dataset(name, (header.num_samples, *steps, *header.shape), header.dtype)
            data.attrs.update(dim_varying=np.ones(header.num_dims, bool), sample_varying=True, time_varying=bool(steps))
        for rows, block in disk.unbroken(blocks(source)):
            if header.steady:
                targets, given = block[header.target_name][:, None], block[header.input_name]
            else:
                targets, given = trajectory_of(header, block), np.empty((0, 0))
            for i, name in enumerate(header.channels):
                dataset(file, f"t0_fields/{name}")[rows] = targets[:, :, i]
                statistics[name].add(targets[:, :, i])
            for i, name in enumerate(names[len(header.channels) :]):
                dataset(file, f"t0_fields/{name}")[rows] = given[:, i]
                statistics[name].add(given[:, None, i])
    read_through(whole)
    with guarded(path / "stats.yaml") as disk:
        disk.write(statistics_yaml(statistics).encode("ascii"))


def _write_description(file: h5py.File, header: Header, table: Mapping[str, np.ndarray]) -> None:
    file.attrs.update(dataset_name=header.name, grid_type="cartesian", n_spatial_dims=header.num_dims)
    file.attrs["n_trajectories"] = header.num_samples
    file.attrs["simulation_parameters"] = words(list(header.parameters))
    file.attrs.update(header.parameters)
    file.attrs["right_end"] = right_ends_of(header)
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = words(header.axes)
    for name, values in [("time", np.array(header.times)), *zip(header.axes, header.coordinates, strict=True)]:
        data = dimensions.create_dataset(name, data=values)
        data.attrs.update(sample_varying=False, time_varying=name == "time")
    walls = file.create_group("boundary_conditions")
    for axis, points, boundary in zip(header.axes, header.shape, header.axis_boundaries, strict=True):
        wall = walls.create_group(f"{axis}_{boundary}")
        wall.attrs.update(bc_type=boundary.upper(), sample_varying=False, time_varying=False)
        wall.attrs.update(associated_dims=words((axis,)), associated_fields=words(()))
        mask = np.zeros(points, dtype=bool)
        mask[[0, -1]] = True
        wall["mask"] = mask
    for name in ("t1_fields", "t2_fields"):
        file.create_group(name).attrs["field_names"] = words(())
    scalars = file.create_group("scalars")
    scalars.attrs["field_names"] = words(list(table))
    for name, values in table.items():
        scalars.create_dataset(name, data=values).attrs.update(sample_varying=True, time_varying=False)
