"""Each equation against an exact solution or an independent integrator, with proof that the test case is valid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from data_gen import (
    DatasetSpec,
    Equation,
    PeriodicGrid,
    advection_diffusion,
    allen_cahn,
    fisher_front,
    fisher_kpp,
    kdv,
    kdv_solitons,
    kuramoto_sivashinsky,
    solve,
)
from data_gen.equations import equation_named, equation_names
from data_gen.errors import SolverDiverged
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.grids.periodic import spectral_tail
from data_gen.sample_fields import initial_fields
from data_gen.stepping.etdrk4 import coefficients, etdrk4_step


def derivative(grid: PeriodicGrid, order: int) -> np.ndarray:
    """Dense Fourier differentiation matrix, ``(N, N)``."""
    k = 2 * np.pi / grid.extent * np.fft.fftfreq(grid.num_points, 1 / grid.num_points)
    if order % 2:
        k[grid.num_points // 2] = 0
    return np.fft.ifft((1j * k)[:, None] ** order * np.fft.fft(np.eye(grid.num_points), axis=0), axis=0).real


def right_side(name: str, grid: PeriodicGrid) -> Callable[[np.ndarray], np.ndarray]:
    """u -> u_t, written out by hand: nothing of ``data_gen.equations`` is used."""
    d1, d2, d3, d4 = (derivative(grid, order) for order in (1, 2, 3, 4))
    return {
        "kdv": lambda u: -0.7 * u * (d1 @ u) - 0.3 * (d3 @ u),
        "kuramoto_sivashinsky": lambda u: -u * (d1 @ u) - d2 @ u - d4 @ u,
        "fisher_kpp": lambda u: 0.2 * (d2 @ u) + 1.5 * u * (1 - u),
        "allen_cahn": lambda u: 0.2 * (d2 @ u) + 2.0 * (u - u**3),
        "advection_diffusion": lambda u: 0.8 * (d1 @ u) + 0.05 * (d2 @ u),
    }[name]


def reference(name: str, grid: PeriodicGrid, u0: np.ndarray, time: float) -> np.ndarray:
    rate = right_side(name, grid)
    found = solve_ivp(lambda t, u: rate(u), (0, time), u0, method="DOP853", rtol=1e-12, atol=1e-13)
    return found.y[:, -1]


WAVE = {1: (0.9, 0.3), 2: (-0.4, 0.5), 3: (0.2, -0.1)}
CASES = {
    "kdv": (kdv(nonlinearity=0.7, dispersion=0.3), PeriodicGrid(64, 12.0), 2.0, 0.0),
    "kuramoto_sivashinsky": (kuramoto_sivashinsky(), PeriodicGrid(64, 22.0), 10.0, 0.0),
    "fisher_kpp": (fisher_kpp(diffusivity=0.2, rate=1.5), PeriodicGrid(64, 2 * np.pi), 1.0, 2.0),
    "allen_cahn": (allen_cahn(diffusivity=0.2, rate=2.0), PeriodicGrid(128, 2 * np.pi), 2.0, 0.0),
    "advection_diffusion": (advection_diffusion(speed=-0.8, diffusivity=0.05), PeriodicGrid(64, 3.0), 1.0, 0.5),
}


def wave(grid: PeriodicGrid, mean: float) -> np.ndarray:
    x = 2 * np.pi / grid.extent * grid.points
    return mean + sum(a * np.cos(k * x) + b * np.sin(k * x) for k, (a, b) in WAVE.items())


@pytest.mark.parametrize("name", CASES)
def test_solve_equals_an_independent_integrator(name: str) -> None:
    equation, grid, time, mean = CASES[name]
    u0 = wave(grid, mean)
    truth = reference(name, grid, u0, time)
    assert spectral_tail(truth) < 1e-9, "the reference's own grid must resolve it"
    u = solve(equation, grid, u0[None, None], [time], tolerance=1e-9)[0, 0, 0]
    assert np.abs(u - truth).max() < 1e-8 * np.abs(truth).max()
    assert np.abs(truth - u0).max() > 0.1, "something must have happened"


@pytest.mark.parametrize("name", ["kdv", "kuramoto_sivashinsky", "fisher_kpp", "allen_cahn"])
def test_step_has_order_four(name: str) -> None:
    equation, grid, _, mean = CASES[name]
    time, slope = 0.4, lambda m: equation.nonlinear(m, grid)

    def march(steps: int) -> np.ndarray:
        modes, c = grid.to_modes(wave(grid, mean)), coefficients(equation.symbol(grid.wavenumbers), time / steps)
        for _ in range(steps):
            modes = etdrk4_step(modes, slope(modes), slope, c)
        return grid.to_points(modes)

    truth = march(3200)
    errors = np.array([np.abs(march(steps) - truth).max() for steps in (50, 100, 200)])
    assert errors[-1] > 1e-13, "rounding must not decide"
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 4, atol=0.4)


def periodic_solitons(grid: PeriodicGrid, time: float, **settings: list[float]) -> np.ndarray:
    return sum(kdv_solitons(grid.points + m * grid.extent, time, **settings) for m in (-1, 0, 1))


@pytest.mark.slow
def test_kdv_soliton_returns_after_ten_periods() -> None:
    """Its tail at the box's end is exp(-16) of it, but images only change its speed, by about exp(-32)."""
    grid = PeriodicGrid(112, 32.0)
    u0 = periodic_solitons(grid, 0.0, speeds=[1.0], centres=[16.0])
    assert spectral_tail(u0) < 1e-10
    u = solve(kdv(), grid, u0[None, None], [320.0], tolerance=4e-7)[0, 0, 0]
    assert np.abs(u - u0).max() < 1e-8 * u0.max()


