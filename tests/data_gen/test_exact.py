"""Cole-Hopf against an independent quadrature of many digits, and the closed forms of the linear equations."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from data_gen import PeriodicGrid, cole_hopf
from data_gen.exact_solutions.linear import heat_kernel, translate
from data_gen.random_fields import gaussian_random_field, truncated_fourier

GRID = PeriodicGrid(256, 2 * np.pi)
# u0 = mean + sum of a cos(k x) + b sin(k x)
WAVE = {1: (0.3, 1.0), 2: (-0.5, 0.2), 5: (0.1, -0.1)}


def wave(x: np.ndarray, mean: float = 0.0) -> np.ndarray:
    return mean + sum(a * np.cos(k * x) + b * np.sin(k * x) for k, (a, b) in WAVE.items())


def by_quadrature(x: float, *, viscosity: float, time: float, mean: float = 0.0) -> float:
    """Hopf's formula with the mean inside U, by Gauss-Legendre panels over the whole line, 25 digits."""
    with mpmath.workdps(25):
        nu, t, x = mpmath.mpf(viscosity), mpmath.mpf(time), mpmath.mpf(x)
        nodes, weights = np.polynomial.legendre.leggauss(20)
        width = mpmath.mpf(min(0.2, 3 * float(mpmath.sqrt(viscosity * time))))
        reach = 3 * time + 10 * float(mpmath.sqrt(viscosity * time))
        panels = int(2 * reach / float(width)) + 1
        terms = []
        for panel in range(panels):
            left = x - reach + panel * width
            for node, weight in zip(nodes, weights, strict=True):
                y = left + width * (mpmath.mpf(float(node)) + 1) / 2
                potential = mean * y + sum(
                    a * mpmath.sin(k * y) - b * mpmath.cos(k * y)
                    for k, (a, b) in WAVE.items()
                    for a, b in [(mpmath.mpf(a) / k, mpmath.mpf(b) / k)]
                )
                terms.append((-potential / (2 * nu) - (x - y) ** 2 / (4 * nu * t), mpmath.mpf(float(weight)), x - y))
        top = max(term[0] for term in terms)
        kernel = [(weight * mpmath.exp(e - top), z) for e, weight, z in terms]
        return float(mpmath.fsum(w * z for w, z in kernel) / mpmath.fsum(w for w, _ in kernel) / t)


@pytest.mark.parametrize(
    ("viscosity", "time", "mean"),
    [(0.1, 1.0, 0.0), (0.1, 0.05, 0.0), (0.1, 1.0, 0.7), (0.01, 1.0, 0.0), (0.002, 0.7, -0.4), (1e-3, 1.0, 0.0)],
)
def test_cole_hopf_equals_independent_quadrature(viscosity: float, time: float, mean: float) -> None:
    u = cole_hopf(wave(GRID.points, mean), viscosity=viscosity, time=time, extent=2 * np.pi)
    for j in (0, 37, 101, 200):
        truth = by_quadrature(GRID.points[j], viscosity=viscosity, time=time, mean=mean)
        assert u[j] == pytest.approx(truth, abs=2e-12)


@pytest.mark.parametrize("viscosity", [0.1, 2e-3])
def test_cole_hopf_satisfies_burgers(viscosity: float) -> None:
    """A small Galilean-free check of the equation itself: du/dt by central differences of the exact solution."""
    grid, h = PeriodicGrid(2048, 2 * np.pi), 1e-4
    u0, settings = wave(grid.points), {"viscosity": viscosity, "extent": 2 * np.pi}
    before, now, after = (cole_hopf(u0, time=0.3 + dt, **settings) for dt in (-h, 0.0, h))
    ik = grid.derivative[0]
    flux = grid.to_points(viscosity * ik**2 * grid.to_modes(now) - 0.5 * ik * grid.to_modes(now**2))
    rate = (after - before) / (2 * h)
    assert np.abs(rate - flux).max() < 2e-4 * np.abs(flux).max()


def test_cole_hopf_moves_with_the_mean() -> None:
    u0 = wave(GRID.points)
    still = cole_hopf(u0, viscosity=0.1, time=1.0, extent=2 * np.pi)
    moving = cole_hopf(u0 + 1.5, viscosity=0.1, time=1.0, extent=2 * np.pi)
    np.testing.assert_allclose(moving, 1.5 + translate(still, distance=1.5, extent=2 * np.pi), atol=1e-12)
    still = cole_hopf(np.full(16, 0.3), viscosity=0.1, time=1.0, extent=1.0)
    np.testing.assert_allclose(still, np.full(16, 0.3), rtol=1e-13)


