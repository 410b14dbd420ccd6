"""Dataset files changed on purpose: by HDF5 and sealed again, so that later checks are reached, or byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from data_gen.storage.dataset import Dataset
from data_gen.storage.seal import write_seal


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """The file open for changes, with a new seal after them; checksums of blocks stay as they are."""
    with h5py.File(path, "r+") as file:
        yield file
    with Dataset(path, verify=False) as data:
        extents = data.extents()
    write_seal(path, extents)


def unsealed(path: Path) -> Path:
    """The file as version 0.1 would have written it: without a seal, and without the attribute that promises one."""
    with h5py.File(path, "r+") as file:
        file.attrs.pop("seal", None)
    return path


def flip(path: Path, place: int, bits: int = 1) -> None:
    """Change one byte."""
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ bits]))


def place_of(path: Path, name: str, *index: int) -> int:
    """Where a value of a field lies in a plain file."""
    with h5py.File(path, "r") as file:
        field = file[name]
        offset, flat = field.id.get_offset(), 0
        for count, at in zip(field.shape, (*index, *(0,) * (field.ndim - len(index))), strict=True):
            flat = flat * count + at
        return offset + flat * field.dtype.itemsize
