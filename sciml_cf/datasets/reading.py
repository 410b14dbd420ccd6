"""Samples of a data file as arrays, some at a time: on the grid that was asked for, finite, in one precision."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from data_gen.formats import Source
from data_gen.grids.periodic import resample
from sciml_cf.datasets.choices import Sampling
from sciml_cf.datasets.conditions import with_conditions
from sciml_cf.datasets.missing import filled, known_values, target_means, with_mask
from sciml_cf.datasets.open_file import OpenFile
from sciml_cf.errors import DatasetError

_LOG = logging.getLogger("sciml_cf.datasets.field")
_BLOCK_ROWS = 64  # full-resolution rows held while a coarser copy is made
_GAP = 16  # rows between two samples from which on they are read apart
_TOGETHER = 2**22  # bytes of a file that are read in a row, at least


class SampleReader:
    """How the samples of a split are read: which rows and fields of the file, at which times, on which grid.

    Args:
        file: the data file.
        indices: ``(S,)`` the samples' rows in the file, increasing.
        names: the stored fields of the inputs "x" and of the targets "y".
        times: of both, None for the file's own.
        sampling: how a coarser grid is taken.
        resolution: points along the last axis.
        stride: every how many-th point of the file is taken.
        masked: whether values may be missing.

    Attributes:
        constants: ``(S, K)`` the scalars that the inputs have channels for.
        fill: what missing targets are replaced by, ``(1, C, 1, ...)``; None where none may be missing.
    """

    def __init__(
        self,
        file: OpenFile,
        indices: np.ndarray,
        names: dict[str, tuple[str, ...]],
        times: dict[str, float | None],
        *,
        sampling: Sampling,
        resolution: int,
        stride: int,
        masked: bool,
    ) -> None:
        self.file, self.indices, self._names, self._times = file, indices, names, times
        self._sampling, self._resolution, self._stride, self._masked = sampling, resolution, stride, masked
        self.constants = np.empty((len(indices), 0))
        self.fill: np.ndarray | None = None
        self._dtypes: dict[str, list[type]] = {"x": [], "y": []}
        self._channels = {"x": 0, "y": 0}
        for kind, name in [*(("x", one) for one in names["x"]), *(("y", one) for one in names["y"])]:
            block = self._values(file.source, name, times[kind], indices[:_BLOCK_ROWS])
            self._dtypes[kind].append(self._precision(name, block))
            self._channels[kind] += block.shape[1]

    def channels(self, kind: str) -> int:
        """Channels of the stored inputs "x" or targets "y"."""
        return self._channels[kind]

    def dtype(self, kind: str) -> torch.dtype:
        """Precision of the inputs "x" or targets "y"."""
        return torch.from_numpy(np.empty(0, np.result_type(*self._dtypes[kind]))).dtype

    def fields(self, numbers: np.ndarray, *kinds: str) -> list[np.ndarray]:
        """Stored inputs "x" and targets "y" of samples with increasing numbers, ``(B, C, *N)`` each.

        Raises:
            DatasetError: a value is not finite, or the file cannot be read or has changed.
        """
        blocks: list[list[np.ndarray]] = [[] for _ in kinds]
        for rows in _runs(self.indices[numbers]):
            source = self.file.source
            for found, which in zip(blocks, kinds, strict=True):
                found.append(self._block(source, which, rows))
        return [np.concatenate(found) for found in blocks]

    def batch(self, numbers: np.ndarray, *kinds: str) -> dict[str, np.ndarray]:
        """Inputs "x" with the channels of their constants and of the mask, targets "y", and "known" where these are.

        Args:
            numbers: ``(B,)`` of the samples, increasing.
            kinds: which of "x" and "y", both if none is named; "known" comes with "y" where values may be missing.
        """
        kinds = kinds or ("x", "y")
        found = dict(zip(kinds, self.fields(numbers, *kinds), strict=True))
        if "x" in found:
            found["x"] = self._with_constants(found["x"], self.constants[numbers])
        if "y" in found and self.fill is not None:
            found["known"] = known_values(found["y"])
            found["y"] = filled(found["y"], self.fill)
        return found

    def measure_fill(self) -> None:
        """Find what missing targets are replaced by, in one pass, and refuse a sample without any value."""
        every = np.arange(len(self.indices))

        def targets(numbers: np.ndarray) -> np.ndarray:
            (y,) = self.fields(numbers, "y")
            self.check_known(numbers, y)
            return y

        self.fill = target_means(map(targets, np.split(every, range(_BLOCK_ROWS, len(every), _BLOCK_ROWS))))

    def check_known(self, numbers: np.ndarray, y: np.ndarray) -> None:
        """Refuse targets ``(B, C, *N)`` of samples of which one has no value at all."""
        empty = ~known_values(y).reshape(len(y), -1).any(1)
        if empty.any():
            row = int(self.indices[numbers[np.flatnonzero(empty)[0]]])
            raise DatasetError(
                f"FieldDataset: {self.file.path} has sample {row} without any value of its target. Leave it out of the "
                f"file."
            )

    @property
    def blocks(self) -> np.ndarray:
        """Numbers of the samples with which blocks start that are best read together, as chunks and checksums lie."""
        source = self.file.source
        together = max(1, source.rows_together)
        rows = together * -(-_TOGETHER // (together * source.header.row_bytes))
        return np.flatnonzero(np.diff(self.indices // rows, prepend=-1))

    def _with_constants(self, x: np.ndarray, constants: np.ndarray) -> np.ndarray:
        if not self._masked:
            return with_conditions(x, constants)
        masked = with_mask(x)
        return np.concatenate([with_conditions(masked[:, :-1], constants), masked[:, -1:]], axis=1)

    def _block(self, source: Source, which: str, rows: np.ndarray) -> np.ndarray:
        """Fields of one kind of a few rows, ``(B, C, *N)``."""
        time, parts = self._times[which], []
        for name, dtype in zip(self._names[which], self._dtypes[which], strict=True):
            parts.append(np.asarray(self._values(source, name, time, rows), dtype=dtype))
        return np.concatenate(parts, axis=1)

    def _values(self, source: Source, name: str, time: float | None, rows: np.ndarray) -> np.ndarray:
        """One stored field on the grid asked for, finite, in its own precision."""
        if self._sampling == "strided":
            block = source.read(name, rows=rows, stride=self._stride, time=time)
        else:
            block = _resampled(source.read(name, rows=rows, time=time), self._resolution, source.header.num_dims)
        if not self._masked and not np.isfinite(block).all():
            bad = rows[np.argwhere(~np.isfinite(block))[0][0]]
            missing = _count_missing(source, name, self.indices, time)
            raise DatasetError(
                f"FieldDataset: `{name}` must be finite; sample {bad} of {self.file.path} holds NaN or Inf, and "
                f"{missing} values of this split are missing. Take them as missing with --mask fill (or NAME, "
                f"a variable that is 0 there), or repair the data."
            )
        return block

    def _precision(self, name: str, block: np.ndarray) -> type:
        """The default dtype, or float64 where that would lose the fluctuations of a field; judged by its first rows."""
        block = np.nan_to_num(block) if self._masked else block
        if block.dtype != np.float64 or _numpy_dtype() is np.float64 or float32_holds(block):
            return _numpy_dtype()
        _LOG.info(
            "FieldDataset: `%s` of %s is kept in float64: float32 would round its fluctuations (mean %.4g, deviation "
            "%.4g). `fit` normalizes it before it trains.", name, self.file.path, block.mean(), block.std(),
        )  # fmt: skip
        return np.float64


def _runs(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Increasing row numbers in parts that are read at once: few, and near each other."""
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > _GAP) + 1):
        yield from (run[start : start + _BLOCK_ROWS] for start in range(0, len(run), _BLOCK_ROWS))


