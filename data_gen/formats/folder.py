"""A folder of data files, or a pattern such as ``"runs/*.nc"``, as one dataset: the samples of each file in turn.

The files are in the order of the numbers in their names, and must have the same grid, times, fields and precision;
their parameters become a table of the samples. Folders train, valid (or val, validation) and test in it are a split of
its own.
"""

from __future__ import annotations

import glob
import itertools
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.format import Format, formats
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import ForeignSource, Source
from data_gen.formats.tables import parameters_and_table
from data_gen.header import Header
from data_gen.storage.fields import SPLIT

FORMAT = Format("folder", ("",), "a folder of files of one format, or a pattern of their names", order=80)

_SPLITS = {"train": 0, "valid": 1, "val": 1, "validation": 1, "test": 2}
_SUFFIXES = {".h5", ".hdf5", ".hdf", ".nc", ".nc4", ".cdf", ".mat", ".npz", ".pt", ".pth", ".npy", ".he5"}
_MOST_OPEN = 16


def recognizes(path: Path) -> bool:
    """Whether it is a folder or a pattern whose first file is of a known format."""
    first = next(iter(files_of(path)), None)
    return first is not None and _format_of(first) is not None


def files_of(path: Path) -> list[Path]:
    """The data files of a folder, of its folders of a split, or of a pattern."""
    if path.is_dir():
        parts = [path / "data" / name for name in _SPLITS] + [path / name for name in _SPLITS]
        inside = [_sorted(one.iterdir()) for one in parts if one.is_dir()]
        return list(itertools.chain(*inside)) if any(inside) else _sorted(path.iterdir())
    if is_pattern(path):
        return _sorted(map(Path, glob.glob(str(path), recursive=True)))
    return []


def is_pattern(path: Path) -> bool:
    """Whether it is a pattern of names, and no file."""
    return any(sign in str(path) for sign in "*?[") and "\0" not in str(path) and not path.exists()


def _sorted(found: Any) -> list[Path]:
    """The data files among paths, by name, numbers by their size."""
    files = [path for path in found if path.suffix == ".zarr" or (path.suffix.lower() in _SUFFIXES and path.is_file())]
    return sorted(files, key=lambda path: [int(w) if w.isdecimal() else w for w in re.split(r"(\d+)", str(path))])


def _format_of(path: Path) -> Format | None:
    return next((one for one in formats() if one.name != FORMAT.name and one.recognizes(path)), None)


def open_file(path: Path, overrides: Overrides) -> Source:
    """The files as one source.

    Raises:
        DatasetError: there are none, one cannot be read, or they differ.
    """
    files = files_of(path)
    if not files:
        raise DatasetError(f"open_source: {path} has no data files.")
    parts = _Parts(files, overrides)
    try:
        return _join(path, parts, overrides)
    except BaseException:
        parts.close()
        raise


class _Parts:
    """The files, a few of them open at a time."""

    def __init__(self, files: Sequence[Path], overrides: Overrides) -> None:
        self.files, self.overrides = files, overrides
        self._open: OrderedDict[int, Any] = OrderedDict()

    def __getitem__(self, index: int) -> Any:
        if index not in self._open:
            known = _format_of(self.files[index])
            if known is None:
                raise DatasetError(
                    f"open_source: {self.files[index]} is of no known format. Take it out of the folder."
                )
            own = known.name == "sciml_cf"
            self._open[index] = known.open(self.files[index], Overrides() if own else self.overrides)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(index)
        return self._open[index]

    def close(self) -> None:
        """Close all that are open."""
        for source in self._open.values():
            source.close()


def _join(path: Path, parts: _Parts, overrides: Overrides) -> ForeignSource:
    headers, each, tables, timed = [], [], [], False
    for index, file in enumerate(parts.files):
        source = parts[index]
        headers.append(source.header)
        each.append(dict(source.header.parameters))
        tables.append(source.table)
        timed = timed or getattr(source, "retimed", None) is not None
        _check_alike(path, headers[0], headers[-1], file)
    counts = [header.num_samples for header in headers]
    same, table = parameters_and_table(each, counts)
    header = replace(headers[0], num_samples=sum(counts), parameters=same)
    starts = np.concatenate([[0], np.cumsum(counts)])

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        found = []
        first = int(np.searchsorted(starts, start, side="right")) - 1
        for index in range(first, int(np.searchsorted(starts, stop))):
            rows = slice(max(start - starts[index], 0), min(stop, starts[index + 1]) - starts[index])
            if name == header.target_name and header.trajectories:
                found.append(parts[index].read_stored(name, rows)[:, at])
            else:
                found.append(parts[index].read_stored(name, rows))
        return np.concatenate(found)

    whole = {**table, **_joined_tables(tables, counts), **_split_of(parts.files, counts)}
    joined = ForeignSource(path, header, load, parts.close, table=whole)
    if timed:
        joined.retimed = _retimed(path, parts, overrides)
    return joined


def _retimed(path: Path, parts: _Parts, overrides: Overrides) -> Callable[[float | None, float | None], ForeignSource]:
    """The files with their targets at other times."""

    def at_times(first: float | None, last: float | None) -> ForeignSource:
        parts.close()
        parts._open.clear()
        again = _Retimed(parts.files, overrides, first, last)
        return _join(path, again, overrides)

    return at_times


class _Retimed(_Parts):
    """The files, each with its target at other times."""

    def __init__(self, files: Sequence[Path], overrides: Overrides, first: float | None, last: float | None) -> None:
        super().__init__(files, overrides)
        self._times = first, last

    def __getitem__(self, index: int) -> Any:
        fresh = index not in self._open
        source = super().__getitem__(index)
        if fresh and getattr(source, "retimed", None) is not None:
            source = self._open[index] = source.retimed(*self._times)
        return source


def _check_alike(path: Path, first: Header, other: Header, file: Path) -> None:
    """Refuse a file with other fields, grid, times or precision than the first."""
    names = ("shape", "extents", "offsets", "times", "channels", "input_channels", "dtype", "boundary", "points")
    names += ("input_name", "target_name", "boundaries")
    for name in names:
        wanted, found = getattr(first, name), getattr(other, name)
        if wanted != found:
            raise DatasetError(
                f"open_source: {path} has files that differ: {name} of {file.name} is {_short(found)}, of the first "
                f"{_short(wanted)}. Give the same flags for all, or take it out."
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:76] + " ..."


def _joined_tables(tables: Sequence[Any], counts: Sequence[int]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: np.concatenate([t.get(name, np.full(n, np.nan)) for t, n in zip(tables, counts, strict=True)])
        for name in names
    }


def _split_of(files: Sequence[Path], counts: Sequence[int]) -> dict[str, np.ndarray]:
    """The part of the split of each sample, where all files lie in folders of one."""
    places = [file.parent.name for file in files]
    if len(set(places)) < 2 or not set(places) <= set(_SPLITS):
        return {}
    return {SPLIT: np.repeat([float(_SPLITS[place]) for place in places], counts)}
