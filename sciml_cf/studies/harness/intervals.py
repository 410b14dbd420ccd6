"""Intervals over seeds: geometric for metrics that are positive and spread over decades, else arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as students_t

#: Error by seed, None of a run that diverged.
Errors = Mapping[int, float | None]


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """The verdict of an interval of error ratios on the numerator: below 1 is better."""
        return "better" if self.high < 1 else "worse" if self.low > 1 else "not distinguishable"

    @property
    def cell(self) -> str:
        """The mean and the bounds as a table shows a ratio."""
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def geometric_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Geometric mean of positive values with Student's interval of their logarithms.

    ::

        exp(m -+ t s / sqrt(n)),   m and s the mean and the standard deviation (n - 1) of the logarithms

    With one value the bounds are infinite (0 and inf): one run says nothing about the next.

    Raises:
        ValueError: there is no value, or one is not positive and finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or not np.all(np.isfinite(numbers) & (numbers > 0)):
        raise ValueError(f"geometric_interval: `values` must be positive finite numbers; got {list(values)}.")
    logs = np.log(numbers)
    mean = float(np.exp(logs.mean()))
    if numbers.size == 1:
        return Interval(mean, 0.0, math.inf)
    half = students_t.ppf(0.5 + confidence / 2, numbers.size - 1) * logs.std(ddof=1) / math.sqrt(numbers.size)
    return Interval(mean, mean * math.exp(-half), mean * math.exp(half))


def resampled_interval(groups: Sequence[Sequence[float]], *, confidence: float = 0.95, draws: int = 10_000) -> Interval:
    """Geometric mean over groups of positive values, each of equal weight, with an interval by resampling the groups.

        exp( mean over groups of  mean of log values ),   bounds: quantiles of it over groups drawn with replacement

    It says how the mean may differ for other groups, such as other problems. With one group the bounds are infinite.

    Args:
        groups: positive values of each group.
        confidence: of the interval.
        draws: how often the groups are drawn; from a generator of a fixed seed.

    Raises:
        ValueError: there is no group, a group is empty, or a value is not positive and finite.
    Source: Efron (1979), Bootstrap Methods: Another Look at the Jackknife, Ann. Statist. 7, 1-26.
    """
    means = np.log([geometric_interval(group).mean for group in groups])
    if means.size < 2:
        return geometric_interval(np.exp(means).tolist())
    drawn = np.random.default_rng(0).choice(means, size=(draws, means.size)).mean(axis=1)
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(*(float(value) for value in np.exp([means.mean(), low, high])))


def compare_runs_by_seed(ours: Errors, theirs: Errors) -> tuple[Interval | None, str]:
    """How the errors of one method lie to those of another, seed by seed.

    Args:
        ours: error by seed, None of a run that diverged. A seed that only one of the two has does not count.
        theirs: error of the other by seed, likewise.

    Returns:
        (interval of the ratios ours / theirs, what it says); the interval is None where no pair of runs is whole. As
        soon as one run is lost the words count the lost ones and judge nothing: what is left is a choice of seeds.
    """
    seeds = [seed for seed in ours if seed in theirs]
    lost = [sum(runs[seed] is None for seed in seeds) for runs in (ours, theirs)]
    pairs = [(ours[seed], theirs[seed]) for seed in seeds]
    ratios = [one / other for one, other in pairs if one is not None and other is not None]
    interval = geometric_interval(ratios) if ratios else None
    if any(lost):
        return interval, f"{lost[0]} of {len(seeds)} runs diverged, and {lost[1]} of the other's"
    return interval, interval.verdict if interval else "no run in common"


def ratio_cells(ours: Errors | None, theirs: Errors | None) -> tuple[str, str]:
    """The ratio of ``compare_runs_by_seed`` and what it says, for a table; of errors that were not measured too."""
    if ours is None or theirs is None:
        return "-", "not run"
    interval, words = compare_runs_by_seed(ours, theirs)
    return interval.cell if interval else "-", words


def mean_cell(values: Iterable[float | None]) -> float | str:
    """The geometric mean of the errors of runs that ended, for a table."""
    known = [value for value in values if value is not None]
    return geometric_interval(known).mean if known else "-"


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean with Student's interval.

    ::

        m -+ t s / sqrt(n),   s the standard deviation (n - 1)

    With one value the bounds are infinite: one run says nothing about the next.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or not np.all(np.isfinite(numbers)):
        raise ValueError(f"mean_interval: `values` must be finite numbers; got {list(values)}.")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return Interval(mean, -math.inf, math.inf)
    half = float(students_t.ppf(0.5 + confidence / 2, numbers.size - 1) * numbers.std(ddof=1)) / math.sqrt(numbers.size)
    return Interval(mean, mean - half, mean + half)


def rolling_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Mean of each value and those before it, ``window`` in all (fewer at the start)."""
    numbers = np.asarray(values, dtype=np.float64)
    sums = np.cumsum(np.concatenate([[0.0], numbers]))
    ends = np.arange(1, numbers.size + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def smoothed_intervals(curves: Sequence[Sequence[float]], window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of curves of positive values (runs, points): at each point their geometric mean and its interval, ``(points,)``.

    Each curve is smoothed by a rolling mean before.
    """
    smooth = np.array([rolling_mean(curve, window) for curve in curves])
    mean, low, high = np.array([geometric_interval(column) for column in smooth.T]).T
    return mean, low, high
