"""Each equation against an independent truth: a solution by hand, an equation it contains, or what it conserves."""

from __future__ import annotations

import itertools
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from data_gen import (
    DatasetSpec,
    PeriodicGrid,
    advection,
    cahn_hilliard,
    cole_hopf,
    dispersion,
    fitzhugh_nagumo,
    generate,
    gradient_kuramoto_sivashinsky,
    gray_scott,
    hyper_diffusion,
    kdv,
    kdv_burgers,
    kdv_burgers_front,
    kolmogorov_flow,
    kuramoto_sivashinsky,
    navier_stokes,
    open_dataset,
    solve,
    swift_hohenberg,
    wave,
    zakharov_kuznetsov,
)
from data_gen.random_fields import truncated_fourier
from data_gen.sample_fields import initial_fields

LINE, PLANE = PeriodicGrid(32, 2 * np.pi), PeriodicGrid(32, 2 * np.pi, 2)


def test_a_dispersed_wave_moves_at_its_own_speed() -> None:
    u = solve(dispersion(dispersion=0.3), LINE, np.cos(3 * LINE.points)[None, None], [0.7])[0, 0, 0]
    np.testing.assert_allclose(u, np.cos(3 * (LINE.points + 0.3 * 9 * 0.7)), atol=1e-12)


@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_hyper_diffusion_damps_by_the_fourth_power(num_dims: int) -> None:
    grid = PeriodicGrid(8, 2 * np.pi, num_dims)
    u0 = np.cos(2 * sum(np.meshgrid(*[grid.points] * num_dims, indexing="ij")))[None, None]
    u = solve(hyper_diffusion(diffusivity=0.01, num_dims=num_dims), grid, u0, [1.5])[:, 0]
    np.testing.assert_allclose(u, np.exp(-0.01 * (4 * num_dims) ** 2 * 1.5) * u0, atol=1e-13)


