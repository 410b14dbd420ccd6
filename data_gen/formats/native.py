"""The native dataset file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data_gen.errors import DatasetError
from data_gen.formats.format import Format
from data_gen.formats.hdf5 import is_hdf5, open_hdf5
from data_gen.formats.masks import FILL
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import Readable, Source, blocks
from data_gen.storage import journal
from data_gen.storage.dataset import open_dataset
from data_gen.storage.hdf5_layout import LAYOUT, create_empty
from data_gen.storage.seal import has_seal
from data_gen.storage.sealing import seal_file

FORMAT = Format("sciml_cf", (".h5",), "the native dataset file", order=0)


def recognizes(path: Path) -> bool:
    """Whether it has the attribute of the layout; ``open_file`` explains the fault of a damaged one."""
    if not is_hdf5(path):
        return False
    if has_seal(path):  # and libhdf5 is given it only after its header is verified
        return True
    with open_hdf5(path, check=False) as file:
        return file.attrs.get("layout") == LAYOUT


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it is damaged, or overrides are given, which a dataset file does not need.
    """
    if overrides.mask not in (None, FILL):
        raise DatasetError(f"open_source: {path} is a dataset file, whose missing values are NaN; give --mask fill.")
    if replace(overrides, mask=None, follow_links=False, verify=True) != Overrides():
        raise DatasetError(f"open_source: {path} is a dataset file, which has its own metadata; leave out the flags.")
    return open_dataset(path, verify=overrides.verify)


def write(source: Readable, path: Path) -> None:
    """A dataset file with the fields of a source."""
    file_map = create_empty(path, source.header, {"source": f"converted from {source.path.name}"}, source.table)
    checksums = {}
    for block, (_, fields) in enumerate(blocks(source)):
        checksums[block] = journal.write_block(path, file_map, block, tuple(fields.values()))
    journal.write_checksums(path, file_map, checksums)
    seal_file(path)
