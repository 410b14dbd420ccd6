"""The Cahn-Hilliard equation."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, squared
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def cahn_hilliard(
    *,
    mobility: Annotated[float, "mobility M, above 0"] = 1.0,
    stiffness: Annotated[float, "gradient energy g, above 0"] = 0.05,
    num_dims: Dims = 1,
) -> Equation:
    """Cahn-Hilliard equation: a mixture separates into its phases -1 and 1.

    ::

        u_t = M Lap(u^3 - u - g Lap u)          L = M (|k|^2 - g |k|^4)          N(u) = -M |k|^2 F[u^3]

    The mean is conserved, and the energy, the integral of ``(u^2 - 1)^2 / 4 + g |grad u|^2 / 2``, falls. Interfaces are
    tanh(x / w), w = sqrt(2 g). Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: a parameter is not a finite number above 0.

    References:
        Cahn and Hilliard (1958), J. Chem. Phys. 28, 258-267; Cahn (1961), Acta Metallurgica 9, 795-801.
    """
    check_positive("cahn_hilliard", "mobility", mobility)
    check_positive("cahn_hilliard", "stiffness", stiffness, "Without it interfaces become jumps.")
    m, g = coefficient(mobility), coefficient(stiffness)

    def symbol(*k: np.ndarray) -> np.ndarray:
        square = squared(k)
        return m * (square - g * square**2)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u * u
        return -m * grid.asarray(squared(grid.host.wavevector)) * grid.to_modes(u)

    return Equation(
        name="cahn_hilliard",
        parameters={"mobility": m, "stiffness": g},
        symbol=symbol,
        nonlinear=nonlinear,
        formula="u_t = mobility * Lap(u^3 - u - stiffness * Lap u)",
        num_dims=num_dims,
        tolerance=1e-8 if num_dims < 3 else 1e-6,
        extent=2 * math.pi if num_dims < 3 else math.pi,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": {1: 8, 2: 4, 3: 2}[num_dims], "amplitude": 0.3},
    )
