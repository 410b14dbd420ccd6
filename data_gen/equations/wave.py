"""The wave equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, in_dims, squared
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def wave(*, speed: Annotated[float, "speed c, above 0"] = 1.0, num_dims: Dims = 1) -> Equation:
    """Wave equation as a system of the displacement u and its velocity v.

    ::

        u_t = v,   v_t = c^2 Lap u
        u(t) = cos(c |k| t) u_0 + sin(c |k| t) / (c |k|) v_0,   v(t) = u_t(t), mode by mode

    The propagator is exact (method "direct"). A scheme takes all of it as N, with L = 0. The energy, the integral of
    ``(v^2 + c^2 |grad u|^2) / 2``, is conserved. Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: ``speed`` is not a finite number above 0.

    References:
        d'Alembert (1747); Evans (2010), Partial Differential Equations, section 4.3.1.
    """
    check_positive("wave", "speed", speed)
    c = coefficient(speed)
    of_u, of_v = ((..., slice(i, i + 1), *[slice(None)] * num_dims) for i in (0, 1))

    def symbol(*k: np.ndarray) -> np.ndarray:
        return 0.0 * squared(k)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        rate = 1 * modes
        rate[of_u] = modes[of_v]
        rate[of_v] = -(c**2) * grid.asarray(squared(grid.host.wavevector)) * modes[of_u]
        return rate

    def exact(u0: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
        modes = grid.to_modes(u0)
        u, v = modes[of_u], modes[of_v]
        rate = c * np.sqrt(squared(grid.wavevector))
        turn, lever = np.cos(rate * time), time * np.sinc(rate * time / np.pi)
        return grid.to_points(
            np.concatenate([turn * u + lever * v, turn * v - rate**2 * lever * u], axis=-1 - num_dims)
        )

    return Equation(
        name="wave",
        parameters={"speed": c},
        symbol=symbol,
        nonlinear=nonlinear,
        formula=in_dims(num_dims, "u_t = v, v_t = speed^2 * {u}"),
        exact=exact,
        exact_method="direct",
        channels=("u", "v"),
        num_dims=num_dims,
        tolerance=1e-8,
        initial_condition="truncated_fourier",
    )
