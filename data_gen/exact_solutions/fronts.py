"""Traveling fronts of the Fisher-KPP and the Korteweg-de Vries-Burgers equation."""

from __future__ import annotations

import numpy as np

from data_gen.errors import check_finite, check_positive


def fisher_front(x: np.ndarray, time: float, *, diffusivity: float, rate: float, centre: float = 0.0) -> np.ndarray:
    """Traveling wave of the Fisher-KPP equation that moves to the right, from u = 1 behind to u = 0 ahead.

    ::

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

    References:
        Ablowitz and Zeppetella (1979), Bull. Math. Biol. 41, 835-840.
    """
    check_positive("fisher_front", "diffusivity", diffusivity)
    check_positive("fisher_front", "rate", rate)
    check_finite("fisher_front", "time", time)
    check_finite("fisher_front", "centre", centre)
    speed = 5 * np.sqrt(rate * diffusivity / 6)
    s = np.sqrt(rate / (6 * diffusivity)) * (np.asarray(x, dtype=np.float64) - centre - speed * time)
    return np.exp(-2 * np.logaddexp(0, s))


def kdv_burgers_front(
    x: np.ndarray, time: float, *, viscosity: float, dispersion: float, centre: float = 0.0
) -> np.ndarray:
    """Traveling front of the Korteweg-de Vries-Burgers equation u_t + u u_x = nu u_xx - d u_xxx on the whole line.

    ::

        u = (3 nu^2 / (25 d)) (sech^2 s + 2 - 2 tanh s),   s = (nu / (10 d)) (x - x_0 - c t),   c = 6 nu^2 / (25 d)

    It falls from 2 c to 0, or if d < 0 from 0 to 2 c. By u(x, t) -> u(x - b t, t) + b it moves at other speeds.

    Args:
        x: positions, any shape.
        time: t, of either sign.
        viscosity: nu > 0.
        dispersion: d, of either sign.
        centre: x_0.

    Returns:
        float64, of the shape of ``x``.

    Raises:
        ValueError: ``viscosity`` is not a positive number, ``dispersion`` is 0, or a value is not finite.

    References:
        Jeffrey and Xu (1989), Wave Motion 11, 559-564.
    """
    check_positive("kdv_burgers_front", "viscosity", viscosity)
    check_positive("kdv_burgers_front", "abs(dispersion)", abs(dispersion), "Of Burgers' equation see cole_hopf.")
    check_finite("kdv_burgers_front", "time", time)
    check_finite("kdv_burgers_front", "centre", centre)
    speed = 6 * viscosity**2 / (25 * dispersion)
    s = viscosity / (10 * dispersion) * (np.asarray(x, dtype=np.float64) - centre - speed * time)
    lower = 2 / (1 + np.exp(np.clip(2 * s, None, 700)))  # 1 - tanh(s), without cancellation ahead
    return speed / 2 * lower * (4 - lower)
