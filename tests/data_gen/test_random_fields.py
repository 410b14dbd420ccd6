"""Gaussian random fields: the law, mode by mode, and that a sample depends on its index alone."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import PeriodicGrid
from data_gen.random_fields import gaussian_random_field

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
    assert np.abs(fields.mean(axis=-1)).max() < 1e-15


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
