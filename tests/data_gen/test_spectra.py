"""Amplitude spectra against fields of known modes, and against a sum over all modes written out."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen.grids.spectra import amplitude_spectrum


@pytest.mark.parametrize("points", [32, 33])
def test_spectrum_of_a_cosine_is_its_amplitude(points: int) -> None:
    x = np.arange(points) / points
    field = 0.7 + 0.5 * np.cos(2 * np.pi * 3 * x) + 0.25 * np.sin(2 * np.pi * 7 * x)
    k, amplitudes = amplitude_spectrum(field[None], (2.0,))
    assert k.tolist() == list(range(1, (points - 1) // 2 + 1))
    expected = np.where(k == 3, 0.5, np.where(k == 7, 0.25, 0))
    np.testing.assert_allclose(amplitudes, expected[None], atol=1e-13)


def test_spectrum_in_the_plane_is_the_root_mean_square_over_shells() -> None:
    shape, extents = (12, 16), (3.0, 4.0)
    field = np.random.default_rng(0).standard_normal((2, *shape))
    k, amplitudes = amplitude_spectrum(field, extents)
    modes = np.abs(2 * np.fft.fft2(field) / field[0].size) ** 2
    shells: dict[int, list[np.ndarray]] = {}
    for i in range(12):
        for j in range(16):
            ky, kx = (i if i <= 6 else i - 12) * 4 / 3, (j if j <= 8 else j - 16) * 1.0
            shells.setdefault(int(np.hypot(ky, kx) + 0.5), []).append(modes[:, i, j])
    for shell, found in zip(k, amplitudes.T, strict=True):
        np.testing.assert_allclose(found, np.sqrt(np.mean(shells[shell], axis=0)), rtol=1e-12)
    assert k[-1] == 6  # 5 modes of the shorter axis end at 6.67 of the longer one's


def test_a_plane_wave_is_in_the_shell_of_its_length() -> None:
    y, x = np.meshgrid(np.arange(32) / 32, np.arange(32) / 32, indexing="ij")
    k, amplitudes = amplitude_spectrum(np.cos(2 * np.pi * (3 * x + 4 * y))[None], (1.0, 1.0))
    assert k[np.argmax(amplitudes[0])] == 5 and np.delete(amplitudes[0], 4).max() < 1e-13
