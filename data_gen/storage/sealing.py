"""The last step of writing a dataset file: every block is compared with its checksum, and the file is sealed."""

from __future__ import annotations

from pathlib import Path

from data_gen.errors import DatasetError
from data_gen.storage.dataset import Dataset
from data_gen.storage.seal import write_seal
from data_gen.storage.verification import crc_of


def seal_file(path: Path) -> None:
    """Seal a dataset file that is whole but has no name yet; see ``seal``.

    A page's checksum is taken of what the disk gives back, so the blocks are compared with the checksums that were
    computed before they were written.

    Args:
        path: the file; one that is sealed already is sealed again.

    Raises:
        DatasetError: a block on the disk is not what was written.
    """
    with Dataset(path, verify=False) as data:
        extents = data.extents()
    write_seal(path, extents)
    with Dataset(path, verify=False) as data:
        size = data.header.block_samples
        for name in () if data.shards else data.stored_names:
            for block, checksum in enumerate(data.block_checksums(name).tolist()):
                rows = slice(block * size, min((block + 1) * size, data.num_samples))
                if crc_of(data.read_stored(name, rows)) != checksum:
                    raise DatasetError(
                        f"write: {path} is not what was written: {name} differs in samples {rows.start}.."
                        f"{rows.stop - 1}. Check the disk, and write it again."
                    )