@pytest.mark.parametrize("num_dims", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_standing_wave(num_dims: int) -> None:
    grid, equation = PeriodicGrid(8, 2 * np.pi, num_dims), wave(speed=0.5, num_dims=num_dims)
    shape = np.cos(sum(np.meshgrid(*[grid.points] * num_dims, indexing="ij")))
    rate, time = 0.5 * num_dims**0.5, 1.3
    u0 = np.stack([shape, 0 * shape])[None]
    expected = np.stack([np.cos(rate * time) * shape, -rate * np.sin(rate * time) * shape])
    assert equation.exact is not None
    np.testing.assert_allclose(equation.exact(u0, grid, time)[0], expected, atol=1e-13)
    stepped = solve(equation, grid, u0, [time], tolerance=1e-9)[0, 0]
    np.testing.assert_allclose(stepped, expected, atol=1e-8)
    drift = np.stack([0 * shape, 1 + 0 * shape])[None]
    np.testing.assert_allclose(equation.exact(drift, grid, 2.0)[0, 0], 2.0, atol=1e-13)


@pytest.mark.parametrize("num_dims", [1, 2])
def test_a_mixture_separates_with_its_mean_and_less_energy(num_dims: int) -> None:
    equation, grid = cahn_hilliard(stiffness=0.2, num_dims=num_dims), PeriodicGrid(32, 2 * np.pi, num_dims)
    u0 = 0.1 + truncated_fourier(grid, [0], seed=1, max_mode=3, amplitude=0.4)
    u = solve(equation, grid, u0, [0.0, 0.2, 0.5, 1.0], tolerance=1e-7)[0, :, 0]

    def energy(field: np.ndarray) -> float:
        modes = grid.to_modes(field)
        slopes = sum(grid.to_points(d * modes) ** 2 for d in grid.derivative)
        return float(((field**2 - 1) ** 2 / 4 + 0.2 * slopes / 2).mean())

    np.testing.assert_allclose(u.reshape(4, -1).mean(axis=1), u0.mean(), atol=1e-12)
    energies = [energy(field) for field in u]
    assert all(later < earlier for earlier, later in itertools.pairwise(energies))
    small = 1e-6 * np.cos(2 * grid.points) + np.zeros(grid.shape)
    grown = solve(equation, grid, small[None, None], [0.5], tolerance=1e-9)[0, 0, 0]
    np.testing.assert_allclose(grown, np.exp((4 - 0.2 * 16) * 0.5) * small, atol=1e-14)


def test_the_slope_of_the_gradient_form_solves_the_derivative_form() -> None:
    grid = PeriodicGrid(64, 16.0)
    h0 = truncated_fourier(grid, [0], seed=1, max_mode=4)

    def slope(h: np.ndarray) -> np.ndarray:
        return grid.to_points(grid.derivative[0] * grid.to_modes(h))

    h = solve(gradient_kuramoto_sivashinsky(), grid, h0, [2.0], tolerance=1e-9)[:, 0]
    u = solve(kuramoto_sivashinsky(), grid, slope(h0), [2.0], tolerance=1e-9)[:, 0]
    np.testing.assert_allclose(slope(h), u, atol=1e-7)
    assert h.mean() < h0.mean()


@pytest.mark.parametrize("num_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_sideways_waves_contain_those_of_a_line(num_dims: int) -> None:
    line = PeriodicGrid(16, 16.0)
    start = np.sin(2 * np.pi * line.points / 16)
    truth = solve(kdv(nonlinearity=2.0, dispersion=1.0), line, start[None, None], [0.5], tolerance=1e-8)[0, 0, 0]
    grid = PeriodicGrid(16, 16.0, num_dims)
    u0 = np.broadcast_to(start, grid.shape)[None, None]
    u = solve(zakharov_kuznetsov(nonlinearity=2.0, num_dims=num_dims), grid, u0, [0.5], tolerance=1e-8)[0, 0, 0]
    np.testing.assert_allclose(u, np.broadcast_to(truth, grid.shape), atol=1e-6)


def test_sideways_waves_conserve_mean_and_energy() -> None:
    grid = PeriodicGrid(48, 16.0, 2)
    u0 = 0.5 + truncated_fourier(grid, [0], seed=1, max_mode=2, amplitude=0.5)
    u = solve(zakharov_kuznetsov(), grid, u0, [1.0], tolerance=1e-7)[:, 0]
    assert abs(u.mean() - u0.mean()) < 1e-12 and abs((u**2).mean() - (u0**2).mean()) < 1e-6
    assert np.abs(u - u0).max() > 0.1


@pytest.mark.parametrize("num_dims", [1, 2])
def test_without_space_an_activator_and_its_inhibitor_follow_their_rates(num_dims: int) -> None:
    grid = PeriodicGrid(4, 2.0, num_dims)
    u0 = np.stack([np.full(grid.shape, 0.4), np.full(grid.shape, -0.2)])[None]
    u = solve(fitzhugh_nagumo(offset=0.3, num_dims=num_dims), grid, u0, [3.0], tolerance=1e-9)[0, 0]
    truth = solve_ivp(
        lambda _, w: [w[0] - w[0] ** 3 - 0.3 - w[1], w[0] - w[1]], (0, 3.0), [0.4, -0.2], rtol=1e-11, atol=1e-12
    ).y[:, -1]
    assert np.abs(u - truth.reshape(2, *(1,) * num_dims)).max() < 1e-7


def test_the_laminar_flow_of_kolmogorov_is_stationary() -> None:
    q = 4.0
    laminar = -0.8 * q / (0.05 * q**2 + 0.1) * np.cos(q * PLANE.points)[:, None] + np.zeros(PLANE.shape)
    equation = kolmogorov_flow(viscosity=0.05, forcing=0.8, drag=0.1)
    u = solve(equation, PLANE, laminar[None, None], [1.0], tolerance=1e-8)[0, 0, 0]
    np.testing.assert_allclose(u, laminar, atol=1e-6)
    slower = solve(equation, PLANE, 0.5 * laminar[None, None], [1.0], tolerance=1e-8)[0, 0, 0]
    np.testing.assert_allclose(slower, (1 - 0.5 * np.exp(-(0.05 * q**2 + 0.1))) * laminar, atol=1e-6)


def test_without_force_and_drag_the_flow_is_that_of_navier_stokes() -> None:
    w0 = truncated_fourier(PLANE, [0], seed=2, max_mode=4)
    w = [
        solve(equation, PLANE, w0, [0.5], tolerance=1e-7)
        for equation in (
            kolmogorov_flow(viscosity=0.02, forcing=0.0, drag=0.0),
            navier_stokes(viscosity=0.02, forcing=0.0),
        )
    ]
    np.testing.assert_array_equal(*w)
    with pytest.raises(ValueError, match="kolmogorov_flow: `drag` must be at least 0; got -1"):
        kolmogorov_flow(drag=-1)


@pytest.mark.slow
def test_an_unstable_flow_is_resolved_from_its_start() -> None:
    """Errors of the first modes dropped would grow to half of the field."""
    spec = DatasetSpec("kolmogorov_flow", samples=1, resolution=64, times=(12.0,))
    u0 = initial_fields(spec, np.arange(1))
    found, truth = (
        solve(spec.make_equation(), spec.periodic_grid, u0, spec.times, tolerance=tolerance)
        for tolerance in (spec.tolerance, spec.tolerance / 10)
    )
    assert np.abs(found - truth).max() < 10 * spec.tolerance * np.abs(truth).max()


@pytest.mark.slow
def test_a_typed_pattern_is_resolved_from_its_start() -> None:
    text = "u_t = 2e-5*lap(u) - u*v^2 + 0.03*(1-u); v_t = 1e-5*lap(v) + u*v^2 - 0.092*v"
    settings = {"extent": 1.25, "times": (300.0,), "initial_condition": "spots", "tolerance": 1e-5}
    spec = DatasetSpec(text, num_dims=2, samples=1, resolution=128, **settings)
    u0, law = initial_fields(spec, np.arange(1)), gray_scott()
    found = solve(spec.make_equation(), spec.periodic_grid, u0, spec.times, tolerance=1e-5, allow_unresolved=True)
    truth = solve(law, spec.periodic_grid, u0, (20.0, 300.0), tolerance=1e-6, allow_unresolved=True)[:, 1:]
    assert np.abs(found - truth).max() < 1e-4


@pytest.mark.slow
def test_a_pattern_does_not_depend_on_the_output_times(tmp_path: Path) -> None:
    """Spots grow out of modes that diffusion alone would have damped away long before the only output."""
    found = []
    for times in ((500.0,), (20.0, 500.0)):
        spec = DatasetSpec("gray_scott", samples=1, resolution=128, times=times, allow_unresolved=True)
        with open_dataset(generate(spec, tmp_path / f"{len(times)}.h5", progress=False)) as data:
            found.append(data.read("u"))
    assert np.abs(found[0] - found[1]).max() < 1e-5


@pytest.mark.parametrize("num_dims", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_rolls_grow_to_their_height_and_energy_falls(num_dims: int) -> None:
    grid, r = PeriodicGrid(16, 4 * np.pi, num_dims), 0.1
    equation = swift_hohenberg(growth=r, num_dims=num_dims)

    def energy(field: np.ndarray) -> float:
        bent = field + sum(grid.to_points(d * d * grid.to_modes(field)) for d in grid.derivative)
        return float((-r * field**2 / 2 + bent**2 / 2 + field**4 / 4).mean())

    u0 = truncated_fourier(grid, [0], seed=1, max_mode=2, amplitude=0.3)
    u = solve(equation, grid, u0, [0.0, 1.0, 4.0], tolerance=1e-6)[0, :, 0]
    energies = [energy(field) for field in u]
    assert all(later < earlier for earlier, later in itertools.pairwise(energies))
    small = 1e-6 * np.cos(1.5 * grid.points) + np.zeros(grid.shape)
    damped = solve(equation, grid, small[None, None], [0.5], tolerance=1e-9)[0, 0, 0]
    np.testing.assert_allclose(damped, np.exp((r - (1 - 1.5**2) ** 2) * 0.5) * small, atol=1e-15)
    roll = 0.1 * np.cos(grid.points) + np.zeros(grid.shape)
    grown = solve(equation, grid, roll[None, None], [100.0], tolerance=1e-5)[0, 0, 0]
    height = 2 * np.abs(grid.to_modes(grown)).max() / grown.size
    assert abs(height - (4 * r / 3) ** 0.5) < 0.01 * height  # its third harmonic is of order r


def test_a_decaying_pattern_and_a_growth_that_is_no_number() -> None:
    u = solve(swift_hohenberg(growth=-0.5), LINE, 0.5 * np.cos(LINE.points)[None, None], [20.0], tolerance=1e-8)
    assert np.abs(u).max() < 1e-4
    with pytest.raises(ValueError, match="swift_hohenberg: `growth` must be a finite number; got nan"):
        swift_hohenberg(growth=np.nan)


@pytest.mark.parametrize("dispersion", [0.01, -0.01])
def test_a_front_of_waves_keeps_its_known_shape(dispersion: float) -> None:
    nu, grid, time = 0.1, PeriodicGrid(1024, 120.0), 4.0
    height, x = 12 * nu**2 / (25 * abs(dispersion)), grid.points
    known = {"viscosity": nu, "dispersion": dispersion, "centre": 40.0}
    back = height / 2 * (1 + np.tanh((x - 100.0) / 1.5))  # far away it rises again, as the box is periodic
    u0 = kdv_burgers_front(x, 0.0, **known) + back
    u = solve(kdv_burgers(viscosity=nu, dispersion=dispersion), grid, u0[None, None], [time], tolerance=1e-9)[0, 0, 0]
    near = np.abs(x - 40) < 20
    truth = kdv_burgers_front(x[near], time, **known)
    np.testing.assert_allclose(u[near], truth, atol=1e-8)
    assert np.abs(truth - u0[near]).max() > 0.1 and abs(u.mean() - u0.mean()) < 1e-12


def test_the_front_of_waves_satisfies_its_equation() -> None:
    with mpmath.workdps(30):
        nu, d = mpmath.mpf("0.3"), mpmath.mpf("0.2")
        c = 6 * nu**2 / (25 * d)

        def u(x: mpmath.mpf, t: mpmath.mpf) -> mpmath.mpf:
            s = nu / (10 * d) * (x - c * t)
            return 3 * nu**2 / (25 * d) * (mpmath.sech(s) ** 2 + 2 - 2 * mpmath.tanh(s))

        for x in (-3.0, 0.4, 7.0):
            rate = mpmath.diff(u, (x, 0.5), (0, 1)) + u(x, 0.5) * mpmath.diff(u, (x, 0.5), (1, 0))
            rest = nu * mpmath.diff(u, (x, 0.5), (2, 0)) - d * mpmath.diff(u, (x, 0.5), (3, 0))
            assert abs(rate - rest) < 1e-12
            found = kdv_burgers_front(np.array([x]), 0.5, viscosity=0.3, dispersion=0.2)[0]
            assert abs(found - float(u(x, 0.5))) < 1e-14
    assert 0 < kdv_burgers_front(np.array([200.0]), 0.0, viscosity=0.1, dispersion=0.01)[0] < 1e-100
    with pytest.raises(ValueError, match=r"kdv_burgers_front: `abs\(dispersion\)` must be"):
        kdv_burgers_front(np.array([0.0]), 0.0, viscosity=0.1, dispersion=0.0)


def test_without_dispersion_or_viscosity_it_is_the_equation_of_the_other() -> None:
    grid, u0 = PeriodicGrid(128, 2 * np.pi), truncated_fourier(PeriodicGrid(128, 2 * np.pi), [0], seed=0, max_mode=2)
    u = solve(kdv_burgers(viscosity=0.1, dispersion=0.0), grid, u0, [1.0], tolerance=1e-9)[:, 0]
    np.testing.assert_allclose(u, cole_hopf(u0, viscosity=0.1, time=1.0, extent=2 * np.pi), atol=1e-8)
    nearly = solve(kdv_burgers(viscosity=1e-9, dispersion=0.1), grid, u0, [0.2], tolerance=1e-9)
    np.testing.assert_allclose(
        nearly, solve(kdv(nonlinearity=1.0, dispersion=0.1), grid, u0, [0.2], tolerance=1e-9), atol=1e-6
    )
    with pytest.raises(ValueError, match="kdv_burgers: `viscosity` must be a finite number above 0; got 0"):
        kdv_burgers(viscosity=0)


@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_a_field_moves_at_its_speed_along_each_axis(num_dims: int) -> None:
    grid, time = PeriodicGrid(12, 2 * np.pi, num_dims), 1.7
    speeds = dict(zip(("speed", "speed_y", "speed_z"), (1.3, -0.4, 0.7)[:num_dims], strict=False))
    equation = advection(num_dims=num_dims, **speeds)

    def wave_at(t: float) -> np.ndarray:
        axes = np.meshgrid(*[grid.points] * num_dims, indexing="ij")[::-1]
        places = [x - c * t for x, c in zip(axes, speeds.values(), strict=True)]
        return sum(((i + 1) * np.sin((i + 1) * x) for i, x in enumerate(places)), np.cos(sum(places, 0.0)))[None, None]

    assert equation.exact is not None
    np.testing.assert_allclose(equation.exact(wave_at(0.0), grid, time), wave_at(time), atol=1e-12)
    np.testing.assert_allclose(solve(equation, grid, wave_at(0.0), [time])[:, 0], wave_at(time), atol=1e-12)
    with pytest.raises(ValueError, match="advection: `speed_z` must be 0 in 1 dimensions; got 2.0"):
        advection(speed_z=2.0)
