"""Roll-outs of a run written as a data file, a block of samples at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data_gen.convert import write_source
from data_gen.formats import Facts
from data_gen.formats.source import ForeignSource, series
from data_gen.header import Header
from data_gen.terminal.quiet import progress_bar
from sciml_cf.datasets import Split
from sciml_cf.datasets.steps import Steps, arranged_by
from sciml_cf.errors import check_count
from sciml_cf.evaluate.parameters import conditions_of, warn_of_file
from sciml_cf.evaluate.problem import Problem, as_trained, check_problem
from sciml_cf.evaluate.rollout import rolled
from sciml_cf.evaluate.trajectories import Block, Trajectories, fitting, opened_trajectories, window
from sciml_cf.models.coordinates import positions
from sciml_cf.training.run_folder import Which, load, read_settings


@dataclass
class Told:
    """What a roll-out came to.

    Attributes:
        samples: number of samples written.
        states: number of states written.
        last: time of the last state.
        num_left: samples that leave the finite numbers.
        left: the last finite time of the first of them; None without any.
    """

    samples: int
    states: int
    last: float
    num_left: int = 0
    left: float | None = field(default=None)

    def look(self, states: np.ndarray, times: np.ndarray) -> None:
        """Take in some samples ``(B, T, C, *N)``."""
        finite = np.asarray(np.isfinite(states.reshape(*states.shape[:2], -1)).all(2))
        lost = ~np.asarray(finite.all(axis=1))
        if lost.any():
            ends = times[np.maximum(np.cumprod(finite[lost], axis=1).sum(1) - 1, 0)]
            self.num_left += int(lost.sum())
            self.left = float(ends.min()) if self.left is None else min(self.left, float(ends.min()))


def roll_out_file(
    run: Path,
    data: Path,
    out: Path,
    *,
    steps: int | None = None,
    split: Split = "test",
    resolution: int | None = None,
    which: Which = "best",
    facts: Facts | None = None,
    overwrite: bool = False,
) -> Told:
    """Write the roll-outs of a run from the first states of a data file.

    Args:
        run: see ``sciml-cf rollout``.
        data: see ``sciml-cf rollout``.
        out: see ``sciml-cf rollout``.
        steps: see ``sciml-cf rollout``.
        split: see ``sciml-cf rollout``.
        resolution: see ``sciml-cf rollout``.
        which: see ``sciml-cf rollout``.
        overwrite: see ``sciml-cf rollout``.
        facts: what the file does not say about itself.

    Raises:
        ValueError: the run makes no steps in time, or the data are of another problem or have too few times.
        FileExistsError, OutputError: ``out`` cannot be written.
    """
    settings = read_settings(run)
    stored, step = settings.get("data") or {}, _step_of(run, settings)
    if steps is not None:
        check_count("rollout", "steps", steps)
    facts = as_trained(facts, settings)
    check_problem("rollout", Problem.of_file(data, facts=facts), run, settings)
    warn_of_file("rollout", data, facts, settings)
    with opened_trajectories(data, facts) as source:
        arranged = arranged_by(facts, len(source.header.channels))
        read = Trajectories(
            "rollout",
            source,
            split=split,
            split_seed=stored.get("split_seed", 0),
            resolution=fitting(stored.get("resolution"), source) if resolution is None else resolution,
            names=tuple(conditions_of(settings)),
            time_step=step if len(source.times) > arranged.inputs else None,
        )
        count = len(read.times) - arranged.inputs if steps is None else steps
        if len(read.times) < arranged.inputs or count < 1:
            raise ValueError(
                f"rollout: `data` must have the {arranged.inputs} times of the start and one more, or `steps` be "
                f"given; got {len(read.times)} times in {data}."
            )
        made = _Rolled(load(run, which=which), read, arranged, count, step)
        with positions(made.model, read.geometry.positions):
            write_source(made.source(source.header, run), out, who="rollout", read=data, overwrite=overwrite)
    return made.told


def _step_of(run: Path, settings: dict[str, Any]) -> float:
    """The step in time that a run makes."""
    step = (settings.get("data") or {}).get("time_step")
    if step is None:
        raise ValueError(
            f"rollout: `run` must make steps in time; got {run}, which was trained on a map between other fields, or "
            "by a version that did not record its step. Train it again on trajectories."
        )
    return float(step)


class _Rolled:
    """Roll-outs that are made as they are read."""

    def __init__(self, model: nn.Module, read: Trajectories, arranged: Steps, count: int, step: float) -> None:
        self.model = model
        self._read, self._arranged, self._count = read, arranged, count
        start = np.array(read.times[: arranged.inputs])
        self._times = np.concatenate([start, start[-1] + step * np.arange(1, count + 1)])
        self.told = Told(len(read.rows), len(self._times), float(self._times[-1]))
        self._bar = progress_bar(shown=sys.stderr.isatty(), total=len(read.rows), desc="rollout", unit="sample")
        self._seen = 0

    def source(self, header: Header, run: Path) -> ForeignSource:
        """The roll-outs as a source of trajectories."""
        geometry = self._read.geometry
        made = replace(
            header,
            name="rollout",
            formula=f"the model of {run.name}, applied to its own output",
            num_samples=len(self._read.rows),
            shape=tuple(len(axis) for axis in geometry.coordinates),
            extents=tuple(
                extent if geometry.stride * len(axis) == points else extent * geometry.stride * len(axis) / points
                for extent, points, axis in zip(header.extents, header.shape, geometry.coordinates, strict=True)
            ),
            points=None if header.points is None else _coarse(header.points, geometry.stride),
            times=tuple(float(time) for time in self._times),
            dtype="float32" if torch.get_default_dtype() == torch.float32 else "float64",
        )
        return ForeignSource(run, made, series(lambda start, stop, at: self._states(start, stop)[:, at], made))

    def _states(self, start: int, stop: int) -> np.ndarray:
        """``(rows, T, C, *N)``, the states of the start and those that follow."""
        parts = []
        for block in self._read.blocks(rows=self._read.rows[start:stop], times=self._arranged.inputs):
            parts.append(self._rolled(block))
        states = np.concatenate(parts)
        if start >= self._seen:
            self.told.look(states, self._times)
            self._seen = stop
            self._bar.update(stop - start)
            if self._seen == len(self._read.rows):
                self._bar.close()
        return states

    def _rolled(self, block: Block) -> np.ndarray:
        first = window(block, self._arranged.inputs - 1, self._arranged)
        with torch.no_grad():
            after = rolled("rollout", "data", self.model, first, self._arranged, self._count)
        return torch.cat([block.states, after], dim=1).numpy()


def _coarse(points: tuple[tuple[float, ...] | None, ...], stride: int) -> Any:
    return tuple(None if axis is None else axis[::stride] for axis in points)
