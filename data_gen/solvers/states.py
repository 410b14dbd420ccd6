"""The state of an integration: modes of a chunk of samples, all (b, C, M), the axes of the grid flattened into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class PastStep(NamedTuple):
    """A point that the integration has left.

    Args:
        size: the step taken from there.
        modes: u there.
        slope: N(u) there.
    """

    size: float
    modes: np.ndarray
    slope: np.ndarray


class State(NamedTuple):
    """A chunk of samples at one time.

    Args:
        time: t.
        modes: u.
        slope: N(u).
        scale: root mean square of u over the components and points, (b, 1, 1).
        past: the points before, newest first, as many as a multistep scheme needs.
    """

    time: float
    modes: np.ndarray
    slope: np.ndarray
    scale: np.ndarray
    past: tuple[PastStep, ...] = ()


@dataclass(frozen=True)
class Dropped:
    """The modes of the initial condition above the adaptive grid.

    Args:
        sizes: their amplitudes.
        growth: Re L of them.
    """

    sizes: np.ndarray
    growth: np.ndarray


@dataclass(frozen=True)
class Checkpoint:
    """The state at the last resolution check, which the integration goes back to if its grid was too coarse.

    Args:
        state: the state.
        truncation_rate: @@|N on twice as many points - N|``, for each mode of the finer grid.
        noise: the part of it that is rounding, (b, C, 1), on this grid.
    """

    state: State
    truncation_rate: np.ndarray
    noise: np.ndarray
