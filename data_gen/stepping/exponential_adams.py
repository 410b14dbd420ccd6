"""An exponential Adams pair: a multistep scheme that integrates the linear part exactly; knows no equation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: Slopes that the predictor runs through: of the present and of so many less one past points.
POINTS = 5
#: phi_k is summed as a power series below this |z|, and found from phi_(k-1) above, where that loses no digits.
SERIES_RADIUS = 2.0
SERIES_TERMS = 28
#: Turns |Im(h L)| in a step above which a mode is extrapolated through one, two, ... slopes less; measured on KdV.
FAST = (1.5, 8.0, 24.0)


@dataclass(frozen=True)
class Weights:
    """Weights of one step, each (modes,) or (points, modes); real ones are stored twice, for real and imaginary part.

    Args:
        full: e^(hL).
        predictor: of the slopes known, in the prediction.
        corrector: of the slope predicted, in the correction.
        known: of the slopes known, in the correction.
    """

    full: np.ndarray
    predictor: np.ndarray
    corrector: np.ndarray
    known: np.ndarray


def phi_functions(z: np.ndarray, count: int) -> np.ndarray:
    """phi_0 .. phi_count at z.

    ::

        phi_0(z) = e^z,   phi_k(z) = (phi_{k-1}(z) - 1 / (k-1)!) / z = sum_n z^n / (n + k)!

    Args:
        z: (modes,), real or complex.
        count: the last k.

    Returns:
        (count + 1, modes), of the kind of ``z``.

    References:
        Hochbruck and Ostermann (2010), Acta Numerica 19, Eq. (2.10)-(2.11).
    """
    found = np.empty((count + 1, *z.shape), dtype=np.result_type(z, np.float64))
    found[0] = np.exp(z)
    small = np.abs(z) < SERIES_RADIUS
    far = np.where(small, 1, z)
    near = np.where(small, z, 0)
    series = np.zeros_like(found[0])
    for n in range(SERIES_TERMS, -1, -1):
        series = series * near + 1 / math.factorial(n + count)
    for k in range(1, count + 1):
        found[k] = (found[k - 1] - 1 / math.factorial(k - 1)) / far
    for k in range(count, 0, -1):
        found[k] = np.where(small, series, found[k])
        series = series * near + 1 / math.factorial(k - 1)
    return found


def lagrange(nodes: Sequence[float], which: Sequence[int] | None = None) -> np.ndarray:
    """``(n, n)``: row j has the coefficients, lowest power first, of the polynomial that is 1 at node j only.

    With ``which`` the rows of those nodes only. In plain numbers: there are too few of them for arrays to be faster.
    """
    return np.array([_basis(nodes, j) for j in (range(len(nodes)) if which is None else which)])


def _basis(nodes: Sequence[float], j: int) -> list[float]:
    row, scale = [1.0], 1.0
    for i, other in enumerate(nodes):
        if i != j:
            row = [low - other * high for low, high in zip([0.0, *row], [*row, 0.0], strict=True)]
            scale *= nodes[j] - other
    return [c / scale for c in row]


def weights(z: np.ndarray, phi: np.ndarray, step: float, nodes: Sequence[float]) -> Weights:
    """Weights of a step for u_t = L u + N(u), from slopes N at ``nodes``.

    ::

        int_0^1 e^((1-s) hL) l_j(s) ds,   l_j Lagrange's polynomials,   int_0^1 e^((1-s) z) s^i ds = i! phi_{i+1}(z)

    Modes that turn by more than FAST in a step do without the oldest slopes: extrapolation through n points multiplies
    an alternating sequence by 2^n, and nothing damps those modes.

    Args:
        z: h L, (modes,).
        phi: ``phi_functions`` of it, up to the number of nodes and one more.
        step: h > 0.
        nodes: places of the slopes in units of h, decreasing from 0 (now) into the past.

    Returns:
        Weights.
    """
    if not np.iscomplexobj(phi):
        phi = np.repeat(phi, 2, axis=-1)
    found = _weights(phi, step, nodes)
    if not np.iscomplexobj(z):
        return found
    for count, limit in zip(range(len(nodes) - 1, 1, -1), FAST, strict=False):
        fewer, fast = _weights(phi, step, nodes[:count]), np.abs(np.imag(z)) > limit
        for new, old in ((fewer.predictor, found.predictor), (fewer.known, found.known)):
            old[:count, fast], old[count:, fast] = new[:, fast], 0
        found.corrector[fast] = fewer.corrector[fast]
    return found


def _weights(phi: np.ndarray, step: float, nodes: Sequence[float]) -> Weights:
    """The weights of the same slopes for all modes."""
    moments = step * np.array([math.factorial(i) * phi[i + 1] for i in range(len(nodes) + 1)])
    known = lagrange(nodes)
    corrector = np.tensordot(lagrange([1.0, *nodes], [0])[0], moments, axes=1)
    predictor = np.tensordot(known, moments[:-1], axes=1)
    return Weights(phi[0], predictor, corrector, np.multiply.outer(known.sum(axis=1), corrector))


def adams_step(
    modes: np.ndarray,
    slopes: Sequence[np.ndarray],
    nonlinear: Callable[[np.ndarray], np.ndarray],
    w: Weights,
) -> tuple[np.ndarray, np.ndarray]:
    """One step: predict through the q slopes known, correct with the slope predicted.

    ::

        p = e^(hL) u + sum_j a_j N_j          new = p + b N(p) - sum_j b c_j N_j

    which is the exponential Adams-Moulton step through q + 1 slopes: the prediction is of order q, the result of order
    q + 1, and their difference the estimate. Two evaluations a step, with that at the result.

    Args:
        modes: u, (B, C, modes), complex.
        slopes: N(u) now and at past points, as many as the weights are for, newest first.
        nonlinear: N, from modes to modes.
        w: the weights of the step.

    Returns:
        u after the step, and its estimated error; both new arrays.

    References:
        Hochbruck and Ostermann (2011), BIT Numer. Math. 51, 889-908, section 2; Beylkin, Keiser and Vozovoi (1998), J.
        Comput. Phys. 147, 362-387.
    """
    kind = w.full.dtype
    known = np.array(slopes).view(kind)
    axes = "bcm"[-w.full.ndim :]  # a symbol for all, for each component, or for each sample
    combine = f"j{axes},jbcm->bcm"
    predicted = modes.view(kind) * w.full
    predicted += np.einsum(combine, w.predictor, known)
    error = nonlinear(predicted.view(np.complex128)).view(kind)
    error *= w.corrector
    error -= np.einsum(combine, w.known, known)
    predicted += error
    return predicted.view(np.complex128), error.view(np.complex128)
