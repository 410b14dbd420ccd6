"""The viscous Burgers equations in two dimensions."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid


def burgers_2d(*, viscosity: Annotated[float, "viscosity nu, above 0"] = 0.1) -> Equation:
    """Viscous Burgers equations of a velocity (u, v) in two dimensions, in convective form.

        u_t + u u_x + v u_y = nu (u_xx + u_yy)          L = -nu (k_x^2 + k_y^2), for both
        v_t + u v_x + v v_y = nu (v_xx + v_yy)          N = -(i k_x F[u^2 / 2] + F[v u_y],  F[u v_x] + i k_y F[v^2 / 2])

    That is the Navier-Stokes equation without its pressure; momentum is not conserved as div (u, v) is not 0. A curl
    of zero stays so, and then u = -2 nu phi_x / phi, v = -2 nu phi_y / phi where phi > 0 solves the heat equation.

    Raises:
        ValueError: ``viscosity`` is not a finite number above 0.
    Source: Fletcher (1983), Int. J. Numer. Methods Fluids 3, 213-216; Hopf (1950), Comm. Pure Appl. Math. 3, for phi.
    """
    check_positive(
        "burgers_2d", "viscosity", viscosity, "Without viscosity fronts become shocks, which no grid resolves."
    )
    nu = float(viscosity)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        by_y, by_x = grid.derivative
        velocity, across = grid.to_points(modes), 1 * modes
        across[..., 0, :, :] *= by_y
        across[..., 1, :, :] *= by_x
        carried = grid.to_points(across)
        carried[..., 0, :, :] *= velocity[..., 1, :, :]
        carried[..., 1, :, :] *= velocity[..., 0, :, :]
        rate = grid.to_modes(carried)
        velocity *= velocity
        energy = grid.to_modes(velocity)
        rate[..., 0, :, :] += 0.5 * by_x * energy[..., 0, :, :]
        rate[..., 1, :, :] += 0.5 * by_y * energy[..., 1, :, :]
        rate *= -1
        return rate

    def front_width(u0: np.ndarray, grid: PeriodicGrid, time: float) -> float:
        """Width 2 nu / A of the front of half-height A, if there is time for it to form, as in one dimension."""
        falls = (-np.diff(u0[..., 0, :, :], axis=-1).min(), -np.diff(u0[..., 1, :, :], axis=-2).min())
        height = np.ptp(u0, axis=(-2, -1)).max()
        return 4 * nu / float(height) if max(falls) / grid.spacing * time > 0.5 else np.inf

    return Equation(
        name="burgers_2d",
        parameters={"viscosity": nu},
        symbol=lambda ky, kx: -nu * (ky**2 + kx**2),
        nonlinear=nonlinear,
        formula="u_t + u u_x + v u_y = viscosity * (u_xx + u_yy), v_t + u v_x + v v_y = viscosity * (v_xx + v_yy)",
        front_width=front_width,
        channels=("u", "v"),
        num_dims=2,
        tolerance=1e-8,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 4, "amplitude": 0.5, "decay": 1.0},
    )
