"""The seal of a dataset file: CRC-32 of each page of its bytes, in a record behind the HDF5 data.

::

    HDF5 data | payload | length of the payload (u64), its CRC-32 (u32), magic (12 bytes)

    payload = version (u32), bytes of a page (u32), bytes of the HDF5 data (u64), number of extents (u64),
              extents (start u64, stop u64): where the fields' values lie, one CRC-32 (u32) a page

A page is a part of an extent or of the bytes between two, see ``page_starts``. All numbers are little-endian. The pages
outside the extents (superblock, attributes, tables, checksums) are verified before HDF5 is given the file, because
libhdf5 itself can crash on them; those of the fields when they are first read. Readers of HDF5 ignore what lies behind
their data, and HDF5 cuts it off when it opens a file for writing.
"""

from __future__ import annotations

import itertools
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Self

import numpy as np

from data_gen.errors import DatasetError

#: Name and value of the root attribute of files that have a seal: a file with it and without a seal was cut or changed.
SEAL, SEAL_TEXT = "seal", "CRC-32 of each page of this file, behind the HDF5 data"
#: Bytes of a page, the unit of verification: see benchmarks/verification.py.
PAGE_BYTES = 2**14
_MAGIC, _VERSION = b"\x8bsciml seal\n", 1
_END, _START = struct.Struct("<QI12s"), struct.Struct("<IIQQ")
_RUN = 2**22  # bytes read at once


