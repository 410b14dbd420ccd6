"""Verification of the stored fields of a dataset file: each block is compared with its checksum when first touched."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.header import Header
from data_gen.storage.seal import Seal
from data_gen.storage.virtual_datasets import dataset_in


def where_values_lie(field: h5py.Dataset, rows: slice, times: slice = slice(None)) -> Iterator[tuple[int, int]]:
    """Ranges of the file's bytes with some rows of a stored field, of trajectories at some of the times."""
    shape, size = field.shape, field.dtype.itemsize
    start, stop, _ = rows.indices(shape[0])
    if field.chunks is not None:
        first, last, _ = times.indices(shape[1]) if field.ndim > 1 else (0, 1, 1)
        bounds = [(start, stop), (first, last), *((0, count) for count in shape[2:])][: field.ndim]
        steps = [range(low - low % chunk, high, chunk) for (low, high), chunk in zip(bounds, field.chunks, strict=True)]
        for corner in itertools.product(*steps):
            found = field.id.get_chunk_info_by_coord(corner)
            if found.byte_offset is not None:
                yield found.byte_offset, found.byte_offset + found.size
        return
    offset, row = field.id.get_offset(), size * int(np.prod(shape[1:]))
    if offset is None:
        return
    whole = times == slice(None) or field.ndim < 2
    if whole:
        yield offset + start * row, offset + stop * row
        return
    first, last, _ = times.indices(shape[1])
    time = row // shape[1]
    for sample in range(start, stop):
        yield offset + sample * row + first * time, offset + sample * row + last * time


class SealedFields:
    """The fields of a file with a seal, verified by pages."""

    def __init__(self, path: Path, file: h5py.File, header: Header, seal: Seal) -> None:
        self._path, self._file, self._header, self._seal = path, file, header, seal

    def check(self, name: str, start: int, stop: int, times: slice) -> None:
        """Refuse rows of a field whose bytes, at some of the times, are not those that were written.

        Raises:
            DatasetError: the first damaged page is named by its samples.
        """
        field = dataset_in(self._file, name)
        if not self._header.trajectories:
            times = slice(None)
        if self._seal.first_damaged(where_values_lie(field, slice(start, stop), times)) is None:
            return
        for row in range(start, stop):
            if self._seal.first_damaged(where_values_lie(field, slice(row, row + 1), times)) is not None:
                raise damaged_block(self._path, name, row, row + 1, self._header)


class StoredBlocks:
    """The fields of a file without a seal, verified by the checksums of whole blocks."""

    def __init__(self, path: Path, header: Header, checksums: Callable[[str], np.ndarray],
                 read: Callable[[str, int, int], np.ndarray]) -> None:  # fmt: skip
        self._path, self._header, self._read = path, header, read
        self._checksums = {name: checksums(name) for name in header.stored_shapes}
        self._unknown = {name: np.ones(len(table), dtype=bool) for name, table in self._checksums.items()}

    def check(self, name: str, start: int, stop: int, times: slice) -> None:
        """Refuse rows of a field in a block that differs from its checksum.

        Raises:
            DatasetError: the first damaged block is named by its samples.
        """
        size, unknown = self._header.block_samples, self._unknown[name]
        for block in range(start // size, -(-stop // size)):
            if not unknown[block]:
                continue
            first, last = block * size, min((block + 1) * size, self._header.num_samples)
            if crc_of(self._read(name, first, last)) != self._checksums[name][block]:
                raise damaged_block(self._path, name, first, last, self._header)
            unknown[block] = False


def crc_of(field: np.ndarray) -> int:
    """CRC-32 of the values of a block."""
    return zlib.crc32(np.ascontiguousarray(field).data.cast("B"))


def damaged_block(path: Path, name: str, first: int, last: int, header: Header) -> DatasetError:
    """The error of samples ``first`` to ``last - 1`` of a field that are not what was written."""
    block, count = first // header.block_samples, -(-header.num_samples // header.block_samples)
    samples = f"sample {first}" if last == first + 1 else f"samples {first}..{last - 1}"
    return DatasetError(
        f"read: {path} is damaged: {name} differs from its checksum in {samples} (block {block} of 0..{count - 1}). "
        f"Copy the file again, or generate it again; --no-verify (verify=False) reads it unchecked."
    )
