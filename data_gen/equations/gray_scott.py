"""The Gray-Scott equations."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def gray_scott(
    *,
    feed: Annotated[float, "feed rate F, above 0"] = 0.03,
    kill: Annotated[float, "kill rate k, above 0"] = 0.062,
    diffusivity_u: Annotated[float, "diffusivity of u, above 0"] = 2e-5,
    diffusivity_v: Annotated[float, "diffusivity of v, above 0"] = 1e-5,
) -> Equation:
    """Gray-Scott equations: a substance u, fed, turns into v where there is v, which is taken away.

        u_t = D_u (u_xx + u_yy) - u v^2 + F (1 - u)          L_u = -D_u |k|^2 - F          N_u = F[F - u v^2]
        v_t = D_v (v_xx + v_yy) + u v^2 - (F + k) v          L_v = -D_v |k|^2 - F - k      N_v = F[u v^2]

    The state (1, 0) is stable; the pattern that grows from spots of v depends on feed and kill, over thousands of units
    of time. The Well has, as (feed, kill): gliders (0.014, 0.054), bubbles (0.098, 0.057), maze (0.029, 0.057), worms
    (0.058, 0.065), spirals (0.018, 0.051) and spots (0.03, 0.062), the default here, all with these diffusivities on a
    box of side 2; Pearson's has the side 2.5. Here it is 1.25: the edges are about (D_v / (F + k))^(1/2) = 0.01 wide,
    and 256 points on that side leave about 1e-6 in the top eighth of the modes. Spots that start wider than about 0.05
    die out at some of the parameters.

    Raises:
        ValueError: a parameter is not a finite number above 0.
    Source: Gray and Scott (1984), Chem. Eng. Sci. 39, 1087-1097; Pearson (1993), Science 261, 189-192, Eq. (2); Ohana
        et al. (2024), The Well, arXiv:2412.00568, for the values.
    """
    values = {"feed": feed, "kill": kill, "diffusivity_u": diffusivity_u, "diffusivity_v": diffusivity_v}
    for name, value in values.items():
        check_positive("gray_scott", name, value)
    f, k, d_u, d_v = (float(value) for value in values.values())

    def symbol(ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
        square = ky**2 + kx**2
        return np.stack([-d_u * square - f, -d_v * square - (f + k)])

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        fields = grid.to_points(modes)
        u, v = fields[..., 0, :, :], fields[..., 1, :, :]
        turned, rate = grid.to_modes(u * v * v), 1 * modes
        rate[..., 0, :, :] = -turned
        rate[..., 1, :, :] = turned
        rate[..., 0, 0, 0] += f * grid.num_points**2
        return rate

    return Equation(
        name="gray_scott",
        parameters={"feed": f, "kill": k, "diffusivity_u": d_u, "diffusivity_v": d_v},
        symbol=symbol,
        nonlinear=nonlinear,
        formula="u_t = diffusivity_u * (u_xx + u_yy) - u v^2 + feed * (1 - u), "
        "v_t = diffusivity_v * (v_xx + v_yy) + u v^2 - (feed + kill) * v",
        channels=("u", "v"),
        num_dims=2,
        tolerance=1e-6,
        extent=1.25,
        time=500.0,
        initial_condition="spots",
    )
