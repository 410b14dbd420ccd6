"""The Lawson pair: its table, order seven for real and imaginary symbols, and stiff modes that stay finite."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import Equation, PeriodicGrid, burgers
from data_gen.solvers.discretization import Discretization
from data_gen.solvers.integrator import Integrator
from data_gen.solvers.schemes import SCHEMES, fastest_scheme
from data_gen.solvers.settings import Settings
from data_gen.solvers.step_controller import StepController
from data_gen.stepping.lawson import ERROR_WEIGHTS, MATRIX, NODES, STAGES, WEIGHTS, factors, lawson_step


def kdv() -> Equation:
    def nonlinear(modes: np.ndarray, on: PeriodicGrid) -> np.ndarray:
        return -3 * on.derivative[0] * on.to_modes(on.to_points(modes) ** 2)

    return Equation("kdv", {}, lambda k: 1j * k**3, nonlinear)


def march(equation: Equation, grid: PeriodicGrid, u0: np.ndarray, time: float, steps: int) -> tuple:
    """The field at ``time``, and the sum of the estimates on the way."""
    f = factors(equation.symbol(grid.wavenumbers), time / steps)
    modes, estimates = grid.to_modes(u0), 0
    for _ in range(steps):
        slope = equation.nonlinear(modes, grid)
        modes, estimate = lawson_step(modes, slope, lambda m: equation.nonlinear(m, grid), f)
        estimates = estimates + grid.to_points(estimate)
    return grid.to_points(modes), estimates


def test_table_satisfies_the_quadrature_conditions() -> None:
    matrix = np.zeros((STAGES, STAGES))
    for i, row in enumerate(MATRIX):
        matrix[i, : len(row)] = row
    np.testing.assert_allclose(matrix.sum(axis=1), NODES, atol=1e-12)
    for power in range(7):
        np.testing.assert_allclose(WEIGHTS @ NODES**power, 1 / (power + 1), atol=1e-12)
        np.testing.assert_allclose(
            (WEIGHTS - ERROR_WEIGHTS) @ NODES ** min(power, 5), 1 / (min(power, 5) + 1), atol=1e-12
        )
        if power < 6:
            np.testing.assert_allclose(WEIGHTS @ (matrix @ NODES**power), 1 / (power + 1) / (power + 2), atol=1e-12)
    assert (np.diff(NODES) >= 0).all()


@pytest.mark.parametrize(
    ("equation", "points", "time", "steps"), [(burgers(viscosity=0.02), 32, 0.5, 4), (kdv(), 16, 0.05, 8)]
)
def test_step_has_order_seven(equation: Equation, points: int, time: float, steps: int) -> None:
    grid = PeriodicGrid(points, 2 * np.pi)
    u0 = np.sin(grid.points) + 0.2 * np.cos(2 * grid.points)
    truth, _ = march(equation, grid, u0, time, 16 * steps)
    errors, estimates = [], []
    for n in (steps, 2 * steps, 4 * steps):
        u, estimate = march(equation, grid, u0, time, n)
        errors.append(np.abs(u - truth).max())
        estimates.append(np.abs(estimate).max())
    orders = np.log2(np.array([errors[:-1], estimates[:-1]]) / np.array([errors[1:], estimates[1:]]))
    assert errors[-1] > 1e-15 and orders[0].min() > 6.7 and orders[1].min() > 5.5


def test_step_is_exact_for_a_linear_equation() -> None:
    grid = PeriodicGrid(32, 2 * np.pi)
    for symbol in (-(grid.wavenumbers**2), 1j * grid.wavenumbers**3):
        modes = grid.to_modes(np.sin(3 * grid.points))
        new, error = lawson_step(modes, np.zeros_like(modes), np.zeros_like, factors(symbol, 0.2))
        np.testing.assert_allclose(new, np.exp(0.2 * symbol) * modes, atol=1e-12)
        np.testing.assert_array_equal(error, 0)


def test_a_step_too_long_for_stiff_modes_is_finite_and_refused() -> None:
    """nu k^2 h up to 160000: without a cut the factors overflow; and a step so wrong must not pass its own estimate."""
    grid, equation = PeriodicGrid(256, 2 * np.pi), burgers(viscosity=10.0)
    u0 = (50 * np.sin(grid.points))[None, None]
    modes = grid.to_modes(u0)
    with np.errstate(all="raise", under="ignore"):
        new, error = lawson_step(
            modes,
            equation.nonlinear(modes, grid),
            lambda m: equation.nonlinear(m, grid),
            factors(equation.symbol(grid.wavenumbers), 1.0),
        )
    assert np.isfinite(new).all() and np.isfinite(error).all()
    scheme, law = SCHEMES["lawson7"], Discretization(equation, grid)
    state, controller = law.state(0.0, modes), StepController(Settings(scheme, 1e-6, None, False), 1.0)
    step = controller.step(0, 1.0)
    _, error = scheme.attempt(law.symbol, step.size, state.modes, state.slope, law.nonlinear)
    assert controller.error_ratio(law, state, scheme, error, step) > 1
    assert not controller.error_ratio(law, state, scheme, np.full_like(error, np.nan), step) <= 1


def test_an_integration_restarted_on_more_points_keeps_them() -> None:
    """Else it would shrink, find its top modes too large at the output once more, and never end."""
    u0 = np.sin(PeriodicGrid(1024, 2 * np.pi).points)[None, None]
    settings = Settings(SCHEMES["lawson7"], 1e-8, None, False)
    grid = PeriodicGrid(1024, 2 * np.pi)
    integrator = Integrator(burgers(viscosity=0.5), grid, u0, (1.0,), settings, np.arange(1))
    for points in (128, 320):
        integrator.start(points)
        integrator.advance(1.0)
        assert integrator.law.grid.num_points == points


def test_the_fastest_scheme_follows_the_symbol() -> None:
    fourth_order = Equation("kuramoto", {}, lambda k: k**2 - k**4, kdv().nonlinear)
    found = [fastest_scheme(e) for e in (burgers(), kdv(), fourth_order)]
    assert found == ["lawson7", "adams6", "adams6"]
