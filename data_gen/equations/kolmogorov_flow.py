"""Kolmogorov flow: the Navier-Stokes equations in two dimensions, driven by a shear force that alternates."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation
from data_gen.equations.navier_stokes import convection, with_force
from data_gen.errors import check_finite, check_positive
from data_gen.grids.fixed_field import FixedField
from data_gen.grids.periodic import PeriodicGrid


def kolmogorov_flow(
    *,
    viscosity: Annotated[float, "viscosity nu, above 0"] = 2e-2,
    forcing: Annotated[float | FixedField, "amplitude A of the force along x; or a field, the curl of a force"] = 1.0,
    drag: Annotated[float, "linear drag m, 0 or more"] = 0.1,
) -> Equation:
    """Navier-Stokes equations for the vorticity w of a flow on the torus, with the force A sin(8 pi y / L) along x.

    ::

        w_t + u w_x + v w_y = nu Lap w - m w - A q cos(q y),   q = 8 pi / L          L = -nu |k|^2 - m

    A field as ``forcing`` takes the place of the last term: it is the curl of a force, constant in time.

    The laminar flow w = -A q cos(q y) / (nu q^2 + m) is stationary. At the usual values it is unstable, and flows are
    chaotic: errors grow exponentially. Else as ``navier_stokes``.

    Raises:
        ValueError: ``viscosity`` is not above 0, ``drag`` below 0, or a parameter not finite.

    References:
        Meshalkin and Sinai (1961), J. Appl. Math. Mech. 25, 1700-1705; Kochkov et al. (2021), PNAS 118, e2101784118,
        for the force of mode 4 and the drag.
    """
    check_positive("kolmogorov_flow", "viscosity", viscosity, "Without it the flow makes ever finer scales.")
    check_finite("kolmogorov_flow", "drag", drag)
    if drag < 0:
        raise ValueError(f"kolmogorov_flow: `drag` must be at least 0; got {drag!r}.")
    nu, m = float(viscosity), float(drag)
    if isinstance(forcing, FixedField):
        formula = "w_t + u w_x + v w_y = viscosity * (w_xx + w_yy) - drag * w + forcing(x, y)"
        return with_force(kolmogorov_flow(viscosity=nu, forcing=0.0, drag=m), forcing, formula)
    check_finite("kolmogorov_flow", "forcing", forcing)
    amplitude = float(forcing)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        slope = convection(modes, grid)
        mode, q = FORCED_MODE, FORCED_MODE * 2 * np.pi / grid.extents[0]
        if 2 * mode < grid.shape[0]:
            push = 0.5 * amplitude * q * grid.size
            slope[..., mode, 0] -= push
            slope[..., -mode, 0] -= push
        return slope

    return Equation(
        name="kolmogorov_flow",
        parameters={"viscosity": nu, "forcing": amplitude, "drag": m},
        symbol=lambda ky, kx: -nu * (ky**2 + kx**2) - m,
        nonlinear=nonlinear,
        formula="w_t + u w_x + v w_y = viscosity * (w_xx + w_yy) - drag * w - forcing * q cos(q y), q = 8 pi / L",
        channels=("vorticity",),
        num_dims=2,
        homogeneous=amplitude == 0,
        chaotic=True,
        amplifies=True,
        highest_mode=lambda grid: grid.count_on_longest(FORCED_MODE, 0),
        tolerance=1e-6,
        time=5.0,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 4},
    )


#: Periods of the force over the box.
FORCED_MODE = 4
