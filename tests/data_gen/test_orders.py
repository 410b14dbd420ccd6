"""The order of a step under halving, for every equation that is stepped in time, in all its numbers of dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data_gen import PeriodicGrid
from data_gen.equation import Equation
from data_gen.equations import equation_dims, equation_in, equation_names
from data_gen.grids.vectors import solenoidal
from data_gen.solvers.discretization import Discretization
from data_gen.solvers.schemes import fastest_scheme
from data_gen.stepping.etdrk4 import coefficients, etdrk4_step
from data_gen.stepping.lawson import factors, lawson_step

POINTS = {1: 32, 2: 16, 3: 8}
#: Final times other than 0.5: fast laws are in the range of their order for a shorter time, and slow ones for longer.
TIMES = {
    ("cahn_hilliard", None): 0.1,
    ("gradient_kuramoto_sivashinsky", 2): 2.0,
    ("gray_scott", 1): 2.0,
    ("kdv", None): 0.1,
    ("navier_stokes", None): 2.0,
    ("swift_hohenberg", 3): 2.0,
}
LAWS = {
    f"{name}-{dims or 'usual'}": equation_in(name, dims)()
    for name in equation_names()
    for dims in equation_dims(name) or (None,)
}
STEPPED = [label for label, law in LAWS.items() if law.nonlinear is not None]
FAST = [label for label in STEPPED if fastest_scheme(LAWS[label]) == "lawson7"]


def discretized(label: str) -> tuple[Discretization, np.ndarray, float]:
    """The law on a small grid, smooth modes to start from, and the final time."""
    law = LAWS[label]
    grid = PeriodicGrid(POINTS[law.num_dims], min(law.extent, 2 * np.pi), law.num_dims)
    name = label.partition("-")[0]
    time = TIMES.get((name, law.num_dims), TIMES.get((name, None), 0.5))
    u0 = smooth_start(law, grid)
    return Discretization(law, grid), grid.to_modes(u0).reshape(*u0.shape[:2], -1), time


def smooth_start(law: Equation, grid: PeriodicGrid) -> np.ndarray:
    """``(1, C, *N)``, a few long waves; a velocity has no divergence."""
    angles = np.meshgrid(*[2 * np.pi / grid.extent * grid.points] * grid.num_dims, indexing="ij")
    waves = [
        0.3 + 0.2 * sum(np.sin(angle + c + i) for i, angle in enumerate(angles)) + 0.1 * np.cos(sum(angles) + c)
        for c in range(len(law.channels))
    ]
    u0 = np.stack(waves)[None]
    return grid.to_points(solenoidal(grid.to_modes(u0), grid)) if law.divergence_free else u0


def march(label: str, steps: int, make: Callable[..., Any], step: Callable[..., Any]) -> np.ndarray:
    """The modes after so many equal steps."""
    law, modes, time = discretized(label)
    found = make(law.symbol, time / steps)
    for _ in range(steps):
        modes = step(modes, law.nonlinear(modes), law.nonlinear, found)
    return modes


def orders(label: str, counts: list[int], last: int, make: Callable[..., Any], step: Callable[..., Any]) -> np.ndarray:
    """log2 of the ratios of the errors of so many steps, against the result of ``last`` steps."""
    truth = march(label, last, make, step)
    errors = np.array([np.abs(march(label, count, make, step) - truth).max() for count in counts])
    assert errors[-1] > 3e-14 * np.abs(truth).max(), "the error is rounding; choose a longer time"
    return np.log2(errors[:-1] / errors[1:])


@pytest.mark.parametrize("label", STEPPED)
def test_half_the_step_of_etdrk4_has_a_sixteenth_of_the_error(label: str) -> None:
    found = orders(label, [8, 16, 32], 256, coefficients, etdrk4_step)
    assert found.min() > 3.6, found


@pytest.mark.parametrize("label", FAST)
def test_half_the_step_of_the_integrating_factor_has_less_than_an_eightieth_of_the_error(label: str) -> None:
    found = orders(label, [1, 2], 16, factors, lambda *given: lawson_step(*given)[0])
    assert found.min() > 6.4, found
