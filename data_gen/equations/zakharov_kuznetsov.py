"""The Zakharov-Kuznetsov equation."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from data_gen.equation import Equation, coefficient, squared
from data_gen.errors import check_finite
from data_gen.grids.periodic import PeriodicGrid

_FORMULAS = {
    2: "u_t + nonlinearity * u u_x + u_xxx + u_xyy = 0",
    3: "u_t + nonlinearity * u u_x + u_xxx + u_xyy + u_xzz = 0",
}


def zakharov_kuznetsov(
    *,
    nonlinearity: Annotated[float, "coefficient a of u u_x"] = 1.0,
    num_dims: Literal[2, 3] = 2,
) -> Equation:
    """Zakharov-Kuznetsov equation: the Korteweg-de Vries equation of waves that also spread sideways.

    ::

        u_t + a u u_x + (Lap u)_x = 0          L = i k_x |k|^2          N(u) = -(i a k_x / 2) F[u^2]

    Mean and energy are conserved. A field that varies along x alone solves ``kdv`` with a dispersion of 1. Of two or
    three dimensions, ``num_dims``.

    Raises:
        ValueError: ``nonlinearity`` is not a finite number.

    References:
        Zakharov and Kuznetsov (1974), Sov. Phys. JETP 39, 285-286.
    """
    check_finite("zakharov_kuznetsov", "nonlinearity", nonlinearity)
    a = coefficient(nonlinearity)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u
        flux = grid.to_modes(u)
        flux *= -0.5 * a * grid.derivative[-1]
        return flux

    return Equation(
        name="zakharov_kuznetsov",
        parameters={"nonlinearity": a},
        symbol=lambda *k: 1j * k[-1] * squared(k),
        nonlinear=nonlinear,
        formula=_FORMULAS[num_dims],
        num_dims=num_dims,
        tolerance=1e-6,
        extent=32.0,
        time=2.0 if num_dims == 2 else 1.0,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 3} if num_dims == 2 else {"max_mode": 2, "amplitude": 0.3},
    )
