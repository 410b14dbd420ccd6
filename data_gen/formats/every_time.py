"""Every later time of trajectories as a target of its own, with its time as a parameter of the sample."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.source import ForeignSource, Source
from data_gen.storage.fields import TRAJECTORY

#: Name of the time of the target in the table of samples.
TIME = "time"


class EveryTime(ForeignSource):
    """Pairs of the first state of a trajectory and each later one, (u(t_0), t_k - t_0) -> u(t_k), k = 1, 2, ...

    The pairs of the first trajectory come first, in the order of time. The times need not be equally spaced.

    Args:
        source: of trajectories; closed with the pairs.

    Raises:
        DatasetError: the source has no trajectories.
    """

    def __init__(self, source: Source) -> None:
        times = source.times
        if len(times) < 2 or source.header.inputs != source.header.channels:
            raise DatasetError(
                f"open_source: {source.path} must hold trajectories for `condition` time; it has {len(times)} "
                f"time{'s' if len(times) != 1 else ''} of {source.target_name}."
            )
        self._source, self._count = source, len(times) - 1
        header = replace(source.header, num_samples=source.num_samples * self._count, times=(times[0], times[-1]))
        trajectory = np.repeat(np.arange(source.num_samples), self._count)
        table = {name: values[trajectory] for name, values in source.table.items()} | {
            TRAJECTORY: trajectory,
            TIME: np.tile(np.array(times[1:]) - times[0], source.num_samples),
        }
        super().__init__(source.path, header, self._pairs, source.close, table=table)

    @property
    def checksum(self) -> str:
        """SHA-256 over that of the source and how it is cut: equal for equal fields."""
        return hashlib.sha256(f"{self._source.checksum} every time".encode()).hexdigest()

    @property
    def rows_together(self) -> int:
        """Pairs of one trajectory."""
        return self._count

    def _pairs(self, name: str, start: int, stop: int, _: slice) -> np.ndarray:
        first = start // self._count
        fields = self._source.read_trajectory(slice(first, (stop - 1) // self._count + 1))
        at = (0 if name == self.input_name else row % self._count + 1 for row in range(start, stop))
        return np.stack([fields[row // self._count - first, k] for row, k in zip(range(start, stop), at, strict=True)])
