"""The Korteweg-de Vries equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation, coefficient
from data_gen.errors import check_finite
from data_gen.exact_solutions.known import soliton_solutions
from data_gen.grids.periodic import PeriodicGrid


def kdv(
    *,
    nonlinearity: Annotated[float, "coefficient a of u u_x; 6 in most texts, 1 in others"] = 6.0,
    dispersion: Annotated[float, "coefficient d of u_xxx"] = 1.0,
) -> Equation:
    """Korteweg-de Vries equation.

    ::

        u_t + a u u_x + d u_xxx = 0          L = i d k^3          N(u) = -(i a k / 2) F[u^2]

    Nothing is damped: mean and energy are conserved, and so are modes that the grid does not resolve. Solitons of any
    number are known, see ``kdv_solitons``.

    Raises:
        ValueError: ``nonlinearity`` or ``dispersion`` is not a finite number.

    References:
        Korteweg and de Vries (1895), Phil. Mag. 39, 422-443; Zabusky and Kruskal (1965), Phys. Rev. Lett. 15, 240.
    """
    check_finite("kdv", "nonlinearity", nonlinearity)
    check_finite("kdv", "dispersion", dispersion)
    a, d = coefficient(nonlinearity), coefficient(dispersion)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u
        flux = grid.to_modes(u)
        flux *= -0.5 * a * grid.derivative[0]
        return flux

    return Equation(
        name="kdv",
        parameters={"nonlinearity": a, "dispersion": d},
        symbol=lambda k: 1j * d * k**3,
        nonlinear=nonlinear,
        formula="u_t + nonlinearity * u u_x + dispersion * u_xxx = 0",
        extent=32.0,
        time=1.0,
        initial_condition="sines",
        initial_parameters={"max_mode": 3},
        known={"solitons": soliton_solutions(nonlinearity=a, dispersion=d)} if np.all(a) and np.all(d) else {},
    )
