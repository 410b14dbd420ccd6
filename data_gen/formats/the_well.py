"""The Well's HDF5 files, one or a folder of them with data/{train,valid,test}.

Scalar fields and the components of vectors and tensors become channels, a vector's ``velocity_x`` and ``velocity_y``.
Fields that vary in time are the target; constant fields are the input where there is one time, and are left out where
there are several, unless ``--input-name`` names them. Parameters that differ from file to file and scalars of each
sample are a table, and train, valid and test stay apart. The axes are transposed to y before x, by their names.

References:
    Ohana et al. (2024), The Well: a Large-Scale Collection of Diverse Physics Simulations, docs/data_format.
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
from data_gen.formats.axes import SPACE, Axes
from data_gen.formats.fields import Field, Variable
from data_gen.formats.format import Format
from data_gen.formats.hdf5 import dataset, datasets_in, is_hdf5, numbers_in, open_hdf5, right_ends_in, text_in, words_in
from data_gen.formats.overrides import Overrides, split_names
from data_gen.formats.pairs import About, source_of_fields
from data_gen.formats.source import Source
from data_gen.formats.tables import parameters_and_table
from data_gen.formats.well_output import write
from data_gen.header import Boundary
from data_gen.storage.fields import SPLIT

__all__ = ["FORMAT", "open_file", "recognizes", "write"]

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
    with open_hdf5(first, check=False) as file:
        return "n_spatial_dims" in file.attrs and {"t0_fields", "dimensions"} <= set(map(str, file))  # follows no link


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
            opened.files.append(open_hdf5(each, follow_links=overrides.follow_links))
        return _open(path, opened, overrides)
    except (DatasetError, ValueError):
        opened.close()
        raise
    except (KeyError, TypeError, AttributeError, IndexError, OSError, RuntimeError) as error:
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
    grid = _grid_of(path, first, overrides.times)
    counts = [int(numbers_in(file.attrs)["n_trajectories"]) for file in opened.files]
    parts = _parts(first, grid.axes)
    for file in opened.files[1:]:
        if not _is_alike(path, file, grid, parts, overrides.times):
            raise DatasetError(f"open_source: {path} has files of different grids, times or fields: {file.filename}.")
    given, varying = _chosen(path, parts, overrides, len(grid.times))
    parameters, table = _parameters(opened.files, counts)
    reader = _Reader(opened.files, counts, grid.order, grid.shape, len(grid.times))
    reader.check(path, [*given, *varying])
    about = About(
        coordinates=dict(zip([grid.axes[i] for i in grid.order], grid.coordinates, strict=True)),
        times=grid.times,
        name=text_in(first.attrs, "dataset_name"),
        parameters=parameters,
        table={**table, **_splits(path, opened.files, counts)},
        right_ends=right_ends_in(first.attrs),
        boundary=_boundary(first, [grid.axes[i] for i in grid.order]),
        input_name=given[0].channel if len(given) == 1 else "a",
        target_name="u",
        find=lambda name: _mask(path, reader, parts, name),
    )
    fields = [_field(reader, one) for one in (given, varying)]
    return source_of_fields(path, fields[0] if given else None, fields[1], overrides, about, opened.close)


def _mask(path: Path, reader: _Reader, parts: list[_Part], name: str) -> tuple[_Stored, Axes]:
    """A field as a mask, and its axes."""
    (part, *_) = _named(path, parts, name)
    return _Stored(reader, part, part.time_varying), reader.axes(part.time_varying)


def _field(reader: _Reader, parts: list[_Part]) -> Field:
    """Components as one field; with times where one of them varies in time."""
    timed = any(part.time_varying for part in parts)
    variables = [Variable(part.channel, _Stored(reader, part, timed), reader.axes(timed)) for part in parts]
    return Field("_".join(part.channel for part in parts[:2]), tuple(variables), tuple(part.channel for part in parts))


def _grid_of(path: Path, file: h5py.File, times: tuple[float, ...]) -> _Grid:
    kind = text_in(file.attrs, "grid_type", "cartesian")
    axes = tuple(words_in(file["dimensions"].attrs, "spatial_dims"))
    if kind != "cartesian" or not set(axes) <= {"x", "y", "z"}:
        raise DatasetError(
            f"open_source: {path} is on a {kind} grid ({', '.join(axes)}); only Cartesian ones are read."
        )
    order = tuple(axes.index(name) for name in "zyx" if name in axes)
    coordinates = tuple(dataset(file, f"dimensions/{axes[i]}")[()] for i in order)
    return _Grid(axes, order, coordinates, _times_of(path, file, times))


def _is_alike(path: Path, file: h5py.File, grid: _Grid, parts: list[_Part], times: tuple[float, ...]) -> bool:
    """Whether a further file has the grid, the times and the fields of the first."""
    places = [f"dimensions/{grid.axes[i]}" for i in grid.order]
    points = zip(places, grid.coordinates, strict=True)
    same = all(np.array_equal(dataset(file, place), known) for place, known in points)
    return same and _times_of(path, file, times) == grid.times and _parts(file, grid.axes) == parts


@dataclass(frozen=True)
class _Reader:
    """Components of fields over the files of a folder."""

    files: list[h5py.File]
    counts: list[int]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    num_times: int

    def axes(self, timed: bool) -> Axes:
        """The axes of a component that is read."""
        return ("sample", *(("time",) if timed else ()), *SPACE[-len(self.shape) :])

    def check(self, path: Path, parts: list[_Part]) -> None:
        """Refuse fields of other shapes than the numbers of samples, times and points say."""
        dims = tuple(self.shape[self.order.index(i)] for i in range(len(self.order)))
        for file, count in zip(self.files, self.counts, strict=True):
            for part in parts:
                lead = (count,) * part.sample_varying + (self.num_times,) * part.time_varying
                points = tuple(n for n, varies in zip(dims, part.dim_varying, strict=True) if varies)
                wanted = (*lead, *points, *(len(dims),) * len(part.index))
                found = dataset(file, part.place)
                if found.shape != wanted:
                    raise DatasetError(
                        f"open_source: {path} has {part.place} of shape {found.shape} in {Path(file.filename).name}; "
                        f"{wanted} is what its samples, times and points say. Is it damaged?"
                    )

    def read(self, part: _Part, rows: slice, at: slice) -> np.ndarray:
        """``(rows, times, *points)``."""
        blocks_read, first = [], 0
        start, stop, _ = rows.indices(sum(self.counts))
        for file, count in zip(self.files, self.counts, strict=True):
            inside = slice(max(start - first, 0), min(stop - first, count))
            if inside.start < inside.stop:
                blocks_read.append(self._component(file, part, inside, at))
            first += count
        return np.concatenate(blocks_read)

    def _component(self, file: h5py.File, part: _Part, rows: slice, at: slice) -> np.ndarray:
        """``(rows, times, *points)``, repeated along the axes without variation."""
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


class _Stored:
    """A component of a field over all files, as an array."""

    def __init__(self, reader: _Reader, part: _Part, timed: bool) -> None:
        self.reader, self.part, self.timed = reader, part, timed
        times = (reader.num_times,) if timed else ()
        self.shape = (sum(reader.counts), *times, *reader.shape)
        self.dtype = dataset(reader.files[0], part.place).dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        if not self.timed:
            return self.reader.read(self.part, index[0], slice(None))[:, 0]
        found = self.reader.read(self.part, index[0], index[1])
        times = len(range(self.reader.num_times)[index[1]])
        return np.broadcast_to(found, (len(found), times, *found.shape[2:]))


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
    """The components of the input, none of trajectories, and of the target."""
    targets = _named(path, parts, overrides.target_name) or [part for part in parts if part.time_varying]
    constant = [part for part in parts if not part.time_varying and part not in targets]
    given = _named(path, parts, overrides.input_name) or (constant if num_times == 1 else [])
    if not targets or (num_times == 1 and not given):
        missing = "field that varies in time" if not targets else "constant field, the input of one time"
        raise DatasetError(
            f"open_source: {path} has no {missing}; it has {_channels(parts) or 'no fields'}. Give --input-name and "
            f"--target-name."
        )
    left_out = [part for part in constant if part not in given]
    if left_out:
        start = "" if given else "; trajectories start from their own"
        _LOG.warning("%s: the constant fields %s are left out%s.", path, _channels(left_out), start)
    return given, targets


def _channels(parts: list[_Part]) -> str:
    return ", ".join(part.channel for part in parts)


def _named(path: Path, parts: list[_Part], text: str | None) -> list[_Part]:
    """The components called by the names of channels or of fields; none without a name.

    Raises:
        DatasetError: there is none of a name.
    """
    found: list[_Part] = []
    for name in split_names(text):
        these = [part for part in parts if name in (part.channel, part.field, part.place)]
        if not these:
            raise DatasetError(f"open_source: {path} has no field {name}; it has {_channels(parts)}.")
        found += these
    return found


def _times_of(path: Path, file: h5py.File, given: tuple[float, ...] = ()) -> tuple[float, ...]:
    """The times that are given, else those of the file, which must be the same for all samples."""
    times = dataset(file, "dimensions/time")[()]
    if given and np.ndim(times) and len(given) == np.shape(times)[-1]:
        return given
    if times.ndim > 1 and not (times == times[:1]).all():
        raise DatasetError(
            f"open_source: {path} has times that differ from sample to sample; they must be the same. Give --times."
        )
    row = times[0] if times.ndim > 1 else times
    return tuple(float(str(t)) if row.dtype == np.float32 else float(t) for t in row)


def _parameters(files: list[h5py.File], counts: list[int]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The simulation's parameters: those that all files agree on, and the others by sample."""
    tables: list[dict[str, float]] = []
    by_sample: dict[str, list[np.ndarray]] = {}
    for file, count in zip(files, counts, strict=True):
        numbers = numbers_in(file.attrs)
        tables.append({k: numbers[k] for k in words_in(file.attrs, "simulation_parameters") if k in numbers})
        for name, found in datasets_in(file, "scalars").items():
            values = np.ravel(found[()])
            if values.dtype.kind in "fiu" and values.size == 1 and np.isfinite(values).all():
                tables[-1].setdefault(name, float(values[0]))
            elif values.dtype.kind in "fiu" and values.size == count:
                by_sample.setdefault(name, []).append(values.astype(np.float64))
    same, table = parameters_and_table(tables, counts)
    whole = {name: np.concatenate(parts) for name, parts in by_sample.items() if len(parts) == len(files)}
    return {k: v for k, v in same.items() if k not in whole}, {**table, **whole}


