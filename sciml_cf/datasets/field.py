"""A data file, ours or of a foreign format, as a torch dataset of input and output fields, at a dividing resolution."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_gen.formats import Facts, Source, open_source
from data_gen.formats.every_time import TIME
from data_gen.formats.overrides import STEPS
from data_gen.grids.periodic import resample
from sciml_cf.datasets.choices import Sampling, Split
from sciml_cf.datasets.conditions import condition_values, range_of, with_conditions
from sciml_cf.datasets.geometry import Geometry
from sciml_cf.datasets.missing import known_targets, with_mask
from sciml_cf.datasets.steps import Steps
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


class FieldDataset(Geometry, Dataset[dict[str, Tensor]]):
    """Items {"x": (C, *N), "y": (C', *N)} of one split, held in memory at the resolution asked for.

    With ``facts.condition`` the inputs have a constant channel for each of these scalars, after their own.

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
        unroll: how many outputs of a model, each of ``facts.output_steps``, a target holds.
        split_seed: seed of the permutation that splits the samples.
        facts: what a file of another format does not say about itself.
        format: its format, by default recognized from its content.
    Raises:
        DatasetError: the file is missing, unreadable, lacks something that ``facts`` must give, or holds values that
            are not finite.
        ValueError: the resolution does not divide the stored one; a name, time or condition is unknown.

    Attributes:
        x, y: (S, C, *N) and (S, C', *N), all items, in the default dtype; in float64 where float32 would round away
            the differences between grid points (a mean far above the deviation) or overflow, which one line of the log
            says.
        known: (S, *N), true where the target is known; None without ``facts.mask``.
        indices: (S,) the samples' row numbers in the file.
        conditions: the scalars of each sample that its inputs have channels for, (S,) float64 by name.
        stored_resolution: points along the last axis of the file's own grid.
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
        unroll: int = 1,
        split_seed: int = _SPLIT_SEED,
        facts: Facts | None = None,
        format: str | None = None,
    ) -> None:
        check_choice("FieldDataset", "split", split, ("train", "validation", "test", "all"))
        check_choice("FieldDataset", "sampling", sampling, ("strided", "fourier"))
        check_count("FieldDataset", "unroll", unroll)
        self.path, self.split, self.split_seed = Path(path), split, split_seed
        if unroll > 1:  # windows are cut then, and the run is told so
            facts = replace(facts or Facts(), stride=(facts.stride if facts else None) or 1)
        self.facts, self.format, self.unroll = facts, format, unroll
        self.masked = facts is not None and facts.mask is not None
        with open_source(self.path, format=format, facts=_unrolled(facts, unroll)) as data:
            self.stored_resolution, self.checksum = data.resolution, self._checksum_of(data)
            self.resolution = data.resolution if resolution is None else resolution
            check_resolution("FieldDataset", self.resolution, data.resolution)
            self._equation, self._header = data.equation, data.header
            self._stride = data.resolution // self.resolution
            self._check_axes()
            data.check_rows(data.num_samples)
            self.indices = rows_of_split(data, split, split_seed)
            default = data.input_name if input_time is None else data.target_name  # the input's name has one time
            x = self._read(data, tuple(inputs or (default,)), sampling, input_time)
            y = self._read(data, tuple(targets or (data.target_name,)), sampling, target_time)
            self._num_states = x.shape[1]
            self.conditions = self._conditions_of(data)
            x, self.known = self._with_constants(x), None
            if self.masked:
                y, known = known_targets(y)
                self.known = torch.from_numpy(known)
                self._check_known()
            self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
            self._durations = self._durations_of(data, input_time, target_time)

    def _check_axes(self) -> None:
        """Raise ValueError unless all axes can be taken coarser by the factor of the last one."""
        if any(points % self._stride for points in self._header.shape):
            shape = " x ".join(map(str, self._header.shape))
            raise ValueError(
                f"FieldDataset: `resolution` must make all axes of {shape} points coarser by one factor; got "
                f"{self.resolution}."
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = {"x": self.x[index], "y": self.y[index]}
        return item if self.known is None else {**item, "weights": self.known[index].to(self.y.dtype)}

    def _checksum_of(self, data: Source) -> str:
        """That of the fields with targets of one output, whatever the roll-out in training."""
        if self.unroll == 1:
            return data.checksum
        with open_source(self.path, format=self.format, facts=self.facts) as single:
            return single.checksum

    def _conditions_of(self, data: Source) -> dict[str, np.ndarray]:
        names = () if self.facts is None else self.facts.condition
        return {name: values[self.indices] for name, values in condition_values(data, names).items()}

    def _durations_of(self, data: Source, input_time: float | None, target_time: float | None) -> np.ndarray:
        """(S,), time from each input to its target."""
        if TIME in data.table:
            return data.table[TIME][self.indices]
        first = data.times[0] if input_time is None else input_time
        last = data.times[-1] if target_time is None else target_time
        return np.full(len(self.indices), last - first)

    def _with_constants(self, x: np.ndarray) -> np.ndarray:
        """Inputs with the channels of their conditions and, last, of the mask."""
        values = np.stack([*self.conditions.values()], axis=1) if self.conditions else np.empty((len(x), 0))
        if not self.masked:
            return with_conditions(x, values)
        masked = with_mask(x)
        return np.concatenate([with_conditions(masked[:, :-1], values), masked[:, -1:]], axis=1)

    def _check_known(self) -> None:
        """Refuse targets without any value."""
        empty = ~self.known.flatten(1).any(1) if self.known is not None else torch.zeros(1, dtype=torch.bool)
        if bool(empty.any()):
            row = int(self.indices[int(empty.nonzero()[0])])
            raise DatasetError(
                f"FieldDataset: {self.path} has sample {row} without any value of its target. Leave it out of the file."
            )

    @property
    def windows(self) -> dict[str, dict[str, int]]:
        """What run.json says of windows, so that data are cut for the run as they were for its training."""
        if self.facts is None or not self.facts.cuts_windows:
            return {}
        return {"windows": {name: getattr(self.facts, name) or 1 for name in STEPS}}

    @property
    def states(self) -> Tensor:
        """(S, C, *N), the inputs without the channels of conditions and of the mask."""
        return self.x[:, : self._num_states]

    @property
    def steps(self) -> Steps | None:
        """How states and their channels are arranged, for a model that maps states to later ones; None for others."""
        header, given = self._header, self.facts or Facts()
        if header.steady or given.takes_every_time:
            return None
        before, after = given.input_steps or 1, given.output_steps or 1
        if given.cuts_windows:
            return Steps(inputs=before, outputs=after, components=len(header.inputs) // before)
        return Steps(components=len(header.channels)) if header.inputs == header.channels else None

    @property
    def time_step(self) -> float | None:
        """Time from one state to the next, as a model makes it; None where it makes no steps."""
        if self.steps is None or np.ptp(self._durations):
            return None
        return float(self._durations[0]) / (self.steps.outputs * self.unroll)

    @property
    def described(self) -> dict[str, Any]:
        """What run.json says of the data, so that others are cut and told to the run as these were."""
        conditions = {"conditions": range_of(self.conditions)} if self.conditions else {}
        step = {} if self.time_step is None else {"time_step": self.time_step}
        return {**self.ends, **self.windows, **conditions, **step}

    @property
    def unchanged(self) -> Tensor | None:
        """(S, C', *N), the last state of each input in the place of each state of the target; None for other fields."""
        steps = self.steps
        if self.one_field:
            return self.states
        return None if steps is None or self.unroll > 1 else self.x[:, list(steps.residual)]

    @property
    def one_field(self) -> bool:
        """Whether input and target are one field at two times."""
        header = self._header
        return header.inputs == header.channels and bool((self._durations > 0).all()) and self._same_shape

    @property
    def _same_shape(self) -> bool:
        return self.states.shape == self.y.shape

    def linear_solution(self) -> Tensor | None:
        """What the linear part of the equation alone makes of the inputs (for Burgers the heat kernel); None if x
        is not one field of the shape of y, or the equation or its grid is unknown.

            y_k = exp(L(k) t) x_k
        """
        if not self._same_shape or self._equation is None or self._equation.steady or not self.periodic:
            return None
        if self._equation.num_dims != self._header.num_dims:
            return None
        grid = self.grid
        rates, blocks = self._equation.symbol(*grid.wavevector), []
        for start in range(0, len(self), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            durations = self._durations[rows].reshape(-1, 1, *[1] * grid.num_dims)
            modes = grid.to_modes(self.states[rows].double().numpy())
            blocks.append(grid.to_points(np.exp(rates * durations) * modes))
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
                if not self.masked and not np.isfinite(block).all():
                    bad = rows[np.argwhere(~np.isfinite(block))[0][0]]
                    missing = _count_missing(data, name, self.indices, time)
                    raise DatasetError(
                        f"FieldDataset: `{name}` must be finite; sample {bad} of {self.path} holds NaN or Inf, and "
                        f"{missing} values of this split are missing. Take them as missing with --mask fill (or NAME, "
                        f"a variable that is 0 there), or repair the data."
                    )
                dtype = dtype or self._precision(name, np.nan_to_num(block) if self.masked else block)
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


def _unrolled(facts: Facts | None, unroll: int) -> Facts | None:
    """The same, with so many outputs one after the other in a target."""
    if unroll == 1 or facts is None:
        return facts
    return replace(facts, output_steps=(facts.output_steps or 1) * unroll)


def _count_missing(data: Source, name: str, indices: np.ndarray, time: float | None) -> int:
    """How many values of a field are not finite."""
    starts = range(0, len(indices), _BLOCK_ROWS)
    blocks = (data.read(name, rows=indices[start : start + _BLOCK_ROWS], time=time) for start in starts)
    return sum(int((~np.isfinite(block)).sum()) for block in blocks)


def rows_of_split(data: Source, split: str, seed: int) -> np.ndarray:
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
