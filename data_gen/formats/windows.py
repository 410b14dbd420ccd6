"""Windows of trajectories: some steps as the input, and the steps after them as the target."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_gen.errors import DatasetError, check_count
from data_gen.formats.overrides import STEPS, Overrides
from data_gen.formats.source import ForeignSource, Source
from data_gen.storage.fields import TRAJECTORY

#: Relative difference of two time steps that still count as equal.
SPACING = 1e-6


class Windows(ForeignSource):
    """Pairs cut from the trajectories of a source; none crosses from one trajectory to another.

    ::

        x_w = (u(t_k), ..., u(t_{k+n-1})),   y_w = (u(t_{k+n}), ..., u(t_{k+n+m-1})),   k = 0, s, 2 s, ...

    The windows of the first trajectory come first, in the order of time. The steps of a window are channels, ordered by
    time and then by component: with components u, v and two steps u, v at the earlier and u, v at the later time.

    Args:
        source: of trajectories with equal time steps; closed with the windows.
        input_steps: n, steps of the input.
        output_steps: m, steps of the target.
        stride: steps s from the start of a window to that of the next.

    Raises:
        ValueError: a number is below 1, or a window has more steps than the trajectories have times.
        DatasetError: the source has no trajectories, or unequal time steps.
    """

    def __init__(self, source: Source, input_steps: int, output_steps: int, stride: int) -> None:
        for name, value in (("input_steps", input_steps), ("output_steps", output_steps), ("stride", stride)):
            check_count("open_source", name, value)
        times, steps = source.times, input_steps + output_steps
        self._check(source, steps)
        self._source, self._steps, self._split = source, steps, input_steps
        self._last: tuple[tuple[int, int], np.ndarray] | None = None
        self._starts = range(0, len(times) - steps + 1, stride)
        count, step = len(self._starts), (times[-1] - times[0]) / (len(times) - 1)
        channels = source.header.channels
        inputs, targets = _names(channels, 1 - input_steps, 1), _names(channels, 1, 1 + output_steps)
        header = replace(
            source.header,
            num_samples=source.num_samples * count,
            times=(0.0, output_steps * step),
            channels=channels if steps == 2 else targets,
            input_channels=channels if steps == 2 else inputs,
        )
        trajectory = np.repeat(np.arange(source.num_samples), count)
        table = {name: values[trajectory] for name, values in source.table.items()} | {TRAJECTORY: trajectory}
        super().__init__(source.path, header, self._cut, source.close, table=table)

    @staticmethod
    def _check(source: Source, steps: int) -> None:
        times = source.times
        if len(times) < 2 or source.header.inputs != source.header.channels:
            raise DatasetError(
                f"open_source: {source.path} must hold trajectories to cut windows from; it has "
                f"{len(times)} time{'s' if len(times) != 1 else ''} of {source.target_name}."
            )
        if steps > len(times):
            raise ValueError(
                f"open_source: `input_steps` and `output_steps` must together be at most {len(times)}, the times of "
                f"{source.path}; got {steps}."
            )
        gaps = np.diff(times)
        if np.ptp(gaps) > SPACING * gaps.max():
            raise DatasetError(
                f"open_source: {source.path} must have equal time steps to cut windows; they are {gaps.min():g} to "
                f"{gaps.max():g}."
            )

    @property
    def checksum(self) -> str:
        """SHA-256 over that of the source and the windows: equal for equal fields."""
        cut = (self._split, self._steps, self._starts.step)
        return hashlib.sha256(f"{self._source.checksum} {cut}".encode()).hexdigest()

    @property
    def rows_together(self) -> int:
        """Windows of one trajectory."""
        return len(self._starts)

    def _cut(self, name: str, start: int, stop: int, _: slice) -> np.ndarray:
        """Windows ``(rows, steps * channels, *points)``, from the trajectories that they lie in."""
        count = len(self._starts)
        first = start // count
        fields = self._trajectories(first, (stop - 1) // count + 1)
        part = slice(0, self._split) if name == self.input_name else slice(self._split, self._steps)
        rows = [
            fields[row // count - first, self._starts[row % count] :][part].reshape(-1, *fields.shape[3:])
            for row in range(start, stop)
        ]
        return np.stack(rows)

    def _trajectories(self, first: int, stop: int) -> np.ndarray:
        """Some trajectories in a row; those of the last call are kept, as an input's targets are read next."""
        if self._last is None or self._last[0] != (first, stop):
            self._last = None
            self._last = (first, stop), self._source.read_trajectory(slice(first, stop))
        return self._last[1]


def _names(channels: Sequence[str], first: int, stop: int) -> tuple[str, ...]:
    """Names of components at steps that count from the last one of the input: u_t-1, u_t0, u_t+1."""
    return tuple(f"{name}_t{step:+d}" if step else f"{name}_t0" for step in range(first, stop) for name in channels)


def windows_of(source: Source, overrides: Overrides) -> Windows:
    """The windows of a source by the settings that are given, each 1 by default."""
    return Windows(source, *(getattr(overrides, name) or 1 for name in STEPS))
