"""The solver in two dimensions and with several components: known answers, its grid, and samples of their own."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import Equation, PeriodicGrid, burgers, cole_hopf, navier_stokes, solve
from data_gen.errors import SolverDiverged
from data_gen.solvers.discretization import Discretization
from data_gen.solvers.integrator import Integrator
from data_gen.solvers.resolution_monitor import lasting_share
from data_gen.solvers.schemes import SCHEMES, StepCache
from data_gen.solvers.settings import Settings
from data_gen.solvers.solve import chunk_size
from data_gen.stepping.lawson import Factors, factors
from tests.data_gen.test_navier_stokes import random_flow

PLANE = PeriodicGrid(48, 2 * np.pi, 2)


def oblique_burgers(viscosity: float) -> Equation:
    """u_t + (u^2/2)_x = nu Lap u: for u(s), s = x + y, Burgers' equation with twice the viscosity."""

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        return -0.5 * grid.derivative[1] * grid.to_modes(grid.to_points(modes) ** 2)

    return Equation("oblique", {}, lambda ky, kx: -viscosity * (kx**2 + ky**2), nonlinear, num_dims=2)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4"])
@pytest.mark.parametrize(("viscosity", "tolerance"), [(0.1, 1e-9), (0.05, 1e-7)])
def test_solve_an_oblique_front_equals_cole_hopf(viscosity: float, tolerance: float, method: str) -> None:
    """The front needs more points than the data's own grid has, and they are not those of the first coarse grid."""
    s = np.add.outer(PLANE.points, PLANE.points)
    line = np.sin(PLANE.points) + 0.3 * np.cos(2 * PLANE.points)
    u0 = np.sin(s) + 0.3 * np.cos(2 * s)
    u = solve(oblique_burgers(viscosity), PLANE, u0[None, None], [0.0, 0.3, 1.0], method=method, tolerance=tolerance)
    np.testing.assert_array_equal(u[0, 0, 0], u0)
    for i, time in ((1, 0.3), (2, 1.0)):
        truth = cole_hopf(line[None, None], viscosity=2 * viscosity, time=time, extent=2 * np.pi)[0, 0]
        assert np.abs(u[0, i, 0, 0] - truth).max() < tolerance
        np.testing.assert_allclose(u[0, i, 0, 5], np.roll(u[0, i, 0, 0], -5), atol=tolerance)


def rotation(num_dims: int) -> Equation:
    """u_t = a v + d_u Lap u, v_t = -a u + d_v Lap v: two components, each with a diffusivity of its own."""

    def symbol(*k: np.ndarray) -> np.ndarray:
        square = sum(axis**2 for axis in k)
        return -np.multiply.outer(np.array([0.5, 0.02]), square)

    def nonlinear(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        return 3.0 * np.stack([modes[:, 1], -modes[:, 0]], axis=1)

    return Equation("rotation", {}, symbol, nonlinear, channels=("u", "v"), num_dims=num_dims)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4"])
@pytest.mark.parametrize("num_dims", [1, 2])
def test_solve_two_components_equals_their_matrix_exponential(num_dims: int, method: str) -> None:
    grid, equation = PeriodicGrid(24, 2 * np.pi, num_dims), rotation(num_dims)
    u0 = np.random.default_rng(0).standard_normal((3, 2, *grid.shape))
    u = solve(equation, grid, u0, [0.7], method=method, tolerance=1e-9)[:, 0]
    square = sum(k**2 for k in grid.wavevector)
    matrix = np.zeros((*grid.modes_shape, 2, 2))
    matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 0, 1], matrix[..., 1, 0] = -0.5 * square, -0.02 * square, 3, -3
    values, vectors = np.linalg.eig(0.7 * matrix)
    propagator = (vectors * np.exp(values)[..., None, :]) @ np.linalg.inv(vectors)
    truth = grid.to_points(np.einsum("...ab,sb...->sa...", propagator, grid.to_modes(u0)))
    assert np.abs(u - truth).max() < 1e-9 * np.abs(truth).max()


def test_a_sample_in_the_plane_does_not_depend_on_those_beside_it() -> None:
    grid, equation = PeriodicGrid(32, 1.0, 2), navier_stokes(viscosity=5e-3)
    w0 = random_flow(32, 8, samples=3) * np.array([1.0, 9.0, 3.0])[:, None, None, None]
    together = solve(equation, grid, w0, [0.5, 1.0], tolerance=1e-6)
    for i in range(3):
        np.testing.assert_array_equal(solve(equation, grid, w0[i : i + 1], [0.5, 1.0], tolerance=1e-6)[0], together[i])
    assert (chunk_size(1), chunk_size(2)) == (32, 1)