def test_kdv_solitons_pass_through_each_other() -> None:
    grid, settings = PeriodicGrid(384, 72.0), {"speeds": [1.0, 2.0], "centres": [26.0, 12.0]}
    u0, between, truth = (periodic_solitons(grid, time, **settings) for time in (0.0, 14.0, 26.0))
    assert grid.points[u0.argmax()] < 13 and grid.points[truth.argmax()] > 60, "the fast one must overtake"
    assert between.max() < 0.8 * u0.max() and spectral_tail(u0) < 1e-12
    u = solve(kdv(), grid, u0[None, None], [26.0], tolerance=1e-6)[0, 0, 0]
    assert np.abs(u - truth).max() < 1e-8 * truth.max()


def test_kdv_conserves_mean_and_energy() -> None:
    equation, grid, _, _ = CASES["kdv"]
    u0 = wave(grid, 0.3)
    u = solve(equation, grid, u0[None, None], [1.0], tolerance=1e-9)[0, 0, 0]
    assert u.mean() == pytest.approx(u0.mean(), abs=1e-12)
    assert (u**2).mean() == pytest.approx((u0**2).mean(), rel=1e-9)


def pair_of_fronts(grid: PeriodicGrid, time: float) -> np.ndarray:
    """A front to the right times its mirror image, about the middle of the box."""
    x = grid.points - grid.extent / 2
    front = {"diffusivity": 1.0, "rate": 1.0, "centre": 45.0}
    return fisher_front(x, time, **front) * fisher_front(-x, time, **front)


