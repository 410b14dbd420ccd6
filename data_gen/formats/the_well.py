"""The Well's HDF5 files, one or a folder of them with data/{train,valid,test}.

Scalar fields and the components of vectors and tensors become channels, a vector's ``velocity_x`` and ``velocity_y``.
Fields that vary in time are the target; constant fields are the input where there is one time, and are left out where
there are several. The axes are transposed to y before x, by their names.
Source: Ohana et al. (2024), The Well: a Large-Scale Collection of Diverse Physics Simulations, docs/data_format.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.format import Format
from data_gen.formats.found import Found
from data_gen.formats.hdf5 import dataset, is_hdf5, numbers_in, open_hdf5, text_in, words, words_in
from data_gen.formats.merged_header import make_header
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import ForeignSource, Readable, Source, blocks, series, trajectory_of
from data_gen.formats.well_statistics import Statistics, statistics_yaml
from data_gen.header import Boundary, Header

FORMAT = Format("the_well", ("",), "The Well: a file, or a folder with data/{train,valid,test}", order=20)

_LOG = logging.getLogger(__name__)
_SPLITS = ("train", "valid", "test")
_BOUNDARIES: dict[str, Boundary] = {"PERIODIC": "periodic", "WALL": "wall", "OPEN": "open"}


@dataclass(frozen=True)
class _Part:
    """One component of a field: its dataset, the axes along which it varies, and its index in vectors and tensors."""

    channel: str
    place: str
    index: tuple[int, ...]
    sample_varying: bool
    time_varying: bool
    dim_varying: tuple[bool, ...]

    @property
    def field(self) -> str:
        """Name of the field that it is a component of."""
        return self.place.split("/")[1]


@dataclass(frozen=True)
class _Grid:
    """The axes of the files, the order that puts x last, coordinates in this order, and the times."""

    axes: tuple[str, ...]
    order: tuple[int, ...]
    coordinates: tuple[np.ndarray, ...]
    times: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points of each axis, x last."""
        return tuple(len(c) for c in self.coordinates)


