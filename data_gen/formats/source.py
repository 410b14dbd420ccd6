"""Fields in a file of any format, read as a native dataset file is."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_gen.header import Header
from data_gen.storage.fields import FieldReader

#: (name, first row, row after the last, which times) -> (rows, channels, *points) of a stored field, or of trajectories
#: (rows, times, channels, *points).
Load = Callable[[str, int, int, slice], np.ndarray]
_ALL = slice(None)


#: A file open for reading, native or foreign.
Source = FieldReader


class ForeignSource(FieldReader):
    """A file of another format open for reading.

    Args:
        path: the file.
        header: description of its content, from the file and the overrides.
        load: reads consecutive rows.
        close: closes the file.
        dropped: of each axis, whether the file has one more point at its end, the first one again.
        table: parameters of each sample, ``(samples,)`` by name.

    Attributes:
        retimed: the same source with its target at another time, for a pair whose target has several; else None.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        load: Load,
        close: Callable[[], Any] = lambda: None,
        dropped: tuple[bool, ...] = (),
        table: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.path, self.header, self.dropped = path, header, dropped
        self.table = {k: v for k, v in (table or {}).items() if v.shape == (header.num_samples,) and "/" not in k}
        self.retimed: Callable[[float | None, float | None], ForeignSource] | None = None
        self._rows, self._close = load, close
        self._points = (..., *(slice(None, -1 if drop else None) for drop in dropped or (False,) * header.num_dims))
        self._checksum: str | None = None

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

    def _load(self, name: str, start: int, stop: int, times: slice) -> np.ndarray:
        return self._rows(name, start, stop, times)[self._points]

    def close(self) -> None:
        """Close the file."""
        self._close()


def pair_of_times(source: Source, input_time: float | None, target_time: float | None) -> ForeignSource:
    """The target of a source at two of its times, as input and target.

    Raises:
        ValueError: a time is not one of the source's, or they do not increase.
    """
    if isinstance(source, ForeignSource) and source.retimed is not None:
        return source.retimed(input_time, target_time)
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

    return ForeignSource(source.path, header, load, source.close, table=source.table)


class Readable(Protocol):
    """The part of a source that a writer needs: its header, tables and path, and the rows of its stored fields."""

    @property
    def header(self) -> Header: ...
    @property
    def path(self) -> Path: ...
    @property
    def table(self) -> Mapping[str, np.ndarray]: ...
    def read_stored(self, name: str, rows: slice | np.ndarray | None = None) -> np.ndarray: ...


def blocks(source: Readable) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """The stored fields of a source, a block of rows at a time, each with an axis for its channels."""
    size, samples = source.header.block_samples, source.header.num_samples
    for start in range(0, samples, size):
        rows = slice(start, min(start + size, samples))
        yield rows, {name: source.read_stored(name, rows) for name in source.header.stored_shapes}


def series(field: Callable[[int, int, slice], np.ndarray], header: Header) -> Load:
    """``Load`` of a field with all times together, ``(rows, times, channels, *points)``, whose start is the input."""

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        if header.trajectories:
            return field(start, stop, at)
        index = 0 if name == header.input_name else 1
        return field(start, stop, slice(index, index + 1))[:, 0]

    return load


def check_one_quantity(header: Header, name: str) -> None:
    """Refuse to write an input of other components than the target of a problem in time, which has no place there.

    Args:
        header: of the data.
        name: of the format that has no place for it.

    Raises:
        ValueError: there is such an input.
    """
    if not header.steady and header.inputs != header.channels:
        raise ValueError(
            f"convert: `out` must hold an input of other components ({', '.join(header.inputs)}); {name} cannot."
        )


def trajectory_of(header: Header, fields: dict[str, np.ndarray]) -> np.ndarray:
    """``(rows, times, channels, *points)`` of a block whose input is the target at the first time."""
    if header.trajectories:
        return fields[header.target_name]
    return np.stack([fields[header.input_name], fields[header.target_name]], axis=1)
