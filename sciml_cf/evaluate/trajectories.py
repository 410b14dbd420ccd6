"""Trajectories of a data file for a model of steps in time: a window at a time, some samples at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_gen.formats import Facts, Source, open_source
from data_gen.formats.overrides import CHOICES
from data_gen.formats.windows import SPACING
from data_gen.grids.positions import stride_to
from sciml_cf.datasets import Split
from sciml_cf.datasets.conditions import condition_values
from sciml_cf.datasets.geometry import SourceGeometry
from sciml_cf.datasets.reading import float32_holds
from sciml_cf.datasets.splits import rows_of_split
from sciml_cf.datasets.steps import Steps

_POINTS_PER_BLOCK = 2**22  # numbers of the trajectories of a block of samples


class Block(NamedTuple):
    """Some samples: their states ``(B, T, C, *N)``, and the constants ``(B, K, *N)`` that a model gets as inputs."""

    rows: np.ndarray
    states: Tensor
    constants: Tensor


class Trajectories:
    """The trajectories of a split of a file, at times one step of a model apart.

    Args:
        function: who asks, for messages.
        source: open for reading.
        split: see FieldDataset.
        split_seed: see FieldDataset.
        resolution: see FieldDataset.
        names: scalars of the samples that the model gets as inputs.
        time_step: of the model, a multiple of the file's; None takes the file's.

    Attributes:
        times: ``(T,)`` of the states, the first being the start.
        rows: ``(S,)`` row numbers of the samples.
        geometry: of the fields.

    Raises:
        ValueError: there are no trajectories, their times are unequally spaced, or the model's step is no multiple of
            the file's.
    """

    def __init__(
        self,
        function: str,
        source: Source,
        *,
        split: Split,
        split_seed: int,
        resolution: int | None,
        names: tuple[str, ...] = (),
        time_step: float | None = None,
    ) -> None:
        self._function, self._source = function, source
        self._every = _thinning(function, source, time_step)
        self.times = source.times[:: self._every]
        self.rows = rows_of_split(source, split, split_seed)
        self.geometry = SourceGeometry(source, resolution, function=function)
        values = condition_values(source, names)
        self._constants = np.stack([*values.values()], axis=1) if values else np.empty((source.num_samples, 0))
        self._dtype: torch.dtype | None = None

    @property
    def components(self) -> int:
        """C, channels of a state."""
        return len(self._source.header.channels)

    @property
    def numbers(self) -> int:
        """Numbers of the states of one sample."""
        geometry = self.geometry
        return len(self.times) * self.components * math.prod(len(axis) for axis in geometry.coordinates)

    def blocks(
        self, *, rows: np.ndarray | None = None, most: int | None = None, times: int | None = None
    ) -> Iterator[Block]:
        """All samples, some at a time, in order.

        Args:
            rows: of which samples; by default of all of the split.
            most: take at most so many samples, spread over these.
            times: take the first so many states only.
        """
        rows = self.rows if rows is None else rows
        rows = rows if most is None or most >= len(rows) else rows[:: -(-len(rows) // most)]
        size = max(1, _POINTS_PER_BLOCK // self.numbers)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            states = self._source.read_trajectory(some, stride=self.geometry.stride)[:, :: self._every][:, :times]
            yield Block(some, self._tensor(states, some), self._constant_fields(some, states))

    def _tensor(self, states: np.ndarray, rows: np.ndarray) -> Tensor:
        finite = np.isfinite(states).reshape(len(states), -1).all(1)
        if not finite.all():
            raise ValueError(
                f"{self._function}: `data` must have finite states; got NaN or Inf in sample "
                f"{rows[int(finite.argmin())]} of {self._source.path}. A roll-out needs whole states."
            )
        if self._dtype is None:  # float64 where float32 would round the fluctuations away
            holds = float32_holds(states.reshape(-1, *states.shape[2:]))
            self._dtype = torch.get_default_dtype() if holds else torch.float64
        return torch.from_numpy(states).to(self._dtype)

    def _constant_fields(self, rows: np.ndarray, states: np.ndarray) -> Tensor:
        values = torch.from_numpy(self._constants[rows]).to(self._dtype)
        points = states.shape[3:]
        return values.reshape(*values.shape, *[1] * len(points)).expand(*values.shape, *points)


def window(block: Block, end: int, steps: Steps) -> Tensor:
    """The input of a model ``(B, n C + K, *N)`` whose last state is the one of number ``end``."""
    states = block.states[:, end + 1 - steps.inputs : end + 1].flatten(1, 2)
    return torch.cat([states, block.constants], dim=1)


@contextmanager
def opened_trajectories(path: str | Path, facts: Facts | None, format: str | None = None) -> Iterator[Source]:
    """A file as whole trajectories, whatever windows and times were chosen of it."""
    whole = None if facts is None else replace(facts, condition=(), **dict.fromkeys(CHOICES))
    with open_source(Path(path), format=format, facts=whole) as source:
        yield source


def fitting(resolution: int | None, source: Source) -> int | None:
    """The resolution, if it divides the source's; else None."""
    header = source.header
    fits = resolution is not None and stride_to(header.shape[-1:], resolution, header.placements[-1:]) is not None
    return resolution if fits else None


def steps_in(source: Source, time_step: float) -> int:
    """How many states of a source lie one step of a model apart; 0 where none do."""
    try:
        return len(source.times[:: _thinning("evaluate", source, time_step)])
    except ValueError:
        return 0


def _thinning(function: str, source: Source, time_step: float | None) -> int:
    """Every which time of a source is one step of a model after the last."""
    times = source.times
    steps = np.diff(times)
    if len(times) < 2 or source.header.inputs != source.header.channels:
        raise ValueError(
            f"{function}: `path` must hold the same field at two times or more; got {source.path} with "
            f"{len(times)} time(s). Generate it with --times."
        )
    if np.ptp(steps) > SPACING * steps.max():
        raise ValueError(
            f"{function}: `path` must hold equally spaced times, the first being the start; got steps from "
            f"{steps.min():g} to {steps.max():g} in {source.path}. One model makes one step."
        )
    if time_step is None:
        return 1
    every = round(time_step / steps.mean())
    if every < 1 or abs(every * steps.mean() - time_step) > SPACING * len(times) * time_step:
        raise ValueError(
            f"{function}: `path` must hold times of which some are {time_step:g} apart, the step that the run was "
            f"trained on; got steps of {steps.mean():g} in {source.path}."
        )
    return every