def recognizes(path: Path) -> bool:
    """Whether it has the groups of The Well, or is a folder of such files."""
    first = next(iter(_files(path)), path)
    if not is_hdf5(first):
        return False
    with open_hdf5(first) as file:
        return "n_spatial_dims" in file.attrs and "t0_fields" in file and "dimensions" in file


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    folders = [path / "data" / split for split in _SPLITS] + [path / split for split in _SPLITS] + [path]
    found = [sorted(p for p in folder.glob("*") if p.suffix in (".h5", ".hdf5")) for folder in folders]
    return next((list(itertools.chain(*group)) for group in (found[:3], found[3:6], found[6:]) if any(group)), [])


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file, or the files of the folder one after another, open for reading.

    Raises:
        DatasetError: they cannot be read, do not fit together, or are on another grid than a Cartesian one.
    """
    paths = _files(path)
    if not paths:
        raise DatasetError(f"open_source: {path} has no .hdf5 files in data/train, data/valid or data/test.")
    opened = _Opened(path)
    try:
        for each in paths:
            opened.files.append(open_hdf5(each))
        return _open(path, opened, overrides)
    except (DatasetError, ValueError):
        opened.close()
        raise
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        opened.close()
        raise DatasetError(f"open_source: {path} does not fit together as a file of The Well ({error}).") from None


@dataclass
class _Opened:
    path: Path
    files: list[h5py.File] = field(default_factory=list)

    def close(self) -> None:
        for file in self.files:
            file.close()


def _open(path: Path, opened: _Opened, overrides: Overrides) -> Source:
    first = opened.files[0]
    grid = _grid_of(path, first)
    counts = [int(numbers_in(file.attrs)["n_trajectories"]) for file in opened.files]
    parts = _parts(first, grid.axes)
    for file in opened.files[1:]:
        if not _is_alike(path, file, grid, parts):
            raise DatasetError(f"open_source: {path} has files of different grids, times or fields: {file.filename}.")
    varying, constant = _chosen(path, parts, overrides, len(grid.times))
    reader = _Reader(opened.files, counts, grid.order, grid.shape, len(grid.times))
    found = Found(
        num_samples=sum(counts),
        shape=grid.shape,
        num_times=len(grid.times),
        dtypes=[dataset(first, part.place).dtype for part in (*varying, *constant)],
        channels=tuple(part.channel for part in varying),
        inputs=tuple(part.channel for part in constant) if len(grid.times) == 1 else None,
        coordinates=grid.coordinates,
        times=grid.times,
        input_name=constant[0].channel if len(constant) == 1 else "a",
        name=text_in(first.attrs, "dataset_name"),
        parameters=_parameters(opened.files),
        boundary=_boundary(first),
        probe=lambda: reader.read(varying, 0, min(2, sum(counts)), slice(0, 3)),
    )
    header, dropped = make_header(path, found, overrides)

    def steady(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        return reader.read(constant if name == header.input_name else varying, start, stop, slice(None))[:, 0]

    timed = series(lambda start, stop, at: reader.read(varying, start, stop, at), header)
    return ForeignSource(path, header, steady if header.steady else timed, opened.close, dropped)


def _grid_of(path: Path, file: h5py.File) -> _Grid:
    kind = text_in(file.attrs, "grid_type", "cartesian")
    axes = tuple(words_in(file["dimensions"].attrs, "spatial_dims"))
    if kind != "cartesian" or not set(axes) <= {"x", "y", "z"}:
        raise DatasetError(
            f"open_source: {path} is on a {kind} grid ({', '.join(axes)}); only Cartesian ones are read."
        )
    order = tuple(axes.index(name) for name in "zyx" if name in axes)
    coordinates = tuple(dataset(file, f"dimensions/{axes[i]}")[()] for i in order)
    return _Grid(axes, order, coordinates, _times_of(path, file))


def _is_alike(path: Path, file: h5py.File, grid: _Grid, parts: list[_Part]) -> bool:
    """Whether a further file has the grid, the times and the fields of the first."""
    places = [f"dimensions/{grid.axes[i]}" for i in grid.order]
    points = zip(places, grid.coordinates, strict=True)
    same = all(np.array_equal(dataset(file, place), known) for place, known in points)
    return same and _times_of(path, file) == grid.times and _parts(file, grid.axes) == parts


@dataclass(frozen=True)
class _Reader:
    """Components of fields over the files of a folder."""

    files: list[h5py.File]
    counts: list[int]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    num_times: int

    def read(self, parts: list[_Part], start: int, stop: int, at: slice) -> np.ndarray:
        """(rows, times, channels, *points)."""
        blocks_read, first = [], 0
        for file, count in zip(self.files, self.counts, strict=True):
            rows = slice(max(start - first, 0), min(stop - first, count))
            if rows.start < rows.stop:
                blocks_read.append(np.stack([self._component(file, part, rows, at) for part in parts], axis=2))
            first += count
        return np.concatenate(blocks_read)

    def _component(self, file: h5py.File, part: _Part, rows: slice, at: slice) -> np.ndarray:
        """(rows, times, *points), repeated along the axes without variation."""
        stored = dataset(file, part.place)
        picked = ((rows,) if part.sample_varying else ()) + ((at,) if part.time_varying else ())
        block = stored[(*picked, ..., *part.index)]
        block = block if part.sample_varying else block[None]
        block = block if part.time_varying else np.expand_dims(block, 1)
        for axis, varies in enumerate(part.dim_varying):
            block = block if varies else np.expand_dims(block, 2 + axis)
        block = block.transpose(0, 1, *(2 + i for i in self.order))
        num_times = len(range(self.num_times)[at]) if part.time_varying else 1
        return np.broadcast_to(block, (rows.stop - rows.start, num_times, *self.shape))


def _parts(file: h5py.File, axes: tuple[str, ...]) -> list[_Part]:
    parts = []
    for rank in range(3):
        group = file.get(f"t{rank}_fields")
        for name in words_in(group.attrs, "field_names") if isinstance(group, h5py.Group) else []:
            place = f"t{rank}_fields/{name}"
            attributes: dict[str, Any] = dict(dataset(file, place).attrs)
            varies = tuple(map(bool, np.atleast_1d(attributes["dim_varying"])))
            for index in itertools.product(range(len(axes)), repeat=rank):
                label = "".join(axes[i] for i in index)
                flags = bool(attributes["sample_varying"]), bool(attributes["time_varying"])
                parts.append(_Part(f"{name}_{label}" if label else name, place, index, *flags, varies))
    return parts


def _chosen(path: Path, parts: list[_Part], overrides: Overrides, num_times: int) -> tuple[list[_Part], list[_Part]]:
    """The components of the target and of the input; the latter are used where there is one time."""
    varying = _named(parts, overrides.target_name, time_varying=True)
    constant = _named(parts, overrides.input_name, time_varying=False)
    if not varying or (num_times == 1 and not constant):
        names = [part.channel for part in parts]
        missing = "field that varies in time" if not varying else "constant field, the input of one time"
        raise DatasetError(
            f"open_source: {path} has no {missing}; it has {', '.join(names) or 'no fields'}. Give --input-name and "
            f"--target-name."
        )
    if num_times > 1 and constant:
        left_out = ", ".join(p.channel for p in constant)
        _LOG.warning("%s: the constant fields %s are left out; trajectories start from their own.", path, left_out)
    return varying, constant if num_times == 1 else []


def _named(parts: list[_Part], name: str | None, *, time_varying: bool) -> list[_Part]:
    """The components called by the name of a channel or of a field; without a name those that vary so in time."""
    if name is None:
        return [part for part in parts if part.time_varying == time_varying]
    return [part for part in parts if name in (part.channel, part.field)]


def _times_of(path: Path, file: h5py.File) -> tuple[float, ...]:
    times = dataset(file, "dimensions/time")[()]
    if times.ndim > 1 and not (times == times[:1]).all():
        raise DatasetError(f"open_source: {path} has times that differ from sample to sample; they must be the same.")
    row = times[0] if times.ndim > 1 else times
    return tuple(float(str(t)) if row.dtype == np.float32 else float(t) for t in row)


def _parameters(files: list[h5py.File]) -> dict[str, float]:
    """The simulation's parameters, as far as all files agree on them."""
    tables = []
    for file in files:
        numbers = numbers_in(file.attrs)
        tables.append({k: numbers[k] for k in words_in(file.attrs, "simulation_parameters") if k in numbers})
    return {k: v for k, v in tables[0].items() if all(table.get(k) == v for table in tables)}


