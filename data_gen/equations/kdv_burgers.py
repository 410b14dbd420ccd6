"""The Korteweg-de Vries-Burgers equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation, coefficient
from data_gen.errors import check_finite, check_positive
from data_gen.grids.periodic import PeriodicGrid


def kdv_burgers(
    *,
    viscosity: Annotated[float, "viscosity nu, above 0"] = 0.02,
    dispersion: Annotated[float, "coefficient d of u_xxx, of either sign"] = 0.01,
) -> Equation:
    """Korteweg-de Vries-Burgers equation: fronts that dispersion turns into trains of waves.

    ::

        u_t + u u_x = nu u_xx - d u_xxx          L = -nu k^2 + i d k^3          N(u) = -(i k / 2) F[u^2]

    A front of speed c is monotone if nu^2 >= 4 d c, else waves follow it; one is known, see ``kdv_burgers_front``. The
    mean is conserved. With d = 0 it is ``burgers``, and in the limit nu = 0 ``kdv`` with a nonlinearity of 1.

    Raises:
        ValueError: ``viscosity`` is not a finite number above 0, or ``dispersion`` not a finite number.

    References:
        Johnson (1970), J. Fluid Mech. 42, 49-60.
    """
    check_positive("kdv_burgers", "viscosity", viscosity, "Without it the equation is kdv.")
    check_finite("kdv_burgers", "dispersion", dispersion)
    nu, d = coefficient(viscosity), coefficient(dispersion)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u
        flux = grid.to_modes(u)
        flux *= -0.5 * grid.derivative[0]
        return flux

    return Equation(
        name="kdv_burgers",
        parameters={"viscosity": nu, "dispersion": d},
        symbol=lambda k: -nu * k**2 + 1j * d * k**3,
        nonlinear=nonlinear,
        amplifies=True,
        formula="u_t + u u_x = viscosity * u_xx - dispersion * u_xxx",
        time=2.0,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 3},
    )
