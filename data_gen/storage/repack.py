"""The same dataset in another storage: compressed in chunks, or plain again; shards become one file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
from tqdm import tqdm

from data_gen.errors import DatasetError, OutputError, check_count
from data_gen.files.places import place_of
from data_gen.files.stream import guarded
from data_gen.files.whole import new_file
from data_gen.storage import journal
from data_gen.storage.dataset import Dataset, open_dataset
from data_gen.storage.hdf5_layout import (
    DATASET,
    create_empty,
    further_attributes,
    spec_attributes,
    write_all_but_fields,
)
from data_gen.storage.journal import journal_path, partial_path
from data_gen.storage.sealing import seal_file
from data_gen.storage.shards import shards_of
from data_gen.storage.verification import crc_of
from data_gen.storage.virtual_datasets import dataset_in

Compression = Literal["gzip", "none"]
#: Bytes of a chunk, unless one sample is larger: a reader of a single row has to unpack as many.
CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class RepackReport:
    """The file that ``repack`` wrote, and the sizes of both datasets on the disk."""

    path: Path
    bytes_before: int
    bytes_after: int


def repack(
    path: str | Path,
    out: str | Path,
    *,
    compression: Compression = "gzip",
    level: int = 4,
    chunk_rows: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    verify: bool = True,
) -> RepackReport:
    """Copy a dataset into one file of another storage, block by block.

    The values, their checksums and the attributes are the same, so every reader takes the copy as the original.
    ``"none"`` writes the plain layout of ``generate``, byte for byte. The copy is renamed when it is whole.

    Args:
        path: a dataset file, or the master of one in shards.
        out: the file to write; its folder must exist.
        compression: "gzip" (bytes shuffled first, as netCDF-4 readers expect it) or "none".
        level: effort of gzip, 1 to 9.
        chunk_rows: samples compressed together, a divisor of the file's block; by default as many as make 64 KiB.
        overwrite: replace an existing dataset file once the new one is whole.
        progress: show a bar on stderr.
        verify: compare the header with its checksums; without, one that was changed on purpose is taken. Fields are
            always verified.
    Raises:
        ValueError: an argument is unusable, or the output is the input.
        FileExistsError: the output exists and ``overwrite`` is not set, or it is no dataset file.
        DatasetError: the dataset cannot be read or is damaged.
        OutputError: another process is writing the output, or it cannot be written.
    """
    path, out = Path(path), Path(out)
    with open_dataset(path, verify=verify) as data:
        rows = _checked_rows(data, compression, level, chunk_rows)
        _check_output(data, out)
        with new_file(out, who="repack", kind=DATASET, overwrite=overwrite, demand="not exist") as aside:
            replaced = _replaced_shards(data, out)
            with tqdm(total=data.num_samples, unit="sample", disable=not progress, desc=out.name) as bar:
                if compression == "none":
                    _write_plain(data, aside, bar)
                else:
                    _write_chunked(data, aside, bar, rows, level)
            seal_file(aside)
            _check_copy(data, aside)
        before = data.num_bytes
    for old in replaced:
        old.unlink(missing_ok=True)
    return RepackReport(out, before, out.stat().st_size)


def _checked_rows(data: Dataset, compression: str, level: int, chunk_rows: int | None) -> int:
    if compression not in get_args(Compression):
        raise ValueError(f"repack: `compression` must be {' or '.join(get_args(Compression))}; got {compression!r}.")
    check_count("repack", "level", level)
    if level > 9:
        raise ValueError(f"repack: `level` must be 1 to 9; got {level}.")
    size = data.header.block_samples
    if chunk_rows is None:
        largest = max(_chunk(data, name, 1)[1] for name in data.stored_names)
        return min(size, 2 ** int(np.log2(max(1, CHUNK_BYTES // largest))))
    check_count("repack", "chunk_rows", chunk_rows)
    if size % chunk_rows:
        raise ValueError(f"repack: `chunk_rows` must divide the file's blocks of {size} samples; got {chunk_rows}.")
    return chunk_rows


def _check_output(data: Dataset, out: Path) -> None:
    """Refuse the dataset itself as output, one that ``generate`` is at, and a disk that is too small."""
    place_of(out, "repack", "out")
    used = [data.path, *data.shard_paths]
    if out.exists() and any(out.samefile(file) for file in used):
        raise ValueError(f"repack: `out` must not be the dataset itself; got {out}. Choose another name.")
    if partial_path(out).exists() or journal_path(out).exists():
        raise FileExistsError(f"repack: `out` must not be unfinished; got {out}, which generate has begun. Finish it.")
    _check_space(data, out)


def _replaced_shards(data: Dataset, out: Path) -> list[Path]:
    """The shards that go with a dataset that is replaced."""
    kept = {file.resolve() for file in (data.path, *data.shard_paths)}
    return [old for old in shards_of(out) if old.resolve() not in kept]


def _check_copy(data: Dataset, aside: Path) -> None:
    """Read the copy: every block must have the checksum of the original's."""
    with open_dataset(aside) as copy:
        same = all(np.array_equal(copy.block_checksums(n), data.block_checksums(n)) for n in data.stored_names)
        for _ in _blocks(copy, None):
            pass
    if not same:
        raise OutputError(f"repack: {aside} does not hold what was written to it. Check the disk.")


def _check_space(data: Dataset, out: Path) -> None:
    free, needed = shutil.disk_usage(out.parent).free, data.num_samples * data.header.row_bytes
    if needed > free:
        raise DatasetError(
            f"repack: {out} may need {needed // 10**6} MB and its disk has {free // 10**6} MB free. Make room."
        )


def _attributes(data: Dataset) -> dict[str, Any]:
    """Root attributes of the original; those of a generated file in the order in which it was given them."""
    found = further_attributes(data.header, data.raw_attributes)
    found.pop("shards", None)
    first = list(spec_attributes(data.spec)) if data.spec is not None else []
    return {name: found[name] for name in (*first, *found)}


def _blocks(data: Dataset, bar: Any) -> Any:
    """Block, its rows and its stored fields, checked; the bar moves when it is done."""
    size, shapes = data.header.block_samples, data.header.stored_shapes
    tables = {name: data.block_checksums(name) for name in shapes}
    for block, start in enumerate(range(0, data.num_samples, size)):
        stop, fields = min(start + size, data.num_samples), {}
        for name, shape in shapes.items():
            field = data.read_stored(name, slice(start, stop)).reshape(stop - start, *shape)
            if crc_of(field) != tables[name][block]:
                raise DatasetError(
                    f"repack: {data.path} is damaged: the checksum of {name} differs in samples {start}..{stop - 1}. "
                    f"Generate it again, or copy it again."
                )
            fields[name] = field
        yield block, slice(start, stop), fields
        if bar is not None:
            bar.update(stop - start)


def _write_plain(data: Dataset, out: Path, bar: Any) -> None:
    file_map = create_empty(out, data.header, _attributes(data), data.table)
    checksums = {}
    for block, _, fields in _blocks(data, bar):
        checksums[block] = journal.write_block(out, file_map, block, tuple(fields.values()))
    journal.write_checksums(out, file_map, checksums)


def _write_chunked(data: Dataset, out: Path, bar: Any, rows: int, level: int) -> None:
    with guarded(out) as disk, h5py.File(disk, "w") as file:
        create = partial(_create_chunked, data, rows, level)
        write_all_but_fields(file, data.header, _attributes(data), create, data.table)
        for _, place, fields in disk.unbroken(_blocks(data, bar)):
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
