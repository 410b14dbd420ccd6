"""Decaying vortices of the Navier-Stokes equations."""

from __future__ import annotations

import numpy as np

from data_gen.errors import check_count, check_finite, check_positive


def taylor_green(
    x: np.ndarray, y: np.ndarray, time: float, *, viscosity: float, extent: float = 1.0, mode: int = 1
) -> np.ndarray:
    """Vorticity of the decaying vortices of Taylor and Green, an exact solution without forcing.

        w = 2 k cos(k x) cos(k y) e^(-2 nu k^2 t),   k = 2 pi m / L
        u = -cos(k x) sin(k y) e^(-2 nu k^2 t),      v = sin(k x) cos(k y) e^(-2 nu k^2 t)

    The flow follows the lines of constant vorticity, so the convective term vanishes: it checks the viscous term,
    and that products cancel. A test of the convective term needs another flow.

    Args:
        x, y: positions, of shapes that broadcast together.
        time: t, of either sign.
        viscosity: nu > 0.
        extent: L of the box along each axis.
        mode: m, vortices along each axis are 2 m.
    Returns:
        float64, of the common shape of ``x`` and ``y``.
    Raises:
        ValueError: ``viscosity`` or ``extent`` is not a positive number, ``time`` not a finite one, ``mode`` below 1.
    Source: Taylor and Green (1937), Proc. R. Soc. Lond. A 158, 499-521.
    """
    check_positive("taylor_green", "viscosity", viscosity)
    check_positive("taylor_green", "extent", extent)
    check_finite("taylor_green", "time", time)
    check_count("taylor_green", "mode", mode)
    k = 2 * np.pi * mode / extent
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return 2 * k * np.exp(-2 * viscosity * k**2 * time) * np.cos(k * x) * np.cos(k * y)
