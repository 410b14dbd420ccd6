"""Dataset files open for reading, with the header checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from data_gen.cells import CellGrid
from data_gen.equations import Equation
from data_gen.errors import DatasetError
from data_gen.grid import PeriodicGrid
from data_gen.header import Header
from data_gen.journal import journal_path, partial_path
from data_gen.layout import UNWRITTEN, create_empty, create_file, read_header, read_map
from data_gen.shards import Shard, ShardedField, checksum_of, listed_shards, refuse_other_files
from data_gen.spec import DatasetSpec
from data_gen.views import dataset_in

__all__ = ["Dataset", "create_empty", "create_file", "open_dataset", "read_map"]


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset file for reading; use it in a ``with`` statement.

    Raises:
        DatasetError: the file is missing, a folder, not HDF5, truncated, unfinished, or of another layout.
    """
    return Dataset(path)


class Dataset:
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
        self.num_samples, self.resolution = self.header.num_samples, self.header.shape[-1]
        self.input_name, self.target_name = self.header.input_name, self.header.target_name
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

    def _open_shards(self) -> None:
        """Open the shards, each a sound dataset of its rows with the checksums that this file lists."""
        size = self.header.block_samples
        for shard in self.shards:
            path = self.path.resolve().parent / shard.name
            if not path.is_file():
                raise DatasetError(
                    f"open_dataset: {self.path} needs its shard {shard.name}, which is not beside it. Copy the whole "
                    f"folder again, or generate it again (--overwrite)."
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

    @property
    def stored_names(self) -> tuple[str, ...]:
        """The fields that the file stores: input and target, or of trajectories the target alone."""
        return tuple(self.header.stored_shapes)

    @property
    def grid(self) -> PeriodicGrid | CellGrid:
        """The grid of the fields."""
        return self.header.grid

    @property
    def times(self) -> tuple[float, ...]:
        """Times of the stored fields, increasing; a steady dataset has one."""
        return self.header.times

    @property
    def equation(self) -> Equation | None:
        """The equation that the target solves, if it is one of ours."""
        return self.spec.make_equation() if self.spec else self.header.make_equation()

    @property
    def parameters(self) -> dict[str, float]:
        """The equation's parameters."""
        return dict(self.header.parameters)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the stored fields."""
        return np.dtype(self.header.dtype)

    @property
    def attributes(self) -> dict[str, Any]:
        """All root attributes, as plain values."""
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in self._file.attrs.items()}

    @property
    def raw_attributes(self) -> dict[str, Any]:
        """All root attributes, as HDF5 holds them."""
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

    def read(
        self, name: str, rows: slice | np.ndarray | None = None, stride: int = 1, *, time: float | None = None
    ) -> np.ndarray:
        """Fields at one time, at every ``stride``-th point of each axis.

        Args:
            name: the input's or the target's name.
            rows: a slice, increasing indices, or None for all.
            stride: divides the points of every axis.
            time: which of ``times`` of the target; the last one if None. The input has the first.
        Returns:
            (rows, channels, *points), of the stored dtype.
        Raises:
            ValueError: unknown name or time, rows that do not increase or do not exist, a stride that does not divide.
            DatasetError: the file cannot be read.
        """
        if name not in (self.input_name, self.target_name):
            raise ValueError(f"read: `name` must be {self.input_name!r} or {self.target_name!r}; got {name!r}.")
        if self.header.trajectories or (name == self.target_name and self._has_both):
            known = self.times if name == self.target_name else self.times[:1]
        else:
            known = self.times[:1] if name == self.input_name else self.times[-1:]
        if time is not None and time not in known:
            raise ValueError(f"read: `time` of {name} must be one of {', '.join(map(str, known))}; got {time!r}.")
        chosen = known[-1] if time is None else time
        if self.header.trajectories:
            return self._gather(self.target_name, rows, stride, (self.times.index(chosen),))
        start = name == self.input_name or (self._has_both and chosen == self.times[0])
        return self._gather(self.input_name if start else self.target_name, rows, stride)

    def read_trajectory(self, rows: slice | np.ndarray | None = None, stride: int = 1) -> np.ndarray:
        """Target fields at all of ``times``, at every ``stride``-th point; rows and stride as in ``read``.

        Returns:
            (rows, len(times), channels, *points), of the stored dtype. Where the input has other components than the
            target, there is the target's own time only.
        Raises:
            ValueError: rows that do not increase or do not exist, a stride that does not divide.
            DatasetError: the file cannot be read.
        """
        if self.header.trajectories:
            return self._gather(self.target_name, rows, stride)
        names = (self.input_name, self.target_name) if self._has_both else (self.target_name,)
        return np.stack([self._gather(name, rows, stride) for name in names], axis=1)

    def read_stored(self, name: str, rows: slice | np.ndarray | None = None) -> np.ndarray:
        """Rows of one of ``stored_names``, with an axis for its channels whether it has one or several."""
        return self._gather(name, rows, 1)

    @property
    def _has_both(self) -> bool:
        """Whether the input is the target at an earlier time."""
        return not self.header.steady and self.header.inputs == self.header.channels

    def _gather(self, name: str, rows: slice | np.ndarray | None, stride: int, at: tuple[int, ...] = ()) -> np.ndarray:
        """Rows of a stored field with its channels, read block by block; ``at`` picks from its axes after the first."""
        divides = hasattr(stride, "__index__") and stride >= 1 and not any(n % stride for n in self.header.shape)
        if isinstance(stride, bool) or not divides:
            points = " x ".join(map(str, self.header.shape))
            raise ValueError(f"read: `stride` must divide the resolution {points}; got {stride!r}.")
        field, done, wanted = self._field(name), 0, self._row_indices(rows)
        dims, block_samples = self.header.num_dims, self.header.block_samples
        kept = field.shape[1 + len(at) : -dims]
        result = np.empty((len(wanted), *kept, *(n // stride for n in self.header.shape)), dtype=self.dtype)
        picked_points = (..., *(slice(None, None, stride),) * dims)
        while done < len(wanted):
            first = int(wanted[done])
            count = int(np.searchsorted(wanted[done:], first + block_samples))
            picked = wanted[done : done + count] - first
            try:
                block = field[(slice(first, first + int(picked[-1]) + 1), *at)]
            except OSError as error:
                raise DatasetError(f"read: {self.path} cannot be read ({error}). Is it damaged?") from None
            result[done : done + count] = block[picked][picked_points]
            done += count
        names = self.header.inputs if name == self.input_name else self.header.channels
        return result if len(names) > 1 else np.expand_dims(result, -1 - dims)

    def _field(self, name: str) -> h5py.Dataset | ShardedField:
        if not self.shards:
            return dataset_in(self._file, name)
        return ShardedField(self.shards, [dataset_in(part._file, name) for part in self._parts])

    def _row_indices(self, rows: slice | np.ndarray | None) -> np.ndarray:
        if rows is None or isinstance(rows, slice):
            indices = np.arange(self.num_samples)[rows if rows is not None else slice(None)]
        else:
            indices = np.asarray(rows)
            if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
                raise ValueError(f"read: `rows` must be a slice or one axis of integers; got {indices.dtype} array.")
            indices = indices.astype(np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.num_samples or (np.diff(indices) <= 0).any()):
            raise ValueError(f"read: `rows` must increase and lie in 0..{self.num_samples - 1}; got {rows!r}.")
        return indices

    def close(self) -> None:
        """Close the file."""
        for part in self._parts:
            part.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
