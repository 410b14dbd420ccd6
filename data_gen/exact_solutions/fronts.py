"""Traveling fronts of the Fisher-KPP equation."""

from __future__ import annotations

import numpy as np

from data_gen.errors import check_finite, check_positive


def fisher_front(x: np.ndarray, time: float, *, diffusivity: float, rate: float, centre: float = 0.0) -> np.ndarray:
    """Traveling wave of the Fisher-KPP equation that moves to the right, from u = 1 behind to u = 0 ahead.

        u = (1 + exp(s))^-2,   s = sqrt(r / (6 D)) (x - x_0 - c t),   c = 5 sqrt(r D / 6)

    On a periodic box, a wave to the right times its mirror image is a solution up to the difference of
    each from 0 or 1 at the other's place.

    Args:
        x: positions, any shape.
        time: t, of either sign.
        diffusivity: D > 0.
        rate: r > 0.
        centre: x_0, where u = 1/4 at t = 0.
    Returns:
        float64, of the shape of ``x``.
    Raises:
        ValueError: ``diffusivity`` or ``rate`` is not a positive number, ``time`` or ``centre`` not a finite one.
    Source: Ablowitz and Zeppetella (1979), Bull. Math. Biol. 41, 835-840.
    """
    check_positive("fisher_front", "diffusivity", diffusivity)
    check_positive("fisher_front", "rate", rate)
    check_finite("fisher_front", "time", time)
    check_finite("fisher_front", "centre", centre)
    speed = 5 * np.sqrt(rate * diffusivity / 6)
    s = np.sqrt(rate / (6 * diffusivity)) * (np.asarray(x, dtype=np.float64) - centre - speed * time)
    return np.exp(-2 * np.logaddexp(0, s))