def _boundary(file: h5py.File) -> Boundary:
    group = file.get("boundary_conditions")
    kinds = {text_in(wall.attrs, "bc_type").upper() for wall in group.values()} if isinstance(group, h5py.Group) else ()
    return _BOUNDARIES.get(next(iter(kinds)), "open") if len(kinds) == 1 else "open" if kinds else "periodic"


def write(source: Readable, path: Path) -> None:
    """A folder of The Well: data/train/NAME.hdf5 with all samples, and stats.yaml with the statistics of its fields.

    Raises:
        ValueError: the input is another quantity than the target of a problem in time, which has no place there.
    """
    header = source.header
    if not header.steady and header.inputs != header.channels:
        raise ValueError(
            f"convert: `out` must hold an input of other components ({', '.join(header.inputs)}); The Well cannot."
        )
    (path / "data" / "train").mkdir(parents=True)
    names = (*header.channels, *(header.inputs if header.steady else ()))
    statistics = {name: Statistics() for name in names}
    with h5py.File(path / "data" / "train" / f"{path.name.removesuffix('.part')}.hdf5", "w") as file:
        _write_description(file, header)
        fields = file.create_group("t0_fields")
        fields.attrs["field_names"] = words(names)
        for name in names:
            steps = (len(header.times),) if name in header.channels else ()
            data = fields.create_dataset(name, (header.num_samples, *steps, *header.shape), header.dtype)
            data.attrs.update(dim_varying=np.ones(header.num_dims, bool), sample_varying=True, time_varying=bool(steps))
        for rows, block in blocks(source):
            if header.steady:
                whole, given = block[header.target_name][:, None], block[header.input_name]
            else:
                whole, given = trajectory_of(header, block), np.empty((0, 0))
            for i, name in enumerate(header.channels):
                dataset(file, f"t0_fields/{name}")[rows] = whole[:, :, i]
                statistics[name].add(whole[:, :, i])
            for i, name in enumerate(names[len(header.channels) :]):
                dataset(file, f"t0_fields/{name}")[rows] = given[:, i]
                statistics[name].add(given[:, None, i])
    (path / "stats.yaml").write_text(statistics_yaml(statistics), encoding="ascii")


def _write_description(file: h5py.File, header: Header) -> None:
    file.attrs.update(dataset_name=header.name, grid_type="cartesian", n_spatial_dims=header.num_dims)
    file.attrs["n_trajectories"] = header.num_samples
    file.attrs["simulation_parameters"] = words(list(header.parameters))
    file.attrs.update(header.parameters)
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = words(header.axes)
    for name, values in [("time", np.array(header.times)), *zip(header.axes, header.coordinates, strict=True)]:
        data = dimensions.create_dataset(name, data=values)
        data.attrs.update(sample_varying=False, time_varying=name == "time")
    walls = file.create_group("boundary_conditions")
    for axis, points in zip(header.axes, header.shape, strict=True):
        wall = walls.create_group(f"{axis}_{header.boundary}")
        wall.attrs.update(bc_type=header.boundary.upper(), sample_varying=False, time_varying=False)
        wall.attrs.update(associated_dims=words((axis,)), associated_fields=words(()))
        mask = np.zeros(points, dtype=bool)
        mask[[0, -1]] = True
        wall["mask"] = mask
    for name in ("scalars", "t1_fields", "t2_fields"):
        file.create_group(name).attrs["field_names"] = words(())
