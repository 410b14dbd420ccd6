"""Arrays with one entry per sample, and metadata, in one HDF5 file: data that are not fields.

::

    /sample                       scale of the first axis, 0 .. n - 1
    /NAME (sample, NAME_1, ...)   the arrays, contiguous, each with a scale of indices for every further axis
    attributes                    layout, layout_version, kind, arrays, facts (JSON), versions (JSON), checksum

The checksum covers names, types, shapes and values of the arrays, the kind and the facts. Texts and numbers among the
facts are attributes of their own too, for readers of the file alone. h5py, netCDF4 and xarray open it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.files.stream import guarded
from data_gen.files.whole import new_file
from data_gen.formats.hdf5 import is_hdf5, text_in
from data_gen.storage.hdf5_layout import package_versions
from data_gen.storage.hdf5_output import kind_of_layout
from data_gen.storage.links import outside_of

LAYOUT = "sciml_cf arrays"
LAYOUT_VERSION = 1
_KIND = kind_of_layout("a file of arrays", LAYOUT)
_RESERVED = ("layout", "layout_version", "kind", "arrays", "facts", "versions", "checksum", "sample")


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], *, kind: str, facts: Mapping[str, Any]) -> Path:
    """Write arrays by name and facts about them; an existing file of this layout is replaced once the new one is whole.

    Args:
        path: the file.
        arrays: by name, each ``(n, ...)`` of numbers, all of the same n >= 1.
        kind: content of the file in a word or two; ``read_arrays`` asks for it.
        facts: plain values fit for JSON, such as the law, its parameters and the seed.

    Returns:
        The path.

    Raises:
        ValueError: no arrays, other shapes, or facts that JSON does not have.
        OSError: the folder is missing or cannot be written, or the file is of another layout; nothing is left behind.
    """
    path, values = Path(path), {name: np.asarray(array) for name, array in arrays.items()}
    _check(values, facts)
    listed = json.dumps(dict(facts), sort_keys=True, allow_nan=False)
    with new_file(path, who="write_arrays", argument="path", kind=_KIND, overwrite=True) as aside:
        with guarded(aside) as disk, h5py.File(disk, "w") as file:
            file.attrs.update(layout=LAYOUT, layout_version=LAYOUT_VERSION, kind=kind, facts=listed)
            file.attrs.update({name: fact for name, fact in facts.items() if isinstance(fact, str | int | float)})
            file.attrs["arrays"] = json.dumps(list(values))
            file.attrs["versions"] = json.dumps(package_versions(), sort_keys=True)
            file.attrs["checksum"] = _checksum(values, kind, listed)
            _write_scale(file, "sample", len(next(iter(values.values()))))
            for name, array in values.items():
                _write_array(file, name, array)
        read_arrays(aside, kind=kind)
    return path


def read_arrays(path: str | Path, *, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file of ``write_arrays`` and the facts about them, checked against its checksum.

    Raises:
        DatasetError: the file is missing, a folder, not HDF5, truncated, of another layout or kind, or its content was
            changed.
    """
    path = Path(path)
    with _open(path) as file:
        found = text_in(file.attrs, "layout")
        if found != LAYOUT:
            raise DatasetError(f"read_arrays: {path} has layout {found or 'none'!r}, not {LAYOUT!r}.")
        try:
            attributes: dict[str, Any] = dict(file.attrs)
            version, held = int(attributes["layout_version"]), text_in(file.attrs, "kind")
            if version > LAYOUT_VERSION:
                raise DatasetError(
                    f"read_arrays: {path} has layout version {version}, newer than {LAYOUT_VERSION}. Update sciml_cf."
                )
            if held != kind:
                raise DatasetError(f"read_arrays: {path} has {held}, not {kind}. Load it as {held}.")
            listed = text_in(file.attrs, "facts")
            facts, names = json.loads(listed), json.loads(text_in(file.attrs, "arrays"))
            values = {name: _read_array(file, name) for name in names}
            same = attributes["checksum"] == _checksum(values, held, listed)
        except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
            raise DatasetError(f"read_arrays: {path} is damaged ({_line(error)}). Copy or make it again.") from None
    if not same:
        raise DatasetError(f"read_arrays: {path} does not match its checksum: its content was changed or damaged.")
    return values, facts


def _check(values: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    lengths = {array.shape[:1] for array in values.values()}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in values.items()) or "no array"
        raise ValueError(f"write_arrays: `arrays` must have one row a sample each, at least one; got {shapes}.")
    bad = [name for name, array in values.items() if array.dtype.kind not in "fiu"]
    bad += [name for name in (*values, *facts) if name in _RESERVED or "/" in name]
    if bad:
        raise ValueError(f"write_arrays: `arrays` must be numbers under names that are free; got {', '.join(bad)}.")


def _write_scale(file: h5py.File, name: str, length: int) -> None:
    scale = file.create_dataset(name, data=np.arange(length))
    scale.make_scale(name)
    scale.attrs["long_name"] = "index"


def _write_array(file: h5py.File, name: str, array: np.ndarray) -> None:
    stored = file.create_dataset(name, data=array)
    for axis, length in enumerate(array.shape):
        scale = f"{name}_{axis}" if axis else "sample"
        if axis:
            _write_scale(file, scale, length)
        stored.dims[axis].attach_scale(file[scale])


def _read_array(file: h5py.File, name: str) -> np.ndarray:
    """An array whose values lie in the file itself."""
    link = file.get(name, getlink=True)
    found = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise ValueError(f"it has no {name}")
    return found[()]


def _checksum(values: Mapping[str, np.ndarray], kind: str, facts: str) -> str:
    """SHA-256 of the content of a file, in the order of the names."""
    digest = hashlib.sha256(json.dumps([kind, facts]).encode())
    for name in sorted(values):
        array = values[name]
        digest.update(json.dumps([name, array.dtype.newbyteorder("<").str, list(array.shape)]).encode())
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data.cast("B"))
    return digest.hexdigest()


def _open(path: Path) -> h5py.File:
    if path.is_dir():
        raise DatasetError(f"read_arrays: {path} is a folder. Give the file itself.")
    if not path.exists():
        raise DatasetError(f"read_arrays: {path} does not exist. Check the path, or make and save the data first.")
    if not is_hdf5(path):
        raise DatasetError(f"read_arrays: {path} is not an HDF5 file.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise DatasetError(f"read_arrays: {path} is truncated: copy it again.") from None
        raise DatasetError(f"read_arrays: {path} cannot be opened: {_line(error)}.") from None
    if (place := outside_of(file)) is not None:
        file.close()
        raise DatasetError(f"read_arrays: {path} keeps {place} in another file, which is refused.")
    return file


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
