"""Random fields: the law of each, and that a sample depends on its index alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, PeriodicGrid, generate, open_dataset, validate
from data_gen.errors import UnresolvedError
from data_gen.random_fields import (
    INITIAL_CONDITIONS,
    gaussian_random_field,
    piecewise_constant,
    sines,
    truncated_fourier,
)

GRID = PeriodicGrid(256, 2 * np.pi)
SAMPLES = 4096


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    return gaussian_random_field(GRID, range(SAMPLES), seed=0)[:, 0]


def test_gaussian_field_has_the_standard_deviation_of_the_law(fields: np.ndarray) -> None:
    k = np.arange(1, 128)
    variance = (2 * 625 * ((2 * np.pi * k) ** 2 + 25.0) ** -2).sum()
    assert np.sqrt(variance) == pytest.approx(0.59, abs=0.005)
    # u^2 of a sample is dominated by mode 1 (2 draws), hence a relative error of about sqrt(1 / samples)
    assert np.mean(fields**2) == pytest.approx(variance, rel=4 / np.sqrt(SAMPLES))
    assert np.abs(fields.mean(axis=-1)).max() < 1e-13


@pytest.mark.parametrize("laplacian", ["unit", "domain"])
def test_gaussian_field_mode_powers_follow_the_law(laplacian: str) -> None:
    grid = PeriodicGrid(64, 2 * np.pi)
    fields = gaussian_random_field(grid, range(SAMPLES), seed=3, laplacian=laplacian)[:, 0]
    modes = np.fft.rfft(fields)[:, 1:32] * (2 / 64)
    k = np.arange(1, 32) * (2 * np.pi if laplacian == "unit" else 1.0)
    std = np.sqrt(2) * 25 / (k**2 + 25)
    for part in (modes.real, modes.imag):
        z = (np.mean(part**2, axis=0) / std**2 - 1) / np.sqrt(2 / SAMPLES)
        assert np.abs(z).max() < 4.5
        assert np.mean(z**2) < 2
    assert np.abs(np.mean(modes.real * modes.imag, axis=0) / std**2).max() < 5 / np.sqrt(SAMPLES)


def test_gaussian_field_parameters_enter_the_law() -> None:
    one = gaussian_random_field(GRID, [5], seed=1)
    np.testing.assert_allclose(gaussian_random_field(GRID, [5], seed=1, sigma=50.0), 2 * one, rtol=1e-12)
    k, law = np.arange(1, 10), gaussian_random_field(GRID, [5], seed=1, gamma=3.0, tau=7.0)
    ratio = np.fft.rfft(law[0, 0])[1:10] / np.fft.rfft(one[0, 0])[1:10]
    kappa2 = (2 * np.pi * k) ** 2
    np.testing.assert_allclose(ratio, (kappa2 + 49) ** -1.5 / (kappa2 + 25) ** -1.0, rtol=1e-10)


def test_gaussian_field_sample_depends_on_its_index_alone(fields: np.ndarray) -> None:
    np.testing.assert_array_equal(gaussian_random_field(GRID, [17, 3, 1000], seed=0)[:, 0], fields[[17, 3, 1000]])
    assert np.abs(gaussian_random_field(GRID, [3], seed=1)[0, 0] - fields[3]).max() > 0.01


def test_gaussian_field_low_modes_are_the_same_at_any_resolution(fields: np.ndarray) -> None:
    finer = gaussian_random_field(PeriodicGrid(1024, 2 * np.pi), [8], seed=0)[0, 0]
    np.testing.assert_allclose(np.fft.rfft(finer)[:128] / 4, np.fft.rfft(fields[8])[:128], atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": -1.0}, "`gamma` must be a finite number above 0"),
        ({"tau": float("nan")}, "`tau` must be a finite number above 0; got nan"),
        ({"sigma": 0.0}, "`sigma` must be"),
        ({"laplacian": "circle"}, '`laplacian` must be "unit" or "domain"; got \'circle\''),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
    ],
)
def test_gaussian_field_refuses_bad_parameters(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gaussian_random_field(GRID, [0], **{"seed": 0, **changes})


@pytest.mark.parametrize("name", ["gaussian_random_field", "truncated_fourier", "sines", "piecewise_constant"])
def test_initial_condition_of_a_sample_depends_on_its_index_alone(name: str) -> None:
    draw = INITIAL_CONDITIONS[name][0]
    whole = draw(GRID, range(20), seed=4)
    assert whole.shape == (20, 1, 256) and whole.dtype == np.float64 and np.isfinite(whole).all()
    np.testing.assert_array_equal(draw(GRID, range(7), seed=4), whole[:7])
    np.testing.assert_array_equal(draw(GRID, [13, 2], seed=4), whole[[13, 2]])
    assert (np.abs(draw(GRID, range(20), seed=5) - whole).max(axis=(1, 2)) > 1e-3).all()
    assert len(np.unique(whole[:, 0, 17])) == 20


@pytest.mark.parametrize("name", ["truncated_fourier", "sines", "piecewise_constant"])
def test_initial_condition_is_the_same_function_on_any_grid(name: str) -> None:
    draw = INITIAL_CONDITIONS[name][0]
    coarse, fine = (draw(PeriodicGrid(n, extent), range(5), seed=2) for n, extent in ((64, 1.0), (1024, 3.0)))
    np.testing.assert_allclose(fine[..., ::16], coarse, atol=1e-12)


def test_truncated_fourier_follows_its_law() -> None:
    settings = {"max_mode": 4, "amplitude": 3.0, "decay": 1.0, "offset": 0.5}
    fields = truncated_fourier(PeriodicGrid(32), range(SAMPLES), seed=0, **settings)[:, 0]
    modes = np.fft.rfft(fields) / 16
    np.testing.assert_allclose(modes[:, 0], 1.0, atol=1e-12)
    assert np.abs(modes[:, 5:]).max() < 1e-12
    std = 3 / np.arange(1, 5) / np.sqrt(sum(j**-2.0 for j in range(1, 5)))
    for part in (modes.real, modes.imag):
        z = (np.mean(part[:, 1:5] ** 2, axis=0) / std**2 - 1) / np.sqrt(2 / SAMPLES)
        assert np.abs(z).max() < 4
    assert (std**2).sum() == pytest.approx(9)


def test_sines_follow_their_law() -> None:
    fields = sines(PeriodicGrid(32), range(SAMPLES), seed=0, waves=1, max_mode=4, amplitude=2.0)[:, 0]
    modes = np.fft.rfft(fields)[:, :6] / 16
    found = np.abs(modes).argmax(axis=1)
    size, angle = np.abs(modes).max(axis=1), np.angle(modes[np.arange(SAMPLES), found])
    assert np.sort(np.abs(modes), axis=1)[:, :-1].max() < 1e-12, "one wave has one mode"
    np.testing.assert_allclose(np.bincount(found, minlength=6) / SAMPLES, [0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.03)
    for uniform in (size / 2, angle / (2 * np.pi) + 0.5):
        gaps = np.sort(uniform) - (np.arange(SAMPLES) + 0.5) / SAMPLES
        assert np.abs(gaps).max() < 1.6 / np.sqrt(SAMPLES), "Kolmogorov-Smirnov"
    several = sines(PeriodicGrid(64), range(SAMPLES), seed=1, waves=3)
    assert several.var() == pytest.approx(3 * 0.5 / 3, rel=0.05)


def test_sines_in_unit_bounds_stay_there() -> None:
    fields = sines(GRID, range(200), seed=0, bounds="unit")
    plain = sines(GRID, range(200), seed=0)
    assert 0 <= fields.min() < 0.05 and 0.95 < fields.max() <= 1
    scale = (plain / (fields - 0.5)).reshape(200, -1)
    np.testing.assert_allclose(np.nanmin(scale, axis=1), np.nanmax(scale, axis=1), rtol=1e-6)


def test_piecewise_constant_follows_its_law() -> None:
    grid = PeriodicGrid(4096)
    fields = piecewise_constant(grid, range(500), seed=0, pieces=3, low=1.0, high=2.0)[:, 0]
    values = [np.unique(field) for field in fields]
    assert max(map(len, values)) == 3 and np.mean([len(v) == 3 for v in values]) > 0.99
    jumps = (fields != np.roll(fields, 1, axis=-1)).sum(axis=-1)
    assert set(jumps) <= {0, 2, 3} and np.mean(jumps == 3) > 0.98
    every = np.concatenate(values)
    assert every.min() >= 1 and every.max() <= 2 and every.mean() == pytest.approx(1.5, abs=0.03)
    place = np.concatenate([np.flatnonzero(f != np.roll(f, 1)) for f in fields]) / 4096
    assert place.mean() == pytest.approx(0.5, abs=0.03) and place.var() == pytest.approx(1 / 12, rel=0.1)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("truncated_fourier", {"max_mode": 0}, "truncated_fourier: `max_mode` must be an integer of at least 1"),
        ("truncated_fourier", {"amplitude": -1.0}, "`amplitude` must be a finite number above 0"),
        ("truncated_fourier", {"decay": np.nan}, "`decay` must be a finite number"),
        ("truncated_fourier", {"offset": "high"}, "`offset` must be a finite number"),
        ("truncated_fourier", {"max_mode": 128}, "`grid` must have more than 256 points to resolve mode 128; got 256"),
        ("sines", {"max_mode": 200}, "`grid` must have more than 400 points"),
        ("sines", {"waves": 0}, "sines: `waves` must be an integer of at least 1"),
        ("sines", {"amplitude": 0.0}, "sines: `amplitude` must be"),
        ("sines", {"bounds": "both"}, '`bounds` must be "none" or "unit"; got \'both\''),
        ("piecewise_constant", {"pieces": 1}, "`pieces` must be an integer of at least 2; got 1"),
        ("piecewise_constant", {"low": 1.0}, "`low` must be below `high`; got 1.0 and 1.0"),
        ("piecewise_constant", {"high": np.inf}, "`high` must be a finite number"),
        ("piecewise_constant", {"seed": -1}, "piecewise_constant: `seed` must be an integer of at least 0"),
    ],
)
def test_initial_conditions_refuse_bad_parameters(name: str, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        INITIAL_CONDITIONS[name][0](GRID, [0], **{"seed": 0, **changes})


@pytest.mark.parametrize("name", ["sines", "truncated_fourier"])
def test_initial_condition_the_grid_cannot_hold_leaves_no_file(tmp_path: Path, name: str) -> None:
    spec = DatasetSpec(
        equation="heat", samples=3, resolution=16, initial_condition=name, initial_parameters={"max_mode": 8}
    )
    with pytest.raises(UnresolvedError, match="must have more than 16 points to resolve mode 8; got 16"):
        generate(spec, tmp_path / "data.h5", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sines", "truncated_fourier", "piecewise_constant"])
def test_generate_writes_any_initial_condition(tmp_path: Path, name: str) -> None:
    spec = DatasetSpec(samples=3, resolution=256, initial_condition=name, parameters={"viscosity": 0.2})
    with open_dataset(generate(spec, tmp_path / "data.h5", progress=False)) as data:
        assert data.attributes["initial_condition"] == name
        truth = INITIAL_CONDITIONS[name][0](spec.grid, range(3), seed=0, **spec.initial_parameters)
        np.testing.assert_array_equal(data.read("a"), truth)
    assert validate(tmp_path / "data.h5", truth=True).ok
