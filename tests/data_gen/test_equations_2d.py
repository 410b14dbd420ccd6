"""Equations of the plane: their right sides on band-limited fields by hand, exact solutions, and limits."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import (
    Equation,
    PeriodicGrid,
    allen_cahn,
    allen_cahn_2d,
    burgers,
    burgers_2d,
    gray_scott,
    heat,
    heat_2d,
    solve,
)
from data_gen.equations import equation_named
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.random_fields import INITIAL_CONDITIONS
from data_gen.stepping.etdrk4 import coefficients, etdrk4_step

MARCHED = {
    "burgers_2d": burgers_2d(viscosity=0.2),
    "allen_cahn_2d": allen_cahn_2d(diffusivity=0.1, rate=1.5),
    "gray_scott": gray_scott(feed=0.4, kill=0.3, diffusivity_u=0.05, diffusivity_v=0.02),
}


class Waves:
    """A sum of three cosines of given vectors, and its derivatives in closed form, one for each channel."""

    def __init__(self, channel: int, extent: float) -> None:
        self.mean = 0.3 + 0.2 * channel
        shift = 0.7 * channel
        terms = [(1, 2, 0.5, 0.3), (-2, 1, 0.4, 1.1), (0, 3 - channel, -0.3, 2.0)]
        self.terms = [(2 * np.pi * ky / extent, 2 * np.pi * kx / extent, a, p + shift) for ky, kx, a, p in terms]

    def at(self, grid: PeriodicGrid, *, y: int = 0, x: int = 0) -> np.ndarray:
        """The derivative of orders ``y`` and ``x``, ``(N, N)``."""
        total = np.full(grid.shape, self.mean if x == y == 0 else 0.0)
        for ky, kx, amplitude, phase in self.terms:
            angle = ky * grid.points[:, None] + kx * grid.points + phase + (x + y) * np.pi / 2
            total += amplitude * ky**y * kx**x * np.cos(angle)
        return total


def right_side(name: str, grid: PeriodicGrid) -> np.ndarray:
    """u_t of the waves, written out by hand: nothing of ``data_gen.equations`` is used but the numbers above."""
    u, v = (Waves(channel, grid.extent) for channel in (0, 1))

    def laplacian(w: Waves) -> np.ndarray:
        return w.at(grid, x=2) + w.at(grid, y=2)

    p, q = u.at(grid), v.at(grid)
    if name == "burgers_2d":
        rates = [0.2 * laplacian(w) - p * w.at(grid, x=1) - q * w.at(grid, y=1) for w in (u, v)]
    elif name == "allen_cahn_2d":
        rates = [0.1 * laplacian(u) + 1.5 * (p - p**3)]
    else:
        rates = [0.05 * laplacian(u) - p * q**2 + 0.4 * (1 - p), 0.02 * laplacian(v) + p * q**2 - (0.4 + 0.3) * q]
    return np.stack(rates)


@pytest.mark.parametrize("extent", [2 * np.pi, 1.7])
@pytest.mark.parametrize("name", MARCHED)
def test_right_side_is_that_of_the_formula(name: str, extent: float) -> None:
    """Waves of 3 modes have cubes of 9, which 20 points hold: the comparison is exact."""
    equation, grid = MARCHED[name], PeriodicGrid(20, extent, 2)
    waves = [Waves(channel, extent).at(grid) for channel in range(len(equation.channels))]
    modes = grid.to_modes(np.stack([waves, waves]))
    kept = modes.copy()
    rate = equation.symbol(*grid.wavevector) * modes + equation.nonlinear(modes, grid)
    truth = right_side(name, grid)
    for row in grid.to_points(rate):
        np.testing.assert_allclose(row, truth, atol=1e-12 * np.abs(truth).max())
    np.testing.assert_array_equal(modes, kept)


def march(equation: Equation, grid: PeriodicGrid, u0: np.ndarray, time: float, steps: int) -> np.ndarray:
    symbol = np.broadcast_to(equation.symbol(*grid.wavevector), (len(equation.channels), *grid.modes_shape))
    modes, c = grid.to_modes(u0), coefficients(symbol, time / steps)

    def slope(m: np.ndarray) -> np.ndarray:
        return equation.nonlinear(m, grid)

    for _ in range(steps):
        modes = etdrk4_step(modes, slope(modes), slope, c)
    return grid.to_points(modes)


@pytest.mark.parametrize("name", MARCHED)
def test_step_has_order_four_in_the_plane(name: str) -> None:
    equation, grid = MARCHED[name], PeriodicGrid(24, 2 * np.pi, 2)
    u0 = np.stack([Waves(channel, grid.extent).at(grid) for channel in range(len(equation.channels))])[None]
    time = 2.0 if name == "gray_scott" else 0.4
    truth = march(equation, grid, u0, time, 400)
    errors = np.array([np.abs(march(equation, grid, u0, time, steps) - truth).max() for steps in (20, 40, 80)])
    assert errors[-1] > 1e-13, "rounding must not decide"
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 4, atol=0.4)
    assert np.abs(truth - u0).max() > 0.1, "something must have happened"


def potential_flow(grid: PeriodicGrid, time: float, viscosity: float) -> np.ndarray:
    """-2 nu grad log phi; phi = 2 + cos(x + y) e^(-2 nu t) + sin(x - 2 y) e^(-5 nu t) / 2 spreads like heat."""
    y, x = grid.points[:, None], grid.points
    one, two = np.exp(-2 * viscosity * time), np.exp(-5 * viscosity * time) / 2
    phi = 2 + one * np.cos(x + y) + two * np.sin(x - 2 * y)
    by_x = -one * np.sin(x + y) + two * np.cos(x - 2 * y)
    by_y = -one * np.sin(x + y) - 2 * two * np.cos(x - 2 * y)
    return -2 * viscosity * np.stack([by_x, by_y]) / phi


def test_burgers_in_the_plane_has_the_potential_flow_of_cole_and_hopf() -> None:
    grid, viscosity = PeriodicGrid(64, 2 * np.pi, 2), 0.5
    u0, truth = (potential_flow(grid, time, viscosity) for time in (0.0, 0.5))
    u = march(burgers_2d(viscosity=viscosity), grid, u0[None], 0.5, 100)[0]
    assert np.abs(u - truth).max() < 2e-9 * np.abs(truth).max()
    assert np.abs(truth - u0).max() > 0.3


def test_burgers_in_the_plane_keeps_a_curl_of_zero() -> None:
    grid, psi = PeriodicGrid(20, 2 * np.pi, 2), Waves(0, 2 * np.pi)
    by_y, by_x = grid.derivative
    modes = grid.to_modes(np.stack([psi.at(grid, x=1), psi.at(grid, y=1)])[None])
    rate = burgers_2d(viscosity=0.5).nonlinear(modes, grid)
    curl = grid.to_points(by_x * rate[:, 1] - by_y * rate[:, 0])
    assert np.abs(curl).max() < 1e-12 * np.abs(grid.to_points(by_x * rate[:, 0])).max()


LINES = {
    "heat": (heat(diffusivity=0.3), heat_2d(diffusivity=0.3)),
    "allen_cahn": (allen_cahn(diffusivity=0.3, rate=2.0), allen_cahn_2d(diffusivity=0.3, rate=2.0)),
    "burgers": (burgers(viscosity=0.3), burgers_2d(viscosity=0.3)),
}


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize("name", LINES)
def test_fields_of_one_coordinate_follow_the_equation_of_the_line(name: str, along: str) -> None:
    line, plane = LINES[name]
    grid, on_line = PeriodicGrid(32, 3.0, 2), PeriodicGrid(32, 3.0)
    x = 2 * np.pi / 3 * on_line.points
    u = 0.3 + np.cos(x) - 0.4 * np.sin(2 * x + 1)
    modes = on_line.to_modes(u)[None, None]
    rate = line.symbol(on_line.wavenumbers) * modes
    rate += 0 if line.nonlinear is None else line.nonlinear(modes, on_line)
    expected = on_line.to_points(rate)[0, 0]

    fields = np.zeros((1, len(plane.channels), 32, 32))
    moving = 1 if along == "y" and name == "burgers" else 0
    fields[0, moving] = u if along == "x" else u[:, None]
    modes = grid.to_modes(fields)
    rate = plane.symbol(*grid.wavevector) * modes
    rate += 0 if plane.nonlinear is None else plane.nonlinear(modes, grid)
    found = grid.to_points(rate)[0]
    np.testing.assert_allclose(
        found[moving],
        np.broadcast_to(expected if along == "x" else expected[:, None], (32, 32)),
        atol=1e-12 * np.abs(expected).max(),
    )
    assert np.abs(np.delete(found, moving, axis=0)).max(initial=0) < 1e-12


def test_heat_in_the_plane_has_its_closed_form() -> None:
    grid, equation, d, time = PeriodicGrid(20, 3.0, 2), heat_2d(diffusivity=0.2), 0.2, 0.6
    k = 2 * np.pi / 3
    y, x = grid.points[:, None], grid.points
    wave = np.cos(k * (2 * x - 3 * y)) + 4 + 0 * y
    truth = np.exp(-d * 13 * k**2 * time) * np.cos(k * (2 * x - 3 * y)) + 4
    for u in (exact_solution(equation, grid, wave[None, None], time), solve(equation, grid, wave[None, None], [time])):
        np.testing.assert_allclose(u.reshape(20, 20), truth, atol=1e-12)
    rough = np.random.default_rng(0).standard_normal((3, 1, 20, 20))
    both = exact_solution(equation, grid, exact_solution(equation, grid, rough, 0.01), 0.02)
    np.testing.assert_allclose(both, exact_solution(equation, grid, rough, 0.03), atol=1e-12)


def test_gray_scott_keeps_its_states_of_rest() -> None:
    """(1, 0), and for F >= 4 (F + k)^2 that of u v = F + k, F (1 - u) = (F + k) v."""
    equation, grid, feed, kill = gray_scott(feed=0.04, kill=0.03), PeriodicGrid(8, 1.0, 2), 0.04, 0.03
    u = (1 - np.sqrt(1 - 4 * (feed + kill) ** 2 / feed)) / 2
    for state in ((1.0, 0.0), (u, (feed + kill) / u)):
        fields = np.ones((1, 2, 8, 8)) * np.array(state)[:, None, None]
        modes = grid.to_modes(fields)
        rate = grid.to_points(equation.symbol(*grid.wavevector) * modes + equation.nonlinear(modes, grid))
        assert np.abs(rate).max() < 1e-13
        np.testing.assert_allclose(march(equation, grid, fields, 50.0, 50), fields, atol=1e-12)


def test_gray_scott_sum_follows_a_linear_law_without_kill_and_with_one_diffusivity() -> None:
    """Then (u + v - 1)_t = D Lap (u + v) - F (u + v - 1) whatever the reaction, but for k v: k is tiny here."""
    equation = gray_scott(feed=0.2, kill=1e-15, diffusivity_u=0.01, diffusivity_v=0.01)
    grid = PeriodicGrid(24, 2 * np.pi, 2)
    u0 = np.stack([Waves(channel, grid.extent).at(grid) for channel in (0, 1)])[None]
    u = march(equation, grid, u0, 2.0, 40)
    total = u0.sum(axis=1) - 1
    k = grid.wavevector[0] ** 2 + grid.wavevector[1] ** 2
    truth = 1 + grid.to_points(np.exp(-(0.2 + 0.01 * k) * 2.0) * grid.to_modes(total))
    np.testing.assert_allclose(u.sum(axis=1), truth, atol=1e-9)
    assert np.abs(u - u0).max() > 0.3


@pytest.mark.parametrize("pair", [(0.03, 0.062), (0.098, 0.057)])
def test_gray_scott_spots_grow(pair: tuple[float, float]) -> None:
    equation, grid = gray_scott(feed=pair[0], kill=pair[1]), PeriodicGrid(80, 0.8, 2)
    u0 = INITIAL_CONDITIONS["spots"][0](grid, [0], seed=0, channels=2, count=2, width=0.05)
    u = march(equation, grid, u0, 200.0, 100)[0]
    assert u[1].max() > 0.3 and u.min() > -1e-3 and u[0].max() < 1.001


PLANE = ("heat_2d", "allen_cahn_2d", "burgers_2d", "gray_scott")


@pytest.mark.parametrize("name", PLANE)
def test_equation_of_the_plane_says_what_it_is(name: str) -> None:
    equation = equation_named(name)()
    assert equation.name == name and equation.num_dims == 2 and equation.formula.isascii() and not equation.steady
    draw = INITIAL_CONDITIONS[equation.initial_condition][0]
    grid = PeriodicGrid(128, equation.extent, 2)
    u0 = draw(grid, [0], seed=0, channels=len(equation.channels), **equation.initial_parameters)
    symbol = equation.symbol(*grid.wavevector)
    assert np.broadcast_to(symbol, (len(equation.channels), *grid.modes_shape)).real.max() < 2
    modes = grid.to_modes(u0)
    rate = symbol * modes + (0 if equation.nonlinear is None else equation.nonlinear(modes, grid))
    assert rate.shape == modes.shape and np.abs(grid.to_points(rate)).max() > 1e-3
    assert equation.front_width(u0, grid, equation.time) > 0


def test_front_widths_in_the_plane() -> None:
    grid = PeriodicGrid(64, 2 * np.pi, 2)
    u0 = np.zeros((1, 2, 64, 64))
    u0[:, 1] = 3 * np.sin(grid.points)[:, None]
    assert burgers_2d(viscosity=0.1).front_width(u0, grid, 1.0) == pytest.approx(4 * 0.1 / 6, rel=1e-3)
    assert burgers_2d(viscosity=0.1).front_width(u0, grid, 0.1) == np.inf
    assert burgers_2d(viscosity=0.1).front_width(np.swapaxes(u0, 2, 3), grid, 1.0) == np.inf, "v(x) only shears"
    assert allen_cahn_2d(diffusivity=0.02, rate=1.0).front_width(u0[:, 1:], grid, 5.0) == pytest.approx(0.2)
    assert allen_cahn_2d().front_width(1e-3 * u0[:, 1:], grid, 5.0) == np.inf


@pytest.mark.parametrize(
    ("name", "argument", "value", "message"),
    [
        ("heat_2d", "diffusivity", 0.0, "heat: `diffusivity` must be a finite number above 0; got 0.0. Backward"),
        ("allen_cahn_2d", "diffusivity", -1.0, "allen_cahn: `diffusivity` must be a finite number above 0"),
        ("allen_cahn_2d", "rate", np.inf, "allen_cahn: `rate` must be a finite number above 0"),
        ("burgers_2d", "viscosity", 0.0, "burgers: `viscosity` must be a finite number above 0"),
        ("gray_scott", "feed", 0.0, "gray_scott: `feed` must be a finite number above 0"),
        ("gray_scott", "kill", "fast", "gray_scott: `kill` must be a finite number above 0"),
        ("gray_scott", "diffusivity_u", -1.0, "gray_scott: `diffusivity_u` must be a finite number above 0"),
        ("gray_scott", "diffusivity_v", np.nan, "gray_scott: `diffusivity_v` must be a finite number above 0"),
    ],
)
def test_equations_of_the_plane_refuse_bad_parameters(name: str, argument: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equation_named(name)(**{argument: value})
