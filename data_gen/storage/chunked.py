"""Dataset files compressed in chunks: written from another file, block by block, each checked."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np

from data_gen.errors import DatasetError, check_count
from data_gen.files.stream import guarded
from data_gen.storage.dataset import Dataset
from data_gen.storage.hdf5_layout import further_attributes, spec_attributes, write_all_but_fields
from data_gen.storage.sealing import seal_file
from data_gen.storage.verification import crc_of
from data_gen.storage.virtual_datasets import dataset_in

Compression = Literal["gzip", "none"]
#: Effort of gzip.
LEVEL = 4
#: Bytes of a chunk, unless one sample is larger: a reader of a single row has to unpack as many.
CHUNK_BYTES = 2**16


def check_compression(function: str, compression: str, level: int) -> None:
    """Raise ValueError unless a compression and its level are known."""
    if compression not in get_args(Compression):
        known = " or ".join(get_args(Compression))
        raise ValueError(f"{function}: `compression` must be {known}; got {compression!r}.")
    check_count(function, "level", level)
    if level > 9:
        raise ValueError(f"{function}: `level` must be 1 to 9; got {level}.")


def compress_file(path: Path, out: Path, level: int) -> None:
    """Write a plain file that has all its blocks and checksums, sealed or not, in compressed chunks; and seal that.

    Raises:
        DatasetError: a block differs from its checksum, in the file or in what was written.
    """
    with Dataset(path, verify=False) as data:
        write_chunked(data, out, None, rows_of_chunk(data), level, "generate")
    seal_file(out)


def rows_of_chunk(data: Dataset) -> int:
    """Samples compressed together: as many as make ``CHUNK_BYTES``, a power of two."""
    largest = max(_chunk(data, name, 1)[1] for name in data.stored_names)
    return min(data.header.block_samples, 2 ** int(np.log2(max(1, CHUNK_BYTES // largest))))


def stored_attributes(data: Dataset) -> dict[str, Any]:
    """Root attributes of the original; those of a generated file in the order in which it was given them."""
    found = further_attributes(data.header, data.raw_attributes)
    found.pop("shards", None)
    first = list(spec_attributes(data.spec)) if data.spec is not None else []
    return {name: found[name] for name in (*first, *found)}


def checked_blocks(data: Dataset, bar: Any, function: str) -> Iterator[tuple[int, slice, dict[str, np.ndarray]]]:
    """Block, its rows and its stored fields, checked; the bar moves when it is done."""
    size, shapes = data.header.block_samples, data.header.stored_shapes
    tables = {name: data.block_checksums(name) for name in shapes}
    for block, start in enumerate(range(0, data.num_samples, size)):
        stop, fields = min(start + size, data.num_samples), {}
        for name, shape in shapes.items():
            field = data.read_stored(name, slice(start, stop)).reshape(stop - start, *shape)
            if crc_of(field) != tables[name][block]:
                raise DatasetError(
                    f"{function}: {data.path} is damaged: the checksum of {name} differs in samples {start}.."
                    f"{stop - 1}. Generate it again, or copy it again."
                )
            fields[name] = field
        yield block, slice(start, stop), fields
        if bar is not None:
            bar.update(stop - start)


def write_chunked(data: Dataset, out: Path, bar: Any, rows: int, level: int, function: str) -> None:
    """Write a file of the same content in chunks of so many samples; not sealed yet."""
    with guarded(out) as disk, h5py.File(disk, "w") as file:
        create = partial(_create_chunked, data, rows, level)
        write_all_but_fields(file, data.header, stored_attributes(data), create, data.table)
        for _, place, fields in disk.unbroken(checked_blocks(data, bar, function)):
            for name, field in fields.items():
                dataset_in(file, name)[place] = field
        for name in data.stored_names:
            dataset_in(file, f"integrity/{name}")[...] = data.block_checksums(name)


def _chunk(data: Dataset, name: str, rows: int) -> tuple[tuple[int, ...], int]:
    """Shape of a chunk, one time of a trajectory, and its bytes."""
    shape = data.header.stored_shapes[name]
    if data.header.trajectories:
        shape = (1, *shape[1:])
    return (rows, *shape), rows * int(np.prod(shape)) * data.dtype.itemsize


def _create_chunked(
    data: Dataset, rows: int, level: int, file: h5py.File, name: str, shape: tuple[int, ...], dtype: str
) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    chunk = _chunk(data, name, rows)[0]
    settings.set_chunk((min(chunk[0], shape[0]), *chunk[1:]))
    settings.set_shuffle()
    settings.set_deflate(level)
    settings.set_obj_track_times(False)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), settings)