def test_pair_of_fronts_solves_fisher_kpp_on_the_periodic_box() -> None:
    """Validity of the next test's case: the residual of the pair, its smoothness at the seam, and that it moves."""
    grid, h = PeriodicGrid(1024, 180.0), 1e-3
    for time in (0.0, 5.0):
        u = pair_of_fronts(grid, time)
        steps = [pair_of_fronts(grid, time + m * h) for m in (-2, -1, 1, 2)]
        rate = (steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / (12 * h)
        residual = rate - np.fft.irfft(-(grid.wavenumbers**2) * np.fft.rfft(u)) - u * (1 - u)
        assert np.abs(residual).max() < 1e-11
        assert spectral_tail(u) < 1e-12 and u.max() > 1 - 1e-7 and u.min() < 1e-12
    moved = np.abs(pair_of_fronts(grid, 5.0) - pair_of_fronts(grid, 0.0)).max()
    assert moved > 0.5


def test_fisher_kpp_front_travels() -> None:
    grid = PeriodicGrid(1024, 180.0)
    u = solve(fisher_kpp(diffusivity=1.0, rate=1.0), grid, pair_of_fronts(grid, 0.0)[None, None], [2.0, 5.0])[0, :, 0]
    for i, time in enumerate((2.0, 5.0)):
        assert np.abs(u[i] - pair_of_fronts(grid, time)).max() < 1e-10


def test_fisher_kpp_of_a_constant_is_logistic() -> None:
    u0 = np.full((1, 1, 32), 0.2)
    u = solve(fisher_kpp(diffusivity=0.1, rate=2.0), PeriodicGrid(32), u0, [1.5])[0, 0, 0]
    np.testing.assert_allclose(u, 0.2 * np.exp(3) / (0.8 + 0.2 * np.exp(3)), rtol=1e-10)


def test_fisher_kpp_below_zero_blows_up_with_a_message() -> None:
    """From the constant -1, u = 1 / (1 - 2 exp(-t)) falls to minus infinity at t = log 2."""
    with pytest.raises(SolverDiverged, match=r"fisher_kpp diverged at t = 0\.693"):
        solve(fisher_kpp(), PeriodicGrid(32), np.full((1, 1, 32), -1.0), [1.0], tolerance=1e-6)


def test_allen_cahn_keeps_a_pair_of_settled_fronts() -> None:
    """tanh fronts 15 widths apart move no more than exp(-2 * 15) allows."""
    grid, width = PeriodicGrid(512, 60.0), np.sqrt(2.0)
    u0 = np.tanh((grid.points - 15) / width) * np.tanh((45 - grid.points) / width)
    u = solve(allen_cahn(diffusivity=1.0, rate=1.0), grid, u0[None, None], [2.0], tolerance=1e-9)[0, 0, 0]
    np.testing.assert_allclose(u, u0, atol=1e-9)
    assert allen_cahn(diffusivity=1.0).front_width(u0, grid, 5.0) == pytest.approx(width)
    assert allen_cahn().front_width(1e-3 * u0, grid, 5.0) == np.inf


def test_allen_cahn_is_odd() -> None:
    equation, grid, time, _ = CASES["allen_cahn"]
    u0 = np.stack([wave(grid, 0.2), -wave(grid, 0.2)])[:, None]
    u = solve(equation, grid, u0, [time])[:, 0, 0]
    np.testing.assert_allclose(u[0], -u[1], atol=1e-12)


def test_advection_diffusion_has_its_closed_form() -> None:
    grid, equation = PeriodicGrid(64, 2 * np.pi), advection_diffusion(speed=2.0, diffusivity=0.3)
    u0 = np.sin(2 * grid.points)[None, None]
    truth = np.exp(-0.3 * 4 * 0.7) * np.sin(2 * (grid.points - 1.4))
    np.testing.assert_allclose(solve(equation, grid, u0, [0.7])[0, 0, 0], truth, atol=1e-12)
    np.testing.assert_allclose(exact_solution(equation, grid, u0, 0.7)[0, 0], truth, atol=1e-12)


#: Those of two dimensions are in test_equations_2d.
ON_A_LINE = [name for name in equation_names() if equation_named(name)().num_dims == 1]


@pytest.mark.parametrize("name", ON_A_LINE)
def test_defaults_of_an_equation_give_samples(name: str) -> None:
    spec = DatasetSpec(equation=name, samples=2, resolution=256, tolerance=1e-4, method="etdrk4")
    equation: Equation = spec.make_equation()
    assert equation.name == name and equation.formula.isascii() and spec.extent == equation.extent
    u0 = initial_fields(spec, np.arange(2))
    u = solve(equation, spec.grid, u0, [0.05 * equation.time], tolerance=1e-4)
    assert np.isfinite(u).all() and np.abs(u[:, 0] - u0).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "argument", "value", "message"),
    [
        ("kdv", "nonlinearity", np.nan, "kdv: `nonlinearity` must be a finite number"),
        ("kdv", "dispersion", "strong", "kdv: `dispersion` must be a finite number"),
        ("fisher_kpp", "diffusivity", 0.0, "fisher_kpp: `diffusivity` must be a finite number above 0"),
        ("fisher_kpp", "rate", -1.0, "fisher_kpp: `rate` must be a finite number above 0"),
        ("allen_cahn", "diffusivity", -1.0, "allen_cahn: `diffusivity` must be a finite number above 0"),
        ("allen_cahn", "rate", np.inf, "allen_cahn: `rate` must be a finite number above 0"),
        ("advection_diffusion", "speed", np.inf, "advection_diffusion: `speed` must be a finite number"),
        ("advection_diffusion", "diffusivity", 0.0, "advection_diffusion: `diffusivity` must be"),
    ],
)
def test_equations_refuse_bad_parameters(name: str, argument: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equation_named(name)(**{argument: value})
