"""The Allen-Cahn equation."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, in_dims, squared
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def allen_cahn(
    *,
    diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.01,
    rate: Annotated[float, "reaction rate r, above 0"] = 1.0,
    num_dims: Dims = 1,
) -> Equation:
    """Allen-Cahn equation (also called Chafee-Infante, or real Ginzburg-Landau).

    ::

        u_t = D Lap u + r (u - u^3)          L = r - D |k|^2          N(u) = -r F[u^3]

    Its solutions settle to -1 and 1 with fronts tanh(x / w) between, w = sqrt(2 D / r). In several dimensions the
    fronts then move by D times their curvature.

    Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: ``diffusivity`` or ``rate`` is not a finite number above 0.

    References:
        Allen and Cahn (1979), Acta Metallurgica 27, 1085-1095.
    """
    check_positive("allen_cahn", "diffusivity", diffusivity, "Without it fronts become jumps, which no grid resolves.")
    check_positive("allen_cahn", "rate", rate)
    d, r = coefficient(diffusivity), coefficient(rate)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u * u
        return -r * grid.to_modes(u)

    def front_width(u0: np.ndarray, grid: PeriodicGrid, time: float) -> float:
        """Width of a settled front, if there is time for the reaction to carry the field to its plateaus."""
        return float(np.sqrt(2 * d / r)) if np.log(max(np.abs(u0).max(), 1e-300)) + r * time > 1 else np.inf

    usual: dict[str, Any] = {}
    if num_dims > 1:
        usual = {"tolerance": 1e-8 if num_dims == 2 else 1e-6, "initial_condition": "truncated_fourier"}
        usual["initial_parameters"] = {"max_mode": 8 if num_dims == 2 else 2, "amplitude": 0.5}
    if num_dims == 3:
        usual["extent"] = 2.0  # 32 points resolve fronts of the width 0.14
    return Equation(
        name="allen_cahn",
        parameters={"diffusivity": d, "rate": r},
        symbol=lambda *k: r - d * squared(k),
        nonlinear=nonlinear,
        formula=in_dims(num_dims, "u_t = diffusivity * {u} + rate * (u - u^3)"),
        front_width=front_width,
        num_dims=num_dims,
        time=5.0,
        **usual,
    )
