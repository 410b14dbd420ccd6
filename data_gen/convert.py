"""Conversion of a file of any known format into another one, a block of samples at a time."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from data_gen.errors import DatasetError
from data_gen.files.places import Kind
from data_gen.files.whole import new_files, new_folder
from data_gen.formats import FORMATS, Overrides, Source, format_of_name, format_of_output, open_source
from data_gen.formats.format import Format
from data_gen.formats.overrides import given_overrides
from data_gen.formats.paths import output_parts, parts_of
from data_gen.formats.source import Readable
from data_gen.header import Header
from data_gen.storage.hdf5_layout import DATASET


def convert(
    path: str | Path,
    out: str | Path,
    *,
    to: str | None = None,
    source_format: str | None = None,
    overrides: Overrides | None = None,
    facts: Overrides | None = None,
    overwrite: bool = False,
    allow_nan: bool = False,
    mat_version: Literal["5", "7.3"] = "5",
    progress: Callable[[int], object] | None = None,
) -> Header:
    """Write the fields of a file, with their coordinates, times and parameters, in another format.

    Fields keep their precision. Metadata that the other format has no place for is left out: .npy, .npz and .pt have
    arrays alone. The new file is written aside and renamed when it is whole; meanwhile no other process can write it.

    Args:
        path: the file, see ``formats.open_source``.
        out: the file or folder to write; two files INPUT.npy,TARGET.npy for arrays.
        to: a name of ``formats.FORMATS``; by default by the ending of ``out``.
        source_format: the format of ``path``; by default it is recognized.
        overrides: metadata that ``path`` lacks or has wrong.
        facts: the same, under the name of version 0.1.
        overwrite: replace ``out``, if it is a data file, or a folder of The Well and nothing else.
        allow_nan: also take samples with values that are not finite.
        mat_version: of a .mat file, "7.3" for variables of 2 GB and more.
        progress: called with the number of samples done after each block.

    Returns:
        Description of the new file.

    Raises:
        DatasetError: the file cannot be read, lacks something, or has values that are not finite.
        FileExistsError: ``out`` exists and ``overwrite`` is not set, or it is something else than data.
        OutputError: another process is writing ``out``, or it cannot be written.
        ValueError: an argument is unusable, or the other format has no place for such fields.
    """
    given = given_overrides("convert", overrides, facts)
    if not given.verify:
        raise ValueError(
            "convert: `verify` must stay on; got False (--no-verify). A damaged block would get a new checksum."
        )
    chosen = format_of_name(to, "convert: `to`") if to is not None else format_of_output(out)
    write = _writer(chosen, to or Path(out).suffix, mat_version)
    targets = output_parts(out)
    _check_targets(path, targets)
    with (
        _new(chosen, targets, overwrite) as asides,
        open_source(path, format=source_format, overrides=given) as source,
    ):
        write(_Checked(source, allow_nan or given.mask is not None, progress), Path(",".join(map(str, asides))))
        return source.header


def write_source(source: Readable, out: str | Path, *, who: str, read: str | Path, overwrite: bool = False) -> None:
    """Write fields that are made while they are written, in the format of the ending of ``out``.

    Args:
        source: the fields and their metadata.
        out: see ``convert``.
        who: the command, for messages.
        read: the file that the fields are made from; ``out`` must be another.
        overwrite: replace ``out``, as ``convert`` does.

    Raises:
        FileExistsError, OutputError, ValueError: see ``convert``.
    """
    chosen = format_of_output(out)
    write, targets = _writer(chosen, Path(out).suffix, "5"), output_parts(out)
    _check_targets(read, targets, who)
    with _new(chosen, targets, overwrite, who) as asides:
        write(source, Path(",".join(map(str, asides))))


def _writer(chosen: Format, name: str, mat_version: str) -> Callable[[Readable, Path], None]:
    """The function that writes a format, which the output's suffix or the argument names."""
    module = chosen.load()
    if not hasattr(module, "write"):
        known = ", ".join(name for name, known in FORMATS.items() if hasattr(known.load(), "write"))
        raise ValueError(f"convert: `to` must be one of {known}; got {name}, which is only read.")
    return partial(module.write, version=mat_version) if chosen.name == "mat" else module.write


@contextlib.contextmanager
def _new(chosen: Format, targets: list[Path], overwrite: bool, who: str = "convert") -> Iterator[list[Path]]:
    """Where to write the files, or the folder, of a format."""
    if "" in chosen.suffixes or (len(targets) == 1 and targets[0].is_dir()):
        with new_folder(targets[0], who=who, kind=_KIND, overwrite=overwrite, or_file=True) as aside:
            yield [aside]
    else:
        with new_files(targets, who=who, kind=_KIND, overwrite=overwrite) as asides:
            yield asides


def _is_data(path: Path) -> bool:
    """Whether a file or folder is of a format that can be written, so that an earlier conversion may have made it."""
    if path.is_dir():
        return _is_well_folder(path)
    if DATASET.recognizes(path):  # damaged or not
        return True
    return any(known.recognizes(path) for known in FORMATS.values() if hasattr(known.load(), "write"))


def _is_well_folder(path: Path) -> bool:
    """Whether a folder has what ``convert`` writes for The Well, and nothing else."""
    found = {str(item.relative_to(path)) for item in path.rglob("*")}
    own = {"data", "data/train", "data/valid", "data/test", "stats.yaml"}
    files = {name for name in found - own if re.fullmatch(r"data/(train|valid|test)/[^/]+\.hdf5", name)}
    return "stats.yaml" in found and found <= own | files


_KIND = Kind("a data file, or a folder of The Well", _is_data)


class _Checked:
    """A source whose values are checked while they are read."""

    def __init__(self, source: Source, allow_nan: bool, progress: Callable[[int], object] | None) -> None:
        self.header, self.path, self.table = source.header, source.path, source.table
        self._source, self._allow, self._progress = source, allow_nan, progress

    def read_stored(self, name: str, rows: slice | np.ndarray | None = None) -> np.ndarray:
        fields = self._source.read_stored(name, rows)
        start, stop, _ = rows.indices(self.header.num_samples) if isinstance(rows, slice) else (0, len(fields), 1)
        bad = np.flatnonzero(~np.isfinite(fields.reshape(len(fields), -1)).all(axis=1))
        if bad.size and not self._allow:
            raise DatasetError(
                f"convert: {self._source.path} has NaN or infinity in {name} of sample {start + int(bad[0])}: "
                f"{self._missing(name)} missing values in all. Take them as missing with --mask fill (or NAME, a "
                f"variable that is 0 there), keep them with --allow-nan, or repair the data."
            )
        if self._progress is not None and name == next(reversed(self.header.stored_shapes)):
            self._progress(stop)
        return fields

    def _missing(self, name: str) -> int:
        """How many values of a field are not finite."""
        size, samples = self.header.block_samples, self.header.num_samples
        blocks = (self._source.read_stored(name, slice(i, min(i + size, samples))) for i in range(0, samples, size))
        return sum(int((~np.isfinite(block)).sum()) for block in blocks)


def _check_targets(path: str | Path, targets: list[Path], who: str = "convert") -> None:
    sources = {part.resolve() for part in parts_of(path)}
    for target in targets:
        if target.resolve() in sources:
            raise ValueError(f"{who}: `out` must be another file than the one that is read; got {target}.")
