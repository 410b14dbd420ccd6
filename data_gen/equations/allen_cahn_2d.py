"""The Allen-Cahn equation in two dimensions."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def allen_cahn_2d(
    *,
    diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.01,
    rate: Annotated[float, "reaction rate r, above 0"] = 1.0,
) -> Equation:
    """Allen-Cahn equation in two dimensions.

        u_t = D (u_xx + u_yy) + r (u - u^3)          L = r - D (k_x^2 + k_y^2)          N(u) = -r F[u^3]

    Fronts tanh(x / w), w = sqrt(2 D / r), form as in one dimension; then they move by D times their curvature.

    Raises:
        ValueError: ``diffusivity`` or ``rate`` is not a finite number above 0.
    Source: Allen and Cahn (1979), Acta Metallurgica 27, 1085-1095.
    """
    check_positive(
        "allen_cahn_2d", "diffusivity", diffusivity, "Without it fronts become jumps, which no grid resolves."
    )
    check_positive("allen_cahn_2d", "rate", rate)
    d, r = float(diffusivity), float(rate)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u * u
        return -r * grid.to_modes(u)

    def front_width(u0: np.ndarray, grid: PeriodicGrid, time: float) -> float:
        """Width of a settled front, if there is time for the reaction to carry the field to its plateaus."""
        return float(np.sqrt(2 * d / r)) if np.log(max(np.abs(u0).max(), 1e-300)) + r * time > 1 else np.inf

    return Equation(
        name="allen_cahn_2d",
        parameters={"diffusivity": d, "rate": r},
        symbol=lambda ky, kx: r - d * (ky**2 + kx**2),
        nonlinear=nonlinear,
        formula="u_t = diffusivity * (u_xx + u_yy) + rate * (u - u^3)",
        front_width=front_width,
        num_dims=2,
        tolerance=1e-8,
        time=5.0,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 8, "amplitude": 0.5},
    )
