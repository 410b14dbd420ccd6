"""Blocks written in place, and the journal of an unfinished file, which lists the blocks that are on the disk."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import OutputError
from data_gen.files.whole import write_bytes

#: One CRC-32 for each stored field.
Checksums = tuple[int, ...]


@dataclass(frozen=True)
class FileMap:
    """Where the bytes of a file's blocks lie: all that is needed to write one without opening HDF5.

    ``fields`` and ``checksums`` are the offsets of the stored fields and of their checksums, input first, and
    ``row_bytes`` how many bytes each field has of one sample.
    """

    num_samples: int
    block_samples: int
    dtype: str
    row_bytes: tuple[int, ...]
    fields: tuple[int, ...]
    checksums: tuple[int, ...]

    @property
    def size(self) -> int:
        """The bytes that a file must have at least."""
        ends = [at + self.num_samples * row for at, row in zip(self.fields, self.row_bytes, strict=True)]
        return max(*ends, *(at + 8 * self.num_blocks for at in self.checksums))

    @property
    def num_blocks(self) -> int:
        """Number of blocks, the last one possibly short."""
        return -(-self.num_samples // self.block_samples)

    def block_rows(self, block: int) -> tuple[int, int]:
        """First sample of a block and the one after its last."""
        return block * self.block_samples, min(self.num_samples, (block + 1) * self.block_samples)

    def block_bytes(self, block: int) -> list[tuple[int, int]]:
        """Offset of a block in the file, and its size, for each field."""
        start, stop = self.block_rows(block)
        return [(at + start * row, (stop - start) * row) for at, row in zip(self.fields, self.row_bytes, strict=True)]


def partial_path(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(path.name + ".partial")


def journal_path(path: Path) -> Path:
    """The list of blocks already in the partial file."""
    return path.with_name(path.name + ".journal")


def write_block(path: Path, file_map: FileMap, block: int, fields: tuple[np.ndarray, ...]) -> Checksums:
    """Put a block of each field, ``(rows, ...)``, in its place, wait until it is on the disk, and return its checksums.

    Raises:
        OSError: the operating system refuses to.
        OutputError: the file does not hold what was written.
    """
    checksums = []
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        for (offset, size), field in zip(file_map.block_bytes(block), fields, strict=True):
            data = np.ascontiguousarray(field, dtype=file_map.dtype).data.cast("B")
            if len(data) != size:
                raise ValueError(f"write_block: `fields` must fill block {block} ({size} bytes); got {len(data)}.")
            _write_all(descriptor, data, offset)
            checksums.append(zlib.crc32(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if read_checksums(path, file_map, block) != tuple(checksums):
        raise OutputError(f"{path} does not hold what was written to it. Check the disk.")
    return tuple(checksums)


def read_checksums(path: Path, file_map: FileMap, block: int) -> Checksums:
    """CRC-32 of a block of each field, read from the disk."""
    with open(path, "rb") as file:
        found = []
        for offset, size in file_map.block_bytes(block):
            file.seek(offset)
            found.append(zlib.crc32(file.read(size)))
    return tuple(found)


def write_checksums(path: Path, file_map: FileMap, checksums: dict[int, Checksums]) -> None:
    """Put the checksums of all blocks in their place: from then on the file is complete."""
    table = np.array([checksums[block] for block in range(file_map.num_blocks)], dtype="<i8").T
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        for start, column in zip(file_map.checksums, table, strict=True):
            _write_all(descriptor, memoryview(column.tobytes()), start)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def start_journal(
    path: Path, config_hash: str, checksums: dict[int, Checksums], *, shards: int = 1, token: str = ""
) -> None:
    """Write a journal with the blocks already there, atomically.

    ``token`` identifies one run: a process that reads it here sees the folder in which that run writes.
    """
    lines = [json.dumps({"config_hash": config_hash, "shards": shards, "token": token})]
    lines += [_line(block, pair) for block, pair in sorted(checksums.items())]
    write_bytes(path, ("\n".join(lines) + "\n").encode("ascii"))


def append_journal(path: Path, block: int, checksums: Checksums) -> None:
    """Add a block that is on the disk."""
    with open(path, "a", encoding="ascii") as file:
        file.write(_line(block, checksums) + "\n")
        file.flush()
        os.fsync(file.fileno())


def append_method(path: Path, block: int, method: str) -> None:
    """Say which other method a block is solved by; ``append_journal`` follows once it is on the disk."""
    with open(path, "a", encoding="ascii") as file:
        file.write(json.dumps({"block": block, "method": method}) + "\n")


def read_methods(path: Path) -> dict[int, str]:
    """The blocks listed that are solved by another method than the description's, with that method."""
    return {int(entry["block"]): str(entry["method"]) for entry in _entries(path) if "method" in entry}


def read_start(path: Path) -> dict[str, Any]:
    """The first line of a journal; empty if there is none, or none that can be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            start = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return start if isinstance(start, dict) else {}


def read_journal(path: Path) -> tuple[str, dict[int, Checksums]]:
    """Config hash and checksums of the blocks listed; reading stops at a torn line, and no journal is an empty one."""
    config_hash, checksums = "", {}
    for entry in _entries(path):
        if "config_hash" in entry:
            config_hash = str(entry["config_hash"])
        elif "crc" in entry:
            checksums[int(entry["block"])] = tuple(map(int, entry["crc"]))
    return config_hash, checksums


def _entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal up to the first one that is torn or none of a journal."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return []
    entries: list[dict[str, Any]] = []
    for line in text.split("\n")[:-1]:
        try:
            entry = json.loads(line)
            known = "config_hash" in entry or (int(entry["block"]) >= 0 and ("method" in entry or tuple(entry["crc"])))
            [int(crc) for crc in entry.get("crc", ())]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            break
        if not known:
            break
        entries.append(entry)
    return entries


def _line(block: int, checksums: Checksums) -> str:
    return json.dumps({"block": block, "crc": list(checksums)})
