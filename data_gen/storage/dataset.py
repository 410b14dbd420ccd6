"""Dataset files open for reading, with the header checked."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_gen.equation import Equation, SampleEquations
from data_gen.errors import DatasetError
from data_gen.header import Header
from data_gen.spec import DatasetSpec
from data_gen.storage.fields import FieldReader
from data_gen.storage.first_bytes import advice_on
from data_gen.storage.hdf5_layout import TABLE, UNWRITTEN, create_empty, create_file, read_header, read_map
from data_gen.storage.journal import journal_path, partial_path
from data_gen.storage.own_fields import equations_of
from data_gen.storage.seal import SEAL, Seal, checked_seal
from data_gen.storage.shards import Shard, ShardedField, checksum_of, listed_shards, refuse_other_files
from data_gen.storage.verification import SealedFields, StoredBlocks, where_values_lie
from data_gen.storage.virtual_datasets import dataset_in

_TRIES = 100  # to open one and the same file under a name that gets others

__all__ = ["Dataset", "create_empty", "create_file", "open_dataset", "read_map"]


def open_dataset(path: str | Path, *, verify: bool = True) -> Dataset:
    """Open a dataset file for reading; use it in a ``with`` statement.

    The header is compared with its checksums now, and fields when they are first read. Files of version 0.1 have
    checksums of whole blocks of fields alone.

    Args:
        path: the file; of a dataset in shards, the small one that lists them.
        verify: compare with checksums; without, damaged values are read as they are.

    Raises:
        DatasetError: the file is missing, a folder, not HDF5, truncated, damaged, unfinished, or of another layout.
    """
    return Dataset(path, verify=verify)


class Dataset(FieldReader):
    """A dataset file open for reading, and with the master of a dataset in shards, those too."""

    def __init__(
        self, path: str | Path, *, is_shard: bool = False, verify: bool = True, verify_fields: bool = True
    ) -> None:
        self.path = Path(path)
        self._parts: list[Dataset] = []
        self._verify, self._verify_fields = verify, verify and verify_fields
        _check_place(self.path)
        self._checked: SealedFields | StoredBlocks | None = None
        self._seal, self._file = _open_both(self.path, verify)
        try:
            self._read_header()
            if is_shard and self.shards:
                raise DatasetError(f"open_dataset: {self.path} is listed as a shard but lists shards; that is refused.")
            self._open_shards()
            self._check_sealed()
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
            part = Dataset(path, is_shard=True, verify=self._verify, verify_fields=self._verify_fields)
            self._parts.append(part)
            blocks = slice(shard.start // size, -(-shard.stop // size))
            tables = [self.block_checksums(name)[blocks] for name in self.stored_names]
            same = part.header == replace(self.header, num_samples=shard.stop - shard.start)
            if not same or not part.checksum == shard.checksum == checksum_of(tables):
                raise DatasetError(
                    f"open_dataset: {path} is not the shard that {self.path.name} lists: its samples or checksums "
                    f"differ. Copy the whole folder again, or generate it again (--overwrite)."
                )

    def _check_sealed(self) -> None:
        """Refuse a file that has lost its seal, and make the fields ready for verification."""
        if self._verify and self._seal is None and SEAL in self._file.attrs:
            raise DatasetError(
                f"open_dataset: {self.path} was cut or changed after it was written: its last bytes, the checksums of "
                f"all others, are missing. Copy the file again. If you changed its attributes yourself, write it anew "
                f"with sciml-cf repack FILE --out NEW --compression none --no-verify."
            )
        if not self._verify_fields or self.shards:
            return
        if self._seal is not None:
            self._checked = SealedFields(self.path, self._file, self.header, self._seal)
        else:
            self._checked = StoredBlocks(
                self.path, self.header, self.block_checksums, lambda name, i, j: dataset_in(self._file, name)[i:j]
            )

    def _place_of(self, shard: Shard) -> Path:
        return self.path.resolve().parent / shard.name

    @property
    def shard_paths(self) -> tuple[Path, ...]:
        """Where the shards lie; () of a file that has all fields itself."""
        return tuple(map(self._place_of, self.shards))

    @property
    def equation(self) -> Equation | None:
        """The equation that the target solves, if this package knows it and its parameters are those of all samples."""
        return self.spec.make_equation() if self.spec and not self.table else self.header.make_equation()

    def equations(self, rows: slice | np.ndarray) -> Equation | SampleEquations | None:
        """As that of ``FieldReader``; parameters that are fields come from their files once they are used."""
        if self.spec is None or not self.spec.field_files:
            return super().equations(rows)
        return equations_of(self.spec, np.arange(self.num_samples)[rows])

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
    def rows_together(self) -> int:
        """Samples of a chunk; 1 of a plain file, with checksums of pages; a block of a file without a seal."""
        if self.shards or self._seal is None:
            return self.header.block_samples
        chunks = [dataset_in(self._file, name).chunks for name in self.stored_names]
        return max((one[0] for one in chunks if one is not None), default=1)

    @property
    def num_bytes(self) -> int:
        """Size on the disk, shards included."""
        return self.path.stat().st_size + sum(part.num_bytes for part in self._parts)

    def block_checksums(self, name: str) -> np.ndarray:
        """(blocks,), the stored CRC-32 of each block of a stored field."""
        return dataset_in(self._file, f"integrity/{name}")[()]

    def extents(self) -> list[tuple[int, int]]:
        """Where the values of the fields lie in the file itself, as ranges of bytes; those of shards do not."""
        if self.shards:
            return []
        fields = [dataset_in(self._file, name) for name in self.stored_names]
        return [place for field in fields for place in where_values_lie(field, slice(None))]

    def _check_rows(self, name: str, start: int, stop: int, times: slice) -> None:
        """Refuse rows that differ from their checksums."""
        if self._checked is not None:
            self._checked.check(name, start, stop, times)
        for shard, part in zip(self.shards, self._parts, strict=True):
            first, last = max(start, shard.start), min(stop, shard.stop)
            if first < last:
                part._check_rows(name, first - shard.start, last - shard.start, times)

    def _load(self, name: str, start: int, stop: int, times: slice) -> np.ndarray:
        self._check_rows(name, start, stop, times)
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
        self._close_seal()

    def _close_seal(self) -> None:
        if self._seal is not None:
            self._seal.close()


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise DatasetError(f"open_dataset: {path} is a folder. Give the dataset file itself.")
    if not path.exists():
        unfinished = partial_path(path).exists() or journal_path(path).exists()
        hint = "An unfinished one is there: resume it (--resume)." if unfinished else "Check the path, or generate it."
        raise DatasetError(f"open_dataset: {path} does not exist. {hint}")


def _open_both(path: Path, verify: bool) -> tuple[Seal | None, h5py.File]:
    """The seal of a file, and the file: of one and the same, though another may get its name meanwhile."""
    for _ in range(_TRIES):
        seal, before = checked_seal(path) if verify else None, os.stat(path)
        try:
            file = _open_file(path)
        except DatasetError:
            if seal is not None:
                seal.close()
            raise
        descriptor = file.id.get_vfd_handle()
        same = os.path.samestat(before, os.fstat(descriptor)) if seal is None else seal.is_of(descriptor)
        if same:
            return seal, file
        file.close()
        if seal is not None:
            seal.close()
    raise DatasetError(f"open_dataset: {path} is replaced again and again while it is opened. Wait until that is done.")


def _open_file(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
    if "truncated" in text:
        raise DatasetError(f"open_dataset: {path} is truncated: it is shorter than its header says. Copy it again.")
    if "signature" in text:
        converted = path.with_suffix(".h5") if path.suffix != ".h5" else path.with_name(f"{path.stem}_converted.h5")
        usual = f"If it is of another known format, convert it: sciml-cf convert {path} {converted}"
        raise DatasetError(f"open_dataset: {path} is not an HDF5 file. {advice_on(path) or usual}")
    raise DatasetError(f"open_dataset: {path} cannot be opened: {text}.")
