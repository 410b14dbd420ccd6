"""Spectra of periodic fields by wavenumber. Needs numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def amplitude_spectrum(fields: np.ndarray, extents: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes of the modes of periodic fields by wavenumber.

    ::

        one dimension:    2 |c_k|,  u = sum_k c_k exp(2 pi i k x / L)
        more dimensions:  the root mean square of 2 |c_k| over the shell of all k with k - 1/2 <= |k| < k + 1/2, where
                          the wavenumbers of a shorter axis count as those of the longest

    Args:
        fields: ``(B, *N)``, real.
        extents: lengths of the axes.

    Returns:
        wavenumbers ``(K,)``, from 1 to the last below the end of every axis, and amplitudes ``(B, K)``.
    """
    shape = fields.shape[1:]
    axes = tuple(range(1, fields.ndim))
    power = np.abs(2 / np.prod(shape) * np.fft.rfftn(fields, axes=axes)) ** 2
    scales = [max(extents) / extent for extent in extents]
    steps = [np.fft.fftfreq(n, 1 / n) * scale for n, scale in zip(shape, scales, strict=True)]
    steps[-1] = np.arange(shape[-1] // 2 + 1) * scales[-1]
    away = np.sqrt(np.sum(np.meshgrid(*[step**2 for step in steps], indexing="ij"), axis=0))
    shells = np.floor(away + 0.5).astype(int).ravel()
    weights = np.full(power.shape[1:], 2.0)  # a mode with k > 0 along the last axis counts for -k too
    weights[..., 0] = 1.0
    if shape[-1] % 2 == 0:
        weights[..., -1] = 1.0
    last = int(min((n - 1) // 2 * scale for n, scale in zip(shape, scales, strict=True)))
    total = np.bincount(shells, weights.ravel())[1 : last + 1]
    flat = (power * weights).reshape(len(fields), -1)
    sums = np.stack([np.bincount(shells, row)[1 : last + 1] for row in flat])
    return np.arange(1, last + 1), np.sqrt(sums / total)
