"""Decaying vortices of the Navier-Stokes equations, in the plane and in space."""

from __future__ import annotations

import numpy as np

from data_gen.errors import check_count, check_finite, check_positive


def taylor_green(
    x: np.ndarray, y: np.ndarray, time: float, *, viscosity: float, extent: float = 1.0, mode: int = 1
) -> np.ndarray:
    """Vorticity of the decaying vortices of Taylor and Green, an exact solution without forcing.

    ::

        w = 2 k cos(k x) cos(k y) e^(-2 nu k^2 t),   k = 2 pi m / L
        u = -cos(k x) sin(k y) e^(-2 nu k^2 t),      v = sin(k x) cos(k y) e^(-2 nu k^2 t)

    The flow follows the lines of constant vorticity, so the convective term vanishes: it checks the viscous term,
    and that products cancel. A test of the convective term needs another flow.

    Args:
        x: first coordinates, of a shape that broadcasts with y.
        y: second coordinates.
        time: t, of either sign.
        viscosity: nu > 0.
        extent: L of the box along each axis.
        mode: m, vortices along each axis are 2 m.

    Returns:
        float64, of the common shape of ``x`` and ``y``.

    Raises:
        ValueError: ``viscosity`` or ``extent`` is not a positive number, ``time`` not a finite one, ``mode`` below 1.

    References:
        Taylor and Green (1937), Proc. R. Soc. Lond. A 158, 499-521.
    """
    check_positive("taylor_green", "viscosity", viscosity)
    check_positive("taylor_green", "extent", extent)
    check_finite("taylor_green", "time", time)
    check_count("taylor_green", "mode", mode)
    k = 2 * np.pi * mode / extent
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return 2 * k * np.exp(-2 * viscosity * k**2 * time) * np.cos(k * x) * np.cos(k * y)


def abc_flow(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    time: float,
    *,
    viscosity: float,
    amplitudes: tuple[float, float, float] = (1.0, 1.0, 1.0),
    extent: float = 1.0,
    mode: int = 1,
) -> np.ndarray:
    """Velocity of the decaying flow of Arnold, Beltrami and Childress, an exact solution without forcing.

    ::

        u = (A sin(k z) + C cos(k y)) e^(-nu k^2 t),   v = (B sin(k x) + A cos(k z)) e^(-nu k^2 t)
        w = (C sin(k y) + B cos(k x)) e^(-nu k^2 t),   k = 2 pi m / L

    Its curl is k times itself, so that the convective term is a gradient: it checks the viscous term, and that products
    cancel. With -k for k it is the mirror image.

    Args:
        x: first coordinates; all three broadcast together.
        y: second coordinates.
        z: third coordinates.
        time: t, of either sign.
        viscosity: nu > 0.
        amplitudes: A, B and C.
        extent: L of the box along each axis.
        mode: m, of either sign but not 0.

    Returns:
        ``(3, ...)``, float64, of the common shape of the positions.

    Raises:
        ValueError: ``viscosity`` or ``extent`` is not a positive number, another one not finite, or ``mode`` is 0.

    References:
        Dombre et al. (1986), J. Fluid Mech. 167, 353-391, Eq. (1.1).
    """
    check_positive("abc_flow", "viscosity", viscosity)
    check_positive("abc_flow", "extent", extent)
    check_finite("abc_flow", "time", time)
    check_count("abc_flow", "abs(mode)", abs(mode))
    for value in amplitudes:
        check_finite("abc_flow", "amplitudes", value)
    k = 2 * np.pi * mode / extent
    x, y, z = (k * np.asarray(place, dtype=np.float64) for place in (x, y, z))
    a, b, c = amplitudes
    flow = (a * np.sin(z) + c * np.cos(y), b * np.sin(x) + a * np.cos(z), c * np.sin(y) + b * np.cos(x))
    return np.exp(-viscosity * k**2 * time) * np.stack(np.broadcast_arrays(*flow))
