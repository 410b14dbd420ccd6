"""Exponax's steppers of our equations, at its order 4 in float64, for races at equal error.

Its axes are (x, y, z), ours (z, y, x); both name the channels of a velocity (u, v, w). All modes are kept in products
(``dealiasing_fraction=1``), the fastest choice here, as it is handed grids that resolve the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_gen import Equation, resample

Run = Callable[[np.ndarray], np.ndarray]
_ORDER_4 = {"order": 4, "dealiasing_fraction": 1.0}

#: Of each equation, the name of exponax's stepper and its arguments from our parameters p and the dimensions d.
_LINEAR: dict[str, tuple[str, Callable[[Mapping[str, Any], int], dict[str, Any]]]] = {
    "advection": ("Advection", lambda p, d: {"velocity": _velocity(p, d)}),
    "advection_diffusion": (
        "AdvectionDiffusion",
        lambda p, d: {"velocity": _velocity(p, d), "diffusivity": p["diffusivity"]},
    ),
    "dispersion": ("Dispersion", lambda p, d: {"dispersivity": -p["dispersion"], "advect_on_diffusion": True}),
    "heat": ("Diffusion", lambda p, d: {"diffusivity": p["diffusivity"]}),
    "hyper_diffusion": (
        "HyperDiffusion",
        lambda p, d: {"hyper_diffusivity": p["diffusivity"], "diffuse_on_diffuse": True},
    ),
    "wave": ("Wave", lambda p, d: {"speed_of_sound": p["speed"]}),
}
_NONLINEAR: dict[str, tuple[str, Callable[[Mapping[str, Any], int], dict[str, Any]]]] = {
    "allen_cahn": (
        "reaction.AllenCahn",
        lambda p, d: {
            "diffusivity": p["diffusivity"],
            "first_order_coefficient": p["rate"],
            "third_order_coefficient": -p["rate"],
        },
    ),
    "burgers": ("Burgers", lambda p, d: {"diffusivity": p["viscosity"], "conservative": d == 1}),
    "cahn_hilliard": ("reaction.CahnHilliard", lambda p, d: {"diffusivity": p["mobility"], "gamma": p["stiffness"]}),
    "fisher_kpp": ("reaction.FisherKPP", lambda p, d: {"diffusivity": p["diffusivity"], "reactivity": p["rate"]}),
    "gray_scott": (
        "reaction.GrayScott",
        lambda p, d: {
            "diffusivity_1": p["diffusivity_u"],
            "diffusivity_2": p["diffusivity_v"],
            "feed_rate": p["feed"],
            "kill_rate": p["kill"],
        },
    ),
    "kdv": (
        "KortewegDeVries",
        lambda p, d: {
            "convection_scale": p["nonlinearity"],
            "dispersivity": p["dispersion"],
            "hyper_diffusivity": 0.0,
            "conservative": True,
        },
    ),
    "kdv_burgers": (
        "generic.GeneralConvectionStepper",
        lambda p, d: {
            "linear_coefficients": (0.0, 0.0, p["viscosity"], -p["dispersion"]),
            "convection_scale": 1.0,
            "conservative": True,
        },
    ),
    "kolmogorov_flow": (
        "KolmogorovFlowVorticity",
        lambda p, d: {"diffusivity": p["viscosity"], "drag": -p["drag"], "injection_scale": p["forcing"]},
    ),
    "kuramoto_sivashinsky": ("KuramotoSivashinskyConservative", lambda p, d: {"conservative": True}),
    "navier_stokes_3d": ("NavierStokesVelocity", lambda p, d: {"diffusivity": p["viscosity"]}),
    "swift_hohenberg": (
        "reaction.SwiftHohenberg",
        lambda p, d: {"reactivity": p["growth"], "polynomial_coefficients": (0.0, 0.0, 0.0, -1.0)},
    ),
}
#: Equations of which it has no stepper that solves them at order 4, and why.
ABSENT = {
    "darcy": "not in exponax: steady",
    "gradient_kuramoto_sivashinsky": "exponax keeps the mean fixed",
    "fitzhugh_nagumo": "not in exponax",
    "navier_stokes": "not in exponax with this force",
    "zakharov_kuznetsov": "not in exponax",
}


def absent(equation: Equation) -> str | None:
    """Why there is no stepper of this equation, or None."""
    return ABSENT.get(equation.name)


def is_linear(equation: Equation) -> bool:
    """Whether one step of any length is exact."""
    return equation.name in _LINEAR


def runner(equation: Equation, *, time: float, points: int, steps: int, batch: int) -> Run:
    """Its solution at ``time`` of fields ``(B, C, *N)``, on its own grid and back; compiled for ``batch`` samples."""
    import exponax
    import jax

    name, arguments = {**_LINEAR, **_NONLINEAR}[equation.name]
    place: Any = exponax.stepper
    for part in name.split("."):
        place = getattr(place, part)
    given = arguments(equation.parameters, equation.num_dims)
    shared = {} if is_linear(equation) else _ORDER_4
    where = (equation.num_dims, equation.extent, points, time / steps)
    axes = (0, 1, *range(1 + equation.num_dims, 1, -1))
    with jax.enable_x64(True):
        march = jax.jit(jax.vmap(exponax.repeat(place(*where, **given, **shared), steps)))

    def run(u0: np.ndarray) -> np.ndarray:
        own = resample(u0, points, equation.num_dims).transpose(axes)
        with jax.enable_x64(True):
            u = np.asarray(march(own))
        return resample(u.transpose(axes), u0.shape[-1], equation.num_dims)

    run(np.zeros((batch, len(equation.channels), *(points,) * equation.num_dims)))  # compiling is not part of the race
    return run


def _velocity(parameters: Mapping[str, Any], num_dims: int) -> np.ndarray:
    return np.array([parameters[name] for name in ("speed", "speed_y", "speed_z")[:num_dims]], dtype=float)
