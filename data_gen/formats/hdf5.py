"""Foreign HDF5 files: opening them, and the names and numbers in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether the file starts as an HDF5 file does, after a user block or none; it may yet be truncated."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        for start in (0, 512, 1024, 2048):
            file.seek(start)
            if file.read(8) == _SIGNATURE:
                return True
    return False


def open_hdf5(path: Path) -> h5py.File:
    """The file open for reading.

    Raises:
        DatasetError: it is missing, not HDF5, or truncated.
    """
    if not path.is_file():
        raise DatasetError(f"open_source: {path} is not a file.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise DatasetError(
                f"open_source: {path} is truncated: it is shorter than its header says. Copy it again."
            ) from None
        raise DatasetError(f"open_source: {path} cannot be opened as HDF5: {error}.") from None


def dataset(file: h5py.File | h5py.Group, name: str) -> h5py.Dataset:
    """A dataset by name.

    Raises:
        DatasetError: it is missing, or its data lie in another file; the message lists the others.
    """
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise DatasetError(f"open_source: {file.file.filename} keeps {name} in another file, which is refused.")
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DatasetError(
            f"open_source: {file.file.filename} has no variable {name}; it has {', '.join(_names(file)) or 'nothing'}."
        )
    outside = found.external or (found.is_virtual and any(v.file_name != "." for v in found.virtual_sources()))
    if outside:
        raise DatasetError(f"open_source: {file.file.filename} keeps {name} in another file, which is refused.")
    return found


def variable_names(path: Path) -> str:
    """The names of all datasets of a file, for messages."""
    with open_hdf5(path) as file:
        names = _names(file)
    return ", ".join([*names[:12], "..."] if len(names) > 12 else names) or "no variables"


def numbers_in(attributes: Any) -> dict[str, float]:
    """The attributes that are single numbers."""
    found = {}
    for name, value in dict(attributes).items():
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "fiu" and np.isfinite(array).all():
            found[name] = float(array.reshape(()))
    return found


def text_in(attributes: Any, name: str, default: str = "") -> str:
    """An attribute as text."""
    value = attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def words_in(attributes: Any, name: str) -> list[str]:
    """An attribute as a list of words; none if it is missing."""
    values = np.atleast_1d(np.asarray(attributes.get(name, []), dtype=object)).tolist()
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def words(values: Sequence[str]) -> np.ndarray:
    """Words as an attribute, also where there are none."""
    return np.array(list(values), dtype=h5py.string_dtype())


def _names(file: h5py.File | h5py.Group) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(names)
