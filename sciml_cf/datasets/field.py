"""A data file, ours or of a foreign format, as a torch dataset of input and output fields, at a dividing resolution."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_gen.equation import Equation
from data_gen.formats import Facts, Source, open_source
from data_gen.formats.overrides import STEPS
from data_gen.grids.periodic import PeriodicGrid, resample
from data_gen.grids.positions import Placement, relative_positions
from sciml_cf.datasets.choices import Sampling, Split
from sciml_cf.datasets.missing import known_targets, with_mask
from sciml_cf.errors import DatasetError, check_choice, check_count

_LOG = logging.getLogger(__name__)
# The paper splits 2048 samples into these parts; other sizes keep the proportions.
_TRAIN, _VALIDATION, _ALL = 1448, 200, 2048
_SPLIT_SEED = 0
_BLOCK_ROWS = 64  # full-resolution rows held while a coarser copy is made


def split_indices(num_samples: int, *, seed: int = _SPLIT_SEED) -> dict[str, np.ndarray]:
    """Disjoint sample indices of "train", "validation" and "test", each sorted, from one seeded permutation.

    The proportions are 1448 : 200 : 400, as in the closed-form paper (section 6).

    Args:
        num_samples: samples to split, at least 3.
        seed: of the permutation.
    Returns:
        Indices (S,) of each split, int64.
    Raises:
        ValueError: fewer than three samples.
    """
    check_count("split_indices", "num_samples", num_samples, minimum=3, hint="Each of the three parts needs one.")
    order = np.random.default_rng(seed).permutation(num_samples)
    validation = max(1, round(num_samples * _VALIDATION / _ALL))
    train = min(max(1, round(num_samples * _TRAIN / _ALL)), num_samples - validation - 1)
    parts = np.split(order, [train, train + validation])
    return {name: np.sort(part) for name, part in zip(("train", "validation", "test"), parts, strict=True)}


class FieldDataset(Dataset[dict[str, Tensor]]):
    """Items {"x": (C, *N), "y": (C', *N)} of one split, held in memory at the resolution asked for.

    With ``facts.mask``, missing inputs are zeros, a last channel of the inputs is 1 where they are known, and the items
    have "weights" (*N), which are 1 where the target is known and else 0.

    Args:
        path: a dataset file written by ``data_gen.generate``, or any that ``data_gen.formats.open_source`` opens.
        split: "train", "validation", "test" or "all".
        resolution: grid points along the last axis, a divisor of the stored resolution; the other axes are taken
            coarser by the same factor. None keeps the stored one.
        sampling: "strided" takes every k-th point, as the paper does; "fourier" cuts the spectrum.
        inputs, targets: names of stored fields, joined along the channel axis; by default the file's own.
        input_time, target_time: stored times of the inputs and of the targets; by default the file's own, 0 and the
            last one.
        split_seed: seed of the permutation that splits the samples.
        facts: what a file of another format does not say about itself.
        format: its format, by default recognized from its content.
    Raises:
        DatasetError: the file is missing, unreadable, lacks something that ``facts`` must give, or holds values that
            are not finite.
        ValueError: the resolution does not divide the stored one; a name or time is unknown.

    Attributes:
        x, y: (S, C, *N) and (S, C', *N), all items, in the default dtype; in float64 where float32 would round away
            the differences between grid points (a mean far above the deviation) or overflow, which one line of the log
            says.
        known: (S, *N), true where the target is known; None without ``facts.mask``.
        indices: (S,) the samples' row numbers in the file.
        stored_resolution: points along the last axis of the file's own grid.
        coordinates: points along each axis of the items' grid.
    """

    def __init__(
        self,
        path: str | Path,
        split: Split,
        *,
        resolution: int | None = None,
        sampling: Sampling = "strided",
        inputs: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        input_time: float | None = None,
        target_time: float | None = None,
        split_seed: int = _SPLIT_SEED,
        facts: Facts | None = None,
        format: str | None = None,
    ) -> None:
        check_choice("FieldDataset", "split", split, ("train", "validation", "test", "all"))
        check_choice("FieldDataset", "sampling", sampling, ("strided", "fourier"))
        self.path, self.split, self.split_seed = Path(path), split, split_seed
        self.facts, self.format = facts, format
        with open_source(self.path, format=format, facts=facts) as data:
            self.stored_resolution, self.checksum = data.resolution, data.checksum
            self.resolution = data.resolution if resolution is None else resolution
            check_resolution("FieldDataset", self.resolution, data.resolution)
            self._equation, self._header = data.equation, data.header
            self._stride = data.resolution // self.resolution
            if any(points % self._stride for points in data.header.shape):
                shape = " x ".join(map(str, data.header.shape))
                raise ValueError(
                    f"FieldDataset: `resolution` must make all axes of {shape} points coarser by one factor; got "
                    f"{resolution}."
                )
            data.check_rows(data.num_samples)
            self.indices = _rows_of(data, split, split_seed)
            default = data.input_name if input_time is None else data.target_name  # the input's name has one time
            x = self._read(data, tuple(inputs or (default,)), sampling, input_time)
            y = self._read(data, tuple(targets or (data.target_name,)), sampling, target_time)
            self.known: Tensor | None = None
            if self._masked:
                x, (y, known) = with_mask(x), known_targets(y)
                self.known = torch.from_numpy(known)
                self._check_known()
            self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
            self.coordinates = tuple(points[:: self._stride] for points in data.header.coordinates)
            last = data.times[-1] if target_time is None else target_time
            self._duration = last - (data.times[0] if input_time is None else input_time)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = {"x": self.x[index], "y": self.y[index]}
        return item if self.known is None else {**item, "weights": self.known[index].to(self.y.dtype)}

    @property
    def _masked(self) -> bool:
        return self.facts is not None and self.facts.mask is not None

    def _check_known(self) -> None:
        """Refuse targets without any value."""
        empty = ~self.known.flatten(1).any(1) if self.known is not None else torch.zeros(1, dtype=torch.bool)
        if bool(empty.any()):
            row = int(self.indices[int(empty.nonzero()[0])])
            raise DatasetError(
                f"FieldDataset: {self.path} has sample {row} without any value of its target. Leave it out of the file."
            )

    @property
    def grid(self) -> PeriodicGrid:
        """The grid of the items.

        Raises:
            ValueError: it is not periodic with axes that are alike.
        """
        header = self._header
        if not self.periodic:
            raise ValueError(
                f"FieldDataset: `grid` must be periodic with axes that are alike; got {header.boundary} ends and "
                f"{header.shape} points on {header.extents}."
            )
        return PeriodicGrid(self.resolution, header.extents[0], header.num_dims)

    @property
    def points(self) -> np.ndarray:
        """(N,), coordinates of the items' grid points along the last axis."""
        return self.coordinates[-1]

    @property
    def periodic(self) -> bool:
        """Whether the grid is periodic, with axes that are alike and equally spaced."""
        header = self._header
        alike = len(set(zip(header.shape, header.extents, strict=True))) == 1
        return header.boundary == "periodic" and header.evenly_spaced and alike and not self._masked

    @property
    def wraps(self) -> bool:
        """Whether the ends of the axes are periodic, whatever their lengths and points."""
        return self._header.boundary == "periodic"

    @property
    def boundary(self) -> str:
        """What lies at the boundary of the domain: "periodic", "wall" or "open"."""
        return self._header.boundary

    @property
    def equation(self) -> Equation | None:
        """The law of the data, if it is known."""
        return self._equation

    @property
    def positions(self) -> tuple[np.ndarray, ...]:
        """Position of the items' points along each axis as a fraction of the domain's length: j / n, on cells
        (j + 1/2) / n, on nodes from end to end j / (n - 1), from the coordinates where they are unequal, and every k-th
        of these on a coarser grid.
        """
        header = self._header
        axes = zip(
            header.shape, self.placements, header.positions, header.points or (None,) * header.num_dims, strict=True
        )
        found = (
            relative_positions((n,), cells=kind == "cells", right_end=kind == "nodes")[0] if own is None else place
            for n, kind, place, own in axes
        )
        return tuple(axis[:: self._stride] for axis in found)

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Of each axis whether its points are periodic, cells, or nodes from end to end, by ``facts`` or the file."""
        return self._header.placements

    @property
    def ends(self) -> dict[str, str]:
        """What run.json says of ends that are not periodic, so that ``predict`` does not take them for periodic."""
        return {} if self.wraps else {"boundary": self._header.boundary}

    @property
    def windows(self) -> dict[str, dict[str, int]]:
        """What run.json says of windows, so that data are cut for the run as they were for its training."""
        if self.facts is None or not self.facts.cuts_windows:
            return {}
        return {"windows": {name: getattr(self.facts, name) or 1 for name in STEPS}}

    @property
    def extents(self) -> tuple[float, ...]:
        """Length of each axis."""
        return self._header.extents

    @property
    def one_field(self) -> bool:
        """Whether input and target are one field at two times."""
        return self._header.inputs == self._header.channels and self._duration > 0 and self.x.shape == self.y.shape

    def linear_solution(self) -> Tensor | None:
        """What the linear part of the equation alone makes of the inputs (for Burgers the heat kernel); None if x
        is not one field of the shape of y, or the equation or its grid is unknown.

            y_k = exp(L(k) t) x_k
        """
        if self.x.shape != self.y.shape or self._equation is None or self._equation.steady or not self.periodic:
            return None
        if self._equation.num_dims != self._header.num_dims:
            return None
        grid = self.grid
        factor = np.exp(self._equation.symbol(*grid.wavevector) * self._duration)
        blocks = [grid.to_points(factor * grid.to_modes(block.double().numpy())) for block in self.x.split(_BLOCK_ROWS)]
        return torch.from_numpy(np.concatenate(blocks)).to(self.y.dtype)

    def _read(self, data: Source, names: tuple[str, ...], sampling: Sampling, time: float | None) -> np.ndarray:
        if sampling == "fourier" and not self.periodic:
            raise ValueError(
                f"FieldDataset: `sampling` must be 'strided' for {data.header.boundary} ends and "
                f"{' x '.join(map(str, data.header.shape))} points; got 'fourier', which needs periodic, equal axes."
            )
        fields = []
        for name in names:
            blocks: list[np.ndarray] = []
            dtype: type | None = None
            for start in range(0, len(self.indices), _BLOCK_ROWS):
                rows = self.indices[start : start + _BLOCK_ROWS]
                if sampling == "strided":
                    block = data.read(name, rows=rows, stride=self._stride, time=time)
                else:
                    block = _resampled(data.read(name, rows=rows, time=time), self.resolution, data.header.num_dims)
                if not self._masked and not np.isfinite(block).all():
                    bad = rows[np.argwhere(~np.isfinite(block))[0][0]]
                    missing = _count_missing(data, name, self.indices, time)
                    raise DatasetError(
                        f"FieldDataset: `{name}` must be finite; sample {bad} of {self.path} holds NaN or Inf, and "
                        f"{missing} values of this split are missing. Take them as missing with --mask fill (or NAME, "
                        f"a variable that is 0 there), or repair the data."
                    )
                dtype = dtype or self._precision(name, np.nan_to_num(block) if self._masked else block)
                blocks.append(np.asarray(block, dtype=dtype))
            fields.append(np.concatenate(blocks))
        return np.concatenate(fields, axis=1)

    def _precision(self, name: str, block: np.ndarray) -> type:
        """The default dtype, or float64 where that would lose the fluctuations of a field; judged by its first rows."""
        if block.dtype != np.float64 or _numpy_dtype() is np.float64 or float32_holds(block):
            return _numpy_dtype()
        _LOG.info(
            "FieldDataset: `%s` of %s is kept in float64: float32 would round its fluctuations (mean %.4g, deviation "
            "%.4g). `fit` normalizes it before it trains.", name, self.path, block.mean(), block.std(),
        )  # fmt: skip
        return np.float64


def _count_missing(data: Source, name: str, indices: np.ndarray, time: float | None) -> int:
    """How many values of a field are not finite."""
    starts = range(0, len(indices), _BLOCK_ROWS)
    blocks = (data.read(name, rows=indices[start : start + _BLOCK_ROWS], time=time) for start in starts)
    return sum(int((~np.isfinite(block)).sum()) for block in blocks)


def _rows_of(data: Source, split: str, seed: int) -> np.ndarray:
    """Row numbers of a split: those of the file's own, if it has one, else of a seeded permutation.

    The windows of a trajectory are in one part. A split without validation samples has them from its training samples,
    in the usual proportion. Training samples alone are no split.
    """
    if split == "all":
        return np.arange(data.num_samples)
    own = data.splits
    groups = data.groups
    if set(own) <= {"train"}:
        known, of_row = np.unique(groups, return_inverse=True)
        return np.flatnonzero(np.isin(of_row, split_indices(len(known), seed=seed)[split]))
    train = own.get("train", np.empty(0, dtype=np.int64))
    known = np.unique(groups[train])
    if "validation" not in own and len(known) > 1:
        count = min(len(known) - 1, max(1, round(len(known) * _VALIDATION / (_TRAIN + _VALIDATION))))
        held_out = np.isin(groups[train], np.random.default_rng(seed).permutation(known)[:count])
        own = {**own, "train": train[~held_out], "validation": train[held_out]}
    if split not in own:
        raise DatasetError(
            f"FieldDataset: {data.path} has a split of its own without samples for `split` {split!r}; it has "
            f"{', '.join(own)}. Add them, or give the folder of one part."
        )
    return own[split]


def float32_holds(fields: np.ndarray) -> bool:
    """Whether float32 keeps the fluctuations of each channel of (S, C, *N): a small offset, and no value out of range.

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


def check_resolution(function: str, resolution: int, stored: int) -> None:
    """Raise ValueError unless ``resolution`` divides the stored one."""
    check_count(function, "resolution", resolution)
    if stored % resolution:
        options = [str(n) for n in range(stored, 0, -1) if stored % n == 0][:10]
        raise ValueError(
            f"{function}: `resolution` must divide the stored resolution {stored}; got {resolution}. "
            f"For instance {', '.join(options)}."
        )


def _numpy_dtype() -> type:
    return np.float64 if torch.get_default_dtype() == torch.float64 else np.float32
