"""ETDRK4: its coefficients against closed forms, and order four for real and imaginary symbols."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from data_gen import PeriodicGrid, burgers
from data_gen.stepping.etdrk4 import coefficients, etdrk4_step


def march(u0: np.ndarray, symbol: np.ndarray, slope: Callable, time: float, steps: int) -> np.ndarray:
    grid = PeriodicGrid(u0.shape[-1], 2 * np.pi)
    c, modes = coefficients(symbol, time / steps), grid.to_modes(u0)
    for _ in range(steps):
        modes = etdrk4_step(modes, slope(modes), slope, c)
    return grid.to_points(modes)


def measured_orders(u0: np.ndarray, symbol: np.ndarray, slope: Callable, time: float, steps: list[int]) -> np.ndarray:
    truth = march(u0, symbol, slope, time, 8 * steps[-1])
    errors = [np.abs(march(u0, symbol, slope, time, n) - truth).max() for n in steps]
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


@pytest.mark.parametrize("z", [0.0, 1e-9, -0.3, -40.0, 0.7j, -25j, -2 + 3j])
def test_coefficients_equal_their_closed_forms(z: complex) -> None:
    with mpmath.workdps(100):
        w = mpmath.mpc(z) + mpmath.mpf(10) ** -18
        e = mpmath.exp(w)
        expected = [
            (mpmath.exp(w / 2) - 1) / w,
            (-4 - w + e * (4 - 3 * w + w**2)) / w**3,
            (2 + w + e * (w - 2)) / w**3,
            (-4 - 3 * w - w**2 + e * (4 - w)) / w**3,
        ]
        expected = [complex(value) for value in expected]
    c = coefficients(np.array([z / 0.5]), 0.5)
    found = np.array([c.stage[0], c.first[0], c.middle[0], c.last[0]]) / 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_coefficients_of_a_real_symbol_are_real() -> None:
    assert not np.iscomplexobj(coefficients(np.array([-1.0, 0.0]), 0.1).first)


def test_step_has_order_four_for_burgers() -> None:
    grid, equation = PeriodicGrid(64, 2 * np.pi), burgers(viscosity=0.3)
    orders = measured_orders(
        np.sin(grid.points), equation.symbol(grid.wavenumbers), lambda m: equation.nonlinear(m, grid), 0.5, [8, 16, 32]
    )
    assert orders.min() > 3.7


def test_step_has_order_four_for_an_imaginary_symbol() -> None:
    """KdV, u_t = -6 u u_x - u_xxx: with real parts only, the order falls to about one."""
    grid = PeriodicGrid(64, 2 * np.pi)
    ik = grid.derivative[0]
    orders = measured_orders(
        np.cos(grid.points),
        1j * grid.wavenumbers**3,
        lambda m: -3 * ik * grid.to_modes(grid.to_points(m) ** 2),
        0.2,
        [100, 200, 400],
    )
    assert orders.min() > 3.6


def test_step_is_exact_for_a_linear_equation() -> None:
    grid = PeriodicGrid(32, 2 * np.pi)
    u = march(np.sin(3 * grid.points), -(grid.wavenumbers**2), np.zeros_like, 0.2, 1)
    np.testing.assert_allclose(u, np.exp(-1.8) * np.sin(3 * grid.points), atol=1e-13)
