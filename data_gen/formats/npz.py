"""One .npz file with an input and a target, as ``np.savez(path, x=..., y=...)`` writes it; shapes as in ``arrays``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.arrays import source_of_pair
from data_gen.formats.format import Format
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import Source

FORMAT = Format("npz", (".npz",), "one .npz file with two arrays", order=70)

_PAIRS = (("x", "y"), ("a", "u"), ("input", "target"))


def recognizes(path: Path) -> bool:
    """Whether it is a zip file of .npy files."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as zipped:
        names = zipped.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def open_file(path: Path, overrides: Overrides) -> Source:
    """The two arrays, read whole.

    Raises:
        DatasetError: the file cannot be read, or has no such arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as npz:
            names = _chosen(path, npz.files, overrides)
            given, target = npz[names[0]], npz[names[1]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"open_source: {path} cannot be read ({error}). Is it damaged?") from None
    return source_of_pair(path, given, target, overrides)


def _chosen(path: Path, found: list[str], overrides: Overrides) -> tuple[str, str]:
    usual = next((pair for pair in _PAIRS if set(pair) <= set(found)), _PAIRS[0])
    names = (overrides.input_name or usual[0], overrides.target_name or usual[1])
    missing = [name for name in names if name not in found]
    if missing:
        raise DatasetError(
            f"open_source: {path} has no array {' or '.join(missing)}; it has {', '.join(found) or 'none'}. Give "
            f"--input-name and --target-name."
        )
    return names
