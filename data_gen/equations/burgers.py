"""The viscous Burgers equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation, coefficient
from data_gen.errors import check_positive
from data_gen.exact_solutions.cole_hopf import cole_hopf
from data_gen.grids.periodic import PeriodicGrid


def burgers(*, viscosity: Annotated[float, "viscosity nu, above 0"] = 0.1) -> Equation:
    """Viscous Burgers equation in conservation form.

        u_t + (u^2 / 2)_x = nu u_xx          L = -nu k^2          N(u) = -(i k / 2) F[u^2]

    Raises:
        ValueError: ``viscosity`` is not a finite number above 0.
    Source: Burgers (1948), Adv. Appl. Mech. 1, 171-199.
    """
    check_positive("burgers", "viscosity", viscosity, "Without viscosity fronts become shocks, which no grid resolves.")
    nu = coefficient(viscosity)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u
        flux = grid.to_modes(u)
        flux *= -0.5 * grid.derivative[0]
        return flux

    def front_width(u0: np.ndarray, grid: PeriodicGrid, time: float) -> float:
        """Width 2 nu / A of the front of half-height A, if there is time for it to form (half of 1 / max(-u0_x))."""
        slope = float((-np.diff(u0, axis=-1)).max()) / grid.spacing
        return 4 * nu / float(np.ptp(u0, axis=-1).max()) if slope * time > 0.5 else np.inf

    return Equation(
        name="burgers",
        parameters={"viscosity": nu},
        symbol=lambda k: -nu * k**2,
        nonlinear=nonlinear,
        formula="u_t + (u^2/2)_x = viscosity * u_xx",
        exact=lambda u0, grid, time: cole_hopf(u0, viscosity=nu, time=time, extent=grid.extent),
        exact_method="cole-hopf",
        front_width=front_width,
    )
