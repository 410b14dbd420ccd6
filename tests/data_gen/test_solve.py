"""The solver against exact solutions: accuracy asked for, resolution that grows, and clear failures."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import Equation, PeriodicGrid, advection, burgers, cole_hopf, heat, resample, solve
from data_gen.equations import equation_named, equation_names, equation_parameters
from data_gen.errors import SolverDiverged, UnresolvedError
from data_gen.random_fields import gaussian_random_field

GRID = PeriodicGrid(1024, 2 * np.pi)


def relative_errors(u: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs(u - truth).max(axis=-1) / np.abs(truth).max(axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "adams6"])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize(("viscosity", "samples"), [(0.5, 32), (0.1, 320), (0.01, 16)])
def test_solve_burgers_meets_the_tolerance_for_every_sample(
    viscosity: float, samples: int, tolerance: float, method: str
) -> None:
    u0 = gaussian_random_field(GRID, range(samples), seed=0)
    u = solve(burgers(viscosity=viscosity), GRID, u0, [1.0], method=method, tolerance=tolerance)[:, 0]
    truth = cole_hopf(u0, viscosity=viscosity, time=1.0, extent=2 * np.pi)
    assert relative_errors(u, truth).max() < tolerance


@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "adams6"])
def test_solve_burgers_with_a_mean_at_several_times(method: str) -> None:
    u0 = gaussian_random_field(GRID, range(2), seed=1) + 0.8
    u = solve(burgers(viscosity=0.1), GRID, u0, [0.0, 1e-3, 0.3, 1.0], method=method, tolerance=1e-9)
    assert u.shape == (2, 4, 1, 1024) and u.dtype == np.float64
    np.testing.assert_array_equal(u[:, 0], u0)
    for i, time in ((1, 1e-3), (2, 0.3), (3, 1.0)):
        assert relative_errors(u[:, i], cole_hopf(u0, viscosity=0.1, time=time, extent=2 * np.pi)).max() < 1e-9


def test_solve_grows_its_grid_for_thin_fronts() -> None:
    grid = PeriodicGrid(128, 2 * np.pi)
    u0 = np.sin(grid.points)[None, None]
    u = solve(burgers(viscosity=0.02), grid, u0, [1.5], tolerance=1e-8)[:, 0]
    assert relative_errors(u, cole_hopf(u0, viscosity=0.02, time=1.5, extent=2 * np.pi)).max() < 1e-8


@pytest.mark.parametrize("low", [0.0, 1.0])
def test_solve_uses_modes_beyond_its_first_coarse_grid(low: float) -> None:
    u0 = (low * np.sin(GRID.points) + 0.3 * np.cos(100 * GRID.points))[None, None]
    u = solve(burgers(viscosity=0.01), GRID, u0, [0.02], tolerance=1e-8)[:, 0]
    assert relative_errors(u, cole_hopf(u0, viscosity=0.01, time=0.02, extent=2 * np.pi)).max() < 1e-8


def test_solve_answers_at_the_points_it_was_given() -> None:
    u0 = gaussian_random_field(GRID, range(1), seed=5)
    u = solve(burgers(viscosity=0.3), GRID, u0, [1.0], tolerance=1e-9)[0, 0]
    coarse = solve(burgers(viscosity=0.3), PeriodicGrid(256, 2 * np.pi), resample(u0, 256), [1.0], tolerance=1e-9)[0, 0]
    np.testing.assert_allclose(coarse, u[:, ::4], atol=1e-7)


def test_solve_a_sample_of_zeros_stays_zero() -> None:
    u = solve(burgers(viscosity=0.1), PeriodicGrid(64, 1.0), np.zeros((1, 1, 64)), [1.0])
    np.testing.assert_array_equal(u, 0)


def test_solve_max_step_bounds_the_step() -> None:
    grid, calls = PeriodicGrid(64, 2 * np.pi), []
    base = burgers(viscosity=1.0)

    def counted(modes: np.ndarray, on: PeriodicGrid) -> np.ndarray:
        calls.append(1)
        return base.nonlinear(modes, on)

    equation = Equation("burgers", base.parameters, base.symbol, counted)
    u0, counts = 0.1 * np.sin(grid.points)[None, None], []
    for max_step in (None, 0.01):
        calls.clear()
        solve(equation, grid, u0, [1.0], tolerance=1e-4, max_step=max_step)
        counts.append(len(calls))
    assert counts[1] > 11 * 100 > counts[0]


@pytest.mark.slow
def test_solve_kdv_soliton_keeps_its_shape() -> None:
    """u_t + 6 u u_x + u_xxx = 0: an imaginary symbol, nothing damped."""
    grid = PeriodicGrid(256, 40.0)
    ik = grid.derivative[0]

    def nonlinear(modes: np.ndarray, on: PeriodicGrid) -> np.ndarray:
        return -3 * on.derivative[0] * on.to_modes(on.to_points(modes) ** 2)

    kdv = Equation("kdv", {}, lambda k: 1j * k**3, nonlinear)
    soliton = [0.5 / np.cosh(0.5 * (grid.points - 15 - t)) ** 2 for t in (0.0, 5.0)]
    assert ik.shape == (129,)
    u = solve(kdv, grid, soliton[0][None, None], [5.0], tolerance=5e-7)[0, 0, 0]
    np.testing.assert_allclose(u, soliton[1], atol=5e-7)


def test_solve_heat_is_exact() -> None:
    u0 = np.sin(3 * GRID.points)[None, None]
    u = solve(heat(diffusivity=0.2), GRID, u0, [0.5, 2.0])[0, :, 0]
    np.testing.assert_allclose(u, np.exp([[-0.9], [-3.6]]) * u0[0], atol=1e-12)


def test_solve_advection_moves_by_whole_points() -> None:
    u0 = gaussian_random_field(GRID, range(2), seed=0)
    u = solve(advection(speed=-2.0), GRID, u0, [3 * GRID.spacing])[:, 0]
    np.testing.assert_allclose(u, np.roll(u0, -6, axis=-1), atol=1e-12)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "adams6"])
def test_solve_names_the_sample_that_blows_up(method: str) -> None:
    grid = PeriodicGrid(32, 1.0)
    blow_up = Equation("blow_up", {}, lambda k: 0.0 * k, lambda m, on: on.to_modes(on.to_points(m) ** 2))
    u0 = np.stack([np.full((1, 32), 0.1), np.full((1, 32), 1.0)])
    with pytest.raises(SolverDiverged, match=r"solve: blow_up diverged at t = (0\.99|1)\S* near sample 41"):
        solve(blow_up, grid, u0, [2.0], method=method, tolerance=1e-6, first_sample=40)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "adams6"])
def test_solve_never_accepts_nan(method: str) -> None:
    broken = Equation("broken", {}, lambda k: -(k**2), lambda m, on: np.full_like(m, np.nan))
    with pytest.raises(SolverDiverged, match="broken diverged at t = 0 near sample 0"):
        solve(broken, PeriodicGrid(32, 1.0), np.ones((1, 1, 32)), [1.0], method=method, allow_unresolved=True)


def test_solve_refuses_a_front_that_no_allowed_grid_holds() -> None:
    grid = PeriodicGrid(64, 2 * np.pi)
    u0 = np.sin(grid.points)[None, None]
    with pytest.raises(
        UnresolvedError, match=r"`grid` must resolve .* got 64 points, and 1024 still leave .* sample 0"
    ):
        solve(burgers(viscosity=2e-3), grid, u0, [1.5], tolerance=1e-4)
    assert np.isfinite(solve(burgers(viscosity=2e-3), grid, u0, [1.5], tolerance=1e-4, allow_unresolved=True)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u0": np.zeros((2, 64))}, r"`u0` must have shape \(samples, 1, 64\); got \(2, 64\)"),
        ({"u0": np.full((1, 1, 64), np.nan)}, "`u0` must be finite; got NaN or infinity in sample 0"),
        ({"times": []}, "`times` must be increasing"),
        ({"times": [1.0, 0.5]}, "`times` must be increasing"),
        ({"times": [-1.0]}, "`times` must be increasing"),
        ({"times": [float("nan")]}, "`times` must be increasing"),
        ({"method": "euler"}, "`method` must be auto or one of lawson7, etdrk4, adams6; got 'euler'"),
        ({"tolerance": 0.0}, "`tolerance` must be a finite number above 0"),
        ({"max_step": -1.0}, "`max_step` must be a finite number above 0"),
        ({"grid": PeriodicGrid(64, 1.0, 2)}, "`grid` must have 1 dimensions; got 2"),
    ],
)
def test_solve_refuses_bad_arguments(changes: dict, message: str) -> None:
    arguments = {"grid": PeriodicGrid(64), "u0": np.zeros((1, 1, 64)), "times": [1.0], **changes}
    with pytest.raises(ValueError, match=message):
        solve(burgers(), arguments.pop("grid"), arguments.pop("u0"), arguments.pop("times"), **arguments)


@pytest.mark.parametrize("value", [-0.1, 0.0, float("nan"), float("inf"), "thin"])
def test_equations_refuse_bad_parameters(value: object) -> None:
    with pytest.raises(ValueError, match="burgers: `viscosity` must be a finite number above 0"):
        burgers(viscosity=value)
    with pytest.raises(ValueError, match="heat: `diffusivity` must be a finite number above 0"):
        heat(diffusivity=value)


def test_advection_refuses_a_speed_that_is_not_finite() -> None:
    with pytest.raises(ValueError, match="advection: `speed` must be a finite number; got nan"):
        advection(speed=float("nan"))


def test_equations_are_found_by_name() -> None:
    assert equation_names() == (
        "advection",
        "advection_diffusion",
        "allen_cahn",
        "allen_cahn_2d",
        "burgers",
        "burgers_2d",
        "cahn_hilliard",
        "darcy",
        "dispersion",
        "fisher_kpp",
        "fitzhugh_nagumo",
        "gradient_kuramoto_sivashinsky",
        "gray_scott",
        "heat",
        "heat_2d",
        "hyper_diffusion",
        "kdv",
        "kdv_burgers",
        "kolmogorov_flow",
        "kuramoto_sivashinsky",
        "navier_stokes",
        "navier_stokes_3d",
        "swift_hohenberg",
        "wave",
        "zakharov_kuznetsov",
    )
    assert equation_named("burgers")(viscosity=0.2).parameters == {"viscosity": 0.2}
    (parameter,) = equation_parameters("burgers")
    assert (parameter.name, parameter.default) == ("viscosity", 0.1) and "viscosity" in parameter.help
    with pytest.raises(ValueError, match="must be one of advection, .*burgers, .*heat, .*; got 'burger'"):
        equation_named("burger")
