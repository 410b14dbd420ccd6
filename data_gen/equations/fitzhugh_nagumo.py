"""The FitzHugh-Nagumo equations."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, in_dims, squared
from data_gen.errors import check_finite, check_positive
from data_gen.grids.periodic import PeriodicGrid


def fitzhugh_nagumo(
    *,
    diffusivity_u: Annotated[float, "diffusivity of u, above 0"] = 1e-3,
    diffusivity_v: Annotated[float, "diffusivity of v, above 0"] = 5e-3,
    offset: Annotated[float, "constant k"] = 5e-3,
    num_dims: Dims = 2,
) -> Equation:
    """FitzHugh-Nagumo equations of an activator u and an inhibitor v, with the constants of PDEBench.

    ::

        u_t = D_u Lap u + u - u^3 - k - v          L_u = 1 - D_u |k|^2          N_u = -F[u^3 + k + v]
        v_t = D_v Lap v + u - v                    L_v = -1 - D_v |k|^2         N_v = F[u]

    PDEBench solves them between walls, here the box is periodic. Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: a diffusivity is not a finite number above 0, or ``offset`` not a finite number.

    References:
        FitzHugh (1961), Biophys. J. 1, 445-466; Klaasen and Troy (1984), SIAM J. Appl. Math. 44, 96-110; Takamoto et
        al. (2022), PDEBench, arXiv:2210.07182, for the constants.
    """
    check_positive("fitzhugh_nagumo", "diffusivity_u", diffusivity_u)
    check_positive("fitzhugh_nagumo", "diffusivity_v", diffusivity_v)
    check_finite("fitzhugh_nagumo", "offset", offset)
    d_u, d_v, constant = coefficient(diffusivity_u), coefficient(diffusivity_v), coefficient(offset)
    of_u, of_v = ((..., slice(i, i + 1), *[slice(None)] * num_dims) for i in (0, 1))
    mean_of_u = (..., slice(0, 1), *[slice(0, 1)] * num_dims)

    def symbol(*k: np.ndarray) -> np.ndarray:
        square = squared(k)[None]
        return np.concatenate([1 - d_u * square, -1 - d_v * square], axis=-1 - num_dims)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes[of_u])
        u *= u * u
        rate = 1 * modes
        rate[of_u] = -grid.to_modes(u) - modes[of_v]
        rate[of_v] = modes[of_u]
        rate[mean_of_u] -= constant * grid.size
        return rate

    return Equation(
        name="fitzhugh_nagumo",
        parameters={"diffusivity_u": d_u, "diffusivity_v": d_v, "offset": constant},
        symbol=symbol,
        nonlinear=nonlinear,
        formula=in_dims(
            num_dims, "u_t = diffusivity_u * {u} + u - u^3 - offset - v, v_t = diffusivity_v * {v} + u - v"
        ),
        channels=("u", "v"),
        num_dims=num_dims,
        tolerance=1e-6,
        extent=2.0 if num_dims < 3 else 0.5,
        time=5.0,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 4 if num_dims < 3 else 2},
    )
