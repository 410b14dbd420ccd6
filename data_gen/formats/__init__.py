"""The file formats that are read and written: the native one, and those of other packages.

A format is one module of this package, found by its constant ``FORMAT``, with ::

    FORMAT = Format(name, suffixes, summary)
    recognizes(path) -> bool                 whether a file is of it, by its content
    open_file(path, overrides) -> Source     the file open for reading; ``overrides`` supply missing metadata
    write(source, path)                      a new file with the fields of a source

All are imported when the first file is opened; a format that is only read has no ``write``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from data_gen.errors import DatasetError
from data_gen.formats import folder
from data_gen.formats.every_time import TIME, EveryTime
from data_gen.formats.format import Format, Formats
from data_gen.formats.hdf5 import is_hdf5, variable_names
from data_gen.formats.overrides import CHOICES, Facts, Overrides, given_overrides
from data_gen.formats.paths import output_parts, parts_of
from data_gen.formats.source import Source, pair_of_times
from data_gen.formats.windows import windows_of
from data_gen.storage.first_bytes import advice_on

__all__ = [
    "FORMATS",
    "Facts",
    "Format",
    "Overrides",
    "Source",
    "format_of_name",
    "format_of_output",
    "open_source",
    "recognize",
]


#: Formats by name, in the order of recognition.
FORMATS: Mapping[str, Format] = Formats()


def open_source(
    path: str | Path,
    *,
    format: str | None = None,
    overrides: Overrides | None = None,
    facts: Overrides | None = None,
) -> Source:
    """Open a file of any known format for reading; use it in a ``with`` statement.

    Args:
        path: the file; for The Well also its folder, for arrays two files INPUT.npy,TARGET.npy.
        format: a name of ``FORMATS``; by default it is recognized from the content.
        overrides: metadata that the file lacks or has wrong.
        facts: the same, under the name of version 0.1.

    Raises:
        DatasetError: missing, unreadable, of no known format, or metadata is missing in it and in the overrides.
        ValueError: an argument is unusable.
    """
    given = given_overrides("open_source", overrides, facts)
    found = format_of_name(format) if format is not None else recognize(path)
    source = found.open(Path(path), replace(given, condition=(), **dict.fromkeys(CHOICES)))
    if all(getattr(given, name) is None for name in CHOICES) and not given.takes_every_time:
        return source
    try:
        if given.takes_every_time:
            return source if TIME in source.table else EveryTime(source)
        if given.cuts_windows:
            return windows_of(source, given)
        return pair_of_times(source, given.input_time, given.target_time)
    except (ValueError, DatasetError):
        source.close()
        raise


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder.

    Raises:
        DatasetError: there cannot be one: a NUL in the name, a name that is too long, or a loop of links.
    """
    if "\0" in str(path):
        raise DatasetError(f"open_source: {str(path)!r} cannot be a path: it has a NUL. Check the path.")
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise DatasetError(f"open_source: {path} cannot be opened ({reason}). Check the path.") from None
    return True


def format_of_name(name: str, asker: str = "open_source: `format`") -> Format:
    """The format called ``name``; ``asker`` is the function and argument that the message speaks of.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    if name not in FORMATS:
        raise ValueError(f"{asker} must be one of {', '.join(FORMATS)}; got {name!r}.")
    return FORMATS[name]


def check_exists(path: str | Path) -> None:
    """Raise DatasetError unless every file that the path names exists."""
    for part in parts_of(Path(path)):
        if not _exists(part) and not folder.files_of(part):
            unfinished = part.with_name(part.name + ".partial").exists()
            hint = "An unfinished one is there: resume it (--resume)." if unfinished else "Check the path."
            raise DatasetError(f"open_source: {part} does not exist. {hint}")


def recognize(path: str | Path) -> Format:
    """The format of a file, by its content.

    Raises:
        DatasetError: the file is missing, unreadable, or of no known format.
    """
    path = Path(path)
    check_exists(path)
    if (path / "run.json").is_file():
        raise DatasetError(f"open_source: {path} is a run folder, which training made. Give a data file.")
    for known in FORMATS.values():
        if known.recognizes(path):
            return known
    if path.is_dir():
        raise DatasetError(f"open_source: {path} is a folder. Give the dataset file itself.")
    if path.is_file() and is_hdf5(path):
        raise DatasetError(
            f"open_source: {path} is HDF5 of no known layout; it has {variable_names(path)}. Known: "
            f"{', '.join(FORMATS)}; say --from if it is one of them."
        )
    advice = advice_on(path) or f"Known: {', '.join(FORMATS)}."
    raise DatasetError(f"open_source: {path} is not an HDF5 file, nor of another known format. {advice}")


def recognise(path: str | Path) -> Format:
    """``recognize`` under the name of version 0.1."""
    warnings.warn("recognise: the name is now `recognize`.", DeprecationWarning, stacklevel=2)
    return recognize(path)


def format_of_output(path: str | Path) -> Format:
    """The format that a file to be written has by its name.

    Raises:
        ValueError: the suffix is unknown.
    """
    suffix = output_parts(path)[0].suffix.lower()
    for known in FORMATS.values():
        if suffix in known.suffixes:
            return known
    endings = ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes if suffix)
    raise ValueError(f"convert: `out` must end in one of {endings}, or in none for The Well; got {path}. Or say --to.")
