"""The equation of hyper-diffusion."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, squared
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid

_FORMULAS = {
    1: "u_t = -diffusivity * u_xxxx",
    2: "u_t = -diffusivity * (u_xxxx + 2 u_xxyy + u_yyyy)",
    3: "u_t = -diffusivity * (u_xxxx + u_yyyy + u_zzzz + 2 u_xxyy + 2 u_yyzz + 2 u_xxzz)",
}


def hyper_diffusion(*, diffusivity: Annotated[float, "coefficient D, above 0"] = 0.01, num_dims: Dims = 1) -> Equation:
    """Hyper-diffusion: damping by the fourth power of the wavenumber.

    ::

        u_t = -D Lap^2 u          L = -D |k|^4          N = 0

    Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: ``diffusivity`` is not a finite number above 0.

    References:
        Mullins (1957), J. Appl. Phys. 28, 333-339, for surface diffusion.
    """
    check_positive("hyper_diffusion", "diffusivity", diffusivity, "Of the other sign it is ill-posed.")
    d = coefficient(diffusivity)

    def exact(u0: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
        return grid.to_points(np.exp(-d * squared(grid.wavevector) ** 2 * time) * grid.to_modes(u0))

    return Equation(
        name="hyper_diffusion",
        parameters={"diffusivity": d},
        symbol=lambda *k: -d * squared(k) ** 2,
        nonlinear=None,
        formula=_FORMULAS[num_dims],
        exact=exact,
        num_dims=num_dims,
    )
