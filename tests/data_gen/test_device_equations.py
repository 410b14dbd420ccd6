"""Every nonlinear equation marches by torch as it does by numpy."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from data_gen import PeriodicGrid, solve
from data_gen.equations import equation_named, equation_names
from data_gen.grids.vectors import solenoidal

EQUATIONS = [equation_named(name)() for name in equation_names()]
NONLINEAR = [equation.name for equation in EQUATIONS if equation.nonlinear and not equation.steady]


@pytest.mark.parametrize("name", NONLINEAR)
def test_solve_by_torch_equals_numpy(name: str) -> None:
    equation = equation_named(name)()
    points = {1: 128, 2: 32, 3: 16}[equation.num_dims]
    wave = np.sin(2 * np.pi * np.arange(points) / points)
    field = functools.reduce(np.add.outer, [np.roll(wave, 3 * axis) for axis in range(equation.num_dims)])
    u0 = np.stack([0.4 + 0.2 * np.roll(field, 7 * i, axis=-1) for i in range(len(equation.channels))])[None]
    grid, times = PeriodicGrid(points, equation.extent, equation.num_dims), [0.02 * equation.time]
    if equation.divergence_free:
        u0 = grid.to_points(solenoidal(grid.to_modes(u0), grid))
    here, there = (solve(equation, grid, u0, times, tolerance=1e-6, device=device) for device in (None, "torch"))
    assert np.abs(here[:, 0] - u0).max() > 1e-4
    np.testing.assert_allclose(there, here, atol=1e-11 * np.abs(here).max())
