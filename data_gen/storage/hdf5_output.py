"""HDF5 files that a full disk cannot crash: written through a guarded file, and read back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py

from data_gen.errors import OutputError
from data_gen.files.places import Kind
from data_gen.files.stream import guarded

_PIECE = 2**22
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def kind_of_layout(name: str, layout: str) -> Kind:
    """The kind of HDF5 files with the name of a layout near their start, damaged or not."""

    def recognizes(path: Path) -> bool:
        with open(path, "rb") as file:
            start = file.read(_PIECE)
        return start.startswith(_SIGNATURE) and layout.encode() in start

    return Kind(name, recognizes)


@contextlib.contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file to write in this block; fields that are allocated and not filled take no room yet.

    Raises:
        OSError: the file exists, or cannot be written.
    """
    with guarded(path) as disk, h5py.File(disk, "w") as file:
        yield file


def read_through(path: Path) -> None:
    """Read all that an HDF5 file holds, a part at a time.

    Raises:
        OutputError: that is not possible.
    """
    try:
        with h5py.File(path, "r") as file:
            file.visititems(_read)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise OutputError(f"{path} does not hold what was written to it ({reason}). Check the disk.") from error


def _read(_: str, item: h5py.Group | h5py.Dataset) -> None:
    dict(item.attrs)
    if isinstance(item, h5py.Dataset) and item.shape is not None and not item.is_virtual:
        rows = max(1, _PIECE * item.shape[0] // max(1, item.nbytes)) if item.shape else 0
        for start in range(0, item.shape[0] if item.shape else 0, rows):
            item[start : start + rows]
