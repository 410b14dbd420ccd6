"""Random fields in two dimensions, in several channels and between walls: the law of each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from data_gen import CellGrid, PeriodicGrid
from data_gen.errors import UnresolvedError
from data_gen.random_fields import (
    INITIAL_CONDITIONS,
    gaussian_random_field,
    law_defaults,
    log_normal,
    piecewise_constant,
    sample_stream,
    sines,
    spots,
    truncated_fourier,
    two_valued,
)
from data_gen.random_fields.streams import cosine_vectors, wave_vectors

SAMPLES = 2000
BETWEEN_WALLS = {"log_normal", "two_valued"}


def usual_grid(name: str, points: int, num_dims: int) -> PeriodicGrid | CellGrid:
    return CellGrid(points, 1.0, num_dims) if name in BETWEEN_WALLS else PeriodicGrid(points, 3.0, num_dims)


def normalised_power(samples: np.ndarray, std: np.ndarray) -> np.ndarray:
    """How far a sample variance is from std^2, in its own standard deviations; along the first axis."""
    return (np.mean(samples**2, axis=0) / std**2 - 1) / np.sqrt(2 / len(samples))


def assert_variance(samples: np.ndarray, std: np.ndarray) -> None:
    z = normalised_power(samples, std)
    assert np.abs(z).max() < 5 and np.mean(z**2) < 1.5


@pytest.mark.parametrize("laplacian", ["unit", "domain"])
def test_gaussian_field_in_the_plane_follows_the_law(laplacian: str) -> None:
    grid = PeriodicGrid(16, 3.0, 2)
    settings = {"gamma": 2.5, "tau": 7.0, "sigma": 7**1.5}
    fields = gaussian_random_field(grid, range(SAMPLES), seed=0, laplacian=laplacian, **settings)[:, 0]
    signed, half = np.fft.fftfreq(16, 1 / 16)[:, None], np.arange(9)
    k = 2 * np.pi / (1 if laplacian == "unit" else 3) * np.hypot(signed, half)
    law = np.sqrt(2) * 7**1.5 * (k**2 + 49) ** -1.25
    inside = (np.abs(signed) < 8) & (half < 8) & ((half > 0) | (signed > 0))
    modes = np.fft.rfft2(fields) * (2 / 256)
    for part in (modes.real, modes.imag):
        assert_variance(part[:, inside], law[inside])
    assert np.abs(np.mean(modes.real * modes.imag, axis=0)[inside] / law[inside] ** 2).max() < 5 / np.sqrt(SAMPLES)
    assert np.abs(modes[:, 8]).max() < 1e-12 and np.abs(modes[:, :, 8]).max() < 1e-12, "no Nyquist mode"
    assert np.abs(modes[:, 0, 0]).max() < 1e-12, "zero mean"
    variance = (law[inside] ** 2).sum()
    assert np.mean(fields**2) == pytest.approx(variance, rel=0.05)
    assert_variance(fields.reshape(SAMPLES, -1)[:, ::37], np.full(7, np.sqrt(variance)))


def test_gaussian_field_names_the_vorticity_of_li() -> None:
    """N(0, c (-Laplacian + 49)^-2.5): by orthonormal functions sqrt(2) cos, sqrt(2) sin, c is sigma^2."""
    grid, c = PeriodicGrid(16, 1.0, 2), 7**1.5
    fields = gaussian_random_field(grid, range(SAMPLES), seed=1, gamma=2.5, tau=7.0, sigma=7**0.75)[:, 0]
    x = grid.points
    for ky, kx in ((0, 1), (1, 0), (2, -1)):
        function = np.sqrt(2) * np.cos(2 * np.pi * (ky * x[:, None] + kx * x))
        assert np.mean(function**2) == pytest.approx(1)
        coefficient = (fields * function).mean(axis=(1, 2))
        law = c * (4 * np.pi**2 * (ky**2 + kx**2) + 49) ** -2.5
        assert abs(normalised_power(coefficient, np.sqrt(law))) < 4


def test_wave_vectors_come_shell_by_shell_one_of_each_pair() -> None:
    np.testing.assert_array_equal(wave_vectors(1, 4)[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(wave_vectors(2, 1), [[1, 0], [-1, 1], [0, 1], [1, 1]])
    np.testing.assert_array_equal(cosine_vectors(2, 1), [[1, 0], [0, 1], [1, 1]])
    for vectors, first in ((wave_vectors(2, 9), wave_vectors(2, 4)), (cosine_vectors(2, 9), cosine_vectors(2, 4))):
        np.testing.assert_array_equal(vectors[: len(first)], first)
    both = {tuple(k) for k in np.concatenate([wave_vectors(2, 9), -wave_vectors(2, 9)]).tolist()}
    assert len(both) == 19**2 - 1 == 2 * len(wave_vectors(2, 9))
    assert len(cosine_vectors(2, 9)) == 10**2 - 1


def test_gaussian_field_in_the_plane_is_its_series() -> None:
    """Summed on the points, term by term, from the draws of the stream."""
    grid = PeriodicGrid(6, 2.0, 2)
    draws = sample_stream(3, 5).standard_normal(24).reshape(12, 2)
    expected, x = np.zeros((6, 6)), 2 * np.pi * grid.points / 2
    for (ky, kx), (a, b) in zip(wave_vectors(2, 2), draws, strict=True):
        std = np.sqrt(2) * 25 / (4 * np.pi**2 * (ky**2 + kx**2) + 25)
        phase = ky * x[:, None] + kx * x
        expected += std * (a * np.cos(phase) + b * np.sin(phase))
    np.testing.assert_allclose(gaussian_random_field(grid, [5], seed=3)[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("points", [(32, 128), (33, 64), (32, 81)])
def test_low_modes_are_the_same_at_any_resolution(points: tuple[int, int]) -> None:
    low = []
    for n in points:
        modes = np.fft.rfft2(gaussian_random_field(PeriodicGrid(n, 1.0, 2), [8], seed=0)[0, 0]) / n**2
        low.append(modes[np.r_[-15:16]][:, :16])
    np.testing.assert_allclose(low[0], low[1], atol=1e-12)
    assert np.abs(low[0]).max() > 0.05


@pytest.mark.parametrize("points", [(16, 64), (15, 32)])
def test_low_cosine_modes_are_the_same_at_any_resolution(points: tuple[int, int]) -> None:
    few, many = (dctn(np.log(log_normal(CellGrid(n), [8], seed=0)[0, 0]), norm="ortho") / n for n in points)
    np.testing.assert_allclose(many[: points[0], : points[0]], few, atol=1e-12)


@pytest.mark.parametrize("num_dims", [1, 2])
@pytest.mark.parametrize("name", INITIAL_CONDITIONS)
def test_sample_of_any_law_depends_on_its_index_alone(name: str, num_dims: int) -> None:
    draw, grid = INITIAL_CONDITIONS[name][0], usual_grid(name, 128, num_dims)
    whole = draw(grid, range(6), seed=4, channels=2)
    assert whole.shape == (6, 2, *grid.shape) and whole.dtype == np.float64 and np.isfinite(whole).all()
    np.testing.assert_array_equal(draw(grid, [5, 2], seed=4, channels=2), whole[[5, 2]])
    assert (
        np.abs(draw(grid, range(6), seed=5, channels=2) - whole).max(axis=tuple(range(2, 2 + num_dims))) > 0.1
    ).all()
    assert (np.abs(whole[1:] - whole[:-1]).max(axis=tuple(range(2, 2 + num_dims))) > 0.1).all()
    if name != "spots":
        np.testing.assert_array_equal(draw(grid, range(6), seed=4), whole[:, :1])
        np.testing.assert_array_equal(draw(grid, range(6), seed=4, channels=3)[:, :2], whole)


def test_channels_are_independent() -> None:
    fields = gaussian_random_field(PeriodicGrid(8, 1.0, 2), range(SAMPLES), seed=2, channels=3)
    modes = np.fft.rfft2(fields)[:, :, 0, 1].real
    np.testing.assert_allclose(np.corrcoef(modes.T), np.eye(3), atol=4.5 / np.sqrt(SAMPLES))
    shifted = np.corrcoef(modes[1:, 0], modes[:-1, 1])[0, 1]
    assert abs(shifted) < 4.5 / np.sqrt(SAMPLES), "nor does a channel repeat another sample"


def test_parameters_of_a_law_are_without_seed_and_channels() -> None:
    assert law_defaults(spots) == {"count": 10, "width": 0.032, "height": 0.5}
    assert law_defaults(two_valued) == {"gamma": 2.0, "tau": 3.0, "low": 3.0, "high": 12.0}
    for draw, check in INITIAL_CONDITIONS.values():
        check(**law_defaults(draw))


def test_truncated_fourier_in_the_plane_follows_its_law() -> None:
    grid = PeriodicGrid(12, 5.0, 2)
    settings = {"max_mode": 2, "amplitude": 3.0, "decay": 1.5, "offset": 0.5}
    fields = truncated_fourier(grid, range(SAMPLES), seed=0, **settings)[:, 0]
    modes = np.fft.rfft2(fields) * (2 / 144)
    np.testing.assert_allclose(modes[:, 0, 0], 1.0, atol=1e-12)
    assert np.abs(modes[:, 3:-2]).max() < 1e-12 and np.abs(modes[:, :, 3:]).max() < 1e-12
    vectors = wave_vectors(2, 2)
    std = np.hypot(*vectors.T) ** -1.5
    std *= 3 / np.sqrt((std**2).sum())
    found = modes[:, vectors[:, 0], vectors[:, 1]]
    assert_variance(found.real, std)
    assert_variance(found.imag, std)
    assert np.mean((fields - 0.5) ** 2) == pytest.approx(9, rel=0.05)


def test_sines_in_the_plane_follow_their_law() -> None:
    fields = sines(PeriodicGrid(8, 1.0, 2), range(SAMPLES), seed=0, waves=1, max_mode=1, amplitude=2.0)[:, 0]
    modes = np.abs(np.fft.fft2(fields))[:, [0, 1, 1, -1], [1, 0, 1, 1]] / 32
    size = np.sort(modes, axis=1)
    assert size[:, :-1].max() < 1e-12, "one wave has one mode"
    np.testing.assert_allclose(np.bincount(modes.argmax(axis=1)) / SAMPLES, 0.25, atol=0.04)
    gaps = np.sort(size[:, -1] / 2) - (np.arange(SAMPLES) + 0.5) / SAMPLES
    assert np.abs(gaps).max() < 1.6 / np.sqrt(SAMPLES), "Kolmogorov-Smirnov"
    np.testing.assert_allclose(np.mean(fields**2, axis=(1, 2)), size[:, -1] ** 2 / 2, rtol=1e-10, err_msg="no mean")
    unit = sines(PeriodicGrid(32, 1.0, 2), range(100), seed=0, bounds="unit")
    assert 0 <= unit.min() < 0.05 and 0.95 < unit.max() <= 1


def test_pieces_in_the_plane_are_the_nearest_places_on_the_torus() -> None:
    grid = PeriodicGrid(24, 2.0, 2)
    field = piecewise_constant(grid, [3], seed=1, pieces=5, low=1.0, high=2.0)[0, 0]
    stream = sample_stream(1, 3)
    places, values = stream.random((5, 2)), stream.uniform(1.0, 2.0, 5)
    for row, column in np.ndindex(24, 24):
        here = np.array([row, column]) / 24
        images = [here + np.array([dy, dx]) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        distance = [min(np.hypot(*(image - place)) for image in images) for place in places]
        assert field[row, column] == values[np.argmin(distance)]


def test_pieces_in_the_plane_have_equal_areas_on_average() -> None:
    fields = piecewise_constant(PeriodicGrid(32, 1.0, 2), range(300), seed=0, pieces=4, low=-1.0, high=3.0)
    values = [np.unique(field) for field in fields]
    assert {len(v) for v in values} <= {3, 4} and np.mean([len(v) == 4 for v in values]) > 0.97
    assert fields.mean() == pytest.approx(1.0, abs=0.12) and fields.min() >= -1 and fields.max() < 3
    roughness = np.mean(fields != np.roll(fields, 1, axis=-1))
    assert roughness == pytest.approx(np.mean(fields != np.roll(fields, 1, axis=-2)), rel=0.1)


@pytest.mark.parametrize("num_dims", [1, 2])
def test_spots_are_the_smooth_bumps_they_say(num_dims: int) -> None:
    grid, width = PeriodicGrid(60, 3.0, num_dims), 0.07
    fields = spots(grid, [2], seed=5, count=3, width=width, height=0.8)[0]
    places = sample_stream(5, 2).random((3, num_dims))
    coordinates = np.stack(np.meshgrid(*[grid.points / 3] * num_dims, indexing="ij"), axis=-1)
    empty = np.ones(grid.shape)
    for place in places:
        exponent = (np.cos(2 * np.pi * (coordinates - place)) - 1).sum(axis=-1) / (2 * np.pi * width) ** 2
        empty *= 1 - np.exp(exponent)
    np.testing.assert_allclose(fields[1], 0.8 * (1 - empty), atol=1e-12)
    np.testing.assert_allclose(fields.sum(axis=0), 1, rtol=1e-12)
    nearest = np.abs(coordinates - places[0])
    nearest = (np.minimum(nearest, 1 - nearest) ** 2).sum(axis=-1)
    one = spots(grid, [2], seed=5, count=1, width=width, height=1.0)[0, 1]
    close = nearest < width**2
    np.testing.assert_allclose(one[close], np.exp(-nearest[close] / (2 * width**2)), rtol=0.02)


def test_spots_are_resolved_and_stay_in_bounds() -> None:
    grid = PeriodicGrid(125, 1.25, 2)
    fields = spots(grid, range(8), seed=0)
    assert fields[:, 0].min() >= 0.5 and fields[:, 0].max() <= 1
    assert 0 <= fields[:, 1].min() < 1e-9 and 0.45 < fields[:, 1].max() <= 0.5
    modes = np.abs(np.fft.rfft2(fields)) * (2 / 125**2)
    shell = np.maximum(np.abs(np.fft.fftfreq(125, 1 / 125))[:, None], np.arange(63))
    assert modes[..., shell > 0.875 * 62].sum(axis=-1).max() < 1e-8


@pytest.mark.parametrize("num_dims", [1, 2])
def test_log_normal_field_follows_its_law(num_dims: int) -> None:
    grid = CellGrid(8, 1.0, num_dims)
    settings = {"gamma": 1.5, "tau": 2.0, "sigma": 0.7, "mean": -0.4}
    fields = log_normal(grid, range(SAMPLES), seed=0, **settings)[:, 0]
    axes = tuple(range(1, 1 + num_dims))
    modes = dctn(np.log(fields), axes=axes, norm="ortho").reshape(SAMPLES, -1) / 8 ** (num_dims / 2)
    square = sum(k**2 for k in np.meshgrid(*[np.arange(8)] * num_dims, indexing="ij")).ravel()
    np.testing.assert_allclose(modes[:, 0], -0.4, atol=1e-12)
    assert_variance(modes[:, 1:], 0.7 * (np.pi**2 * square[1:] + 4) ** -0.75)


def test_log_normal_field_is_a_sum_of_orthonormal_cosines() -> None:
    """Pointwise variance of g by the law, at a corner and in the middle: flat walls make it larger at the corner."""
    grid = CellGrid(6)
    g = np.log(log_normal(grid, range(SAMPLES), seed=4))[:, 0]
    for row, column in ((0, 0), (2, 3)):
        variance = 0.0
        for ky, kx in cosine_vectors(2, 5):
            shape = np.prod(
                [np.sqrt(2) ** (k > 0) * np.cos(np.pi * k * grid.points[p]) for k, p in ((ky, row), (kx, column))]
            )
            variance += 9 * (np.pi**2 * (ky**2 + kx**2) + 9) ** -2.0 * shape**2
        assert abs(normalised_power(g[:, row, column], np.sqrt(variance))) < 4


def test_two_valued_field_is_the_sign_of_the_log_normal_one() -> None:
    grid = CellGrid(32)
    a = two_valued(grid, range(200), seed=3, low=1.0, high=7.0)
    np.testing.assert_array_equal(a, np.where(np.log(log_normal(grid, range(200), seed=3)) >= 0, 7.0, 1.0))
    assert a.mean() == pytest.approx(4.0, abs=0.1)
    jumps = [np.mean(a != np.roll(a, 1, axis=axis)) for axis in (-1, -2)]
    assert max(jumps) < 0.2, "pieces, not noise"


IN_SPACE = ("gaussian_random_field", "truncated_fourier", "spots")


@pytest.mark.parametrize("name", INITIAL_CONDITIONS)
def test_law_refuses_the_wrong_kind_of_grid(name: str) -> None:
    draw = INITIAL_CONDITIONS[name][0]
    wrong = PeriodicGrid(128, 1.0, 2) if name in BETWEEN_WALLS else CellGrid(128)
    kind = "CellGrid or NodeGrid" if name in BETWEEN_WALLS else "PeriodicGrid"
    with pytest.raises(TypeError, match=f"{name}: `grid` must be a {kind}, .*; got {type(wrong).__name__}"):
        draw(wrong, [0], seed=0, channels=2)
    most, words = (3, "one to three") if name in IN_SPACE else (2, "one or two")
    with pytest.raises(ValueError, match=f"{name}: `grid` must have {words} dimensions; got {most + 1}"):
        draw(usual_grid(name, 8, most + 1), [0], seed=0, channels=2)
    with pytest.raises(ValueError, match=f"{name}: `channels` must be an integer of at least 1; got 0"):
        draw(usual_grid(name, 128, 2), [0], seed=0, channels=0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("spots", {"channels": 1}, "spots: `channels` must be 2, the two substances; got 1"),
        ("spots", {"count": 0}, "spots: `count` must be an integer of at least 1"),
        ("spots", {"width": -0.1}, "spots: `width` must be a finite number above 0"),
        ("spots", {"height": 0.0}, "spots: `height` must be a finite number above 0"),
        ("spots", {"height": 1.5}, "spots: `height` must be at most 1; got 1.5"),
        ("log_normal", {"gamma": 0.0}, "log_normal: `gamma` must be"),
        ("log_normal", {"tau": -1.0}, "log_normal: `tau` must be"),
        ("log_normal", {"sigma": np.nan}, "log_normal: `sigma` must be"),
        ("log_normal", {"mean": np.inf}, "log_normal: `mean` must be a finite number; got inf"),
        ("two_valued", {"low": 0.0}, "two_valued: `low` must be a finite number above 0; got 0.0. A coefficient"),
        ("two_valued", {"low": 12.0}, "two_valued: `low` must be below `high`; got 12.0 and 12.0"),
        ("two_valued", {"seed": -1}, "two_valued: `seed` must be an integer of at least 0"),
    ],
)
def test_laws_refuse_bad_parameters(name: str, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        INITIAL_CONDITIONS[name][0](usual_grid(name, 128, 2), [0], **{"seed": 0, **changes})


def test_laws_say_when_the_grid_is_too_coarse() -> None:
    with pytest.raises(
        UnresolvedError, match=r"must have at least 125 points to resolve spots of width 0\.032; got 124"
    ):
        spots(PeriodicGrid(124, 1.0, 2), [0], seed=0)
    with pytest.raises(
        UnresolvedError, match="truncated_fourier: `grid` must have more than 16 points to resolve mode 8"
    ):
        truncated_fourier(PeriodicGrid(16, 1.0, 2), [0], seed=0, max_mode=8)
