"""User-supplied fields: how a file or a function of them is named, and the checksum that a description keeps."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data_gen.grids.fixed_field import FixedField

#: An initial condition: (random generator of the sample, grid) -> (*N) or (C, *N).
StartFunction = Callable[[np.random.Generator, Any], np.ndarray]
#: Names that a description has for them.
FILE, FUNCTION = "file", "function"
_SUFFIXES = (".npy", ".h5", ".hdf5")


#: Parameters of user-supplied initial conditions.
OWN_PARAMETERS = {FILE: {"field", "path", "sha256"}, FUNCTION: {"name", "sha256"}}


@dataclass(frozen=True)
class FieldFile:
    """A parameter of a law that is a field of a file: one for all samples, or one for each.

    Args:
        name: of the parameter.
        path: the file.
        field: name of the field in an HDF5 file.
        sha256: its checksum.
    """

    name: str
    path: str
    field: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.path}{':' * bool(self.field)}{self.field} sha256:{self.sha256}"

    @property
    def ends(self) -> tuple[FixedField, ...]:
        """A field that stands for all of them where the values do not matter."""
        return (self.of_sample(0, None),)

    def of_sample(self, index: int, read: Callable[[FieldFile, int], np.ndarray] | None) -> FixedField:
        """The field of a sample, which ``read`` reads once its values are needed."""
        return FixedField(lambda: self._unread() if read is None else read(self, index), self.name)

    def _unread(self) -> np.ndarray:
        raise ValueError(f"`{self.name}` is a field of {self.path}; its values are known of a dataset's samples alone.")


def field_file(name: str, words: str) -> FieldFile | None:
    """The field file of FILE.npy, FILE.h5 or FILE.h5:NAME, or of the text of one; None of other words.

    Raises:
        ValueError: as ``file_parameters``.
    """
    known = re.fullmatch(r"(.+) sha256:([0-9a-f]{64})", words)
    if known:
        path, field = _path_and_field(known[1])
        return FieldFile(name, path, field, known[2])
    found = file_parameters(words, name)
    return None if found is None else FieldFile(name, **found)


def _path_and_field(words: str) -> tuple[str, str]:
    path, _, field = words.rpartition(":") if Path(words).suffix not in _SUFFIXES else (words, "", "")
    return path, field


def own_start(
    initial: str | StartFunction, parameters: Mapping[str, Any] = MappingProxyType({})
) -> tuple[str, Mapping[str, Any]]:
    """Name and parameters of an initial condition, of a user-supplied one with the checksum of the file or function."""
    found = function_parameters(initial) if callable(initial) else file_parameters(initial)
    if found is None:
        return str(initial), parameters
    if parameters:
        raise ValueError(f"DatasetSpec: `initial_parameters` of own fields must be empty; got {dict(parameters)}.")
    return FUNCTION if callable(initial) else FILE, found


def file_parameters(words: str, argument: str = "initial_condition") -> dict[str, Any] | None:
    """Path, field and checksum of FILE.npy, FILE.h5 or FILE.h5:NAME; None if the words name no such file.

    Raises:
        ValueError: there is no such file, or a .npy file is given with a name of a field.
    """
    path, field = _path_and_field(words)
    if Path(path).suffix not in _SUFFIXES:
        return None
    if field and path.endswith(".npy"):
        raise ValueError(f"DatasetSpec: `{argument}` must be FILE.npy without a name after it; got {words!r}.")
    if not Path(path).is_file():
        raise ValueError(f"DatasetSpec: `{argument}` must be a file that exists; got {words!r}.")
    return {"field": field, "path": path, "sha256": file_checksum(path)}


def file_checksum(path: str) -> str:
    """SHA-256 of a file's bytes; it is read again only if it was changed."""
    state = Path(path).stat()
    return _checksum(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _checksum(path: str, _modified: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def function_parameters(function: StartFunction) -> dict[str, Any]:
    """Name of a function and checksum of its source, or where that is not known of its bytecode."""
    try:
        text = inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = repr((code.co_code, code.co_consts, code.co_names)).encode() if code else repr(type(function)).encode()
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return {"name": name, "sha256": hashlib.sha256(text).hexdigest()}
