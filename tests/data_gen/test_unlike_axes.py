"""Grids whose axes differ in points and length: transforms, random fields, solutions, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_gen import (
    CellGrid,
    DatasetSpec,
    PeriodicGrid,
    advection,
    generate,
    navier_stokes,
    open_dataset,
    resample,
    solve,
    validate,
)
from data_gen.cli.flags import UsageError
from data_gen.cli.generate import generate_command
from data_gen.equation import Equation
from data_gen.grids.grid import Grid
from data_gen.grids.periodic import spectral_tail
from data_gen.plot import plot_dataset
from data_gen.random_fields import (
    gaussian_random_field,
    piecewise_constant,
    sines,
    spots,
    truncated_fourier,
    two_valued,
)

GRID = PeriodicGrid.by_axis((24, 40), (1.0, 3.0))


def wave(grid: PeriodicGrid, ky: int, kx: int) -> np.ndarray:
    """A wave of so many periods along each axis."""
    (y, x), (height, length) = grid.axis_points, grid.extents
    return np.cos(2 * np.pi * (ky * y[:, None] / height + kx * x / length) + 0.3)


def test_axes_that_are_alike_make_the_same_grid() -> None:
    assert PeriodicGrid.by_axis((8, 8), (2.0, 2.0)) == PeriodicGrid(8, 2.0, 2) and PeriodicGrid(8, 2.0, 2).alike
    assert GRID.shape == (24, 40) and GRID.extents == (1.0, 3.0) and GRID.size == 960 and not GRID.alike
    assert replace(GRID, num_points=80).shape == (48, 80) and replace(GRID, num_points=32).shape == (20, 32)
    with pytest.raises(ValueError, match=r"there must be one number an axis, 2; got \(4, 5, 6\)"):
        Grid(6, 1.0, 2, (4, 5, 6))


def test_derivatives_and_tails_by_axis() -> None:
    u = wave(GRID, 3, 5)
    along_y, along_x = (GRID.to_points(factor * GRID.to_modes(u)) for factor in GRID.derivative)
    shifted = np.sin(2 * np.pi * (3 * GRID.axis_points[0][:, None] + 5 * GRID.axis_points[1] / 3) + 0.3)
    np.testing.assert_allclose(along_y, -6 * np.pi * shifted, atol=1e-11)
    np.testing.assert_allclose(along_x, -10 / 3 * np.pi * shifted, atol=1e-11)
    assert spectral_tail(u, 2) < 1e-12
    assert spectral_tail(wave(GRID, 12, 0), 2) > 0.5 and spectral_tail(wave(GRID, 0, 20), 2) > 0.5


@pytest.mark.parametrize("new", [(48, 80), (24, 80), (12, 64), (30, 20), (23, 41)])
def test_resampling_takes_each_axis_to_its_own_points(new: tuple[int, int]) -> None:
    other = PeriodicGrid.by_axis(new, GRID.extents)
    np.testing.assert_allclose(resample(wave(GRID, 3, -5), new, 2), wave(other, 3, -5), atol=1e-13)


@pytest.mark.parametrize("draw", [gaussian_random_field, truncated_fourier, sines])
def test_a_sample_is_the_same_field_on_more_points_of_one_axis(draw) -> None:
    fine = PeriodicGrid.by_axis((48, 40), (1.0, 3.0))
    law = {"gamma": 12.0, "tau": 30.0, "sigma": 30.0**11} if draw is gaussian_random_field else {}
    coarse, finer = (draw(grid, [0, 1], seed=3, **law) for grid in (GRID, fine))
    np.testing.assert_allclose(coarse, finer[..., ::2, :], atol=5e-3 * np.abs(finer).max())


@pytest.mark.parametrize(("draw", "channels"), [(piecewise_constant, 1), (spots, 2)])
def test_pieces_and_spots_are_stretched_with_the_box(draw, channels: int) -> None:
    """They are laws of x / L: on 48 x 80 points of one box, those on 80 x 80 of another at the common places."""
    law = {"width": 0.2} if draw is spots else {}
    square, other = PeriodicGrid(80, 1.0, 2), PeriodicGrid.by_axis((40, 80), (2.0, 5.0))
    a, b = (draw(grid, [2], seed=1, channels=channels, **law) for grid in (square, other))
    np.testing.assert_allclose(a[..., ::2, :], b, atol=1e-12)


def test_coefficients_on_cells_of_unlike_axes_share_their_low_modes() -> None:
    square, other = CellGrid(32), CellGrid.by_axis((32, 96), (1.0, 1.0))
    a, b = (two_valued(grid, [0], seed=0, gamma=6.0)[0, 0] for grid in (square, other))
    assert (a == b[:, 1::3]).mean() > 0.97


def test_diffusion_on_a_rectangle_is_exact() -> None:
    law = Equation.parse("u_t = 0.1*lap(u) - u^3 + u^3", num_dims=2)
    u0, rate = wave(GRID, 2, 3), 0.1 * (2 * np.pi) ** 2 * (4 + 1)
    (u,) = solve(law, GRID, u0[None, None], [0.5])[:, 0, 0]
    np.testing.assert_allclose(u, np.exp(-0.5 * rate) * u0, atol=1e-12)


def test_a_flow_along_x_is_the_same_on_a_longer_box() -> None:
    """Two periods of a flow on (2, 1) are the flow on (1, 1)."""
    square, twice = PeriodicGrid(32, 1.0, 2), PeriodicGrid.by_axis((64, 32), (2.0, 1.0))
    w0 = truncated_fourier(square, [0], seed=0)
    law = navier_stokes(viscosity=5e-3, forcing=0.0)
    once = solve(law, square, w0, [0.5], tolerance=1e-9)
    both = solve(law, twice, np.tile(w0, (1, 1, 2, 1)), [0.5], tolerance=1e-9)
    np.testing.assert_allclose(both, np.tile(once, (1, 1, 1, 2, 1)), atol=1e-7 * np.abs(once).max())


@pytest.mark.parametrize(
    "words",
    [
        "heat --num-dims 2 --resolution 16,32 --extent 1,2",
        "navier_stokes --resolution 24,48 --extent 1,2 --times 0.5 1 --viscosity 0.01",
        "kolmogorov_flow --resolution 24,48 --extent 3,6 --times 0.2 --viscosity 0.1",
        "darcy --resolution 16,24 --extent 2,3",
        "darcy --resolution 17,33 --extent 1,2 --placement nodes",
        "wave --num-dims 3 --resolution 8,12,10 --extent 1,2,3 --initial-parameters max_mode=3",
    ],
)
def test_files_on_rectangles_are_generated_validated_and_drawn(tmp_path: Path, words: str) -> None:
    out = tmp_path / "a.h5"
    generate_command([*words.split(), "--samples", "2", "--out", str(out)])
    assert validate(out, truth=True).ok and plot_dataset(out).exists()
    with open_dataset(out) as data:
        assert data.spec is not None and DatasetSpec.from_dict(data.spec.to_dict()) == data.spec
        assert data.grid == data.spec.grid and not data.grid.alike
    generate(data.spec, out, resume=True, progress=False)


def test_equal_numbers_for_all_axes_are_the_same_description() -> None:
    one = DatasetSpec("heat", num_dims=2, resolution=32, extent=1.0)
    assert DatasetSpec("heat", num_dims=2, resolution=(32, 32), extent=[1, 1]).config_hash == one.config_hash


def test_wrong_numbers_of_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`resolution` must be one number, or one for each of 2 axes \(x last\); got"):
        DatasetSpec("heat", num_dims=2, resolution=(8, 8, 8))
    with pytest.raises(ValueError, match="`extent` must be a finite number above 0; got -1"):
        DatasetSpec("heat", num_dims=2, extent=(1, -1))
    with pytest.raises(ValueError, match="vortices: `extent` must be the same along both axes"):
        spec = DatasetSpec("navier_stokes", {"forcing": 0}, initial_condition="vortices", extent=(1, 2), resolution=32)
        generate(spec, "never.h5", progress=False)
    with pytest.raises(ValueError, match="beltrami: `extent` must be the same along all axes"):
        spec = DatasetSpec("navier_stokes_3d", initial_condition="beltrami", extent=(1, 2, 2), resolution=16)
        generate(spec, "never.h5", progress=False)
    with pytest.raises(UsageError, match="`--resolution` must be a whole number, or one an axis, x last"):
        generate_command(["heat", "--resolution", "8,a", "--out", "never.h5"])


def test_advection_moves_along_axes_of_unlike_lengths() -> None:
    grid = PeriodicGrid.by_axis((16, 32), (1.0, 3.0))
    y, x = np.meshgrid(*grid.axis_points, indexing="ij")

    def wave(time: float) -> np.ndarray:
        return np.sin(2 * np.pi * (x - 0.7 * time) / 3 + 4 * np.pi * (y - 0.4 * time))

    law = advection(num_dims=2, speed=0.7, speed_y=0.4)
    assert law.exact is not None
    np.testing.assert_allclose(law.exact(wave(0.0)[None, None], grid, 2.3)[0, 0], wave(2.3), atol=1e-12)
    np.testing.assert_allclose(solve(law, grid, wave(0.0)[None, None], [2.3])[0, 0, 0], wave(2.3), atol=1e-12)
