"""Datasets in several files: shards and a small master file that lists them; links to other files are refused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.header import Header
from data_gen.storage.hdf5_layout import read_header, write_all_but_fields
from data_gen.storage.hdf5_output import new_hdf5
from data_gen.storage.links import objects_in, shown
from data_gen.storage.virtual_datasets import dataset_in

#: Most files of a dataset: all are open while it is read.
MAX_SHARDS = 512


@dataclass(frozen=True)
class Shard:
    """A file with the samples ``start`` to ``stop - 1`` of a dataset; ``checksum`` is that of its fields."""

    name: str
    start: int
    stop: int
    checksum: str


def shard_paths(path: Path, count: int, config_hash: str) -> list[Path]:
    """Where the shards of a dataset lie. The names of two datasets differ, so one can replace the other."""
    names = (f"{path.stem}.shard-{i:04d}-of-{count:04d}-{config_hash[:8]}{path.suffix}" for i in range(count))
    return [path.with_name(name) for name in names]


def is_shard_name(path: Path, name: str) -> bool:
    """Whether ``shard_paths`` could give this name for a shard of ``path``."""
    shape = rf"{re.escape(path.stem)}\.shard-\d{{4}}-of-\d{{4}}-[0-9a-f]{{8}}{re.escape(path.suffix)}"
    return re.fullmatch(shape, name) is not None


def checksum_of(tables: Iterable[np.ndarray]) -> str:
    """SHA-256 over the tables of block checksums of each field."""
    return hashlib.sha256(b"".join(table.astype("<i8").tobytes() for table in tables)).hexdigest()


def create_master(
    path: Path,
    header: Header,
    attributes: Mapping[str, Any],
    shards: Sequence[Shard],
    checksums: Mapping[str, np.ndarray],
    table: Mapping[str, np.ndarray],
) -> None:
    """Write the file that lists shards, with virtual fields over theirs.

    Where a shard is missing, other readers of HDF5 find NaN; ``open_dataset`` refuses.

    Args:
        path: a file that does not exist yet.
        header: description of the whole dataset.
        attributes: further root attributes.
        shards: in order, each made of whole blocks.
        checksums: the block checksums of each stored field.
        table: parameters of each sample, ``(samples,)`` by name.
    """

    def create_field(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_obj_track_times(False)
        settings.set_fill_value(np.array(np.nan, dtype))
        space, rest = h5py.h5s.create_simple(shape), shape[1:]
        for shard in shards:
            rows = shard.stop - shard.start
            space.select_hyperslab((shard.start, *(0,) * len(rest)), (rows, *rest))
            settings.set_virtual(space, shard.name.encode(), name.encode(), h5py.h5s.create_simple((rows, *rest)))
        space.select_all()
        kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
        h5py.h5d.create(file.id, name.encode(), kind, space, settings)

    with new_hdf5(path) as file:
        listed = json.dumps([asdict(shard) for shard in shards])
        write_all_but_fields(file, header, {**attributes, "shards": listed}, create_field, table)
        for name, values in checksums.items():
            dataset_in(file, f"integrity/{name}")[...] = values


def listed_shards(file: h5py.File, header: Header) -> tuple[Shard, ...]:
    """The shards that a file lists; () of a file with all fields itself.

    Raises:
        DatasetError: a name is not that of a file in the same folder, or the shards are not all samples in order.
    """
    if "shards" not in file.attrs:
        return ()
    try:
        shards = tuple(Shard(**entry) for entry in json.loads(str(file.attrs["shards"])))
        if any(not isinstance(bound, int) for shard in shards for bound in (shard.start, shard.stop)):
            raise TypeError
    except (ValueError, TypeError, AttributeError):
        raise DatasetError(f"open_dataset: {file.filename} has a damaged list of shards.") from None
    bad = [shard.name for shard in shards if not _is_plain(shard.name)]
    if bad:
        raise DatasetError(
            f"open_dataset: {file.filename} lists the shard {bad[0]!r}, which is not the name of a file in its folder; "
            f"that is refused."
        )
    if len(shards) > MAX_SHARDS or not _are_all_in_order(shards, header):
        raise DatasetError(f"open_dataset: {file.filename} lists shards that are not all of its samples in order.")
    return shards


def _are_all_in_order(shards: Sequence[Shard], header: Header) -> bool:
    """Whether the shards follow one another from the first sample to the last, each a number of whole blocks."""
    stop = 0
    for shard in shards:
        if shard.start != stop or shard.start % header.block_samples or shard.stop <= shard.start:
            return False
        stop = shard.stop
    return stop == header.num_samples


def _is_plain(name: object) -> bool:
    if not isinstance(name, str) or name in ("", ".", ".."):
        return False
    return not any(c in name for c in "/\\\0%")


def shards_of(path: Path) -> list[Path]:
    """Shards to remove when the dataset at ``path`` is replaced: those it lists by names of ``shard_paths``."""
    try:
        with h5py.File(path, "r") as file:
            shards = listed_shards(file, read_header(file))
    except (OSError, DatasetError, KeyError, ValueError, TypeError):
        return []
    return [path.with_name(shard.name) for shard in shards if is_shard_name(path, shard.name)]


def refuse_other_files(file: h5py.File, header: Header, shards: Sequence[Shard]) -> None:
    """Refuse all links of a file to another one, except those of its fields to the shards listed.

    Raises:
        DatasetError: there is an external link, storage in another file, or a virtual dataset over one.
    """
    for path, found in objects_in(file):
        stored = path in header.stored_shapes
        expected = [(s.name, path, s.start, s.stop) for s in shards] if stored else []
        if found is None or not _may_lie_there(found, expected):
            raise DatasetError(f"open_dataset: {file.filename} keeps {shown(path)} in another file, which is refused.")
        if stored and bool(_parts(found)) != bool(shards):
            raise DatasetError(f"open_dataset: {file.filename} keeps {shown(path)} in a view, which is refused.")


def _may_lie_there(found: h5py.Dataset, expected: list[tuple[str, str, int, int]]) -> bool:
    """Whether a dataset lies in the file itself, or where it is listed, over the parts expected."""
    parts = _parts(found)
    inside = not expected and all(part.file_name == "." for part in parts)
    return not found.external and (inside or [_source(part) for part in parts] == expected)


def _parts(found: h5py.Dataset) -> list[Any]:
    """The parts of a virtual dataset; none of any other."""
    return found.virtual_sources() if found.is_virtual else []


def _source(source: Any) -> tuple[str, str, int, int]:
    """File, dataset and rows of a part of a virtual dataset."""
    low, high = source.vspace.get_select_bounds()
    return source.file_name, source.dset_name, low[0], high[0] + 1


class ShardedField:
    """A stored field over the shards of a dataset: its shape, and rows by a slice with a start and a stop."""

    def __init__(self, shards: Sequence[Shard], fields: Sequence[h5py.Dataset]) -> None:
        self._parts = list(zip(shards, fields, strict=True))
        self.shape: tuple[int, ...] = (shards[-1].stop, *fields[0].shape[1:])

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, at = key[0], key[1:]
        read = []
        for shard, field in self._parts:
            start, stop = max(rows.start, shard.start), min(rows.stop, shard.stop)
            if start < stop:
                read.append(field[(slice(start - shard.start, stop - shard.start), *at)])
        return read[0] if len(read) == 1 else np.concatenate(read)
