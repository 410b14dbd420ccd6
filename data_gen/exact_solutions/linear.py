"""Linear equations in closed form: diffusion and translation, mode by mode."""

from __future__ import annotations

import numpy as np


def heat_kernel(u0: np.ndarray, *, diffusivity: float, time: float, extent: float) -> np.ndarray:
    """Exact solution of the heat equation: mode k is multiplied by exp(-D k^2 t).

    Args:
        u0: ``(..., N)``, real, on x_j = j L / N.
        diffusivity: D > 0.
        time: t >= 0.
        extent: L > 0.

    Returns:
        ``(..., N)``, float64.

    References:
        Fourier (1822), Theorie analytique de la chaleur.
    """
    u0 = np.asarray(u0, dtype=np.float64)
    k = 2 * np.pi / extent * np.arange(u0.shape[-1] // 2 + 1)
    return np.fft.irfft(np.fft.rfft(u0) * np.exp(-diffusivity * k**2 * time), u0.shape[-1])


def translate(u0: np.ndarray, *, distance: float, extent: float) -> np.ndarray:
    """Field moved to the right: u0(x - distance), by its trigonometric interpolant.

    Args:
        u0: ``(..., N)``, real, on x_j = j L / N.
        distance: in the units of x, of either sign.
        extent: L > 0.

    Returns:
        ``(..., N)``, float64.
    """
    u0 = np.asarray(u0, dtype=np.float64)
    k = 2 * np.pi / extent * np.arange(u0.shape[-1] // 2 + 1)
    return np.fft.irfft(np.fft.rfft(u0) * np.exp(-1j * k * distance), u0.shape[-1])
