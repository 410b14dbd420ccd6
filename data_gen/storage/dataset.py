"""Dataset files open for reading, with the header checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.equation import Equation
from data_gen.errors import DatasetError
from data_gen.header import Header
from data_gen.spec import DatasetSpec
from data_gen.storage.fields import FieldReader
from data_gen.storage.hdf5_layout import TABLE, UNWRITTEN, create_empty, create_file, read_header, read_map
from data_gen.storage.journal import journal_path, partial_path
from data_gen.storage.shards import Shard, ShardedField, checksum_of, listed_shards, refuse_other_files
from data_gen.storage.virtual_datasets import dataset_in

__all__ = ["Dataset", "create_empty", "create_file", "open_dataset", "read_map"]


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset file for reading; use it in a ``with`` statement.

    Args:
        path: the file; of a dataset in shards, the small one that lists them.
    Raises:
        DatasetError: the file is missing, a folder, not HDF5, truncated, unfinished, or of another layout.
    """
    return Dataset(path)


class Dataset(FieldReader):
    """A dataset file open for reading, and with the master of a dataset in shards, those too."""

    def __init__(self, path: str | Path, *, is_shard: bool = False) -> None:
        self.path = Path(path)
        self._parts: list[Dataset] = []
        self._file = _open_file(self.path)
        try:
            self._read_header()
            if is_shard and self.shards:
                raise DatasetError(f"open_dataset: {self.path} is listed as a shard but lists shards; that is refused.")
            self._open_shards()
        except DatasetError:
            self.close()
            raise
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            self.close()
            raise DatasetError(f"open_dataset: {self.path} has a damaged header ({error}).") from None

    def _read_header(self) -> None:
        self.header: Header = read_header(self._file)
        self.spec: DatasetSpec | None = None
        attributes: dict[str, Any] = dict(self._file.attrs)
        if "spec" in attributes:
            self.spec = DatasetSpec.from_dict(json.loads(attributes["spec"]))
            if attributes["config_hash"] != self.spec.config_hash or self.spec.header != self.header:
                raise DatasetError(f"open_dataset: {self.path} has a description that does not match its hash.")
        self.shards: tuple[Shard, ...] = listed_shards(self._file, self.header)
        refuse_other_files(self._file, self.header, self.shards)
        for name, shape in self.header.stored_shapes.items():
            field = dataset_in(self._file, name)
            if field.shape != (self.num_samples, *shape) or field.dtype != self.header.dtype:
                raise DatasetError(f"open_dataset: {self.path} has {name} of shape {field.shape}, not as described.")
        if any((self.block_checksums(name) == UNWRITTEN).any() for name in self.stored_names):
            raise DatasetError(
                f"open_dataset: {self.path} is incomplete: generation was interrupted. Resume it (--resume)."
            )

        group = self._file.get(TABLE)
        names = [str(name) for name in group] if isinstance(group, h5py.Group) else []
        self.table = {name: dataset_in(self._file, f"{TABLE}/{name}")[()] for name in names}
        if any(values.shape != (self.num_samples,) for values in self.table.values()):
            raise DatasetError(f"open_dataset: {self.path} has parameters of other samples than the fields.")

    def _open_shards(self) -> None:
        """Open the shards, each a valid dataset of its rows with the checksums that this file lists."""
        size = self.header.block_samples
        for shard in self.shards:
            path = self._place_of(shard)
            if not path.is_file():
                raise DatasetError(
                    f"open_dataset: {self.path} needs its shard {shard.name}, which is not in its folder. Copy the "
                    f"whole folder again, or generate it again (--overwrite)."
                )
            part = Dataset(path, is_shard=True)
            self._parts.append(part)
            blocks = slice(shard.start // size, -(-shard.stop // size))
            tables = [self.block_checksums(name)[blocks] for name in self.stored_names]
            same = part.header == replace(self.header, num_samples=shard.stop - shard.start)
            if not same or not part.checksum == shard.checksum == checksum_of(tables):
                raise DatasetError(
                    f"open_dataset: {path} is not the shard that {self.path.name} lists: its samples or checksums "
                    f"differ. Copy the whole folder again, or generate it again (--overwrite)."
                )

    def _place_of(self, shard: Shard) -> Path:
        return self.path.resolve().parent / shard.name

    @property
    def shard_paths(self) -> tuple[Path, ...]:
        """Where the shards lie; () of a file that has all fields itself."""
        return tuple(map(self._place_of, self.shards))

    @property
    def equation(self) -> Equation | None:
        """The equation that the target solves, if this package knows it."""
        return self.spec.make_equation() if self.spec else self.header.make_equation()

    @property
    def attributes(self) -> dict[str, Any]:
        """All root attributes, as plain values."""
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in self._file.attrs.items()}

    @property
    def raw_attributes(self) -> dict[str, Any]:
        """All root attributes, as h5py reads them."""
        return dict(self._file.attrs)

    @property
    def checksum(self) -> str:
        """SHA-256 over the block checksums of the stored fields: equal for equal stored bytes."""
        return checksum_of(self.block_checksums(name) for name in self.stored_names)

    @property
    def num_bytes(self) -> int:
        """Size on the disk, shards included."""
        return self.path.stat().st_size + sum(part.num_bytes for part in self._parts)

    def block_checksums(self, name: str) -> np.ndarray:
        """(blocks,), the stored CRC-32 of each block of a stored field."""
        return dataset_in(self._file, f"integrity/{name}")[()]

    def _load(self, name: str, start: int, stop: int, times: slice) -> np.ndarray:
        rows = slice(start, stop)
        block = self._field(name)[(rows, times) if self.header.trajectories else (rows,)]
        names = self.header.inputs if name == self.input_name else self.header.channels
        return block if len(names) > 1 else np.expand_dims(block, -1 - self.header.num_dims)

    def _field(self, name: str) -> h5py.Dataset | ShardedField:
        if not self.shards:
            return dataset_in(self._file, name)
        return ShardedField(self.shards, [dataset_in(part._file, name) for part in self._parts])

    def close(self) -> None:
        """Close the file."""
        for part in self._parts:
            part.close()
        self._file.close()


def _open_file(path: Path) -> h5py.File:
    if path.is_dir():
        raise DatasetError(f"open_dataset: {path} is a folder. Give the dataset file itself.")
    if not path.exists():
        unfinished = partial_path(path).exists() or journal_path(path).exists()
        hint = "An unfinished one is there: resume it (--resume)." if unfinished else "Check the path, or generate it."
        raise DatasetError(f"open_dataset: {path} does not exist. {hint}")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
    if "truncated" in text:
        raise DatasetError(f"open_dataset: {path} is truncated: it is shorter than its header says. Copy it again.")
    if "signature" in text:
        raise DatasetError(f"open_dataset: {path} is not an HDF5 file.")
    raise DatasetError(f"open_dataset: {path} cannot be opened: {text}.")
