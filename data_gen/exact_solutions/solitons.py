"""Solitons of the Korteweg-de Vries equation on the whole line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from data_gen.errors import check_finite


def kdv_solitons(
    x: np.ndarray,
    time: float,
    *,
    speeds: Sequence[float],
    centres: Sequence[float],
    nonlinearity: float = 6.0,
    dispersion: float = 1.0,
) -> np.ndarray:
    """Solution of the Korteweg-de Vries equation on the whole line made of n solitons.

    ::

        u = (12 d / a) (log F)_xx,   F = sum over subsets S of prod_{i<j in S} A_ij exp(sum_{i in S} eta_i)
        eta_i = kappa_i (x - x_i - c_i t),   kappa_i = sqrt(c_i / d)
        A_ij = ((kappa_i - kappa_j) / (kappa_i + kappa_j))^2

    With n = 1, u = (3 c / a) sech^2(sqrt(c / d) (x - x_1 - c t) / 2). (log F)_xx is computed as the variance of
    ``sum_{i in S} kappa_i`` under the weights of the subsets, so nothing cancels. On a periodic box, add the solutions
    at x, x + L and x - L: the error is of the size of the tails, exp(-kappa L / 2).

    Args:
        x: positions, any shape.
        time: t, of either sign.
        speeds: c_i, different from each other and of the sign of d; as many as solitons, at most 8.
        centres: x_i, where soliton i is at t = 0 as long as all others are far to its right; each one it has to its
            left moves it by -log(A_ij) / kappa_i.
        nonlinearity: a, not 0.
        dispersion: d, not 0.

    Returns:
        float64, of the shape of ``x``.

    Raises:
        ValueError: a coefficient is 0 or not finite; speeds coincide or have the wrong sign; lengths differ.

    References:
        Hirota (1971), Phys. Rev. Lett. 27, 1192-1194.
    """
    for name, value in (("time", time), ("nonlinearity", nonlinearity), ("dispersion", dispersion)):
        check_finite("kdv_solitons", name, value)
    if nonlinearity == 0 or dispersion == 0:
        raise ValueError("kdv_solitons: `nonlinearity` and `dispersion` must not be 0; without them no soliton forms.")
    c = np.asarray(speeds, dtype=np.float64)
    if c.ndim != 1 or not 1 <= c.size <= 8 or len(set(c.tolist())) < c.size or not (c / dispersion > 0).all():
        raise ValueError(
            f"kdv_solitons: `speeds` must be 1 to 8 different numbers of the sign of `dispersion`; got {speeds!r}."
        )
    if len(centres) != c.size or not np.isfinite(centres).all():
        raise ValueError(f"kdv_solitons: `centres` must be {c.size} finite numbers; got {centres!r}.")
    kappa = np.sqrt(c / dispersion)
    x = np.asarray(x, dtype=np.float64)
    eta = kappa * (x[..., None] - np.asarray(centres) - c * time)
    exponents, slopes = [], []
    for subset in _subsets(c.size):
        pairs = itertools.combinations(kappa[list(subset)], 2)
        shift = sum(2 * np.log(abs(k - m) / (k + m)) for k, m in pairs)
        exponents.append(eta[..., list(subset)].sum(axis=-1) + shift)
        slopes.append(kappa[list(subset)].sum())
    return 12 * dispersion / nonlinearity * _variance(np.stack(exponents, axis=-1), np.array(slopes))


def _subsets(n: int) -> list[tuple[int, ...]]:
    return [subset for size in range(n + 1) for subset in itertools.combinations(range(n), size)]


def _variance(exponents: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Variance of ``values`` ``(S,)`` under the weights exp(exponents), ``(..., S)``: a sum of positive terms over
    pairs.
    """
    weights = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    squares = 0.5 * (values[:, None] - values[None, :]) ** 2
    return np.einsum("...i,ij,...j->...", weights, squares, weights)
