"""An integrating factor around Verner's Runge-Kutta pair of orders 7 and 6; knows no equation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_gen.stepping.device import combined, empty_rows, namespace, real_rows

#: |h L| is cut here, so that e^(-hL) stays far from overflow: the rest of such a mode after a step, e^-200, is zero
#: in float64 either way.
LARGEST_DAMPING = 200.0

STAGES = 10
NODES = np.array(
    [0, 0.005, 0.10888888888888888, 0.16333333333333333, 0.4555, 0.6095094489978381, 0.884, 0.925, 1, 1], dtype=float
)
WEIGHTS = np.array(
    [
        0.04715561848627222,
        0,
        0,
        0.25750564298434153,
        0.26216653977412624,
        0.15216092656738558,
        0.4939969170032485,
        -0.29430311714032503,
        0.08131747232495111,
        0,
    ]
)
#: The weights of order 7 less those of order 6.
ERROR_WEIGHTS = np.array(
    [
        0.002547011879931045,
        0,
        0,
        -0.00965839487279575,
        0.04206470975639691,
        -0.0666822437469301,
        0.2650097464621281,
        -0.29430311714032503,
        0.08131747232495111,
        -0.02029518466335628,
    ]
)
#: Row i weighs the slopes of the stages before stage i.
MATRIX = (
    (),
    (0.005,),
    (-1.07679012345679, 1.185679012345679),
    (0.04083333333333333, 0, 0.1225),
    (0.6389139236255726, 0, -2.455672638223657, 2.272258714598084),
    (-2.6615773750187572, 0, 10.804513886456137, -8.3539146573962, 0.820487594956657),
    (6.067741434696772, 0, -24.711273635911088, 20.427517930788895, -1.9061579788166472, 1.006172249242068),
    (
        12.054670076253203,
        0,
        -49.75478495046899,
        41.142888638604674,
        -4.461760149974004,
        2.042334822239175,
        -0.09834843665406107,
    ),
    (
        10.138146522881808,
        0,
        -42.6411360317175,
        35.76384003992257,
        -4.3480228403929075,
        2.0098622683770357,
        0.3487490460338272,
        -0.27143900510483127,
    ),
    (
        -45.030072034298676,
        0,
        187.3272437654589,
        -154.02882369350186,
        18.56465306347536,
        -7.141809679295079,
        1.3088085781613787,
        0,
        0,
    ),
)
_ROWS = tuple(np.array([1.0, *row]) for row in MATRIX)
_LAST_ROW = np.array([1.0, *WEIGHTS])


@dataclass(frozen=True)
class Factors:
    """Integrating factors of a step ``step``: e^(c_i h L) and h e^(-c_i h L), ``(stages, *modes)``, and e^(hL)."""

    step: float
    forward: np.ndarray
    source: np.ndarray
    full: np.ndarray


def factors(symbol: np.ndarray, step: float) -> Factors:
    """Factors for u_t = L u + N(u) with a diagonal L and step h.

    Args:
        symbol: L, (modes,) or (C, modes), real or complex.
        step: h > 0.

    Returns:
        Factors, real for a real symbol. A mode with Re(h L) below -200 is damped by e^-200 only.
    """
    z = step * symbol
    z = z - np.minimum(np.real(z) + LARGEST_DAMPING, 0)
    forward = np.exp(np.multiply.outer(NODES, z))
    return Factors(step, forward, step / forward, np.exp(z))


def lawson_step(
    modes: np.ndarray,
    slope: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    f: Factors,
) -> tuple[np.ndarray, np.ndarray]:
    """One step of order 7 for v = e^(-tL) u, v_t = e^(-tL) N(e^(tL) v), and the difference from that of order 6.

    The linear part is exact. The nodes never go back, so e^((c_i - c_j) h L) never amplifies a damped mode; pairs
    whose nodes do (Dormand-Prince 8(5,3) among them) multiply the rounding of stiff modes by a power of e^(hL).

    Args:
        modes: u, (B, C, modes), complex.
        slope: N(u), handed in so that it can be shared by steps from the same u.
        nonlinear: N, from modes to modes.
        f: the factors of the step.

    Returns:
        u after the step, and its estimated error; both new arrays.

    References:
        Lawson (1967), SIAM J. Numer. Anal. 4, 372-380; Verner (2010), Numer. Algorithms 53, 383-396, the "most
        efficient" pair 7(6).
    """
    multiply, values = namespace(modes).multiply, empty_rows(modes, STAGES + 1)
    values[0] = modes
    multiply(slope, f.source[0], out=values[1])
    rows = real_rows(values)
    for i in range(1, STAGES):
        stage = combined(_ROWS[i], rows, modes.shape)
        stage *= f.forward[i]
        multiply(nonlinear(stage), f.source[i], out=values[i + 1])
    new = combined(_LAST_ROW, rows, modes.shape)
    new *= f.full
    error = combined(ERROR_WEIGHTS, rows[1:], modes.shape)
    error *= f.full
    return new, error
