"""Navier-Stokes in vorticity form: its convective term, exact vortices, and a march written another way."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import PeriodicGrid, navier_stokes, resample, solve, taylor_green
from data_gen.errors import UnresolvedError
from data_gen.solvers.schemes import fastest_scheme
from data_gen.stepping.etdrk4 import coefficients, etdrk4_step
from data_gen.stepping.lawson import factors, lawson_step


def random_flow(num_points: int, highest: int, *, seed: int = 0, samples: int = 1) -> np.ndarray:
    """``(B, 1, n, n)``, vorticity of all modes up to ``highest``, its spectrum that of Li et al. (2021)."""
    rng = np.random.default_rng(seed)
    k = np.arange(-highest, highest + 1)
    decay = 7**1.5 * (4 * np.pi**2 * (k[:, None] ** 2 + k**2) + 49) ** -1.25
    decay[highest, highest] = 0
    draws = rng.standard_normal((2, samples, k.size, k.size))
    modes = np.zeros((samples, 1, num_points, num_points), dtype=complex)
    modes[:, 0, k[:, None], k] = np.sqrt(2) * decay * (draws[0] + 1j * draws[1])
    return np.fft.ifft2(modes).real * num_points**2


def convective_slope(w: np.ndarray, viscosity: float, forcing: float, extent: float = 1.0) -> np.ndarray:
    """w_t at the points as the textbook has it: velocities, gradients and one product each, by complex transforms."""
    k = 2 * np.pi / extent * np.fft.fftfreq(w.shape[-1], 1 / w.shape[-1])
    ky, kx = k[:, None], k[None, :]
    modes = np.fft.fft2(w)
    square = kx**2 + ky**2
    psi = modes / np.where(square == 0, np.inf, square)
    u, v, w_x, w_y, spread = (
        np.fft.ifft2(m).real for m in (1j * ky * psi, -1j * kx * psi, 1j * kx * modes, 1j * ky * modes, -square * modes)
    )
    angle = 2 * np.pi * (np.arange(w.shape[-1])[:, None] + np.arange(w.shape[-1])) / w.shape[-1]
    return -u * w_x - v * w_y + viscosity * spread + forcing * (np.sin(angle) + np.cos(angle))


@pytest.mark.parametrize("extent", [1.0, 2.5])
def test_nonlinear_term_equals_the_convective_form(extent: float) -> None:
    grid, equation = PeriodicGrid(48, extent, 2), navier_stokes(viscosity=1e-3, forcing=0.3)
    w = random_flow(48, 11, samples=2) + 0.2
    modes = grid.to_modes(w)
    slope = equation.nonlinear(modes, grid) + equation.symbol(*grid.wavevector) * modes
    np.testing.assert_allclose(grid.to_points(slope), convective_slope(w, 1e-3, 0.3, extent), atol=1e-12)


def test_convection_keeps_energy_enstrophy_and_mean() -> None:
    grid, equation = PeriodicGrid(48, 1.0, 2), navier_stokes(forcing=0.0)
    w = 3 * random_flow(48, 11)
    ky, kx = grid.wavevector
    psi = grid.to_points(grid.to_modes(w) / np.where(kx**2 + ky**2 == 0, np.inf, kx**2 + ky**2))
    slope = grid.to_points(equation.nonlinear(grid.to_modes(w), grid))
    size = np.abs(slope).mean()
    assert size > 0.1
    for weight in (w, psi / np.abs(psi).max(), 1.0):
        assert abs((weight * slope).mean()) < 1e-11 * size


@pytest.mark.parametrize("method", ["lawson7", "etdrk4"])
@pytest.mark.parametrize(("extent", "mode"), [(1.0, 1), (2 * np.pi, 3)])
def test_solve_keeps_taylor_green_to_ten_digits(extent: float, mode: int, method: str) -> None:
    grid = PeriodicGrid(32, extent, 2)
    y, x = grid.points[:, None], grid.points[None, :]
    settings = {"viscosity": 0.01, "extent": extent, "mode": mode}
    w = solve(
        navier_stokes(viscosity=0.01, forcing=0.0),
        grid,
        taylor_green(x, y, 0.0, **settings)[None, None],
        [0.5, 2.0],
        method=method,
    )
    for i, time in enumerate((0.5, 2.0)):
        truth = taylor_green(x, y, time, **settings)
        assert np.abs(w[0, i, 0] - truth).max() < 1e-10 * np.abs(truth).max()


def test_taylor_green_satisfies_the_equation() -> None:
    grid = PeriodicGrid(24, 3.0, 2)
    y, x = grid.points[:, None], grid.points[None, :]
    settings = {"viscosity": 0.02, "extent": 3.0, "mode": 2}
    w = taylor_green(x, y, 0.3, **settings)
    after, before = (taylor_green(x, y, 0.3 + h, **settings) for h in (1e-5, -1e-5))
    np.testing.assert_allclose((after - before) / 2e-5, convective_slope(w, 0.02, 0.0, 3.0), atol=1e-8)
    with pytest.raises(ValueError, match="taylor_green: `mode` must be an integer of at least 1; got 0"):
        taylor_green(x, y, 0.0, viscosity=0.1, mode=0)
    with pytest.raises(ValueError, match="taylor_green: `viscosity` must be a finite number above 0"):
        taylor_green(x, y, 0.0, viscosity=-0.1)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4"])
def test_solve_equals_small_steps_of_the_convective_form(method: str) -> None:
    """Runge-Kutta's steps of order four for all terms, on another grid."""
    grid, steps = PeriodicGrid(48, 1.0, 2), 250
    w0 = 3 * random_flow(48, 5)
    w, h = resample(w0, 64, 2)[0, 0], 1.0 / steps
    for _ in range(steps):
        k1 = convective_slope(w, 5e-3, 0.1)
        k2 = convective_slope(w + h / 2 * k1, 5e-3, 0.1)
        k3 = convective_slope(w + h / 2 * k2, 5e-3, 0.1)
        k4 = convective_slope(w + h * k3, 5e-3, 0.1)
        w = w + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    found = solve(navier_stokes(viscosity=5e-3, forcing=0.1), grid, w0, [1.0], method=method, tolerance=1e-9)
    assert np.abs(w - resample(w0, 64, 2)[0, 0]).max() > 0.5
    np.testing.assert_allclose(resample(found[0, 0, 0], 64, 2), w, atol=2e-9 * np.abs(w).max())


