"""The adaptive grid of an integration: how large it may be, and fields taken from one grid to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_gen.equation import Equation
from data_gen.grids.periodic import PeriodicGrid, resize_modes, tail_start

#: The adaptive grid may have this factor more points an axis than the data's own.
GROWTH_LIMIT = 2


@dataclass(frozen=True)
class DimensionDefaults:
    """Settings of an integration that depend on the number of dimensions.

    Args:
        first_points: points an axis of the first grid that is tried.
        min_limit: points an axis that the grid may have, however small the data's own.
        check_every: steps between two checks of the resolution.
        chunk: samples integrated together: a few small ones fit the cache, but all take the step and grid of the
            hardest.
    """

    first_points: int
    min_limit: int
    check_every: int
    chunk: int


#: By the number of dimensions. A resolution check costs an evaluation on 2^d times as many points.
DIMENSION_DEFAULTS = {
    1: DimensionDefaults(first_points=128, min_limit=1024, check_every=4, chunk=32),
    2: DimensionDefaults(first_points=32, min_limit=256, check_every=8, chunk=1),
    3: DimensionDefaults(first_points=16, min_limit=64, check_every=8, chunk=1),
}


class TailTooLarge(Exception):
    """The top modes at an output are too large: the integration has to start again from ``points``."""

    def __init__(self, points: int) -> None:
        self.points = points


def unflattened(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
    """(b, C, M) -> ``(b, C, *K)``."""
    return modes.reshape(*modes.shape[:2], *grid.modes_shape)


def resized(modes: np.ndarray, old: PeriodicGrid, new: PeriodicGrid) -> np.ndarray:
    """(b, C, M) on one grid -> (b, C, M') on another."""
    resized = resize_modes(unflattened(modes, old), old.shape, new.shape, old.num_dims)
    return resized.reshape(*modes.shape[:2], -1)


def by_shell(sizes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
    """(b, C, M) -> (b, C, num_points // 2 + 1), the sums over the modes of each shell."""
    if grid.num_dims == 1:
        return sizes
    shells, rows = grid.shells.reshape(-1), sizes.reshape(-1, sizes.shape[-1])
    return np.stack([np.bincount(shells, weights=row) for row in rows]).reshape(*sizes.shape[:2], -1)


def next_points(points: int) -> int:
    """The next of the numbers of points 2^k, 5 2^(k-2), 3 2^(k-1)."""
    odd = points // (points & -points)
    return points * {1: 5, 5: 6, 3: 4}[odd] // {1: 4, 5: 5, 3: 3}[odd]


def symbol_on(equation: Equation, grid: PeriodicGrid) -> np.ndarray:
    """``(M,)``, ``(C, M)`` if the components differ, or (b, C, M) if the samples do.

    It is on the host, where the coefficients of steps are made from it.
    """
    symbol = np.asarray(equation.symbol(*grid.host.wavevector))
    components = symbol.shape[: max(0, symbol.ndim - grid.num_dims)]
    return np.ascontiguousarray(np.broadcast_to(symbol, components + grid.modes_shape)).reshape(*components, -1)


def undamped_tail(modes: np.ndarray, symbol: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
    """(b,), share of each sample in the top eighth of its modes; 0 where the linear part damps one of them.

    Where it does, the unresolved modes of the start have decayed at the end, and only the tail there matters.
    """
    top = grid.modes_from(tail_start(grid.num_points))
    growth = np.real(symbol)[..., top] * time
    damped = growth.min(axis=(-2, -1) if growth.ndim == 3 else None) < -1
    if damped.all():
        return np.zeros(len(modes))
    sizes = np.abs(modes) * grid.mode_weights.reshape(-1)
    total = np.sqrt((sizes**2).sum(axis=(-2, -1)) / 2) + np.finfo(float).tiny
    return np.where(damped, 0.0, sizes[..., top].sum(axis=(-2, -1)) / total)
