"""The same dataset in another storage: compressed in chunks, or plain again; shards become one file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError, OutputError, check_count
from data_gen.files.places import place_of
from data_gen.files.whole import new_file
from data_gen.storage import journal
from data_gen.storage.chunked import (
    Compression,
    check_compression,
    checked_blocks,
    rows_of_chunk,
    stored_attributes,
    write_chunked,
)
from data_gen.storage.dataset import Dataset, open_dataset
from data_gen.storage.hdf5_layout import (
    DATASET,
    create_empty,
)
from data_gen.storage.journal import journal_path, partial_path
from data_gen.storage.sealing import seal_file
from data_gen.storage.shards import shards_of
from data_gen.terminal.quiet import progress_bar


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
        check_compression("repack", compression, level)
        rows = rows_of_chunk(data) if chunk_rows is None else _checked_rows(data, chunk_rows)
        _check_output(data, out)
        with new_file(out, who="repack", kind=DATASET, overwrite=overwrite, demand="not exist") as aside:
            replaced = _replaced_shards(data, out)
            with progress_bar(shown=progress, total=data.num_samples, unit="sample", desc=out.name) as bar:
                if compression == "none":
                    _write_plain(data, aside, bar)
                else:
                    write_chunked(data, aside, bar, rows, level, "repack")
            seal_file(aside)
            _check_copy(data, aside)
        before = data.num_bytes
    for old in replaced:
        old.unlink(missing_ok=True)
    return RepackReport(out, before, out.stat().st_size)


def _checked_rows(data: Dataset, chunk_rows: int) -> int:
    size = data.header.block_samples
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
        for _ in checked_blocks(copy, None, "repack"):
            pass
    if not same:
        raise OutputError(f"repack: {aside} does not hold what was written to it. Check the disk.")


def _check_space(data: Dataset, out: Path) -> None:
    free, needed = shutil.disk_usage(out.parent).free, data.num_samples * data.header.row_bytes
    if needed > free:
        raise DatasetError(
            f"repack: {out} may need {needed // 10**6} MB and its disk has {free // 10**6} MB free. Make room."
        )


def _write_plain(data: Dataset, out: Path, bar: Any) -> None:
    file_map = create_empty(out, data.header, stored_attributes(data), data.table)
    checksums = {}
    for block, _, fields in checked_blocks(data, bar, "repack"):
        checksums[block] = journal.write_block(out, file_map, block, tuple(fields.values()))
    journal.write_checksums(out, file_map, checksums)