def test_the_adaptive_grid_follows_the_solution() -> None:
    """It grows over the front of sin, and shrinks as diffusion takes the fine modes of a rough field."""
    settings = Settings(SCHEMES["lawson7"], 1e-6, None, False)
    front = np.sin(np.add.outer(PLANE.points, PLANE.points))[None, None]
    integrator = Integrator(oblique_burgers(0.05), PLANE, front, (1.5,), settings, np.arange(1))
    integrator.start(32)
    assert integrator.law.grid.num_points == 32
    integrator.advance(1.5)
    assert integrator.law.grid.num_points > 64
    grid = PeriodicGrid(128, 2 * np.pi, 2)
    rough = random_flow(128, 40)
    integrator = Integrator(oblique_burgers(0.2), grid, rough, (1e-3, 5.0), settings, np.arange(1))
    integrator.start(32)
    integrator.advance(1e-3)
    first = integrator.law.grid.num_points
    integrator.advance(5.0)
    assert integrator.law.grid.num_points < first


def test_a_truncation_rate_adds_up_as_the_linear_part_damps_it() -> None:
    law = Discretization(oblique_burgers(0.3), PeriodicGrid(32, 2 * np.pi, 2))
    lasting = np.asarray(lasting_share(law, 0.25))
    rates = 0.3 * (law.fine.wavevector[0] ** 2 + law.fine.wavevector[1] ** 2).reshape(-1)
    times = np.linspace(0, 0.25, 4001)
    for mode in (0, 1, 40):
        assert lasting[mode] == pytest.approx(np.trapezoid(np.exp(-rates[mode] * times), times), rel=1e-6)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4"])
def test_solve_names_the_sample_of_the_plane_that_blows_up(method: str) -> None:
    grid = PeriodicGrid(32, 1.0, 2)
    blow_up = Equation(
        "blow_up", {}, lambda ky, kx: 0.0 * (ky + kx), lambda m, on: on.to_modes(on.to_points(m) ** 2), num_dims=2
    )
    u0 = np.stack([np.full((1, 32, 32), 1.0), np.full((1, 32, 32), 0.1)])
    with pytest.raises(SolverDiverged, match=r"solve: blow_up diverged at t = (0\.99|1)\S* near sample 40"):
        solve(blow_up, grid, u0, [2.0], method=method, tolerance=1e-6, first_sample=40)


def test_solve_refuses_four_dimensions_and_other_shapes() -> None:
    space = Equation("space", {}, lambda *k: -sum(a**2 for a in k), lambda m, on: m, num_dims=4)
    with pytest.raises(ValueError, match="`grid` must have at most 3 dimensions; got 4"):
        solve(space, PeriodicGrid(4, 1.0, 4), np.zeros((1, 1, 4, 4, 4, 4)), [1.0])
    with pytest.raises(ValueError, match=r"`u0` must have shape \(samples, 1, 8, 8\); got \(1, 8, 8\)"):
        solve(navier_stokes(), PeriodicGrid(8, 1.0, 2), np.zeros((1, 8, 8)), [1.0])
    with pytest.raises(ValueError, match="`grid` must have 1 dimensions; got 2"):
        solve(burgers(), PLANE, np.zeros((1, 1, 48, 48)), [1.0])


def test_step_cache_keeps_the_last_within_its_bytes() -> None:
    made: list[float] = []

    def make(symbol: np.ndarray, step: float) -> Factors:
        made.append(step)
        return factors(symbol, step)

    symbol = -np.arange(100.0)
    size = symbol.nbytes * 22  # itself, and ten factors of two kinds and one
    cache = StepCache(make, limit=int(2.5 * size))
    first = cache(symbol, 1.0)
    assert cache(symbol, 1.0) is first and cache(symbol.copy(), 1.0) is first and made == [1.0]
    cache(symbol, 2.0)
    assert cache(symbol, 1.0) is first and cache.bytes == 2 * size
    cache(symbol, 3.0)  # in the place of 2, used longest ago
    assert cache(symbol, 1.0) is first and cache.bytes == 2 * size and made == [1.0, 2.0, 3.0]
    assert cache(symbol.reshape(2, 50), 1.0).full.shape == (2, 50) and made[3:] == [1.0]
    cache(symbol, 3.0)
    assert made[4:] == [3.0]
    cache(np.zeros(1000), 1.0)
    assert len(cache.kept) == 1