@pytest.mark.parametrize("scheme", ["lawson7", "etdrk4"])
def test_steps_keep_their_order_in_two_dimensions(scheme: str) -> None:
    grid, equation = PeriodicGrid(24, 1.0, 2), navier_stokes(viscosity=5e-3)
    symbol = equation.symbol(*grid.wavevector)

    def slope(modes: np.ndarray) -> np.ndarray:
        return equation.nonlinear(modes, grid)

    def march(steps: int) -> np.ndarray:
        modes = grid.to_modes(8 * random_flow(24, 4))
        for _ in range(steps):
            if scheme == "lawson7":
                modes, _ = lawson_step(modes, slope(modes), slope, factors(symbol, 0.8 / steps))
            else:
                modes = etdrk4_step(modes, slope(modes), slope, coefficients(symbol, 0.8 / steps))
        return grid.to_points(modes)

    counts = [4, 8, 16] if scheme == "lawson7" else [16, 32, 64]
    truth = march(8 * counts[-1])
    errors = np.array([np.abs(march(n) - truth).max() for n in counts])
    assert np.log2(errors[:-1] / errors[1:]).min() > (6.4 if scheme == "lawson7" else 3.6), errors


def test_solve_meets_the_tolerance_of_a_forced_flow_and_is_the_same_for_both_schemes() -> None:
    grid, equation = PeriodicGrid(64, 1.0, 2), navier_stokes(viscosity=2e-3)
    w0 = random_flow(64, 31)
    truth = solve(equation, PeriodicGrid(128, 1.0, 2), resample(w0, 128, 2), [5.0], tolerance=1e-11)[..., ::2, ::2]
    for method in ("lawson7", "etdrk4"):
        w = solve(equation, grid, w0, [5.0], method=method, tolerance=1e-8)
        assert np.abs(w - truth).max() < 1e-8 * np.abs(truth).max()
    assert fastest_scheme(equation) == "lawson7"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_solve_meets_the_tolerance_at_time_fifty(seed: int) -> None:
    """The dataset of Li et al. on its own grid, against a march of the other scheme at a hundredth of the tolerance."""
    grid, equation = PeriodicGrid(256, 1.0, 2), navier_stokes(viscosity=1e-3, forcing=0.1)
    w0 = random_flow(256, 100, seed=seed)
    truth = solve(equation, grid, w0, [50.0], method="etdrk4", tolerance=1e-10)
    w = solve(equation, grid, w0, [50.0], tolerance=1e-8)
    assert np.abs(w - truth).max() < 1e-8 * np.abs(truth).max()


def test_navier_stokes_refuses_what_no_grid_holds_and_bad_parameters() -> None:
    grid = PeriodicGrid(32, 1.0, 2)
    with pytest.raises(UnresolvedError, match=r"got 32 points, and 256 still leave .* of sample 0 .*Use at least 256"):
        solve(navier_stokes(viscosity=1e-7), grid, 50 * random_flow(32, 8), [1.0], tolerance=1e-4)
    with pytest.raises(ValueError, match="navier_stokes: `viscosity` must be a finite number above 0; got 0.0"):
        navier_stokes(viscosity=0.0)
    with pytest.raises(ValueError, match="navier_stokes: `forcing` must be a finite number; got nan"):
        navier_stokes(forcing=float("nan"))
