"""A pair of .npy files, INPUT.npy,TARGET.npy.

    input     (samples, *points) or (samples, channels, *points), of one to three axes in space
    target    the same, or trajectories (samples, times, *points) or (samples, times, channels, *points)

The number of lengths in ``--extent`` is that of the axes in space; with one length, the domain is taken to have the
same length along each axis, and an array of three axes is one component in two dimensions unless its second axis is
much shorter than the others, which is then that of the channels. The files are read in parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.format import Format
from data_gen.formats.found import Found
from data_gen.formats.merged_header import make_header
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import ForeignSource, Readable, Source, blocks
from data_gen.header import Header

FORMAT = Format("npy", (".npy",), "two files INPUT.npy,TARGET.npy", order=60)

_MAGIC = b"\x93NUMPY"
_MOST_CHANNELS = 8


def recognizes(path: Path) -> bool:
    """Whether both files, or the one there is, start as .npy files do."""
    parts = [Path(part) for part in str(path).split(",")]
    return all(part.is_file() and _starts(part) for part in parts)


def _starts(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def open_file(path: Path, overrides: Overrides) -> Source:
    """The two files open for reading.

    Raises:
        DatasetError: there are not two, they cannot be read, or do not fit together.
    """
    parts = str(path).split(",")
    if len(parts) != 2:
        raise DatasetError(
            f"open_source: {path} is {len(parts)} array; an input and a target are needed: give INPUT.npy,TARGET.npy."
        )
    fields = []
    for part in parts:
        try:
            fields.append(np.load(part, mmap_mode="r", allow_pickle=False))
        except (ValueError, OSError, EOFError) as error:
            raise DatasetError(f"open_source: {part} cannot be read ({error}). Is it damaged?") from None
    return source_of_pair(path, fields[0], fields[1], overrides)


def source_of_pair(path: Path, given: np.ndarray, target: np.ndarray, overrides: Overrides) -> Source:
    """An input and a target that are arrays, as a source.

    Raises:
        DatasetError: their shapes do not fit together.
    """
    pair = _Pair.of(path, given, target, overrides)
    found = Found(
        num_samples=given.shape[0],
        shape=pair.shape,
        num_times=pair.num_times,
        dtypes=[given.dtype, target.dtype],
        channels=_labels("u", pair.targets),
        inputs=None if pair.alike and len(overrides.times) != 1 else _labels("a", pair.channels),
        probe=lambda: target[:4],
    )
    header, dropped = make_header(path, found, overrides)

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        if header.trajectories:
            return pair.trajectories(start, stop)[:, at]
        return pair.inputs(start, stop) if name == header.input_name else pair.last(start, stop)

    return ForeignSource(path, header, load, dropped=dropped)


@dataclass(frozen=True)
class _Pair:
    """An input and a target, and how their axes are read.

    Args:
        given, target: the arrays.
        shape: points of each axis in space.
        channels, targets: length of the axis of channels of each; empty without one.
        steps: times of the target, 0 without an axis for them.
        has_start: whether the target's first time is the input's.
    """

    given: np.ndarray
    target: np.ndarray
    shape: tuple[int, ...]
    channels: tuple[int, ...]
    targets: tuple[int, ...]
    steps: int
    has_start: bool

    @staticmethod
    def of(path: Path, given: np.ndarray, target: np.ndarray, overrides: Overrides) -> _Pair:
        """The axes of both arrays, by their shapes and the overrides."""
        dims = _num_dims(path, given.shape, overrides)
        trajectory = len(overrides.times) > 2 or (not overrides.times and target.ndim > given.ndim)
        lead = target.shape[1 : target.ndim - dims]
        steps, targets = (lead[0], lead[1:]) if trajectory and lead else (0, lead)
        shape, channels = given.shape[given.ndim - dims :], given.shape[1 : given.ndim - dims]
        has_start = trajectory and len(overrides.times) == steps
        pair = _Pair(given, target, shape, channels, targets, steps, has_start)
        fits = target.shape[:1] == given.shape[:1] and target.shape[target.ndim - dims :] == shape and len(targets) <= 1
        if not fits or (trajectory and not (steps and pair.alike)):
            raise DatasetError(
                f"open_source: {path} must have an input (samples, [channels,] points) and a target (samples, [times,] "
                f"[channels,] points) of the same samples and points; got {given.shape} and {target.shape}."
            )
        return pair

    @property
    def alike(self) -> bool:
        """Whether input and target have as many channels."""
        return (self.channels or (1,)) == (self.targets or (1,))

    @property
    def num_times(self) -> int:
        """Times of the fields, the input's among them."""
        return self.steps + (not self.has_start) if self.steps else 2

    def inputs(self, start: int, stop: int) -> np.ndarray:
        """(rows, channels, *points)."""
        return np.asarray(self.given[start:stop]).reshape(stop - start, *(self.channels or (1,)), *self.shape)

    def series(self, start: int, stop: int) -> np.ndarray:
        """(rows, times, channels, *points) of the target."""
        shape = (stop - start, self.steps or 1, *(self.targets or (1,)), *self.shape)
        return np.asarray(self.target[start:stop]).reshape(shape)

    def last(self, start: int, stop: int) -> np.ndarray:
        """(rows, channels, *points) of the target at its last time."""
        return self.series(start, stop)[:, -1]

    def trajectories(self, start: int, stop: int) -> np.ndarray:
        """(rows, times, channels, *points) of the target, the input before it where it lacks the start."""
        series = self.series(start, stop)
        return series if self.has_start else np.concatenate([self.inputs(start, stop)[:, None], series], axis=1)


