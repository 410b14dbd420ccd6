"""The heat equation."""

from __future__ import annotations

from typing import Annotated

from data_gen.equation import Equation, coefficient
from data_gen.errors import check_positive
from data_gen.exact_solutions.linear import heat_kernel


def heat(*, diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.1) -> Equation:
    """Heat (diffusion) equation.

        u_t = D u_xx          L = -D k^2          N = 0

    Raises:
        ValueError: ``diffusivity`` is not a finite number above 0.
    Source: Fourier (1822), Theorie analytique de la chaleur.
    """
    check_positive("heat", "diffusivity", diffusivity, "Backward diffusion is ill-posed.")
    value = coefficient(diffusivity)
    return Equation(
        name="heat",
        parameters={"diffusivity": value},
        symbol=lambda k: -value * k**2,
        nonlinear=None,
        formula="u_t = diffusivity * u_xx",
        exact=lambda u0, grid, time: heat_kernel(u0, diffusivity=value, time=time, extent=grid.extent),
    )
