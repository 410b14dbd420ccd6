"""The Kuramoto-Sivashinsky equation."""

from __future__ import annotations

import math

import numpy as np

from data_gen.equation import Equation
from data_gen.grids.periodic import PeriodicGrid


def kuramoto_sivashinsky() -> Equation:
    """Kuramoto-Sivashinsky equation in derivative form.

    ::

        u_t + u u_x + u_xx + u_xxxx = 0          L = k^2 - k^4          N(u) = -(i k / 2) F[u^2]

    It has no parameter but the extent of its domain. From an extent of about 20 it is chaotic, and errors grow as
    exp(0.1 t): the tolerance of ``solve`` holds for times of some tens, and is multiplied by that factor after more.

    References:
        Kuramoto and Tsuzuki (1976), Prog. Theor. Phys. 55, 356-369; Sivashinsky (1977), Acta Astronautica 4, 1177-1206;
        the extent is that of Kassam and Trefethen (2005), SIAM J. Sci. Comput. 26, section 4.
    """

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u
        flux = grid.to_modes(u)
        flux *= -0.5 * grid.derivative[0]
        return flux

    return Equation(
        name="kuramoto_sivashinsky",
        parameters={},
        symbol=lambda k: k**2 - k**4,
        nonlinear=nonlinear,
        formula="u_t + u u_x + u_xx + u_xxxx = 0",
        extent=32 * math.pi,
        time=10.0,
        chaotic=True,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 16},
    )