def _labels(name: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    count = lengths[0] if lengths else 1
    return tuple(f"{name}{i}" for i in range(count)) if count > 1 else (name,)


def _num_dims(path: Path, shape: tuple[int, ...], overrides: Overrides) -> int:
    """Axes in space of (samples, [channels,] *points)."""
    if not 2 <= len(shape) <= 5:
        raise DatasetError(f"open_source: {path} must have an input (samples, [channels,] points); got {shape}.")
    if len(overrides.extent) > 1 or len(shape) == 2:
        dims = max(1, len(overrides.extent))
    else:
        few = shape[1] <= _MOST_CHANNELS and shape[1] * 2 <= min(shape[2:])
        dims = len(shape) - 2 if few else len(shape) - 1
    if not 0 <= len(shape) - 1 - dims <= 1:
        raise DatasetError(
            f"open_source: {path} must have an input of {dims} axes in space, as --extent says; got shape {shape}."
        )
    return dims


def pair_of(header: Header, fields: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Input and target of a block to be written: of trajectories the target has all times after the first.

    An axis of channels is there where there are several.
    """
    target = fields[header.target_name]
    start = target[:, 0] if header.trajectories else fields[header.input_name]
    rest = target[:, 1:] if header.trajectories else target
    axis = -1 - header.num_dims
    return tuple(part.squeeze(axis) if part.shape[axis] == 1 else part for part in (start, rest))  # type: ignore[return-value]


def write(source: Readable, path: Path) -> None:
    """INPUT.npy and TARGET.npy; of trajectories the target has all times after the first."""
    header, names = source.header, str(path).split(",")
    if len(names) != 2:
        raise ValueError(f"convert: `out` must be two files INPUT.npy,TARGET.npy; got {path}.")
    files: list[np.memmap] = []
    for rows, fields in blocks(source):
        pair = pair_of(header, fields)
        if not files:
            files = [
                np.lib.format.open_memmap(name, "w+", part.dtype, (header.num_samples, *part.shape[1:]))
                for name, part in zip(names, pair, strict=True)
            ]
        for file, part in zip(files, pair, strict=True):
            file[rows] = part
    for file in files:
        file.flush()
