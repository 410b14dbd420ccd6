"""Bring a file of any known format into another one, a block of samples at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats import FORMATS, Overrides, Source, format_of_name, format_of_output, open_source
from data_gen.formats.overrides import given_overrides
from data_gen.formats.paths import output_parts, parts_of
from data_gen.formats.source import Readable
from data_gen.header import Header

#: Suffix of a new file until it is whole.
ASIDE = ".part"


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
    arrays alone. The new file is written aside and renamed when it is whole.

    Args:
        path: the file, see ``formats.open_source``.
        out: the file or folder to write; two files INPUT.npy,TARGET.npy for arrays.
        to: a name of ``formats.FORMATS``; by default by the ending of ``out``.
        source_format: the format of ``path``; by default it is recognized.
        overrides: metadata that ``path`` lacks or has wrong.
        facts: the same, under the name of version 0.1.
        overwrite: replace ``out``.
        allow_nan: also take samples with values that are not finite.
        mat_version: of a .mat file, "7.3" for variables of 2 GB and more.
        progress: called with the number of samples done after each block.
    Returns:
        Description of the new file.
    Raises:
        DatasetError: the file cannot be read, lacks something, or has values that are not finite.
        FileExistsError: ``out`` exists.
        ValueError: an argument is unusable, or the other format has no place for such fields.
    """
    given = given_overrides("convert", overrides, facts)
    if not given.verify:
        raise ValueError(
            "convert: `verify` must stay on; got False (--no-verify). A damaged block would get a new checksum."
        )
    write = _writer(to, out, mat_version)
    targets = output_parts(out)
    _check_targets(path, targets, overwrite)
    temporary = [target.with_name(target.name + ASIDE) for target in targets]
    with open_source(path, format=source_format, overrides=given) as source:
        try:
            _remove(*temporary)
            write(_Checked(source, allow_nan or given.mask is not None, progress), Path(",".join(map(str, temporary))))
            _put_in_place(temporary, targets)
        finally:
            _remove(*temporary)
        return source.header


def _writer(to: str | None, out: str | Path, mat_version: str) -> Callable[[Readable, Path], None]:
    """The function that writes the format of the output."""
    chosen = format_of_name(to, "convert: `to`") if to is not None else format_of_output(out)
    module = chosen.load()
    if not hasattr(module, "write"):
        known = ", ".join(name for name, known in FORMATS.items() if hasattr(known.load(), "write"))
        raise ValueError(f"convert: `to` must be one of {known}; got {to or Path(out).suffix}, which is only read.")
    return partial(module.write, version=mat_version) if chosen.name == "mat" else module.write


def _put_in_place(temporary: list[Path], targets: list[Path]) -> None:
    for new, target in zip(temporary, targets, strict=True):
        if target.is_dir() or new.is_dir():
            _remove(target)
        os.replace(new, target)


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


def _check_targets(path: str | Path, targets: list[Path], overwrite: bool) -> None:
    sources = {part.resolve() for part in parts_of(path)}
    for target in targets:
        if target.resolve() in sources:
            raise ValueError(f"convert: `out` must be another file than the one that is read; got {target}.")
        if not target.parent.is_dir():
            raise FileNotFoundError(f"convert: `out` must lie in an existing folder; got {target}.")
        if target.exists() and not overwrite:
            raise FileExistsError(f"convert: `out` must not exist yet; got {target}. Use --overwrite.")
        if target.is_dir() and not {"stats.yaml"} <= {item.name for item in target.iterdir()} <= {"data", "stats.yaml"}:
            raise FileExistsError(f"convert: `out` must be a file, or a folder of The Well to replace; got {target}.")


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
