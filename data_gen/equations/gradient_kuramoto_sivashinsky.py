"""The Kuramoto-Sivashinsky equation in its form with the norm of the gradient."""

from __future__ import annotations

import functools
import math
import operator

import numpy as np

from data_gen.equation import Dims, Equation, squared
from data_gen.grids.periodic import PeriodicGrid

_FORMULAS = {
    1: "u_t + u_x^2 / 2 + u_xx + u_xxxx = 0",
    2: "u_t + (u_x^2 + u_y^2) / 2 + Lap u + Lap^2 u = 0",
    3: "u_t + (u_x^2 + u_y^2 + u_z^2) / 2 + Lap u + Lap^2 u = 0",
}


def gradient_kuramoto_sivashinsky(*, num_dims: Dims = 1) -> Equation:
    """Kuramoto-Sivashinsky equation of a flame front or of a phase, by the norm of its gradient.

    ::

        u_t + |grad u|^2 / 2 + Lap u + Lap^2 u = 0          L = |k|^2 - |k|^4          N(u) = -F[|grad u|^2] / 2

    On a line its derivative u_x solves ``kuramoto_sivashinsky``. The mean falls, at a rate that the gradient sets.
    It is chaotic on boxes of side 20 or more, see there. Of one to three dimensions, ``num_dims``.

    References:
        Kuramoto and Tsuzuki (1976), Prog. Theor. Phys. 55, 356-369; Sivashinsky (1977), Acta Astronautica 4, 1177-1206.
    """

    def symbol(*k: np.ndarray) -> np.ndarray:
        square = squared(k)
        return square - square**2

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        slopes = [grid.to_points(derivative * modes) for derivative in grid.derivative]
        return -0.5 * grid.to_modes(functools.reduce(operator.add, [slope * slope for slope in slopes]))

    return Equation(
        name="gradient_kuramoto_sivashinsky",
        parameters={},
        symbol=symbol,
        nonlinear=nonlinear,
        formula=_FORMULAS[num_dims],
        num_dims=num_dims,
        chaotic=True,
        tolerance=1e-10 if num_dims == 1 else 1e-6,
        extent=32 * math.pi if num_dims == 1 else 8 * math.pi,
        time=10.0,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 16 if num_dims == 1 else 4},
    )
