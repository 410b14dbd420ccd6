"""The viscous Burgers equation: of a scalar on a line, of a velocity in the plane and in space."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from data_gen.equation import Dims, Equation, coefficient, squared
from data_gen.errors import check_positive
from data_gen.exact_solutions.cole_hopf import cole_hopf
from data_gen.grids.periodic import PeriodicGrid

_AXES, _VELOCITY = ("x", "y", "z"), ("u", "v", "w")


def burgers(*, viscosity: Annotated[float, "viscosity nu, above 0"] = 0.1, num_dims: Dims = 1) -> Equation:
    """Viscous Burgers equation, in one dimension in conservation form, else of a velocity in convective form.

    ::

        one:       u_t + (u^2 / 2)_x = nu u_xx          L = -nu k^2          N(u) = -(i k / 2) F[u^2]
        several:   u_t + (u . grad) u = nu Lap u        L = -nu |k|^2, for each component
                   N_a = -(i k_a / 2) F[u_a^2] - sum over b != a of F[u_b d_b u_a]

    In several dimensions that is the Navier-Stokes equation without its pressure; momentum is not conserved as div u
    is not 0. A curl of zero stays so, and then u = -2 nu grad phi / phi where phi > 0 solves the heat equation.

    Of one to three dimensions, ``num_dims``.

    Raises:
        ValueError: ``viscosity`` is not a finite number above 0.

    References:
        Burgers (1948), Adv. Appl. Mech. 1, 171-199; Fletcher (1983), Int. J. Numer. Methods Fluids 3, 213-216; Hopf
        (1950), Comm. Pure Appl. Math. 3, for phi.
    """
    check_positive("burgers", "viscosity", viscosity, "Without viscosity fronts become shocks, which no grid resolves.")
    nu = coefficient(viscosity)
    if num_dims > 1:
        return _of_velocity(nu, num_dims)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        u = grid.to_points(modes)
        u *= u
        flux = grid.to_modes(u)
        flux *= -0.5 * grid.derivative[0]
        return flux

    def front_width(u0: np.ndarray, grid: PeriodicGrid, time: float) -> float:
        """Width 2 nu / A of the front of half-height A, if there is time for it to form (half of 1 / max(-u0_x))."""
        slope = float((-np.diff(u0, axis=-1)).max()) / grid.spacing
        return 4 * nu / float(np.ptp(u0, axis=-1).max()) if slope * time > 0.5 else np.inf

    return Equation(
        name="burgers",
        parameters={"viscosity": nu},
        symbol=lambda k: -nu * k**2,
        nonlinear=nonlinear,
        formula="u_t + (u^2/2)_x = viscosity * u_xx",
        exact=lambda u0, grid, time: cole_hopf(u0, viscosity=nu, time=time, extent=grid.extent),
        exact_method="cole-hopf",
        front_width=front_width,
    )


def _of_velocity(nu: float, num_dims: int) -> Equation:
    points = (slice(None),) * num_dims

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        along = grid.derivative[::-1]  # of component a: u along x, the last axis, v along y, w along z
        velocity = grid.to_points(modes)
        rates = []
        for apart in range(1, num_dims):
            across = 1 * modes
            for a in range(num_dims):
                across[(..., a, *points)] *= along[(a + apart) % num_dims]
            carried = grid.to_points(across)
            for a in range(num_dims):
                carried[(..., a, *points)] *= velocity[(..., (a + apart) % num_dims, *points)]
            rates.append(grid.to_modes(carried))
        rate = rates[0] if num_dims == 2 else rates[0] + rates[1]
        velocity *= velocity
        energy = grid.to_modes(velocity)
        for a in range(num_dims):
            rate[(..., a, *points)] += 0.5 * along[a] * energy[(..., a, *points)]
        rate *= -1
        return rate

    def front_width(u0: np.ndarray, grid: PeriodicGrid, time: float) -> float:
        """Width 2 nu / A of the front of half-height A, if there is time for it to form, as in one dimension."""
        falls = [-np.diff(u0[(..., a, *points)], axis=-1 - a).min() for a in range(num_dims)]
        height = np.ptp(u0, axis=tuple(range(-num_dims, 0))).max()
        return 4 * nu / float(height) if max(falls) / grid.spacing * time > 0.5 else np.inf

    names, axes = _VELOCITY[:num_dims], _AXES[:num_dims]
    laws = []
    for name in names:
        carried = " + ".join(f"{by} {name}_{axis}" for by, axis in zip(names, axes, strict=True))
        laws.append(f"{name}_t + {carried} = viscosity * ({' + '.join(f'{name}_{a}{a}' for a in axes)})")
    return Equation(
        name="burgers",
        parameters={"viscosity": nu},
        symbol=lambda *k: -nu * squared(k),
        nonlinear=nonlinear,
        formula=", ".join(laws),
        front_width=front_width,
        channels=names,
        num_dims=num_dims,
        tolerance=1e-8 if num_dims == 2 else 1e-6,
        initial_condition="truncated_fourier",
        initial_parameters={"max_mode": 4, "amplitude": 0.5, "decay": 1.0}
        if num_dims == 2
        else {"max_mode": 2, "amplitude": 0.2, "decay": 1.0},
    )
