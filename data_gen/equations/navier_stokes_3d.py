"""The incompressible Navier-Stokes equations in three dimensions, for the velocity."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation, squared
from data_gen.errors import check_positive
from data_gen.exact_solutions.known import beltrami_solutions
from data_gen.grids.periodic import PeriodicGrid
from data_gen.grids.vectors import cross, curl, solenoidal


def navier_stokes_3d(*, viscosity: Annotated[float, "viscosity nu, above 0"] = 0.1) -> Equation:
    """Navier-Stokes equations for the velocity (u, v, w) of a decaying flow in a periodic box, without the pressure.

    ::

        U_t + (U . grad) U = -grad p + nu Lap U,   div U = 0
        L = -nu |k|^2          N(U) = P F[U x curl U],   P = 1 - k k^T / |k|^2

    A field's axes are (z, y, x). By the rotational form N does no work: U . (U x curl U) = 0 at each point of any grid,
    so that dE/dt = -2 nu Z, where E is the mean of ``|U|^2 / 2`` and Z that of ``|curl U|^2 / 2``. Momentum is
    conserved. Random starts are projected by P to those without divergence; flows that stay parallel to their own curl
    (``beltrami``) are known. What does not depend on z solves ``navier_stokes``.

    Raises:
        ValueError: ``viscosity`` is not a finite number above 0.

    References:
        Orszag and Patterson (1972), Phys. Rev. Lett. 28, 76-79; Canuto, Hussaini, Quarteroni and Zang (2007), Spectral
        Methods: Evolution to Complex Geometries, section 3.3, for the form.
    """
    check_positive("navier_stokes_3d", "viscosity", viscosity, "Without it the flow makes ever finer scales.")
    nu = float(viscosity)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        flow, spin = grid.to_points(modes), grid.to_points(curl(modes, grid), overwrite=True)
        return solenoidal(grid.to_modes(cross(flow, spin)), grid)

    return Equation(
        name="navier_stokes_3d",
        parameters={"viscosity": nu},
        symbol=lambda *k: -nu * squared(k),
        nonlinear=nonlinear,
        formula="U_t + (U . grad) U = -grad p + viscosity * Lap U, div U = 0",
        divergence_free=True,
        channels=("u", "v", "w"),
        num_dims=3,
        tolerance=1e-5,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 2, "amplitude": 0.5, "decay": 1.0},
        known={"beltrami": beltrami_solutions(viscosity=nu)},
    )