def test_cole_hopf_does_not_depend_on_the_grid_or_the_batch() -> None:
    fine = gaussian_random_field(PeriodicGrid(1024, 2 * np.pi), range(3), seed=0)[:, 0]
    modes = np.fft.rfft(fine)
    modes[:, 60:] = 0
    fine = np.fft.irfft(modes, 1024)
    u = cole_hopf(fine, viscosity=0.05, time=1.0, extent=2 * np.pi)
    coarse = cole_hopf(fine[1, ::8], viscosity=0.05, time=1.0, extent=2 * np.pi)
    np.testing.assert_allclose(coarse, u[1, ::8], atol=1e-12)


def test_cole_hopf_takes_the_extent_into_account() -> None:
    u = cole_hopf(wave(GRID.points), viscosity=0.1, time=1.0, extent=2 * np.pi)
    stretched = cole_hopf(wave(GRID.points) / 3, viscosity=0.1, time=9.0, extent=2 * np.pi * 3)
    slower = cole_hopf(wave(GRID.points) * 3, viscosity=0.9, time=1.0, extent=2 * np.pi * 3)
    np.testing.assert_allclose(slower, 3 * u, atol=1e-12)
    np.testing.assert_allclose(stretched, u / 3, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"viscosity": -0.1}, "`viscosity` must be a finite number above 0; got -0.1"),
        ({"viscosity": float("nan")}, "`viscosity` must be a finite number above 0; got nan"),
        ({"time": 0.0}, "`time` must be a finite number above 0"),
        ({"extent": 0.0}, "`extent` must be a finite number above 0"),
        ({"u0": np.array([0.0, np.nan])}, "`u0` must be finite"),
        ({"u0": np.array(1.0)}, "`u0` must have at least 2 points"),
    ],
)
def test_cole_hopf_refuses_bad_arguments(changes: dict, message: str) -> None:
    arguments = {"u0": np.ones(8), "viscosity": 0.1, "time": 1.0, "extent": 1.0, **changes}
    with pytest.raises(ValueError, match=message):
        cole_hopf(arguments.pop("u0"), **arguments)


def test_heat_kernel_damps_each_mode() -> None:
    u = heat_kernel(np.sin(3 * GRID.points) + 2, diffusivity=0.2, time=0.5, extent=2 * np.pi)
    np.testing.assert_allclose(u, 2 + np.exp(-0.9) * np.sin(3 * GRID.points), atol=1e-12)


def test_translate_moves_to_the_right() -> None:
    u = translate(wave(GRID.points), distance=0.3, extent=2 * np.pi)
    np.testing.assert_allclose(u, wave(GRID.points - 0.3), atol=1e-12)


@pytest.mark.parametrize(("viscosity", "left"), [(25.0, "values up to "), (50.0, r"exp\(-50\)"), (1e300, "exp")])
def test_cole_hopf_refuses_what_decays_to_rounding(viscosity: float, left: str) -> None:
    """Of sin(x) exp(-25) is left, 1e-11, from sums of a size of 7."""
    u0 = np.sin(2 * np.pi * np.arange(64) / 64)
    with pytest.raises(ValueError, match=f"`viscosity` must leave more of `u0` than rounding; got .* leaves {left}"):
        cole_hopf(u0, viscosity=viscosity, time=1.0, extent=2 * np.pi)
    kept = cole_hopf(u0, viscosity=8.0, time=1.0, extent=2 * np.pi)
    np.testing.assert_allclose(kept, np.exp(-8) * u0, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(("points", "low"), [(256, 0.02), (96, 0.05), (64, 0.002)])
def test_cole_hopf_takes_a_viscosity_for_each_row(points: int, low: float) -> None:
    grid = PeriodicGrid(points, 2 * np.pi)
    u0 = truncated_fourier(grid, range(5), seed=2)
    viscosities = low * np.array([1.0, 1.2, 1.4, 2.0, 3.0])
    together = cole_hopf(u0, viscosity=viscosities, time=1.0, extent=grid.extent)
    for row, viscosity in enumerate(viscosities):
        alone = cole_hopf(u0[row], viscosity=viscosity, time=1.0, extent=grid.extent)
        assert np.abs(together[row] - alone).max() < 1e-12
    with pytest.raises(ValueError, match="`viscosity` must be a number or one for each of 5 rows"):
        cole_hopf(u0, viscosity=viscosities[:4], time=1.0, extent=grid.extent)
    with pytest.raises(ValueError, match="`viscosity` must be a finite number above 0; got -1.0"):
        cole_hopf(u0, viscosity=-viscosities / low, time=1.0, extent=grid.extent)
