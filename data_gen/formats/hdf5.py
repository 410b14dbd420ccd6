"""Foreign HDF5 files: opening them, and the names and numbers in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.links import refuse_links
from data_gen.header import Boundary, RightEnd
from data_gen.storage.links import objects_in, shown
from data_gen.storage.memory import check_memory
from data_gen.storage.seal import damaged, read_seal

_BOUNDARIES: dict[str, Boundary] = {"periodic": "periodic", "wall": "wall", "open": "open"}
_RIGHT_ENDS: dict[str, RightEnd] = {"excluded": "excluded", "included": "included"}
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


def open_hdf5(path: Path, *, follow_links: bool = False, check: bool = True) -> h5py.File:
    """The file open for reading.

    Args:
        path: the file.
        follow_links: whether it may keep data in other files.
        check: whether to look for that at all; not to look is right only where names are read and no data.

    Raises:
        DatasetError: it is missing, not HDF5, truncated, or keeps data in other files.
    """
    if not path.is_file():
        raise DatasetError(f"open_source: {path} is not a file.")
    seal = read_seal(path)
    if seal is not None:  # a dataset file that is read as one of another format
        with seal:
            if not seal.is_sound():
                raise damaged(path, "some of its bytes")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise DatasetError(
                f"open_source: {path} is truncated: it is shorter than its header says. Copy it again."
            ) from None
        reason = " ".join(str(error).split())
        raise DatasetError(f"open_source: {path} cannot be opened as HDF5: {reason}.") from None
    if check and not follow_links:
        try:
            refuse_links(file)
        except DatasetError:
            file.close()
            raise
    return file


def check_file(path: Path) -> None:
    """Refuse an HDF5 file that keeps data in other files, or claims more than there is memory, before it is read whole.

    Raises:
        DatasetError: it does, or cannot be opened.
    """
    with open_hdf5(path) as file:
        sizes = [found.size * found.dtype.itemsize for _, found in objects_in(file) if found is not None and found.size]
        check_memory("open_source", path, sizes)


def dataset(file: h5py.File | h5py.Group, name: str) -> h5py.Dataset:
    """A dataset by name.

    Raises:
        DatasetError: it is missing; the message lists the others.
    """
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise DatasetError(f"open_source: {file.file.filename} has no variable {name}; it has {listed_names(file)}.")
    return found


def line_of(file: h5py.File | h5py.Group, name: str, axis: int) -> np.ndarray:
    """Coordinates along an axis, ``(points,)``: of a mesh of all points those along its axis of that number.

    Raises:
        DatasetError: they are missing, one number, or a mesh whose lines differ.
    """
    values = dataset(file, name)[()]
    if np.ndim(values) == 0:
        raise DatasetError(f"open_source: {file.file.filename} has {name} of one number; coordinates are needed.")
    if values.ndim == 1:
        return values
    if axis < values.ndim:
        lines = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        if lines.size and (lines == lines[:, :1]).all():
            return lines[:, 0]
    raise DatasetError(
        f"open_source: {file.file.filename} has {name} of shape {values.shape}, whose lines are no grid. Only grids of "
        f"lines along the axes can be used."
    )


def exact_times(times: Any) -> tuple[float, ...]:
    """Times as decimal numbers where they were stored in float32, so that 0.01 is 0.01; none if no numbers."""
    array = np.ravel(np.asarray(times))
    if array.dtype.kind not in "fiu":
        return ()
    return tuple(float(str(t)) if array.dtype == np.float32 else float(t) for t in array)


def boundary_in(attributes: Any, usual: Boundary | None = None) -> Boundary | tuple[Boundary, ...] | None:
    """The boundary that a file written here records, of each axis where they differ, or the usual one, if any."""
    words = text_in(attributes, "boundary").split(",")
    if len(words) == 1:
        return _BOUNDARIES.get(words[0]) or usual
    known: list[Boundary] = [_BOUNDARIES.get(word) or usual or "periodic" for word in words]
    return tuple(known)


def right_ends_in(attributes: Any) -> tuple[RightEnd, ...]:
    """Of each axis whether its last point is the right end, as a file written here records it; () of others."""
    found: list[RightEnd | None] = [_RIGHT_ENDS.get(word) for word in text_in(attributes, "right_end").split(",")]
    known: list[RightEnd] = [end for end in found if end is not None]
    return tuple(known) if len(known) == len(found) else ()


def variable_names(path: Path) -> str:
    """The names of all datasets of a file, for messages."""
    with open_hdf5(path) as file:
        return listed_names(file)


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
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size == 1 else default
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def words_in(attributes: Any, name: str) -> list[str]:
    """An attribute as a list of words; none if it is missing."""
    values = np.atleast_1d(np.asarray(attributes.get(name, []), dtype=object)).tolist()
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]


def words(values: Sequence[str]) -> np.ndarray:
    """Words as an attribute, also where there are none."""
    return np.array(list(values), dtype=h5py.string_dtype())


def dataset_names(file: h5py.File | h5py.Group) -> list[str]:
    """The paths of all datasets."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(names)


def listed_names(file: h5py.File | h5py.Group) -> str:
    """The paths of the datasets in words, of many the first."""
    names = dataset_names(file)
    names = [shown(name) for name in names[:12]] + (["..."] if len(names) > 12 else [])
    return ", ".join(names) or "no variables"


def datasets_in(file: h5py.File, name: str) -> dict[str, h5py.Dataset]:
    """The datasets of a group by name; none without the group."""
    group = file.get(name)
    return {str(one): dataset(group, str(one)) for one in group} if isinstance(group, h5py.Group) else {}