def _splits(path: Path, files: list[h5py.File], counts: list[int]) -> dict[str, np.ndarray]:
    """The part of the split that each sample is in, by the folder of its file."""
    places = [Path(str(file.filename)).parent.name for file in files]
    if not path.is_dir() or not set(places) <= set(_SPLITS):
        return {}
    return {SPLIT: np.repeat([float(_SPLITS.index(place)) for place in places], counts)}


def _boundary(file: h5py.File, axes: list[str]) -> Boundary | tuple[Boundary, ...]:
    """The kind of boundary, of each axis where they differ; the walls of a group belong to the axes that it lists."""
    group = file.get("boundary_conditions")
    kinds: dict[str, set[Boundary]] = {axis: set() for axis in axes}
    found: set[Boundary] = set()
    for wall in group.values() if isinstance(group, h5py.Group) else ():
        kind = _BOUNDARIES.get(text_in(wall.attrs, "bc_type").upper(), "open")
        found.add(kind)
        for axis in words_in(wall.attrs, "associated_dims") or [str(wall.name).rsplit("/", 1)[-1].split("_")[0]]:
            if axis in kinds:
                kinds[axis].add(kind)
    if len(found) < 2 or not all(len(one) == 1 for one in kinds.values()):
        return next(iter(found)) if len(found) == 1 else "open" if found else "periodic"
    each: list[Boundary] = [next(iter(kinds[axis])) for axis in axes]
    return tuple(each)
