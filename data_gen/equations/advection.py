"""The linear advection equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation, coefficient
from data_gen.errors import check_finite
from data_gen.exact_solutions.linear import translate


def advection(*, speed: Annotated[float, "speed c, of either sign"] = 1.0) -> Equation:
    """Linear advection equation.

        u_t + c u_x = 0          L = -i c k          N = 0

    Raises:
        ValueError: ``speed`` is not a finite number.
    Source: d'Alembert (1747); any text on hyperbolic equations.
    """
    check_finite("advection", "speed", speed)
    value = coefficient(speed)
    return Equation(
        name="advection",
        parameters={"speed": value},
        symbol=lambda k: -1j * value * k,
        nonlinear=None,
        formula="u_t + speed * u_x = 0",
        exact=lambda u0, grid, time: translate(u0, distance=np.fmod(value * time, grid.extent), extent=grid.extent),
    )
