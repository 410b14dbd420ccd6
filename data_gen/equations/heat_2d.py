"""The heat equation in two dimensions."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def heat_2d(*, diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.1) -> Equation:
    """Heat (diffusion) equation in two dimensions.

        u_t = D (u_xx + u_yy)          L = -D (k_x^2 + k_y^2)          N = 0

    Raises:
        ValueError: ``diffusivity`` is not a finite number above 0.
    Source: Fourier (1822), Theorie analytique de la chaleur.
    """
    check_positive("heat_2d", "diffusivity", diffusivity, "Backward diffusion is ill-posed.")
    d = float(diffusivity)

    def exact(u0: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
        """Each axis smooths on its own: the kernel of the plane is the product of two of the line."""
        decay_y, decay_x = (np.exp(-d * k**2 * time) for k in grid.wavevector)
        return grid.to_points(decay_y * (decay_x * grid.to_modes(u0)))

    return Equation(
        name="heat_2d",
        parameters={"diffusivity": d},
        symbol=lambda ky, kx: -d * (ky**2 + kx**2),
        nonlinear=None,
        formula="u_t = diffusivity * (u_xx + u_yy)",
        exact=exact,
        num_dims=2,
    )
