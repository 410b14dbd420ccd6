"""An equation on one Fourier grid: its symbol, its nonlinear term, and both on the finer grid."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from data_gen.equation import Equation
from data_gen.grids.periodic import PeriodicGrid
from data_gen.solvers.adaptive_grid import resized, symbol_on, unflattened
from data_gen.solvers.states import PastStep, State
from data_gen.stepping.device import namespace

TINY = float(np.finfo(float).tiny)


class Discretization:
    """u_t = L u + N(u) on a Fourier grid, and on the grid of twice as many points.

    Args:
        equation: an equation with a nonlinear term.
        grid: the grid.

    Attributes:
        grid: the grid.
        fine: the finer grid.
        symbol: L, ``(M,)``, ``(C, M)`` or (b, C, M), on the host.

    Raises:
        ValueError: the equation is linear.
    """

    def __init__(self, equation: Equation, grid: PeriodicGrid) -> None:
        if equation.nonlinear is None:
            raise ValueError("Integrator: `equation` must have a nonlinear term; a linear one needs no time stepping.")
        self.equation, self._nonlinear = equation, equation.nonlinear
        self.grid, self.fine = grid, replace(grid, num_points=2 * grid.num_points)
        self.symbol = symbol_on(equation, self.grid)
        self._weights = self.grid.asarray(self.grid.mode_weights.reshape(-1))
        self._last_forgetting: tuple[float, float, np.ndarray] | None = None

    @cached_property
    def own_damping(self) -> np.ndarray:
        """min(Re L, 0) of the modes."""
        return self.grid.asarray(np.minimum(np.real(self.symbol), 0))

    @cached_property
    def damping(self) -> np.ndarray:
        """min(Re L, 0) of the modes, with which errors are forgotten; 0 for an equation that amplifies them."""
        return self.grid.asarray(self._forgetting(self.symbol))

    @cached_property
    def fine_damping(self) -> np.ndarray:
        """The same for the modes of the finer grid."""
        return self.grid.asarray(self._forgetting(symbol_on(self.equation, self.fine)))

    def _forgetting(self, symbol: np.ndarray) -> np.ndarray:
        damping = np.minimum(np.real(symbol), 0)
        return np.zeros_like(damping) if self.equation.amplifies else damping

    def forgetting(self, step: float, duration: float) -> np.ndarray:
        """1 + (1 - e^(-d h)) T / h of the modes, d their own damping; kept until it is asked of another step."""
        kept = self._last_forgetting
        if kept is None or kept[:2] != (step, duration):
            rate = -namespace(self.own_damping).expm1(self.own_damping * step) * (duration / step)
            self._last_forgetting = kept = (step, duration, 1 + rate)
        return kept[2]

    def on(self, points: int) -> Discretization:
        """The same equation on another number of points."""
        return Discretization(self.equation, replace(self.grid, num_points=points))

    def nonlinear(self, modes: np.ndarray) -> np.ndarray:
        """N(u)."""
        return self._on(modes, self.grid)

    def nonlinear_on_fine(self, modes: np.ndarray) -> np.ndarray:
        """N(u) of modes on the finer grid."""
        return self._on(modes, self.fine)

    def _on(self, modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        if grid.num_dims == 1:
            return self._nonlinear(modes, grid)
        return self._nonlinear(unflattened(modes, grid), grid).reshape(modes.shape)

    def to_fine(self, modes: np.ndarray) -> np.ndarray:
        """The same field's modes on the finer grid."""
        return resized(modes, self.grid, self.fine)

    def state(self, time: float, modes: np.ndarray, past: tuple[PastStep, ...] = ()) -> State:
        """The state of these modes. A start from rest has the scale that a force gives it in a thousandth of T."""
        scale, slope = self._root_mean_square(modes), self.nonlinear(modes)
        if time == 0 and not scale.all():
            scale = scale + (scale == 0) * (1e-3 * self.equation.time) * self._root_mean_square(slope)
        return State(time, modes, slope, scale + TINY, past)

    def _root_mean_square(self, modes: np.ndarray) -> np.ndarray:
        """(b, 1, 1), that of each sample, all channels together."""
        return ((abs(modes * self._weights) ** 2).sum(axis=(-2, -1), keepdims=True) / 2) ** 0.5

    def sizes(self, modes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Amplitude of each mode relative to the sample's root mean square, so that their sum bounds ``max |u|``."""
        sizes = abs(modes)
        sizes *= self._weights
        sizes /= scale
        return sizes