def _count_missing(source: Source, name: str, indices: np.ndarray, time: float | None) -> int:
    """How many values of a field are not finite."""
    starts = range(0, len(indices), _BLOCK_ROWS)
    blocks = (source.read(name, rows=indices[start : start + _BLOCK_ROWS], time=time) for start in starts)
    return sum(int((~np.isfinite(block)).sum()) for block in blocks)


def float32_holds(fields: np.ndarray) -> bool:
    """Whether float32 keeps the fluctuations of each channel of ``(S, C, *N)``: a small offset, and no value out of
    range.

    Rounding is at most 2^-24 of the largest value, so a channel whose largest value is 64 deviations away loses 4e-6.
    """
    rows = np.moveaxis(fields, 1, 0).reshape(fields.shape[1], -1)
    largest, deviation = np.abs(rows).max(1), rows.std(1)
    moderate = (largest < 1e30) & ((largest > 1e-30) | (largest == 0))
    return bool((moderate & ((largest <= 64 * deviation) | (deviation == 0))).all())


def _resampled(block: np.ndarray, resolution: int, num_dims: int) -> np.ndarray:
    if num_dims == 1:
        return resample(block, resolution)
    return resample(block, resolution, num_dims=num_dims)  # type: ignore[call-arg]


def _numpy_dtype() -> type:
    return np.float64 if torch.get_default_dtype() == torch.float64 else np.float32


def check_sampling(sampling: Sampling, periodic: bool, boundary: str, shape: Sequence[int]) -> None:
    """Raise ValueError where a spectrum is to be cut on a grid that has none."""
    if sampling == "fourier" and not periodic:
        raise ValueError(
            f"FieldDataset: `sampling` must be 'strided' for {boundary} ends and "
            f"{' x '.join(map(str, shape))} points; got 'fourier', which needs periodic, equal axes."
        )
