"""Dataset files open for reading, with the header checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from data_gen.equations import Equation
from data_gen.errors import DatasetError
from data_gen.grid import PeriodicGrid
from data_gen.journal import BLOCK, partial_path
from data_gen.layout import LAYOUT, LAYOUT_VERSION, UNWRITTEN, create_file, dataset_in, read_map
from data_gen.spec import INPUT, TARGET, DatasetSpec

__all__ = ["Dataset", "create_file", "open_dataset", "read_map"]


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset file for reading; use it in a ``with`` statement.

    Raises:
        DatasetError: the file is missing, a folder, not HDF5, truncated, unfinished, or of another layout.
    """
    return Dataset(path)


class Dataset:
    """A dataset file open for reading."""

    input_name = INPUT
    target_name = TARGET

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = _open_file(self.path)
        try:
            self._read_header()
        except DatasetError:
            self.close()
            raise
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            self.close()
            raise DatasetError(f"open_dataset: {self.path} has a damaged header ({error}).") from None

    def _read_header(self) -> None:
        attributes: dict[str, Any] = dict(self._file.attrs)
        if attributes.get("layout") != LAYOUT:
            raise DatasetError(
                f"open_dataset: {self.path} is HDF5 but not a dataset of this layout (no attribute layout = "
                f"{LAYOUT!r}). Convert it, or point to a file made by generate."
            )
        if int(attributes["layout_version"]) > LAYOUT_VERSION:
            raise DatasetError(
                f"open_dataset: {self.path} has layout version {attributes['layout_version']}, newer than "
                f"{LAYOUT_VERSION}. Update sciml_cf."
            )
        self.spec = DatasetSpec.from_dict(json.loads(attributes["spec"]))
        if attributes["config_hash"] != self.spec.config_hash:
            raise DatasetError(f"open_dataset: {self.path} has a description that does not match its hash.")
        self.num_samples, self.resolution = self.spec.samples, self.spec.resolution
        for name, shape in self.spec.sample_shapes.items():
            field = dataset_in(self._file, name)
            if field.shape != (self.num_samples, *shape) or field.dtype != self.spec.dtype:
                raise DatasetError(f"open_dataset: {self.path} has {name} of shape {field.shape}, not as described.")
            if field.is_virtual or field.external:
                raise DatasetError(f"open_dataset: {self.path} keeps {name} in another file, which is refused.")
        if any((self.block_checksums(name) == UNWRITTEN).any() for name in self.stored_names):
            raise DatasetError(
                f"open_dataset: {self.path} is incomplete: generation was interrupted. Resume it (--resume)."
            )

    @property
    def stored_names(self) -> tuple[str, ...]:
        """The fields that the file stores: a and u at one output time, u alone (the trajectories) at several."""
        return tuple(self.spec.sample_shapes)

    @property
    def grid(self) -> PeriodicGrid:
        """The grid of the fields."""
        return self.spec.grid

    @property
    def times(self) -> tuple[float, ...]:
        """Times of the stored fields: 0 and the output times."""
        return tuple(float(t) for t in dataset_in(self._file, "time")[()])

    @property
    def equation(self) -> Equation:
        """The equation that the target solves."""
        return self.spec.make_equation()

    @property
    def parameters(self) -> dict[str, float]:
        """The equation's parameters."""
        return dict(self.spec.parameters)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the stored fields."""
        return np.dtype(self.spec.dtype)

    @property
    def attributes(self) -> dict[str, Any]:
        """All root attributes, as plain values."""
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in self._file.attrs.items()}

    @property
    def checksum(self) -> str:
        """SHA-256 over the block checksums of the stored fields: equal for equal stored bytes."""
        tables = [self.block_checksums(name).astype("<i8").tobytes() for name in self.stored_names]
        return hashlib.sha256(b"".join(tables)).hexdigest()

    def block_checksums(self, name: str) -> np.ndarray:
        """(blocks,), the stored CRC-32 of each block of a stored field."""
        return dataset_in(self._file, f"integrity/{name}")[()]

    def read(
        self, name: str, rows: slice | np.ndarray | None = None, stride: int = 1, *, time: float | None = None
    ) -> np.ndarray:
        """Fields at one time, at every ``stride``-th point.

        Args:
            name: "a" or "u".
            rows: a slice, increasing indices, or None for all.
            stride: divides the resolution.
            time: which of ``times`` of u; the last one if None. The time of a is 0.
        Returns:
            (rows, channels, resolution // stride), of the stored dtype.
        Raises:
            ValueError: unknown name or time, rows that do not increase or do not exist, a stride that does not divide.
            DatasetError: the file cannot be read.
        """
        if name not in (INPUT, TARGET):
            raise ValueError(f"read: `name` must be {INPUT!r} or {TARGET!r}; got {name!r}.")
        known = self.times if name == TARGET else (0.0,)
        if time is not None and time not in known:
            raise ValueError(f"read: `time` of {name} must be one of {', '.join(map(str, known))}; got {time!r}.")
        index = known.index(known[-1] if time is None else time)
        if INPUT in self.stored_names:
            return self._gather((INPUT, TARGET)[index], rows, stride)[:, None]
        return self._gather(TARGET, rows, stride, (index,))[:, None]

    def read_trajectory(self, rows: slice | np.ndarray | None = None, stride: int = 1) -> np.ndarray:
        """Fields at all of ``times``, 0 among them, at every ``stride``-th point; rows and stride as in ``read``.

        Returns:
            (rows, len(times), channels, resolution // stride), of the stored dtype.
        Raises:
            ValueError: rows that do not increase or do not exist, a stride that does not divide.
            DatasetError: the file cannot be read.
        """
        if INPUT in self.stored_names:
            return np.stack([self.read(name, rows, stride) for name in (INPUT, TARGET)], axis=1)
        return self._gather(TARGET, rows, stride)[:, :, None]

    def _gather(self, name: str, rows: slice | np.ndarray | None, stride: int, at: tuple[int, ...] = ()) -> np.ndarray:
        """Rows of a stored field, read block by block; ``at`` picks from its axes after the first."""
        if isinstance(stride, bool) or not hasattr(stride, "__index__") or stride < 1 or self.resolution % stride:
            raise ValueError(f"read: `stride` must divide the resolution {self.resolution}; got {stride!r}.")
        field, done, wanted = dataset_in(self._file, name), 0, self._row_indices(rows)
        shape = (*field.shape[1 + len(at) : -1], self.resolution // stride)
        result = np.empty((len(wanted), *shape), dtype=self.dtype)
        while done < len(wanted):
            first = int(wanted[done])
            count = int(np.searchsorted(wanted[done:], first + BLOCK))
            picked = wanted[done : done + count] - first
            try:
                block = field[(slice(first, first + int(picked[-1]) + 1), *at)]
            except OSError as error:
                raise DatasetError(f"read: {self.path} cannot be read ({error}). Is it damaged?") from None
            result[done : done + count] = block[picked, ..., ::stride]
            done += count
        return result

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
        unfinished = partial_path(path).exists()
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
