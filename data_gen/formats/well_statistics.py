"""The statistics of fields that The Well keeps in stats.yaml."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Statistics:
    """Mean, standard deviation and root mean square of a field and of its steps in time, summed over blocks."""

    def __init__(self) -> None:
        self.sums = {"": np.zeros(3), "_delta": np.zeros(3)}  # count, sum, sum of squares

    def add(self, field: np.ndarray) -> None:
        """Include ``(rows, times, *points)``."""
        values = field.astype(np.float64)
        for suffix, part in (("", values), ("_delta", np.diff(values, axis=1))):
            self.sums[suffix] += (part.size, part.sum(), np.square(part).sum())

    def values(self) -> dict[str, float]:
        """Each statistic by its name in stats.yaml."""
        found = {}
        for suffix, (count, total, squares) in self.sums.items():
            mean, square = total / max(count, 1), squares / max(count, 1)
            found[f"mean{suffix}"], found[f"rms{suffix}"] = mean, math.sqrt(square)
            found[f"std{suffix}"] = math.sqrt(max(square - mean**2, 0.0))
        return {key: float(value) for key, value in found.items()}


def statistics_yaml(statistics: dict[str, Statistics]) -> str:
    """The text of stats.yaml: a table for each statistic, by field."""
    tables: dict[str, Any] = {name: s.values() for name, s in statistics.items()}
    lines = []
    for key in ("mean", "std", "rms", "mean_delta", "std_delta", "rms_delta"):
        lines += [f"{key}:", *(f"  {name}: {values[key]:.16e}" for name, values in tables.items())]
    return "\n".join(lines) + "\n"
