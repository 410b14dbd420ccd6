"""The one linear solve behind every closed-form head, and its two plain forms: ridge and proximal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciml_cf.errors import is_finite
from sciml_cf.head.moments import Moments
from sciml_cf.head.solution import Penalty, Solution


def solve_head(moments: Moments, *, penalty: Penalty, previous: Tensor | None = None) -> Solution:
    """Minimise the mean squared error plus a quadratic pull to the previous head.

    ::

        min_W  mean |W^T phi - y|^2 + |W - W_0|_P^2      W = W_0 + (G + P)^-1 (C - G W_0)

    The same as (G + P)^-1 (C + P W_0), written so that a strong penalty returns W_0 without cancellation. With fewer
    rows than features, and a P that is a number or a diagonal above zero, the smaller system of the rows is solved
    instead.

    Args:
        moments: gram ``(F, F)`` and cross ``(F, C)``, float64 means.
        penalty: P, a number (a multiple of the identity), ``(F,)`` a diagonal, or ``(F, F)``.
        previous: W_0 ``(F, C)``; None means zero.

    Returns:
        Solution with head ``(F, C)`` float64 and the jitter used.

    Raises:
        NotPositiveDefinite: G + P fails Cholesky after the jitter ladder, or the moments are not finite.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (2), (13) and appendix A.
    """
    return moments.solve(penalty, previous)


def ridge(moments: Moments, *, strength: float) -> Tensor:
    """Head that minimises the mean squared error plus a pull to zero.

    ::

        min_W  mean |W^T phi - y|^2 + strength |W|^2      W = (G + b I)^-1 C

    Args:
        moments: feature moments, gram ``(F, F)`` and cross ``(F, C)``, float64 means.
        strength: b >= 0 on the MEAN loss, so independent of batch size and resolution (paper: beta = rows * b).

    Returns:
        ``(F, C)``, float64.

    Raises:
        ValueError: strength is negative or not finite.
        NotPositiveDefinite: G + b I fails Cholesky after the jitter ladder.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (2) and (11).
    """
    check_strength("ridge", strength, allow_zero=True)
    return moments.solve(strength).head


def proximal(moments: Moments, previous: Tensor, *, strength: float) -> Tensor:
    """Head that minimises the mean squared error plus a pull to the previous head.

    ::

        min_W  mean |W^T phi - y|^2 + strength |W - previous|^2      W = (G + s I)^-1 (C + s previous)

    Args:
        moments: feature moments, gram ``(F, F)`` and cross ``(F, C)``, float64 means.
        previous: ``(F, C)``, the head before this batch.
        strength: s > 0 on the MEAN loss, so independent of batch size and resolution (paper: lambda = rows * s).

    Returns:
        ``(F, C)``, float64.

    Raises:
        ValueError: shapes disagree, or strength is not above zero.
        NotPositiveDefinite: G + s I fails Cholesky after the jitter ladder.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (13).
    """
    check_strength("proximal", strength)
    if previous.shape != moments.cross.shape:
        raise ValueError(
            f"proximal: `previous` must be {tuple(moments.cross.shape)}, (features, outputs) of the moments; "
            f"got {tuple(previous.shape)}."
        )
    return moments.solve(strength, previous.detach().to(torch.float64)).head


def strength_from_paper(value: float, *, rows: int) -> float:
    """The strength on means that equals a coefficient on sums over ``rows`` rows: strength = value / rows.

    The paper writes sums over the batch (Eq. 10 to 13), so its lambda and beta grow with batch size and resolution:
    lambda = 10 on 32 samples of 256 points is a strength of 10 / 8192.
    """
    return value / rows


def check_strength(function: str, strength: object, *, allow_zero: bool = False) -> None:
    """Raise ValueError unless ``strength`` is a finite number above zero (or at least zero)."""
    value = float(strength) if is_finite(strength) else math.nan  # type: ignore[arg-type]
    if not (value > 0 or (allow_zero and value == 0)):
        bound = "of at least 0" if allow_zero else "above 0"
        raise ValueError(
            f"{function}: `strength` must be a finite number {bound}; got {strength!r}. "
            "It multiplies |W|^2, added to a MEAN squared error; 1e-2 is a usual value."
        )
