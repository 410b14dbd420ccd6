"""Fields in a file of any format, open for reading; a format adds how to load consecutive rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import numpy as np

from data_gen.equation import Equation, SampleEquations
from data_gen.equations import equation_in, equation_parameters, is_determined, is_known
from data_gen.errors import DatasetError, in_one_line
from data_gen.grids.cells import CellGrid, NodeGrid
from data_gen.grids.periodic import PeriodicGrid
from data_gen.grids.positions import coarser, is_stride
from data_gen.header import Header
from data_gen.storage.memory import check_memory

#: Name in a table of the part of the file's own split that each sample is in: 0, 1 or 2.
SPLIT = "split_train0_validation1_test2"
#: Name in a table of the trajectory that each sample is cut from; a split keeps the samples of one together.
TRAJECTORY = "window_of_trajectory"


def _is_finite(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all())


class FieldReader(ABC):
    """The fields of a file and their metadata.

    Attributes:
        path: the file.
        header: description of its content.
        table: parameters that differ from sample to sample, ``(samples,)`` by name.
    """

    path: Path
    header: Header
    table: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def splits(self) -> dict[str, np.ndarray]:
        """Row numbers of "train", "validation" and "test", as far as the file has a split of its own; else empty."""
        codes = self.table.get(SPLIT)
        if codes is None:
            return {}
        found = {name: np.flatnonzero(codes == code) for code, name in enumerate(("train", "validation", "test"))}
        return {name: rows for name, rows in found.items() if rows.size}

    @property
    def groups(self) -> np.ndarray:
        """``(samples,)``, number of the trajectory that a sample is a window of; elsewhere its own number."""
        return self.table.get(TRAJECTORY, np.arange(self.num_samples))

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return self.header.num_samples

    @property
    def rows_together(self) -> int:
        """Samples in a row that lie in one chunk, or have one checksum, so that reading one of them costs as much."""
        return self.header.block_samples

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
    def stored_names(self) -> tuple[str, ...]:
        """The fields that the file stores: input and target, or of trajectories the target alone."""
        return tuple(self.header.stored_shapes)

    @property
    def grid(self) -> PeriodicGrid | CellGrid | NodeGrid:
        """The grid of the fields."""
        return self.header.grid

    @property
    def times(self) -> tuple[float, ...]:
        """Times of the stored fields, increasing; a steady dataset has one."""
        return self.header.times

    @property
    def equation(self) -> Equation | None:
        """The equation that the target solves, if this package knows it."""
        return self.header.make_equation()

    def equations(self, rows: slice | np.ndarray) -> Equation | SampleEquations | None:
        """The equation of some samples: one for all, or one for each if the table has parameters of it; None if this
        package does not know it.
        """
        header = self.header
        names = {one.name for one in equation_parameters(header.name)} if is_known(header.name) else set[str]()
        varying = {name: values[rows] for name, values in self.table.items() if name in names}
        if not varying:
            return self.equation
        given = {*header.parameters, *varying}
        if not is_determined(header.name, header.num_dims, given) or not all(map(_is_finite, varying.values())):
            return None
        return SampleEquations(equation_in(header.name, header.num_dims), {**header.parameters, **varying})

    @property
    def parameters(self) -> dict[str, float]:
        """The equation's parameters."""
        return dict(self.header.parameters)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the stored fields."""
        return np.dtype(self.header.dtype)

    @property
    @abstractmethod
    def checksum(self) -> str:
        """SHA-256 over the block checksums of the stored fields: equal for equal fields."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @abstractmethod
    def _load(self, name: str, start: int, stop: int, times: slice) -> np.ndarray:
        """Consecutive rows of a stored field, ``(rows, channels, *points)``; of trajectories at some of the times,
        ``(rows, times, channels, *points)``.
        """

    def read(
        self, name: str, rows: slice | np.ndarray | None = None, stride: int = 1, *, time: float | None = None
    ) -> np.ndarray:
        """Fields at one time, at every ``stride``-th point of each axis.

        Args:
            name: the input's or the target's name.
            rows: a slice, increasing indices, or None for all.
            stride: divides the points of every axis; of nodes from end to end the points or the steps between them.
            time: which of ``times`` of the target; the last one if None. The input has the first.

        Returns:
            ``(rows, channels, *points)``, of the stored dtype.

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
        """Target fields at all of ``times``, at every ``stride``-th point; rows and stride as in ``read``.

        Returns:
            ``(rows, len(times), channels, *points)``, of the stored dtype. Where the input has other components than
            the target, there is the target's own time only.

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

    def check_rows(self, count: int) -> None:
        """Refuse so many row numbers if they do not fit into the memory that is free.

        Raises:
            DatasetError: they do not; a damaged file can claim any number of samples.
        """
        check_memory("read", self.path, [3 * count * np.dtype(np.int64).itemsize], "numbers of its samples")

    @property
    def _has_both(self) -> bool:
        """Whether the input is the target at an earlier time."""
        return not self.header.steady and self.header.inputs == self.header.channels

    def _times_of(self, name: str) -> tuple[float, ...]:
        if name == self.input_name:
            return self.times[:1]
        return self.times if self.header.trajectories or self._has_both else self.times[-1:]

    def _gather(
        self, name: str, rows: slice | np.ndarray | None, stride: int, times: slice = slice(None)
    ) -> np.ndarray:
        """Rows of a stored field with its channels, read block by block."""
        header = self.header
        whole = hasattr(stride, "__index__") and stride >= 1
        divides = whole and is_stride(header.shape, int(stride), header.placements)
        if isinstance(stride, bool) or not divides:
            points = " x ".join(map(str, header.shape))
            raise ValueError(f"read: `stride` must divide the resolution {points}; got {stride!r}.")
        count = len(range(self.num_samples)[rows]) if isinstance(rows, slice) else self.num_samples
        self.check_rows(count if rows is None or isinstance(rows, slice) else np.size(rows))
        wanted, done = self._row_indices(rows), 0
        names = header.inputs if name == self.input_name else header.channels
        count_times = (len(range(len(self.times))[times]),) if header.trajectories else ()
        shape = (len(wanted), *count_times, len(names), *(coarser(n, stride) for n in header.shape))
        check_memory("read", self.path, [math.prod(shape) * self.dtype.itemsize], "rows")
        result = np.empty(shape, dtype=self.dtype)
        coarse = (..., *(slice(None, None, stride),) * header.num_dims)
        while done < len(wanted):
            first = int(wanted[done])
            count = int(np.searchsorted(wanted[done:], first + header.block_samples))
            picked = wanted[done : done + count] - first
            try:
                block = self._load(name, first, first + int(picked[-1]) + 1, times)
            except (OSError, RuntimeError, KeyError, IndexError, TypeError, AttributeError, EOFError) as error:
                reason = " ".join(str(error).split())[:160]
                raise DatasetError(f"read: {self.path} cannot be read ({reason}). Is it damaged?") from None
            result[done : done + count] = block[picked][coarse]
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

    def __repr__(self) -> str:
        """Samples, fields, grid, precision and path, from the header alone."""

        def text() -> str:
            header, points = self.header, " x ".join(map(str, self.header.shape))
            return (
                f"{header.num_samples} samples of {header.name}: {header.fields_in_words}; {points} points, "
                f"{header.boundary}; {header.dtype}; from {self.path}"
            )

        return in_one_line(self, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
