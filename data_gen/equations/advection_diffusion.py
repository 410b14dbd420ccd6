"""The advection-diffusion equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation, coefficient
from data_gen.errors import check_finite, check_positive
from data_gen.exact_solutions.linear import heat_kernel, translate
from data_gen.grids.periodic import PeriodicGrid


def advection_diffusion(
    *,
    speed: Annotated[float, "speed c, of either sign"] = 1.0,
    diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.1,
) -> Equation:
    """Linear advection-diffusion equation.

    ::

        u_t + c u_x = D u_xx          L = -i c k - D k^2          N = 0

    Raises:
        ValueError: ``speed`` is not a finite number, or ``diffusivity`` not one above 0.

    References:
        Fick (1855), Ann. Phys. 170, 59-86, in a medium that moves.
    """
    check_finite("advection_diffusion", "speed", speed)
    check_positive("advection_diffusion", "diffusivity", diffusivity, "Backward diffusion is ill-posed.")
    c, d = coefficient(speed), coefficient(diffusivity)

    def exact(u0: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
        smooth = heat_kernel(u0, diffusivity=d, time=time, extent=grid.extent)
        return translate(smooth, distance=np.fmod(c * time, grid.extent), extent=grid.extent)

    return Equation(
        name="advection_diffusion",
        parameters={"speed": c, "diffusivity": d},
        symbol=lambda k: -1j * c * k - d * k**2,
        nonlinear=None,
        formula="u_t + speed * u_x = diffusivity * u_xx",
        exact=exact,
    )
