"""The coarse grids of a march: how large they may be, and fields taken from one to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_gen.equation import Equation
from data_gen.grids.periodic import PeriodicGrid, resize_modes, tail_start

#: The coarse grid may outgrow the data's own up to this factor.
GROWTH_LIMIT = 2


@dataclass(frozen=True)
class Habits:
    """What is best done in one way in one dimension and in another in two.

    Args:
        first_points: coarse grids are tried from this many points an axis.
        min_limit: a coarse grid may have as many points an axis, however small the data's own.
        look_every: steps between two looks at what the coarse grid misses.
        chunk: samples marched together: a few small ones fit the cache, but all take the step and grid of the hardest.
    """

    first_points: int
    min_limit: int
    look_every: int
    chunk: int


#: By the number of dimensions. A look costs an evaluation on 2^d times as many points.
HABITS = {
    1: Habits(first_points=128, min_limit=1024, look_every=4, chunk=32),
    2: Habits(first_points=32, min_limit=256, look_every=8, chunk=1),
}


def unflattened(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
    """(b, C, M) -> (b, C, *K)."""
    return modes.reshape(*modes.shape[:2], *grid.modes_shape)


def resized(modes: np.ndarray, old: PeriodicGrid, new: PeriodicGrid) -> np.ndarray:
    """(b, C, M) on one grid -> (b, C, M') on another."""
    resized = resize_modes(unflattened(modes, old), old.num_points, new.num_points, old.num_dims)
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
    """(M,), or (C, M) if the components differ; on the host, where the coefficients of steps are made from it."""
    symbol = np.asarray(equation.symbol(*grid.host.wavevector))
    components = symbol.shape[: max(0, symbol.ndim - grid.num_dims)]
    return np.ascontiguousarray(np.broadcast_to(symbol, components + grid.modes_shape)).reshape(*components, -1)


def undamped_tail(modes: np.ndarray, symbol: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
    """(b,), share of each sample in the top eighth of its modes; 0 where the linear part damps one of them.

    Where it does, what is not resolved at the start is gone at the end, and the tail there is what counts.
    """
    top = grid.modes_from(tail_start(grid.num_points))
    if float((np.real(symbol)[..., top] * time).min()) < -1:
        return np.zeros(len(modes))
    sizes = np.abs(modes) * grid.mode_weights.reshape(-1)
    total = np.sqrt((sizes**2).sum(axis=(-2, -1)) / 2) + np.finfo(float).tiny
    return sizes[..., top].sum(axis=(-2, -1)) / total
