"""Names that equations in two dimensions had when each number of dimensions was an equation of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from data_gen.equation import Equation
from data_gen.equations.allen_cahn import allen_cahn
from data_gen.equations.burgers import burgers
from data_gen.equations.heat import heat


def allen_cahn_2d(
    *,
    diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.01,
    rate: Annotated[float, "reaction rate r, above 0"] = 1.0,
) -> Equation:
    """Allen-Cahn equation in two dimensions: ``allen_cahn`` with ``num_dims=2``."""
    return replace(allen_cahn(diffusivity=diffusivity, rate=rate, num_dims=2), name="allen_cahn_2d")


def burgers_2d(*, viscosity: Annotated[float, "viscosity nu, above 0"] = 0.1) -> Equation:
    """Viscous Burgers equations of a velocity in two dimensions: ``burgers`` with ``num_dims=2``."""
    return replace(burgers(viscosity=viscosity, num_dims=2), name="burgers_2d")


def heat_2d(*, diffusivity: Annotated[float, "diffusivity D, above 0"] = 0.1) -> Equation:
    """Heat (diffusion) equation in two dimensions: ``heat`` with ``num_dims=2``."""
    return replace(heat(diffusivity=diffusivity, num_dims=2), name="heat_2d")
