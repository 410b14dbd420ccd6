"""Darcy's equation."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import check_finite
from data_gen.grids.fixed_field import FixedField
from data_gen.solvers.darcy import darcy_solve


def darcy(*, source: Annotated[float | FixedField, "source f, the same everywhere; or its field"] = 1.0) -> Equation:
    """Darcy's equation: steady flow through a porous square, from its coefficient a to the pressure u.

    ::

        -div(a grad u) = f,   u = 0 on the walls

    Time is not stepped: ``exact`` takes the coefficient to the solution, see ``darcy_solve``.

    Raises:
        ValueError: ``source`` is neither a finite number nor a field.

    References:
        Darcy (1856), Les fontaines publiques de la ville de Dijon; Li et al. (2020), arXiv:2010.08895, section 5.2.
    """
    if not isinstance(source, FixedField):
        check_finite("darcy", "source", source)
    f = source if isinstance(source, FixedField) else float(source)

    def symbol(*k: np.ndarray) -> np.ndarray:
        raise NotImplementedError("darcy: `symbol` must not be called, the problem is steady; use `exact`.")

    def exact(a: np.ndarray, grid: Any, time: float) -> np.ndarray:
        return darcy_solve(a, grid, source=f.values_on(grid.shape) if isinstance(f, FixedField) else f)

    return Equation(
        name="darcy",
        parameters={"source": f},
        symbol=symbol,
        nonlinear=None,
        formula="-div(a grad u) = source, u = 0 on the walls",
        exact=exact,
        exact_method="direct",
        input_channels=("coefficient",),
        input_name="coefficient",
        num_dims=2,
        boundary="wall",
        steady=True,
        extent=1.0,
        initial_condition="two_valued",
    )
