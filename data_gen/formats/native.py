"""Our own dataset file."""

from __future__ import annotations

from pathlib import Path

from data_gen.errors import DatasetError
from data_gen.formats.format import Format
from data_gen.formats.hdf5 import is_hdf5, open_hdf5
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import Readable, Source, blocks
from data_gen.storage import journal
from data_gen.storage.dataset import open_dataset
from data_gen.storage.hdf5_layout import LAYOUT, create_empty

FORMAT = Format("sciml_cf", (".h5",), "our own dataset file", order=0)


def recognises(path: Path) -> bool:
    """Whether it says that it has our layout; a damaged one is left to ``open_file`` to explain."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return file.attrs.get("layout") == LAYOUT


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it is damaged, or overrides are given, which our files know themselves.
    """
    if overrides != Overrides():
        raise DatasetError(f"open_source: {path} is a file of ours and says itself what it holds; leave out the flags.")
    return open_dataset(path)


def write(source: Readable, path: Path) -> None:
    """A dataset file of ours with the fields of a source."""
    layout = create_empty(path, source.header, {"source": f"converted from {source.path.name}"})
    checksums = {}
    for block, (_, fields) in enumerate(blocks(source)):
        checksums[block] = journal.write_block(path, layout, block, tuple(fields.values()))
    journal.write_checksums(path, layout, checksums)
