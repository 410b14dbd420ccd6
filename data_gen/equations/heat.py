"""The heat equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, in_dims, squared
from data_gen.errors import check_positive
from data_gen.exact_solutions.linear import heat_kernel
from data_gen.grids.periodic import PeriodicGrid


def heat(*, diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.1, num_dims: Dims = 1) -> Equation:
    """Heat (diffusion) equation.

    ::

        u_t = D Lap u          L = -D |k|^2          N = 0

    Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: ``diffusivity`` is not a finite number above 0.

    References:
        Fourier (1822), Theorie analytique de la chaleur.
    """
    check_positive("heat", "diffusivity", diffusivity, "Backward diffusion is ill-posed.")
    d = coefficient(diffusivity)

    def exact(u0: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
        """Each axis smooths on its own: the kernel of the space is the product of those of lines."""
        if grid.num_dims == 1:
            return heat_kernel(u0, diffusivity=d, time=time, extent=grid.extent)
        modes = grid.to_modes(u0)
        for k in reversed(grid.wavevector):
            modes = np.exp(-d * k**2 * time) * modes
        return grid.to_points(modes)

    return Equation(
        name="heat",
        parameters={"diffusivity": d},
        symbol=lambda *k: -d * squared(k),
        nonlinear=None,
        formula=in_dims(num_dims, "u_t = diffusivity * {u}"),
        exact=exact,
        num_dims=num_dims,
    )