class Seal:
    """The seal of a file, open for verification.

    Args:
        path: the file's name, for messages.
        file: the file itself, open, which may have lost its name to a newer one; it is closed with the seal.
        page: bytes of a page.
        size: bytes of the HDF5 data.
        extents: (extents, 2), where the values of the fields start and stop, in order.
        checksums: (pages,), uint32.
    """

    def __init__(
        self, path: Path, file: FileIO, page: int, size: int, extents: np.ndarray, checksums: np.ndarray
    ) -> None:
        self.path, self._extents, self._size, self._checksums = path, extents, size, checksums
        self._page, self._cuts = page, np.array(_cuts(size, extents))
        counts = -(-np.diff(self._cuts) // page)
        self._firsts = np.concatenate([[0], np.cumsum(counts)])  # page with which each cut starts
        self._unknown = np.ones(int(self._firsts[-1]), dtype=bool)
        self._file = file

    def first_damaged(self, ranges: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
        """Bytes of the first page in some ranges of bytes that differs from its checksum; None if all are sound.

        A page that was found sound is not read again.
        """
        wanted = [
            np.arange(self._page_at(start), self._page_at(stop - 1) + 1) for start, stop in ranges if start < stop
        ]
        pages = np.unique(np.concatenate(wanted)) if wanted else np.empty(0, dtype=np.int64)
        pages = pages[self._unknown[pages]]
        starts, stops = self._starts_of(pages), self._starts_of(pages + 1)
        for first, last in _runs(pages, starts, stops):
            begin = int(starts[first])
            found = _checksums(_read_at(self._file.fileno(), begin, int(stops[last - 1])), starts[first:last] - begin)
            bad = np.flatnonzero(found != self._checksums[pages[first:last]])
            if bad.size:
                return int(starts[first + bad[0]]), int(stops[first + bad[0]])
            self._unknown[pages[first:last]] = False
        return None

    def _page_at(self, place: int) -> int:
        """The page of a byte; computed, as a large file has many pages."""
        place = min(max(place, 0), self._size - 1)  # a damaged file may name any
        cut = int(np.searchsorted(self._cuts, place, side="right")) - 1
        return int(self._firsts[cut]) + (place - int(self._cuts[cut])) // self._page

    def _starts_of(self, pages: np.ndarray) -> np.ndarray:
        """Where pages start; the one after the last starts where the file ends."""
        cut = np.searchsorted(self._firsts, pages, side="right") - 1
        return self._cuts[cut] + (pages - self._firsts[cut]) * self._page

    def header_is_sound(self) -> bool:
        """Whether all bytes outside the fields' values are those that were written."""
        stops = np.concatenate([[0], self._extents[:, 1]])
        starts = np.concatenate([self._extents[:, 0], [self._size]])
        return self.first_damaged(zip(stops.tolist(), starts.tolist(), strict=True)) is None

    def is_sound(self) -> bool:
        """Whether all bytes of the file are those that were written."""
        return self.first_damaged([(0, self._size)]) is None

    def is_of(self, descriptor: int) -> bool:
        """Whether an open file is the very one that the seal belongs to, not another that has got its name since."""
        return os.path.sameopenfile(self._file.fileno(), descriptor)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_seal(path: Path) -> Seal | None:
    """The seal of a file; None of a file without.

    Raises:
        DatasetError: the seal itself is damaged.
        OSError: the file cannot be read.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb", buffering=0))
        size = os.fstat(file.fileno()).st_size
        if size < _END.size:
            return None
        length, checksum, magic = _END.unpack(_read_at(file.fileno(), size - _END.size, size))
        if magic != _MAGIC:
            return None
        start = size - _END.size - length
        payload = _read_at(file.fileno(), start, start + length) if 0 < start < size else b""
        found = _parsed(path, file, payload, start) if payload and zlib.crc32(payload) == checksum else None
        if found is None:
            raise damaged(path, "its seal")
        stack.pop_all()  # the seal closes it
        return found


def _parsed(path: Path, file: FileIO, payload: bytes, size: int) -> Seal | None:
    """The seal of a payload in front of which lie ``size`` bytes; None if the numbers do not fit."""
    if len(payload) < _START.size:
        return None
    version, page, data, count = _START.unpack_from(payload)
    if version > _VERSION:
        raise DatasetError(
            f"open_dataset: {path} has a seal of version {version}, newer than {_VERSION}. Update sciml_cf."
        )
    if data != size or not page or len(payload) < _START.size + 16 * count:
        return None
    extents = np.frombuffer(payload, "<u8", 2 * count, _START.size).astype(np.int64).reshape(-1, 2)
    pages = sum(-(-(stop - start) // page) for start, stop in itertools.pairwise(_cuts(data, extents)))
    if len(payload) != _START.size + 16 * count + 4 * pages:
        return None
    checksums = np.frombuffer(payload, "<u4", offset=_START.size + 16 * count)
    return Seal(path, file, page, data, extents, checksums)


def has_seal(path: Path) -> bool:
    """Whether a file ends as a sealed one does."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = max(0, size - len(_MAGIC))
        return _read_at(file.fileno(), start, size) == _MAGIC


def damaged(path: Path, what: str) -> DatasetError:
    """The error of a file whose bytes outside the fields differ from what was written."""
    return DatasetError(
        f"open_dataset: {path} is damaged: {what} differs from what was written. Copy the file again, or generate it "
        f"again."
    )


def checked_seal(path: Path) -> Seal | None:
    """The seal of a file whose header is sound; None of a file without a seal.

    Raises:
        DatasetError: the seal, or a byte outside the fields' values, is damaged.
    """
    seal = read_seal(path)
    if seal is not None and not seal.header_is_sound():
        seal.close()
        raise damaged(path, "its header (attributes, tables or checksums)")
    return seal


def write_seal(path: Path, extents: Sequence[tuple[int, int]], *, page: int = PAGE_BYTES) -> None:
    """Add the seal to a whole HDF5 file, in place of one that is there; waits until it is on the disk.

    Args:
        path: the file, not open.
        extents: where the values of the fields start and stop in the file; all other bytes are its header.
        page: bytes of a page.
    """
    with open(path, "r+b") as file:
        descriptor = file.fileno()
        size = _hdf5_bytes(path, _read_at(descriptor, 0, 64))
        file.truncate(size)
        merged = np.array(_merged(extents), "<u8").reshape(-1, 2)
        starts = page_starts(page, size, merged.astype(np.int64))
        stops = np.append(starts[1:], size)
        payload = _START.pack(_VERSION, page, size, len(merged)) + merged.tobytes()
        for first, last in _runs(np.arange(len(starts)), starts, stops):
            begin = int(starts[first])
            data = _read_at(descriptor, begin, int(stops[last - 1]))
            payload += _checksums(data, starts[first:last] - begin).astype("<u4").tobytes()
        file.seek(size)
        file.write(payload + _END.pack(len(payload), zlib.crc32(payload), _MAGIC))
        file.flush()
        os.fsync(descriptor)


def page_starts(page: int, size: int, extents: np.ndarray) -> np.ndarray:
    """(pages,), where the pages start: no page has bytes of the fields and of the header.

    Args:
        page: most bytes of a page; in each extent, and between two, all pages but the last have as many.
        size: bytes in all.
        extents: (extents, 2), in order.
    """
    return np.concatenate([np.arange(start, stop, page) for start, stop in itertools.pairwise(_cuts(size, extents))])


def _cuts(size: int, extents: np.ndarray) -> list[int]:
    """Where extents start and stop, and the ends of the data, in order."""
    return np.unique(np.concatenate([[0], extents.ravel(), [size]])).tolist()


def _runs(pages: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> Iterator[tuple[int, int]]:
    """Of increasing pages, and where each starts and stops, the places of those in a row that are read at once."""
    first = 0
    for i in range(1, len(pages) + 1):
        whole = i == len(pages) or pages[i] != pages[i - 1] + 1
        if whole or stops[i] - starts[first] > _RUN:
            yield first, i
            first = i


def _checksums(data: bytes, starts: np.ndarray) -> np.ndarray:
    """CRC-32 of each page of some bytes."""
    view, bounds = memoryview(data), [*starts.tolist(), len(data)]
    return np.array([zlib.crc32(view[i:j]) for i, j in itertools.pairwise(bounds)], dtype=np.uint32)


def _merged(extents: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Extents in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(extents):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        elif stop > start:
            found.append((start, stop))
    return found


def _hdf5_bytes(path: Path, head: bytes) -> int:
    """Where the HDF5 data end, by the superblock (versions 0 to 3 with addresses of 8 bytes).

    References:
        HDF5 File Format Specification 3.0, section II.A.
    """
    version = head[8]
    if version > 3 or head[13 if version < 2 else 9] != 8:
        raise DatasetError(f"write_seal: {path} has a superblock that is not known (version {version}).")
    place = {0: 40, 1: 44}.get(version, 28)
    return struct.unpack_from("<Q", head, place)[0]


def _read_at(descriptor: int, start: int, stop: int) -> bytes:
    """Bytes of an open file; fewer where it is shorter."""
    data = os.pread(descriptor, stop - start, start)
    while len(data) < stop - start:
        more = os.pread(descriptor, stop - start - len(data), start + len(data))
        if not more:
            break
        data += more
    return data
