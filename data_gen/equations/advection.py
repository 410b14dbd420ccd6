"""The linear advection equation."""

from __future__ import annotations

import functools
from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient
from data_gen.errors import check_finite
from data_gen.exact_solutions.linear import translate
from data_gen.grids.periodic import PeriodicGrid

_FORMULAS = {
    1: "u_t + speed * u_x = 0",
    2: "u_t + speed * u_x + speed_y * u_y = 0",
    3: "u_t + speed * u_x + speed_y * u_y + speed_z * u_z = 0",
}


def advection(
    *,
    speed: Annotated[float, "speed c along x, of either sign"] = 1.0,
    speed_y: Annotated[float, "speed along y, where there is one"] = 0.0,
    speed_z: Annotated[float, "speed along z, where there is one"] = 0.0,
    num_dims: Dims = 1,
) -> Equation:
    """Linear advection equation.

    ::

        u_t + c . grad u = 0          L = -i c . k          N = 0

    Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: a speed is not a finite number, or one along an axis that is not there differs from 0.

    References:
        d'Alembert (1747); any text on hyperbolic equations.
    """
    given = {"speed": speed, "speed_y": speed_y, "speed_z": speed_z}
    for place, (name, value) in enumerate(given.items()):
        check_finite("advection", name, value)
        if place >= num_dims and np.any(value):
            raise ValueError(f"advection: `{name}` must be 0 in {num_dims} dimensions; got {value!r}. Use `num_dims`.")
    speeds = {name: coefficient(value) for name, value in list(given.items())[:num_dims]}

    def symbol(*k: np.ndarray) -> np.ndarray:
        turns = [c * along for c, along in zip(speeds.values(), reversed(k), strict=True)]
        return -1j * functools.reduce(np.add, turns)

    def exact(u0: np.ndarray, grid: PeriodicGrid, time: float) -> np.ndarray:
        u = u0
        for axis, c in enumerate(speeds.values()):
            length = grid.extents[-1 - axis]
            moved = translate(np.moveaxis(u, -1 - axis, -1), distance=np.fmod(c * time, length), extent=length)
            u = np.moveaxis(moved, -1, -1 - axis)
        return u

    return Equation(
        name="advection",
        parameters=speeds,
        symbol=symbol,
        nonlinear=None,
        formula=_FORMULAS[num_dims],
        exact=exact,
        num_dims=num_dims,
    )
