"""The result of a solve of a head, and the one place that warns or raises when it failed."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sciml_cf.errors import JitterWarning, NotPositiveDefinite

# Diagonal shifts tried in turn, relative to the mean diagonal of the system.
JITTER_LADDER = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)
_NOT_FINITE = (
    "solve_head: `moments` must be finite; got a head with NaN or infinite entries. "
    "The features or targets of this batch are not finite, or overflow when squared."
)

Penalty = float | Tensor  # P: a multiple of the identity, (F,) a diagonal, or (F, F)


class Residuals(NamedTuple):
    """Parts of its losses that a small solve has at hand, as numpy arrays: see ``small.losses_of``.

    Attributes:
        cross: C, ``(F, C)``.
        residual: C - G W_0, ``(F, C)``.
        change: W - W_0, ``(F, C)``.
        penalty: p of P = p I.
        squares: mean(y^2), ``(C,)``.
    """

    cross: np.ndarray
    residual: np.ndarray
    change: np.ndarray
    penalty: float
    squares: np.ndarray


@dataclass(frozen=True, eq=False)
class Solution:
    """A solved head.

    Attributes:
        head: ``(F, C)``.
        jitter: the relative diagonal shift that its Cholesky factor needed (0.0 for none).
        residuals: of a small solve from a previous head.
    """

    head: Tensor
    jitter: float
    residuals: Residuals | None = None


class UncheckedSolution(NamedTuple):
    """A head that a device is still computing.

    Attributes:
        head: ``(F, C)``; the head to keep, if the solve fails.
        jitter: () on the device; infinite where Cholesky failed on the whole ladder, NaN where the moments or the head
            were not finite.
    """

    head: Tensor
    jitter: Tensor


def check_finite(total: float) -> None:
    """Raise NotPositiveDefinite for the sum of a head's entries: one NaN or infinity is enough."""
    if not math.isfinite(total):
        raise NotPositiveDefinite(_NOT_FINITE)


def check_jitter(jitter: float) -> None:
    """Warn or raise for a solve that was not waited for, as ``Moments.solve`` does at once.

    Raises:
        NotPositiveDefinite: the jitter is not finite: the solve failed, and the previous head was kept.
    """
    if not math.isfinite(jitter):
        reason = (
            "features or targets hold NaN or Inf, or overflow when squared"
            if math.isnan(jitter)
            else "the features are linearly dependent; raise `strength`"
        )
        raise NotPositiveDefinite(
            "solve_head: `moments` must give a positive definite system; an earlier solve failed with every jitter up "
            f"to {JITTER_LADDER[-1]:g}, and the head before it was kept. Likely cause: {reason}."
        )
    if jitter:
        warn_of_jitter(jitter)


def warn_of_jitter(jitter: float) -> None:
    """The warning for a diagonal shift that a Cholesky factor needed."""
    warnings.warn(
        f"solve_head: Cholesky needed a diagonal shift of {jitter:g} times the mean diagonal. "
        "Features are linearly dependent at this strength; raise `strength`.",
        JitterWarning,
        stacklevel=6,
    )
