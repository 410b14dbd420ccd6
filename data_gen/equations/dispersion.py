"""The linear equation of dispersion."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation, coefficient
from data_gen.errors import check_finite
from data_gen.grids.periodic import PeriodicGrid


def dispersion(*, dispersion: Annotated[float, "coefficient d of u_xxx, of either sign"] = 1.0) -> Equation:
    """Linear dispersion: each wave moves at a speed of its own.

    ::

        u_t + d u_xxx = 0          L = i d k^3          N = 0

    The wave of wavenumber k moves at the speed -d k^2; nothing is damped.

    Raises:
        ValueError: ``dispersion`` is not a finite number.

    References:
        Whitham (1974), Linear and Nonlinear Waves, section 11.1; the linear part of Korteweg and de Vries (1895).
    """
    check_finite("dispersion", "dispersion", dispersion)
    d = coefficient(dispersion)

    def exact(u0: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
        return grid.to_points(np.exp(1j * d * grid.wavenumbers**3 * time) * grid.to_modes(u0))

    return Equation(
        name="dispersion",
        parameters={"dispersion": d},
        symbol=lambda k: 1j * d * k**3,
        nonlinear=None,
        formula="u_t + dispersion * u_xxx = 0",
        exact=exact,
        initial_condition="sines",
    )
