"""The grid, and resampling against fields whose values are known everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import PeriodicGrid, resample
from data_gen.grids.periodic import spectral_tail


def trigonometric(num_points: int, extent: float, modes: int, *, shift: float = 0.0) -> np.ndarray:
    """A fixed field of ``modes`` modes at x_j = j L / n + shift."""
    x = 2 * np.pi * (np.arange(num_points) / num_points + shift / extent)
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((2, modes + 1))
    return sum(a[k] * np.cos(k * x) + b[k] * np.sin(k * x) for k in range(modes + 1))


def test_grid_leaves_out_the_right_end() -> None:
    grid = PeriodicGrid(8, 2.0)
    np.testing.assert_array_equal(grid.points, np.arange(8) * 0.25)
    assert grid.spacing == 0.25
    np.testing.assert_array_equal(PeriodicGrid(64, 2.0).points[::8], grid.points)


def test_grid_wavenumbers_differentiate_a_sine() -> None:
    grid = PeriodicGrid(32, 3.0)
    k = 2 * np.pi / 3.0
    slope = grid.to_points(grid.derivative[0] * grid.to_modes(np.sin(5 * k * grid.points)))
    np.testing.assert_allclose(slope, 5 * k * np.cos(5 * k * grid.points), atol=1e-12)


def test_grid_of_two_dimensions_differentiates_along_each_axis() -> None:
    grid = PeriodicGrid(16, 2 * np.pi, 2)
    y, x = np.meshgrid(grid.points, grid.points, indexing="ij")
    modes = grid.to_modes(np.sin(3 * y) * np.cos(2 * x))
    np.testing.assert_allclose(
        grid.to_points(grid.derivative[0] * modes), 3 * np.cos(3 * y) * np.cos(2 * x), atol=1e-12
    )
    np.testing.assert_allclose(
        grid.to_points(grid.derivative[1] * modes), -2 * np.sin(3 * y) * np.sin(2 * x), atol=1e-12
    )
    assert grid.dealias_mask.shape == grid.modes_shape == (16, 9)


def test_grid_dealias_mask_keeps_two_thirds() -> None:
    assert PeriodicGrid(96).dealias_mask.sum() == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "`num_points` must be an integer of at least 2; got 1"),
        ((8.5,), "`num_points` must be an integer"),
        ((8, 0.0), "`extent` must be a finite number above 0"),
        ((8, float("nan")), "`extent` must be a finite number above 0; got nan"),
        ((8, 1.0, 0), "`num_dims` must be an integer of at least 1"),
    ],
)
def test_grid_refuses_bad_arguments(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PeriodicGrid(*arguments)


@pytest.mark.parametrize(("n", "m"), [(16, 64), (64, 16), (15, 40), (40, 15), (16, 17), (17, 16), (30, 45)])
def test_resample_is_exact_for_a_band_limited_field(n: int, m: int) -> None:
    modes = (min(n, m) - 1) // 2
    expected = trigonometric(m, 1.0, modes)
    np.testing.assert_allclose(resample(trigonometric(n, 1.0, modes), m), expected, atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(16, 64), (64, 16)])
def test_resample_is_not_off_by_one_point(n: int, m: int) -> None:
    moved = trigonometric(m, 1.0, 5, shift=1.0 / max(n, m))
    assert np.abs(resample(trigonometric(n, 1.0, 5), m) - moved).max() > 0.1


def test_resample_downwards_takes_every_second_point_even_at_nyquist() -> None:
    x = 2 * np.pi * np.arange(32) / 32
    u = 1.5 + np.cos(8 * x + 0.3) + np.sin(3 * x)
    np.testing.assert_allclose(resample(u, 16), u[::2], atol=1e-12)


def test_resample_upwards_keeps_the_points_and_splits_nyquist() -> None:
    u = np.cos(np.pi * np.arange(8))
    finer = resample(u, 32)
    np.testing.assert_allclose(finer[::4], u, atol=1e-12)
    np.testing.assert_allclose(finer, np.cos(4 * 2 * np.pi * np.arange(32) / 32), atol=1e-12)
    np.testing.assert_allclose(resample(finer, 8), u, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resample_keeps_the_dtype_and_leading_axes(dtype: type) -> None:
    u = np.ones((2, 3, 8), dtype=dtype)
    finer = resample(u, 20)
    assert finer.dtype == dtype and finer.shape == (2, 3, 20)
    assert resample(u, 8) is not u


def test_resample_refuses_bad_arguments() -> None:
    with pytest.raises(TypeError, match="`u` must be a real floating array; got dtype complex128"):
        resample(np.ones(4, dtype=complex), 8)
    with pytest.raises(ValueError, match="`num_points` must be an integer of at least 1; got 0"):
        resample(np.ones(4), 0)
    with pytest.raises(ValueError, match="must have points along its last axis"):
        resample(np.ones((3, 0)), 4)


def test_spectral_tail_is_the_share_of_the_top_modes() -> None:
    x = 2 * np.pi * np.arange(64) / 64
    tail = spectral_tail(np.stack([np.cos(x) + 0.01 * np.cos(30 * x), np.cos(27 * x), 0 * x]))
    np.testing.assert_allclose(tail, [0.01 / 1.01, 0, 0], atol=1e-12)


def plane_waves(num_points: int, highest: int, *, shift: float = 0.0) -> np.ndarray:
    """A fixed field ``(2, n, n)`` with all modes up to ``highest`` along each axis, at x_j = (j + shift) / n."""
    places = 2 * np.pi * (np.arange(num_points) + shift) / num_points
    rng = np.random.default_rng(3)
    numbers = np.arange(-highest, highest + 1)
    phases = rng.uniform(0, 2 * np.pi, (2, numbers.size, numbers.size))
    waves = np.exp(1j * np.outer(numbers, places))
    return np.einsum("cab,ay,bx->cyx", np.exp(1j * phases), waves, waves).real


@pytest.mark.parametrize(("n", "m"), [(12, 32), (32, 12), (9, 20), (20, 9), (12, 13), (13, 12), (15, 9)])
def test_resample_is_exact_in_two_dimensions(n: int, m: int) -> None:
    highest = (min(n, m) - 1) // 2
    expected = plane_waves(m, highest)
    np.testing.assert_allclose(resample(plane_waves(n, highest), m, 2), expected, atol=1e-11)


def test_resample_in_two_dimensions_is_one_axis_after_the_other() -> None:
    u = np.random.default_rng(0).standard_normal((3, 8, 8))
    for m in (5, 6, 12, 20):
        along_x = resample(u, m)
        both = np.swapaxes(resample(np.ascontiguousarray(np.swapaxes(along_x, 1, 2)), m), 1, 2)
        np.testing.assert_allclose(resample(u, m, 2), both, atol=1e-12)


def test_resample_in_two_dimensions_takes_every_second_point_even_at_nyquist() -> None:
    u = plane_waves(32, 8)
    np.testing.assert_allclose(resample(u, 16, 2), u[:, ::2, ::2], atol=1e-11)
    np.testing.assert_allclose(resample(resample(u, 16, 2), 64, 2)[:, ::4, ::4], u[:, ::2, ::2], atol=1e-11)


def test_resample_refuses_axes_of_different_lengths() -> None:
    with pytest.raises(ValueError, match=r"as many points along each of 2 axes; got shape \(1, 8, 4\)"):
        resample(np.ones((1, 8, 4)), 8, 2)
    with pytest.raises(ValueError, match="points along its last 2 axes"):
        resample(np.ones(8), 4, 2)
    with pytest.raises(ValueError, match="`num_dims` must be an integer of at least 1"):
        resample(np.ones(8), 4, 0)


def test_spectral_tail_in_two_dimensions_counts_the_largest_wavenumber() -> None:
    grid = PeriodicGrid(64, 1.0, 2)
    y, x = np.meshgrid(2 * np.pi * grid.points, 2 * np.pi * grid.points, indexing="ij")
    low = np.cos(x) * np.cos(27 * y)
    fields = [low, low + 0.01 * np.cos(30 * y), low + 0.01 * np.cos(30 * x + 2 * y), 0 * low]
    np.testing.assert_allclose(spectral_tail(np.stack(fields), 2), [0, 0.01 / 1.01, 0.01 / 1.01, 0], atol=1e-4)


def test_grid_transforms_invert_each_other_and_leave_their_input() -> None:
    grid = PeriodicGrid(12, 1.0, 2)
    u = plane_waves(12, 6)
    modes = grid.to_modes(u)
    kept = modes.copy()
    np.testing.assert_allclose(grid.to_points(modes), u, atol=1e-12)
    np.testing.assert_array_equal(modes, kept)
    np.testing.assert_allclose(modes, np.fft.rfftn(u, axes=(-2, -1)), atol=1e-10)
    assert grid.shells.shape == grid.modes_shape and grid.shells[-5, 2] == 5 and grid.shells[1, 6] == 6
