"""The incompressible Navier-Stokes equations in two dimensions, in vorticity form."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Annotated

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import check_finite, check_positive
from data_gen.exact_solutions.known import vortex_solutions
from data_gen.grids.fixed_field import FixedField
from data_gen.grids.periodic import PeriodicGrid


def navier_stokes(
    *,
    viscosity: Annotated[float, "viscosity nu, above 0"] = 1e-3,
    forcing: Annotated[float | FixedField, "amplitude a of the forcing, 0 for a decaying flow; or its field"] = 0.1,
) -> Equation:
    """Navier-Stokes equations for the vorticity w = v_x - u_y of a flow (u, v) on the torus, driven by a fixed force.

    ::

        w_t + u w_x + v w_y = nu (w_xx + w_yy) + a (sin(2 pi (x + y) / L) + cos(2 pi (x + y) / L))
        Lap psi = -w,   u = psi_y,   v = -psi_x          L = -nu (k_x^2 + k_y^2)

    A field's axes are (y, x). The mean flow is zero, and the mean vorticity, which no flow on a torus has, does not
    change. Since div (u, v) = 0, the convective term is the curl of div((u, v) (u, v)), for which two products are
    transformed, not three::

        N(w) = (k_x^2 - k_y^2) F[u v] + k_x k_y F[v^2 - u^2] + F[force]

    A field as ``forcing`` takes the place of the whole last term: it is the curl of a force, constant in time.

    Raises:
        ValueError: ``viscosity`` is not a finite number above 0, or ``forcing`` neither a finite number nor a field.

    References:
        Li et al. (2021), Fourier Neural Operator, arXiv:2010.08895, the experiment on Navier-Stokes; Basdevant (1983),
        J. Comput. Phys. 50, 209-214, on the number of transforms.
    """
    check_positive("navier_stokes", "viscosity", viscosity, "Without it the flow makes ever finer scales.")
    nu = float(viscosity)
    if isinstance(forcing, FixedField):
        formula = "w_t + u w_x + v w_y = viscosity * (w_xx + w_yy) + forcing(x, y)"
        return with_force(navier_stokes(viscosity=nu, forcing=0.0), forcing, formula)
    check_finite("navier_stokes", "forcing", forcing)
    amplitude = float(forcing)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        slope = convection(modes, grid)
        slope[..., 1, 1] += 0.5 * amplitude * grid.size * (1 - 1j)
        return slope

    return Equation(
        name="navier_stokes",
        parameters={"viscosity": nu, "forcing": amplitude},
        symbol=lambda ky, kx: -nu * (kx**2 + ky**2),
        nonlinear=nonlinear,
        formula="w_t + u w_x + v w_y = viscosity * (w_xx + w_yy) + forcing * (sin + cos)(2 pi (x + y) / L)",
        channels=("vorticity",),
        num_dims=2,
        homogeneous=amplitude == 0,
        chaotic=amplitude != 0,
        highest_mode=lambda grid: max(grid.count_on_longest(1, axis) for axis in range(2)),
        tolerance=1e-8,
        extent=1.0,
        time=50.0,
        initial_condition="gaussian_random_field",
        initial_parameters={"gamma": 2.5, "tau": 7.0, "sigma": 7.0**1.5},
        known={} if amplitude else {"vortices": vortex_solutions(viscosity=nu)},
    )


def with_force(equation: Equation, force: FixedField, formula: str) -> Equation:
    """A vorticity equation with a field in the place of its forcing.

    Args:
        equation: the equation without forcing.
        force: the curl of a force; its mean, which must be 0 to rounding, is taken out.
        formula: the equation in words.
    """
    curl = FixedField(lambda: _without_mean(equation.name, force.values), force.name)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        slope = convection(modes, grid)
        slope += curl.modes_on(grid)
        return slope

    return replace(
        equation,
        parameters={**equation.parameters, "forcing": force},
        nonlinear=nonlinear,
        formula=formula,
        homogeneous=False,
        highest_mode=curl.highest_mode,
        known={},
    )


def _without_mean(name: str, force: np.ndarray) -> np.ndarray:
    mean, largest = float(force.mean()), float(np.abs(force).max())
    if abs(mean) > MEAN_OF_FORCE * largest:
        raise ValueError(
            f"{name}: `forcing` must have the mean 0, as the curl of a periodic force has; got {mean:.3g} and values "
            f"up to {largest:.3g}. Subtract the mean."
        )
    return force - mean


def convection(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
    """-(u w_x + v w_y), the modes of the convective term of a vorticity ``(B, 1, *K)``."""
    to_velocity, from_products = multipliers(grid)
    flow = grid.to_points(modes * to_velocity, overwrite=True)
    u, v = flow[:, 0], flow[:, 1]
    less = v - u
    u *= v
    v += v
    v -= less
    v *= less  # (v + u) (v - u)
    slopes = grid.to_modes(flow)
    slopes *= from_products
    slope = slopes[:, :1]
    slope += slopes[:, 1:]
    return slope


@lru_cache(maxsize=4)
def multipliers(grid: PeriodicGrid) -> tuple[np.ndarray, np.ndarray]:
    """Factors from the modes of w to those of (u, v), and from those of (u v, v^2 - u^2) to the convective term.

    Returns:
        i (k_y, -k_x) / k^2 and (k_x^2 - k_y^2, k_x k_y), both complex, ``(2, *K)``. A derivative's Nyquist mode is 0.
    """
    ky, kx = (np.imag(d) for d in grid.host.derivative)
    square = np.add(*(k**2 for k in grid.host.wavevector))
    square[0, 0] = 1.0  # the mean: both numerators vanish there
    to_velocity = np.stack(np.broadcast_arrays(1j * ky / square, -1j * kx / square))
    from_products = np.stack(np.broadcast_arrays(kx**2 - ky**2, kx * ky)).astype(np.complex128)
    return grid.asarray(to_velocity), grid.asarray(from_products)


#: Largest mean of a field of forcing, of its maximum: that of single precision.
MEAN_OF_FORCE = 1e-6
