"""The Gray-Scott equations."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, in_dims, squared
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def gray_scott(
    *,
    feed: Annotated[float, "feed rate F, above 0"] = 0.03,
    kill: Annotated[float, "kill rate k, above 0"] = 0.062,
    diffusivity_u: Annotated[float, "diffusivity of u, above 0"] = 2e-5,
    diffusivity_v: Annotated[float, "diffusivity of v, above 0"] = 1e-5,
    num_dims: Dims = 2,
) -> Equation:
    """Gray-Scott equations: a substance u, fed, turns into v where there is v, which is taken away.

    ::

        u_t = D_u Lap u - u v^2 + F (1 - u)          L_u = -D_u |k|^2 - F          N_u = F[F - u v^2]
        v_t = D_v Lap v + u v^2 - (F + k) v          L_v = -D_v |k|^2 - F - k      N_v = F[u v^2]

    The state (1, 0) is stable; the pattern that grows from spots of v depends on feed and kill, over thousands of units
    of time. The Well has, as (feed, kill): gliders (0.014, 0.054), bubbles (0.098, 0.057), maze (0.029, 0.057), worms
    (0.058, 0.065), spirals (0.018, 0.051) and spots (0.03, 0.062), the default here, all with these diffusivities on a
    box of side 2; Pearson's has the side 2.5. Here it is 1.25: the edges are about (D_v / (F + k))^(1/2) = 0.01 wide,
    and 256 points on that side leave about 1e-6 in the top eighth of the modes. Spots that start wider than about 0.05
    die out at some of the parameters. A box in three dimensions has the side 0.2, so that 32 points resolve it.

    Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: a parameter is not a finite number above 0.

    References:
        Gray and Scott (1984), Chem. Eng. Sci. 39, 1087-1097; Pearson (1993), Science 261, 189-192, Eq. (2); Ohana et
        al. (2024), The Well, arXiv:2412.00568, for the values.
    """
    values = {"feed": feed, "kill": kill, "diffusivity_u": diffusivity_u, "diffusivity_v": diffusivity_v}
    for name, value in values.items():
        check_positive("gray_scott", name, value)
    f, k, d_u, d_v = (coefficient(value) for value in values.values())
    of_u, of_v = ((..., slice(i, i + 1), *[slice(None)] * num_dims) for i in (0, 1))
    mean_of_u = (..., slice(0, 1), *[slice(0, 1)] * num_dims)

    def symbol(*wavevector: np.ndarray) -> np.ndarray:
        square = squared(wavevector)[None]
        return np.concatenate([-d_u * square - f, -d_v * square - (f + k)], axis=-1 - num_dims)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        fields = grid.to_points(modes)
        u, v = fields[of_u], fields[of_v]
        turned, rate = grid.to_modes(u * v * v), 1 * modes
        rate[of_u] = -turned
        rate[of_v] = turned
        rate[mean_of_u] += f * grid.size
        return rate

    return Equation(
        name="gray_scott",
        parameters={"feed": f, "kill": k, "diffusivity_u": d_u, "diffusivity_v": d_v},
        symbol=symbol,
        nonlinear=nonlinear,
        formula=in_dims(
            num_dims,
            "u_t = diffusivity_u * {u} - u v^2 + feed * (1 - u), v_t = diffusivity_v * {v} + u v^2 - (feed + kill) * v",
        ),
        channels=("u", "v"),
        amplifies=True,
        num_dims=num_dims,
        tolerance=1e-6,
        extent=1.25 if num_dims < 3 else 0.2,
        time=500.0 if num_dims == 2 else 50.0,  # by 200 the spots on a line have died out at the usual parameters
        initial_condition="spots",
        initial_parameters={} if num_dims < 3 else {"width": 0.15},
    )
