"""Flows in space: the operators on vectors, the balance of energy, flows in the plane, and published dissipation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, PeriodicGrid, abc_flow, generate, navier_stokes, navier_stokes_3d, solve, validate
from data_gen.cli.generate import generate_command
from data_gen.grids.vectors import cross, curl, solenoidal
from data_gen.random_fields import truncated_fourier
from data_gen.sample_fields import initial_fields

GRID = PeriodicGrid(16, 2 * np.pi, 3)
Z, Y, X = np.meshgrid(*[GRID.points] * 3, indexing="ij")


def random_flow(grid: PeriodicGrid = GRID, *, seed: int = 0, max_mode: int = 2) -> np.ndarray:
    """``(1, 3, N, N, N)``, without divergence."""
    u = truncated_fourier(grid, [0], seed=seed, channels=3, max_mode=max_mode)
    return grid.to_points(solenoidal(grid.to_modes(u), grid))


def divergence(u: np.ndarray, grid: PeriodicGrid = GRID) -> np.ndarray:
    modes = grid.to_modes(u)
    return grid.to_points(sum(d * modes[:, a] for a, d in enumerate(reversed(grid.derivative))))


def spin_of(u: np.ndarray, grid: PeriodicGrid = GRID) -> np.ndarray:
    return grid.to_points(curl(grid.to_modes(u), grid))


def test_the_curl_and_the_product_have_their_components_in_order() -> None:
    flow = np.stack([np.sin(Y), np.sin(2 * Z), np.sin(3 * X)])[None]
    expected = np.stack([-2 * np.cos(2 * Z), -3 * np.cos(3 * X), -np.cos(Y)])[None]
    np.testing.assert_allclose(spin_of(flow), expected, atol=1e-12)
    left, right = np.random.default_rng(0).normal(size=(2, 1, 3, 2, 2, 2))
    np.testing.assert_allclose(cross(left, right), np.cross(left, right, axis=1), atol=1e-14)


def test_the_projection_takes_gradients_away_and_nothing_else() -> None:
    modes = GRID.to_modes(truncated_fourier(GRID, [0], seed=1, channels=3, max_mode=7, offset=0.3))
    flow = solenoidal(modes, GRID)
    assert np.abs(divergence(GRID.to_points(modes))).max() > 1
    assert np.abs(divergence(GRID.to_points(flow))).max() < 1e-12
    np.testing.assert_allclose(curl(flow, GRID), curl(modes, GRID), atol=1e-9)
    np.testing.assert_allclose(solenoidal(flow, GRID), flow, atol=1e-10)
    np.testing.assert_allclose(GRID.to_points(flow).mean(axis=(2, 3, 4)), 0.3, atol=1e-13)
    plane = PeriodicGrid(16, 1.0, 2)
    flat = plane.to_modes(truncated_fourier(plane, [0], seed=1, channels=2))
    left = solenoidal(flat, plane)
    assert np.abs(sum(d * left[:, a] for a, d in enumerate(reversed(plane.derivative)))).max() < 1e-9


def test_the_convective_term_does_no_work_and_has_no_divergence() -> None:
    equation = navier_stokes_3d()
    u = np.random.default_rng(0).normal(size=(1, 3, 16, 16, 16))  # even where products are aliased
    u = GRID.to_points(solenoidal(GRID.to_modes(u), GRID))
    rate = GRID.to_points(equation.nonlinear(GRID.to_modes(u), GRID))
    assert np.abs(divergence(rate)).max() < 1e-11 * np.abs(rate).max()
    resolved = random_flow(max_mode=3)
    rate = GRID.to_points(equation.nonlinear(GRID.to_modes(resolved), GRID))
    work = (resolved * rate).sum(axis=1).mean()
    assert abs(work) < 1e-13 * np.abs(resolved * rate).max()
    modes = GRID.to_modes(resolved)
    carried = sum(
        resolved[:, [b]] * GRID.to_points(d * modes) for b, d in enumerate(reversed(GRID.derivative))
    )  # (U . grad) U, the other form
    expected = GRID.to_points(solenoidal(-GRID.to_modes(carried), GRID))
    np.testing.assert_allclose(rate, expected, atol=1e-11)


def test_the_energy_falls_at_twice_viscosity_times_enstrophy() -> None:
    times = np.linspace(0.0, 0.4, 5)
    grid = PeriodicGrid(32, 2 * np.pi, 3)
    u0 = random_flow(grid, seed=3, max_mode=1) + np.array([0.2, -0.1, 0.0]).reshape(1, 3, 1, 1, 1)
    u = solve(navier_stokes_3d(viscosity=0.3), grid, u0, times, tolerance=1e-5)[0]
    assert np.abs(divergence(u, grid)).max() < 1e-6  # of modes above the grid
    energy = (u**2).sum(axis=1).mean(axis=(1, 2, 3)) / 2
    enstrophy = (spin_of(u, grid) ** 2).sum(axis=1).mean(axis=(1, 2, 3)) / 2
    lost = 2 * 0.3 * 0.4 * (enstrophy * np.array([7, 32, 12, 32, 7]) / 90).sum()  # Boole's rule
    assert energy[0] - energy[-1] > 0.1
    np.testing.assert_allclose(energy[0] - energy[-1], lost, rtol=1e-4)
    np.testing.assert_allclose(u.mean(axis=(2, 3, 4)), np.broadcast_to([0.2, -0.1, 0.0], (5, 3)), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flow_that_does_not_depend_on_one_axis_is_one_of_the_plane(axis: int) -> None:
    """Its third component is carried along like a dye; the planes are (x, y), (y, z) and (z, x)."""
    plane, nu, time = PeriodicGrid(16, 2 * np.pi, 2), 0.3, 0.3
    flow = random_flow(seed=axis, max_mode=1)[:, :, 0]  # (1, 3, y, x)
    flow = plane.to_points(
        np.concatenate([solenoidal(plane.to_modes(flow[:, :2]), plane), plane.to_modes(flow[:, 2:])], 1)
    )
    flow -= flow.mean(axis=(2, 3), keepdims=True)  # the vorticity has none
    spin = vorticity(flow, plane)
    space = np.broadcast_to(flow[:, :, None], (1, 3, 16, 16, 16))
    turned = np.roll(np.moveaxis(space, (2, 3, 4), [2 + (i - axis) % 3 for i in range(3)]), axis, axis=1)
    u = solve(navier_stokes_3d(viscosity=nu), GRID, turned, [time], tolerance=1e-6)[:, 0]
    back = np.moveaxis(np.roll(u, -axis, axis=1), [2 + (i - axis) % 3 for i in range(3)], (2, 3, 4))
    np.testing.assert_allclose(back, np.broadcast_to(back[:, :, :1], back.shape), atol=1e-10)
    truth = solve(navier_stokes(viscosity=nu, forcing=0.0), plane, spin, [time], tolerance=1e-9)[:, 0]
    np.testing.assert_allclose(vorticity(back[:, :, 0], plane), truth, atol=1e-5)
    assert np.abs(truth - spin).max() > 0.1


def vorticity(flow: np.ndarray, plane: PeriodicGrid) -> np.ndarray:
    """v_x - u_y of (1, 2 or 3, y, x), with an axis for its channel."""
    modes, (d_y, d_x) = plane.to_modes(flow), plane.derivative
    return plane.to_points(d_x * modes[:, 1:2] - d_y * modes[:, :1])


def test_a_flow_along_its_own_curl_only_decays(tmp_path: Path) -> None:
    flow = abc_flow(X, Y, Z, 0.0, viscosity=0.1, amplitudes=(1.0, 0.7, 0.4), extent=2 * np.pi, mode=-2)
    np.testing.assert_allclose(spin_of(flow[None])[0], -2 * flow, atol=1e-12)
    u = solve(navier_stokes_3d(viscosity=0.1), GRID, flow[None], [0.7], tolerance=1e-8)[0, 0]
    np.testing.assert_allclose(u, np.exp(-0.1 * 4 * 0.7) * flow, atol=1e-9)
    spec = DatasetSpec("navier_stokes_3d", samples=3, resolution=16, initial_condition="beltrami")
    report = validate(generate(spec, tmp_path / "flow.h5", progress=False), truth=True)
    assert report.ok and report.truth == "known" and len(report.compared) == 3
    with pytest.raises(ValueError, match=r"abc_flow: `abs\(mode\)` must be"):
        abc_flow(X, Y, Z, 0.0, viscosity=0.1, mode=0)


@pytest.mark.parametrize("name", ["truncated_fourier", "gaussian_random_field"])
def test_random_starts_have_no_divergence(name: str) -> None:
    spec = DatasetSpec("navier_stokes_3d", samples=2, resolution=24, initial_condition=name)
    u0 = initial_fields(spec, np.arange(2))
    assert np.abs(divergence(u0, spec.periodic_grid)).max() < 1e-10 * np.abs(u0).max() and u0.std() > 0.05


def test_a_start_with_divergence_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    u0 = truncated_fourier(GRID, range(2), seed=0, channels=3)
    with pytest.raises(ValueError, match="`u0` of navier_stokes_3d must have no divergence; got a sample 0"):
        solve(navier_stokes_3d(), GRID, u0, [0.1])
    np.save(tmp_path / "start.npy", u0)
    words = ["navier_stokes_3d", "--initial-condition", str(tmp_path / "start.npy"), "--samples", "2"]
    with pytest.raises(ValueError, match="must have no divergence"):
        generate_command([*words, "--resolution", "16", "--out", str(tmp_path / "flow.h5")])
    assert [path.name for path in tmp_path.iterdir()] == ["start.npy"]
    np.save(tmp_path / "start.npy", random_flow(max_mode=1).astype(np.float32))
    generate_command(
        [*words, "--resolution", "16", "--times", "0.05", "--viscosity", "0.3", "--out", str(tmp_path / "flow.h5")]
    )
    assert (tmp_path / "flow.h5").exists()
    with pytest.raises(ValueError, match="navier_stokes_3d: `viscosity` must be a finite number above 0; got 0"):
        navier_stokes_3d(viscosity=0)


@pytest.mark.slow
def test_the_dissipation_of_the_taylor_green_vortex_is_the_published_one() -> None:
    """At the Reynolds number 100. Read off the figure of Brachet et al. (1983), J. Fluid Mech. 130, 411-452."""
    grid, times = PeriodicGrid(32, 2 * np.pi, 3), (0.0, 2.5, 4.0, 4.9, 6.0, 7.4)
    z, y, x = np.meshgrid(*[grid.points] * 3, indexing="ij")
    u0 = np.stack([np.sin(x) * np.cos(y) * np.cos(z), -np.cos(x) * np.sin(y) * np.cos(z), 0 * x])[None]
    u = solve(navier_stokes_3d(viscosity=0.01), grid, u0, times, tolerance=1e-3, allow_unresolved=True)[0]  # on 64^3
    dissipation = 0.01 * (spin_of(u, grid) ** 2).sum(axis=1).mean(axis=(1, 2, 3))
    assert abs(dissipation[0] - 0.0075) < 1e-12
    np.testing.assert_allclose(dissipation[1:], [0.0103, 0.0126, 0.0130, 0.0123, 0.0100], rtol=0.02)
