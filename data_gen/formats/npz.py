"""One .npz file with an input and a target, as ``np.savez(path, x=..., y=...)`` writes it, or with trajectories alone.

Shapes and axes are as in ``arrays``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.arrays import source_of_arrays
from data_gen.formats.format import Format
from data_gen.formats.masks import Find
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import Source
from data_gen.storage.memory import check_memory

FORMAT = Format("npz", (".npz",), "one .npz file with two arrays, or one of trajectories", order=70)

_PAIRS = (("x", "y"), ("a", "u"), ("input", "target"))


def recognizes(path: Path) -> bool:
    """Whether it is a zip file of .npy files."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as zipped:
            names = zipped.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def open_file(path: Path, overrides: Overrides) -> Source:
    """The arrays, read whole.

    Raises:
        DatasetError: the file cannot be read, has no such arrays, or arrays that do not fit into memory.
    """
    try:
        with zipfile.ZipFile(path) as zipped:
            sizes = {one.filename.removesuffix(".npy"): one.file_size for one in zipped.infolist()}
        names = chosen_pair(path, list(sizes), overrides, _PAIRS, "array")
        check_memory("open_source", path, [sizes[name] for name in names if name is not None])
        with np.load(path, allow_pickle=False) as npz:
            given, target = (None if name is None else npz[name] for name in names)
            masks = {name: npz[name] for name in npz.files if name == overrides.mask}
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # zip, zlib, headers and texts of numpy: each way of damage has its own kind
        reason = " ".join(str(error).split())[:160]
        raise DatasetError(f"open_source: {path} cannot be read ({reason}). Is it damaged?") from None
    return source_of_arrays(path, given, target, overrides, names=(names[0] or "", names[1]), find=finder(path, masks))


def finder(path: Path, known: Mapping[str, Any]) -> Find:
    """How a mask is found among arrays by name."""

    def find(name: str) -> tuple[Any, None]:
        if name not in known:
            raise DatasetError(f"open_source: {path} has no mask {name}. Give --mask fill, or another name.")
        return known[name], None

    return find


def chosen_pair(
    path: Path, found: Sequence[Any], overrides: Overrides, pairs: Sequence[tuple[str, str]], word: str
) -> tuple[str | None, str]:
    """Names of input and target: what is said, else a usual pair, else one array alone as trajectories.

    Raises:
        DatasetError: one of them is missing.
    """
    usual = next((pair for pair in pairs if set(pair) <= set(found)), None)
    alone = _alone(found, overrides) if usual is None else None
    usual = usual or pairs[0]
    names = (None, alone) if alone else (overrides.input_name or usual[0], overrides.target_name or usual[1])
    missing = next((name for name in names if name is not None and name not in found), None)
    if missing is not None:
        known = ", ".join(map(str, found[:20])) or "none by name"
        raise DatasetError(
            f"open_source: {path} has no {word} {missing}; it has {known}. Give --input-name and --target-name."
        )
    return names


def _alone(found: Sequence[Any], overrides: Overrides) -> str | None:
    """The one array of trajectories, where nothing is said of an input."""
    if overrides.input_name is not None:
        return None
    if overrides.target_name is not None:
        return overrides.target_name
    said = overrides.axes or len(overrides.times) > 2
    return str(found[0]) if len(found) == 1 and said else None
