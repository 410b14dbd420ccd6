"""Fourth-order exponential time differencing (ETDRK4): its coefficients and one step; knows no equation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_gen.stepping.device import namespace

CONTOUR_POINTS = 32


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of one ETDRK4 step of size ``step``, each of the shape of the symbol."""

    step: float
    full: np.ndarray
    half: np.ndarray
    stage: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


def coefficients(symbol: np.ndarray, step: float) -> Coefficients:
    """Coefficients for u_t = L u + N(u) with a diagonal L and step h.

    ::

        z = h L,  full = e^z,  half = e^(z/2),  stage = h (e^(z/2) - 1) / z
        first  = h (-4 - z + e^z (4 - 3 z + z^2)) / z^3
        middle = h (2 + z + e^z (z - 2)) / z^3            (the step uses twice this)
        last   = h (-4 - 3 z - z^2 + e^z (4 - z)) / z^3

    The quotients cancel badly for small z, so each is the mean over a full circle of radius 1 around z, which is exact
    for an entire function. The mean is kept complex for a complex symbol: taking its real part is right for a real
    symbol only, and costs KdV (L = i k^3) three orders.

    Args:
        symbol: L, real or complex.
        step: h > 0.

    Returns:
        Coefficients, real for a real symbol.

    References:
        Cox and Matthews (2002), J. Comput. Phys. 176, Eq. (26)-(29); Kassam and Trefethen (2005), SIAM J. Sci. Comput.
        26, section 3.
    """
    z = step * symbol
    sums = [np.zeros(z.shape, dtype=np.complex128) for _ in range(4)]
    points = np.exp(2j * np.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS)
    if not np.iscomplexobj(symbol):
        points = points[: CONTOUR_POINTS // 2]  # those below the axis give the conjugates
    for point in points:
        w = z + point
        half = np.exp(0.5 * w)
        e, square = half * half, w * w
        inverse = 1 / (square * w)
        sums[0] += (half - 1) / w
        sums[1] += (e * (4 - 3 * w + square) - (4 + w)) * inverse
        sums[2] += (e * (w - 2) + (2 + w)) * inverse
        sums[3] += (e * (4 - w) - (4 + 3 * w + square)) * inverse
    means = [step / len(points) * (s if np.iscomplexobj(symbol) else s.real) for s in sums]
    return Coefficients(step, np.exp(z), np.exp(z / 2), *means)


def etdrk4_step(
    modes: np.ndarray,
    slope: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    c: Coefficients,
) -> np.ndarray:
    """One ETDRK4 step.

    Args:
        modes: u, complex.
        slope: N(u), handed in so that it can be shared by steps from the same u.
        nonlinear: N, from modes to modes.
        c: the coefficients of the step.

    Returns:
        u after the step, a new array.

    References:
        Cox and Matthews (2002), J. Comput. Phys. 176, Eq. (26)-(29).
    """
    multiply, half = namespace(modes).multiply, c.half * modes
    a = c.stage * slope
    a += half
    slope_a = nonlinear(a)
    b = c.stage * slope_a
    b += half
    slope_b = nonlinear(b)
    work = half  # from here on: new memory costs more than the arithmetic does
    d = 2 * slope_b
    d -= slope
    d *= c.stage
    d += multiply(c.half, a, out=work)
    slope_c = nonlinear(d)
    slope_a += slope_b
    new = c.full * modes
    new += multiply(c.first, slope, out=work)
    new += multiply(2 * c.middle, slope_a, out=work)
    new += multiply(c.last, slope_c, out=work)
    return new
