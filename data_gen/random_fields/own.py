"""Initial fields of one's own: how a file or a function of them is named, and the checksum that a description keeps."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

#: An initial condition: (random generator of the sample, grid) -> (*N) or (C, *N).
StartFunction = Callable[[np.random.Generator, Any], np.ndarray]
#: Names that a description has for them.
FILE, FUNCTION = "file", "function"
_SUFFIXES = (".npy", ".h5", ".hdf5")


def file_parameters(words: str) -> dict[str, Any] | None:
    """Path, field and checksum of FILE.npy, FILE.h5 or FILE.h5:NAME; None if the words name no such file.

    Raises:
        ValueError: there is no such file, or a .npy file is given with a name of a field.
    """
    path, _, field = words.rpartition(":") if Path(words).suffix not in _SUFFIXES else (words, "", "")
    if Path(path).suffix not in _SUFFIXES:
        return None
    if field and path.endswith(".npy"):
        raise ValueError(f"DatasetSpec: `initial_condition` must be FILE.npy without a name after it; got {words!r}.")
    if not Path(path).is_file():
        raise ValueError(f"DatasetSpec: `initial_condition` must be a file that exists; got {words!r}.")
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
