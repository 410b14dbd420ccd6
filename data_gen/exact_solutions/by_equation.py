"""The exact solution that an equation brings with it, for many samples."""

from __future__ import annotations

import numpy as np

from data_gen.equation import Equation, SampleEquations, similar_rows
from data_gen.grids.grid import Grid
from data_gen.grids.periodic import PeriodicGrid

#: Samples summed together: fits the cache.
CHUNK = 16


def exact_solution(equation: Equation | SampleEquations, grid: Grid, u0: np.ndarray, time: float) -> np.ndarray:
    """The equation's own exact solution, in chunks of 16 samples so that memory and rounding do not depend on B.

    Args:
        equation: one that has an exact solution; its parameters may vary by sample.
        grid: the grid of ``u0``.
        u0: ``(B, C, *N)``, real.
        time: t > 0, or 0 for a steady equation.

    Returns:
        ``(B, C, *N)``, float64.

    Raises:
        ValueError: the equation has no exact solution.
    """
    if isinstance(equation, SampleEquations):
        return _by_sample(equation, grid, u0, time)
    if equation.exact is None:
        raise ValueError(f"exact_solution: `equation` must have an exact solution; got {equation.name}.")
    result = np.empty(u0.shape)
    for start in range(0, u0.shape[0], CHUNK):
        result[start : start + CHUNK] = equation.exact(u0[start : start + CHUNK], grid, time)
    return result


def _by_sample(laws: SampleEquations, grid: Grid, u0: np.ndarray, time: float) -> np.ndarray:
    """The exact solutions of samples each of which has parameters of its own; of similar ones together, on a line."""
    result = np.empty(u0.shape)
    if not isinstance(grid, PeriodicGrid) or grid.num_dims > 1:
        for row, law in enumerate(laws):
            result[row] = exact_solution(law, grid, u0[row : row + 1], time)[0]
        return result
    hardness = np.abs(u0).reshape(len(u0), -1).max(axis=-1) / laws.symbol_sizes(grid)
    for rows in similar_rows(hardness, CHUNK):
        result[rows] = exact_solution(laws.together(rows), grid, u0[rows], time)
    return result
