"""The Fisher-KPP equation."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, in_dims, squared
from data_gen.errors import check_positive
from data_gen.exact_solutions.known import front_solutions
from data_gen.grids.periodic import PeriodicGrid


def fisher_kpp(
    *,
    diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.1,
    rate: Annotated[float, "growth rate r, above 0"] = 1.0,
    num_dims: Dims = 1,
) -> Equation:
    """Fisher-KPP equation (reaction-diffusion with logistic growth).

    ::

        u_t = D Lap u + r u (1 - u)          L = r - D |k|^2          N(u) = -r F[u^2]

    Fields in [0, 1] stay there; negative ones may fall without bound in finite time, so the initial condition has to
    be non-negative. On a line a traveling wave is known, see ``fisher_front``.

    Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: ``diffusivity`` or ``rate`` is not a finite number above 0.

    References:
        Fisher (1937), Ann. Eugenics 7, 355-369; Kolmogorov, Petrovsky and Piskunov (1937), Bull. Moscow Univ. Math.
        Mech. 1(6), 1-26.
    """
    check_positive("fisher_kpp", "diffusivity", diffusivity)
    check_positive("fisher_kpp", "rate", rate)
    d, r = coefficient(diffusivity), coefficient(rate)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u
        return -r * grid.to_modes(u)

    return Equation(
        name="fisher_kpp",
        parameters={"diffusivity": d, "rate": r},
        symbol=lambda *k: r - d * squared(k),
        nonlinear=nonlinear,
        formula=in_dims(num_dims, "u_t = diffusivity * {u} + rate * u (1 - u)"),
        num_dims=num_dims,
        tolerance=1e-10 if num_dims == 1 else 1e-8,
        initial_condition="sines" if num_dims < 3 else "truncated_fourier",
        initial_parameters={"bounds": "unit"} if num_dims < 3 else {"max_mode": 2, "amplitude": 0.1, "offset": 0.5},
        known={"fronts": front_solutions(diffusivity=d, rate=r)} if num_dims == 1 else {},
    )
