"""Marching by torch gives what marching by numpy gives; torch on the processor stands for an accelerator here."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from data_gen import PeriodicGrid, allen_cahn, burgers, kdv, navier_stokes, solve
from data_gen.grids.periodic import resize_modes
from data_gen.solvers.solve import chunk_size
from data_gen.stepping.device import TorchGrid, grid_on, to_host
from tests.data_gen.test_navier_stokes import random_flow
from tests.data_gen.test_solve_2d import oblique_burgers

PLANE = PeriodicGrid(48, 1.0, 2)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4"])
def test_solve_by_torch_equals_numpy_for_navier_stokes(method: str) -> None:
    w0 = 3 * random_flow(48, 23)
    settings = {"method": method, "tolerance": 1e-8}
    here = solve(navier_stokes(viscosity=2e-3), PLANE, w0, [0.5, 2.0], **settings)
    there = solve(navier_stokes(viscosity=2e-3), PLANE, w0, [0.5, 2.0], device="torch", **settings)
    assert isinstance(there, np.ndarray) and np.abs(there - w0[:, None]).max() > 0.5
    np.testing.assert_allclose(there, here, atol=1e-12 * np.abs(here).max())


@pytest.mark.parametrize(
    ("equation", "method"), [(burgers(viscosity=0.05), "auto"), (allen_cahn(), "auto"), (kdv(), "etdrk4")]
)
def test_solve_by_torch_equals_numpy_on_a_line(equation, method) -> None:
    grid = PeriodicGrid(128, equation.extent)
    angle = 2 * np.pi / grid.extent * grid.points
    u0 = np.stack([np.sin(angle), 0.5 * np.cos(2 * angle) + 0.2])[:, None]
    settings = {"tolerance": 1e-7, "method": method}
    here, there = (solve(equation, grid, u0, [0.3], device=d, **settings) for d in ("cpu", "torch:cpu"))
    np.testing.assert_allclose(there, here, atol=1e-11)


def test_samples_by_torch_march_together_and_keep_the_tolerance() -> None:
    """A grid that grows and shrinks, for several samples at once."""
    w0 = random_flow(48, 12, samples=3) * np.array([1.0, 9.0, 3.0])[:, None, None, None]
    here, there = (
        solve(oblique_burgers(0.1), PLANE, w0, [0.1, 0.2], tolerance=1e-8, device=d) for d in (None, "torch")
    )
    assert chunk_size(2, "torch") == chunk_size(2, "cuda") == 32 and chunk_size(2, "cpu") == 1
    np.testing.assert_allclose(there, here, atol=1e-8 * np.abs(here).max())


def test_a_scheme_with_a_memory_is_for_numpy_alone() -> None:
    u0 = np.sin(2 * np.pi / 32 * PeriodicGrid(64, 32.0).points)[None, None]
    grid, times = PeriodicGrid(64, 32.0), [0.1]
    there = solve(kdv(), grid, u0, times, tolerance=1e-7, device="torch")
    np.testing.assert_allclose(there, solve(kdv(), grid, u0, times, tolerance=1e-7), atol=1e-7)
    with pytest.raises(ValueError, match="`method` must be auto or one of lawson7, etdrk4 on torch; got 'adams6'"):
        solve(kdv(), grid, u0, times, method="adams6", device="torch")


def test_a_torch_grid_transforms_resizes_and_differentiates_as_its_host_does() -> None:
    grid = grid_on(PLANE, "torch")
    assert isinstance(grid, TorchGrid) and grid.host == PLANE and grid_on(PLANE, "cpu") is PLANE
    u = random_flow(48, 24)
    modes = grid.to_modes(grid.asarray(u))
    np.testing.assert_allclose(to_host(modes), PLANE.to_modes(u), atol=1e-10)
    np.testing.assert_allclose(to_host(grid.to_points(modes)), u, atol=1e-12)
    for points in (32, 64, 48, 25):
        expected = resize_modes(PLANE.to_modes(u), 48, points, 2)
        np.testing.assert_allclose(to_host(resize_modes(modes, 48, points, 2)), expected, atol=1e-10)
    for found, expected in zip(grid.derivative, PLANE.derivative, strict=True):
        np.testing.assert_array_equal(to_host(found), expected)


def test_solve_names_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    w0 = random_flow(48, 4)
    with pytest.raises(ValueError, match="solve: `device` must be available; got 'mars'. Torch says: "):
        solve(navier_stokes(), PLANE, w0, [1.0], device="mars")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match="solve: `device` must be cpu without torch; got 'cuda'. Install torch."):
        solve(navier_stokes(), PLANE, w0, [1.0], device="cuda")
