"""Fields that lie in a file of any format, read as a dataset file of ours is read."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from data_gen.cells import CellGrid
from data_gen.equations import Equation
from data_gen.errors import DatasetError
from data_gen.grid import PeriodicGrid
from data_gen.header import Header

#: (name, first row, row after the last, which times) -> (rows, channels, *points) of a stored field, or of trajectories
#: (rows, times, channels, *points).
Load = Callable[[str, int, int, slice], np.ndarray]
_ALL = slice(None)


class Source(Protocol):
    """What is read from a file, ours or foreign; see ``data_gen.store.Dataset`` for each part."""

    header: Header
    path: Path

    @property
    def num_samples(self) -> int: ...
    @property
    def resolution(self) -> int: ...
    @property
    def input_name(self) -> str: ...
    @property
    def target_name(self) -> str: ...
    @property
    def times(self) -> tuple[float, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def equation(self) -> Equation | None: ...
    @property
    def grid(self) -> PeriodicGrid | CellGrid: ...
    @property
    def stored_names(self) -> tuple[str, ...]: ...
    @property
    def checksum(self) -> str: ...

    def read(
        self, name: str, rows: slice | np.ndarray | None = None, stride: int = 1, *, time: float | None = None
    ) -> np.ndarray: ...
    def read_trajectory(self, rows: slice | np.ndarray | None = None, stride: int = 1) -> np.ndarray: ...
    def read_stored(self, name: str, rows: slice | np.ndarray | None = None) -> np.ndarray: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ForeignSource:
    """A file of another format open for reading.

    Args:
        path: the file.
        header: what was found in it, or said about it.
        load: reads consecutive rows.
        close: lets go of the file.
        dropped: of each axis, whether the file has one more point at its end, the first one again.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        load: Load,
        close: Callable[[], Any] = lambda: None,
        dropped: tuple[bool, ...] = (),
    ) -> None:
        self.path, self.header = path, header
        self._load, self._close = load, close
        self._points = (..., *(slice(None, -1 if drop else None) for drop in dropped or (False,) * header.num_dims))
        self._checksum: str | None = None

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return self.header.num_samples

    @property
    def resolution(self) -> int:
        """Points along the last axis."""
        return self.header.shape[-1]

    @property
    def input_name(self) -> str:
        """Name of the input."""
        return self.header.input_name

    @property
    def target_name(self) -> str:
        """Name of the target."""
        return self.header.target_name

    @property
    def times(self) -> tuple[float, ...]:
        """Times of the fields."""
        return self.header.times

    @property
    def dtype(self) -> np.dtype:
        """Precision of the fields."""
        return np.dtype(self.header.dtype)

    @property
    def equation(self) -> Equation | None:
        """The equation that the target solves, if it is one of ours and known."""
        return self.header.make_equation()

    @property
    def grid(self) -> PeriodicGrid | CellGrid:
        """The grid of the fields."""
        return self.header.grid

    @property
    def stored_names(self) -> tuple[str, ...]:
        """Input and target, or of trajectories the target alone."""
        return tuple(self.header.stored_shapes)

    @property
    def checksum(self) -> str:
        """SHA-256 over the block checksums of the fields: that of the dataset file they are converted to."""
        if self._checksum is None:
            tables = {name: b"" for name in self.stored_names}
            for _, fields in blocks(self):
                for name, field in fields.items():
                    tables[name] += np.int64(zlib.crc32(np.ascontiguousarray(field).data.cast("B"))).tobytes()
            self._checksum = hashlib.sha256(b"".join(tables.values())).hexdigest()
        return self._checksum

    def read(
        self, name: str, rows: slice | np.ndarray | None = None, stride: int = 1, *, time: float | None = None
    ) -> np.ndarray:
        """Fields at one time, at every ``stride``-th point of each axis; see ``data_gen.store.Dataset.read``.

        Raises:
            ValueError: unknown name or time, rows that do not increase or do not exist, a stride that does not divide.
            DatasetError: the file cannot be read.
        """
        if name not in (self.input_name, self.target_name):
            raise ValueError(f"read: `name` must be {self.input_name!r} or {self.target_name!r}; got {name!r}.")
        known = self._times_of(name)
        if time is not None and time not in known:
            raise ValueError(f"read: `time` of {name} must be one of {', '.join(map(str, known))}; got {time!r}.")
        chosen = known[-1] if time is None else time
        if self.header.trajectories:
            at = self.times.index(chosen)
            return self._gather(self.target_name, rows, stride, slice(at, at + 1))[:, 0]
        start = name == self.input_name or (self._has_both and chosen == self.times[0])
        return self._gather(self.input_name if start else self.target_name, rows, stride)

    def read_trajectory(self, rows: slice | np.ndarray | None = None, stride: int = 1) -> np.ndarray:
        """(rows, times, channels, *points): the target at all times; see ``data_gen.store.Dataset.read_trajectory``."""
        if self.header.trajectories:
            return self._gather(self.target_name, rows, stride)
        names = (self.input_name, self.target_name) if self._has_both else (self.target_name,)
        return np.stack([self._gather(name, rows, stride) for name in names], axis=1)

    def read_stored(self, name: str, rows: slice | np.ndarray | None = None) -> np.ndarray:
        """Rows of one of ``stored_names``, with an axis for its channels whether it has one or several."""
        return self._gather(name, rows, 1)

    @property
    def _has_both(self) -> bool:
        return not self.header.steady and self.header.inputs == self.header.channels

    def _times_of(self, name: str) -> tuple[float, ...]:
        if name == self.input_name:
            return self.times[:1]
        return self.times if self.header.trajectories or self._has_both else self.times[-1:]

    def _gather(self, name: str, rows: slice | np.ndarray | None, stride: int, at: slice = _ALL) -> np.ndarray:
        divides = hasattr(stride, "__index__") and stride >= 1 and not any(n % stride for n in self.header.shape)
        if isinstance(stride, bool) or not divides:
            points = " x ".join(map(str, self.header.shape))
            raise ValueError(f"read: `stride` must divide the resolution {points}; got {stride!r}.")
        wanted, done, parts = self._row_indices(rows), 0, []
        coarse = (..., *(slice(None, None, stride),) * self.header.num_dims)
        while done < len(wanted):
            first = int(wanted[done])
            count = int(np.searchsorted(wanted[done:], first + self.header.block_samples))
            picked = wanted[done : done + count] - first
            try:
                block = self._load(name, first, first + int(picked[-1]) + 1, at)
            except OSError as error:
                raise DatasetError(f"read: {self.path} cannot be read ({error}). Is it damaged?") from None
            parts.append(np.asarray(block[self._points][picked][coarse], dtype=self.dtype))
            done += count
        return np.ascontiguousarray(np.concatenate(parts)) if parts else self._load(name, 0, 1, at)[self._points][:0]

    def _row_indices(self, rows: slice | np.ndarray | None) -> np.ndarray:
        everything = np.arange(self.num_samples)
        if rows is None or isinstance(rows, slice):
            return everything[rows if rows is not None else _ALL]
        indices = np.asarray(rows)
        good = indices.ndim == 1 and (indices.size == 0 or indices.dtype.kind in "iu")
        if not good or np.any(np.diff(indices) <= 0) or not np.isin(indices, everything).all():
            raise ValueError(f"read: `rows` must increase and lie in 0..{self.num_samples - 1}; got {rows!r}.")
        return indices.astype(np.int64)

    def close(self) -> None:
        """Close the file."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pair_of_times(source: Source, input_time: float | None, target_time: float | None) -> ForeignSource:
    """The target of a source at two of its times, as input and target.

    Raises:
        ValueError: a time is not one of the source's, or they do not increase.
    """
    chosen = {
        "input_time": source.times[0] if input_time is None else input_time,
        "target_time": source.times[-1] if target_time is None else target_time,
    }
    known = source.times if source.header.inputs == source.header.channels else source.times[-1:]
    for argument, time in chosen.items():
        if time not in known:
            listed = ", ".join(f"{t:g}" for t in known[:20]) + (", ..." if len(known) > 20 else "")
            raise ValueError(f"open_source: `{argument}` must be one of {listed}; got {time:g}.")
    if chosen["input_time"] >= chosen["target_time"]:
        raise ValueError(
            f"open_source: `target_time` must come after the input's {chosen['input_time']:g}; it does not."
        )
    header = replace(source.header, times=tuple(chosen.values()))

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        time = chosen["input_time" if name == header.input_name else "target_time"]
        return source.read(source.target_name, slice(start, stop), time=time)

    return ForeignSource(source.path, header, load, source.close)


class Readable(Protocol):
    """What a writer needs of a source: its header, the rows of its stored fields, and where they come from."""

    @property
    def header(self) -> Header: ...
    @property
    def path(self) -> Path: ...
    def read_stored(self, name: str, rows: slice | np.ndarray | None = None) -> np.ndarray: ...


def blocks(source: Readable) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """The stored fields of a source, a block of rows at a time, each with an axis for its channels."""
    size, samples = source.header.block_samples, source.header.num_samples
    for start in range(0, samples, size):
        rows = slice(start, min(start + size, samples))
        yield rows, {name: source.read_stored(name, rows) for name in source.header.stored_shapes}


def series(field: Callable[[int, int, slice], np.ndarray], header: Header) -> Load:
    """``Load`` of a field with all times together, (rows, times, channels, *points), whose start is the input."""

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        if header.trajectories:
            return field(start, stop, at)
        index = 0 if name == header.input_name else 1
        return field(start, stop, slice(index, index + 1))[:, 0]

    return load


def trajectory_of(header: Header, fields: dict[str, np.ndarray]) -> np.ndarray:
    """(rows, times, channels, *points) of a block whose input is the target at the first time."""
    if header.trajectories:
        return fields[header.target_name]
    return np.stack([fields[header.input_name], fields[header.target_name]], axis=1)
