"""The Swift-Hohenberg equation."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, squared
from data_gen.errors import check_finite
from data_gen.grids.periodic import PeriodicGrid


def swift_hohenberg(
    *, growth: Annotated[float, "growth rate r of the unit wavenumber"] = 0.3, num_dims: Dims = 1
) -> Equation:
    """Swift-Hohenberg equation: patterns of the unit wavenumber, as in convection heated from below.

    ::

        u_t = r u - (1 + Lap)^2 u - u^3          L = r - (1 - |k|^2)^2          N(u) = -F[u^3]

    The energy, the integral of -r u^2 / 2 + ((1 + Lap) u)^2 / 2 + u^4 / 4, falls. For r <= 0 all fields decay, for
    small r > 0 rolls of the amplitude (4 r / 3)^(1/2) are stationary. Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: ``growth`` is not a finite number.

    References:
        Swift and Hohenberg (1977), Phys. Rev. A 15, 319-328; Cross and Hohenberg (1993), Rev. Mod. Phys. 65, 851-1112,
        section V.B.
    """
    check_finite("swift_hohenberg", "growth", growth)
    r = coefficient(growth)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u * u
        return -grid.to_modes(u)

    return Equation(
        name="swift_hohenberg",
        parameters={"growth": r},
        symbol=lambda *k: r - (1 - squared(k)) ** 2,
        nonlinear=nonlinear,
        formula="u_t = growth * u - (1 + Lap)^2 u - u^3",
        num_dims=num_dims,
        tolerance=1e-10 if num_dims == 1 else 1e-8 if num_dims == 2 else 1e-6,
        extent=(32 if num_dims == 1 else 16 if num_dims == 2 else 8) * math.pi,
        time=10.0,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": {1: 32, 2: 12, 3: 4}[num_dims], "amplitude": 0.3},
    )
