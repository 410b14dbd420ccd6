"""The one linear solve behind every closed-form head, and its two plain forms: ridge and proximal."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg.lapack import dposv  # pyright: ignore[reportAttributeAccessIssue]
from torch import Tensor

from sciml_cf.errors import JitterWarning, NotPositiveDefinite
from sciml_cf.head.gram import ONE_THREAD, is_plain
from sciml_cf.head.moments import Moments

# Diagonal shifts tried in turn, relative to the mean diagonal of the system.
JITTER_LADDER = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)
_SMALL = 96  # unknowns of a system that LAPACK solves in the thread that asks; above, scipy's wakes threads of its own
_NOT_FINITE = (
    "solve_head: `moments` must be finite; got a head with NaN or infinite entries. "
    "The features or targets of this batch are not finite, or overflow when squared."
)


class Residuals(NamedTuple):
    """Parts of its losses that a small solve has at hand, as numpy arrays: see ``losses_of``.

    Attributes:
        cross: C, (F, C).
        residual: C - G W_0, (F, C).
        change: W - W_0, (F, C).
        penalty: p of P = p I.
        squares: mean(y^2), (C,).
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
        head: (F, C).
        jitter: the relative diagonal shift that its Cholesky factor needed (0.0 for none).
        residuals: of a small solve from a head before.
    """

    head: Tensor
    jitter: float
    residuals: Residuals | None = None


def solve_head(moments: Moments, *, penalty: float | Tensor, previous: Tensor | None = None) -> Solution:
    """Minimise the mean squared error plus a quadratic pull to the previous head.

        min_W  mean |W^T phi - y|^2 + |W - W_0|_P^2      W = W_0 + (G + P)^-1 (C - G W_0)

    The same as (G + P)^-1 (C + P W_0), written so that a strong penalty returns W_0 without cancellation. Of fewer
    rows than features, and with a P that is plain and above zero, the smaller system of the rows is solved instead.

    Args:
        moments: gram (F, F) and cross (F, C), float64 means.
        penalty: P, a number (a multiple of the identity), (F,) a diagonal, or (F, F). On a device a diagonal must be
            above zero for moments of fewer rows than features.
        previous: W_0 (F, C); None means zero.
    Returns:
        Solution with head (F, C) float64 and the jitter used.
    Raises:
        NotPositiveDefinite: G + P fails Cholesky after the jitter ladder, or the moments are not finite.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (2), (13) and appendix A.
    """
    jitter = 0.0
    if _fewer_rows(moments, penalty):
        head = _by_rows(moments, penalty, previous)
    elif (found := _small(moments, penalty, previous)) is not None:
        return found
    else:
        factor, jitter = _cholesky(_system(moments.gram, penalty))
        head = _shifted(factor, moments, previous)
    _check_finite(head.sum().item())
    return Solution(head, jitter)


def solve_head_later(
    moments: Moments, *, penalty: float | Tensor, previous: Tensor | None = None, keep: Tensor
) -> tuple[Tensor, Tensor]:
    """The same solve, with no wait for a device: whether it succeeded stays there, as the jitter of the solution.

    Every rung of the ladder is factored at once and the first that holds is taken, on the device. A failed solve
    returns ``keep`` and a jitter that is not finite, never such a head; ``check_jitter`` reports it later.

    Args:
        moments, penalty, previous: as in solve_head.
        keep: (F, C), the head to stay with when the solve fails.
    Returns:
        (head, jitter): the jitter is a tensor () on the moments' device; infinite where no rung held, NaN where the
        moments or the head were not finite.
    """
    if _fewer_rows(moments, penalty):
        head = _by_rows(moments, penalty, previous)
        solved = torch.isfinite(head).all()
        return torch.where(solved, head, keep), torch.where(solved, 0.0, head.new_full((), torch.nan))
    system = _system(moments.gram, penalty)
    ladder = torch.tensor(JITTER_LADDER, dtype=system.dtype)
    if system.is_cuda:
        ladder = ladder.pin_memory()
    ladder = ladder.to(system.device, non_blocking=True)
    rungs = system.expand(len(JITTER_LADDER), -1, -1).clone()
    rungs.diagonal(dim1=1, dim2=2).add_(ladder[:, None] * system.diagonal().mean())
    factors, info = torch.linalg.cholesky_ex(rungs)
    first = (info == 0).to(torch.int8).argmax().reshape(1)
    head = _shifted(factors.index_select(0, first)[0], moments, previous)
    held = (info == 0).any()
    solved = held & torch.isfinite(head).all()
    failure = torch.where(~held & torch.isfinite(system).all(), torch.inf, torch.nan)
    jitter = torch.where(solved, ladder.index_select(0, first)[0], failure)
    return torch.where(solved, head, keep), jitter


def check_jitter(jitter: float) -> None:
    """Warn or raise for a solve that was not waited for, as solve_head does at once.

    Raises:
        NotPositiveDefinite: the jitter is not finite: the solve failed, and the head before it was kept.
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
        _warn(jitter)


@np.errstate(all="ignore")
def _small(moments: Moments, penalty: float | Tensor, previous: Tensor | None) -> Solution | None:
    """The solve of a small system on a CPU in a few calls past torch, each of which would cost as much as the system.

    None where it is not small, not on a CPU, part of a graph, or needs jitter.
    """
    if not _is_small(moments, penalty, previous) or moments.arrays is None:
        return None
    gram, cross, squares = moments.arrays
    system, cross = gram.copy(), np.ascontiguousarray(cross)
    if isinstance(penalty, Tensor) and penalty.ndim == 2:
        system += penalty.numpy()
    else:
        system.reshape(-1)[:: len(system) + 1] += penalty if isinstance(penalty, float | int) else penalty.numpy()
    before = None if previous is None else previous.numpy()
    right = cross if before is None else cross - gram @ before
    _, change, failed = dposv(system.T, right, lower=True, overwrite_a=True)
    if failed:
        return None
    change = np.ascontiguousarray(change)
    head = change if before is None else before + change
    _check_finite(head.sum())
    known = None if before is None or isinstance(penalty, Tensor) else Residuals(cross, right, change, penalty, squares)
    return Solution(torch.from_numpy(head), 0.0, known)


def _is_small(moments: Moments, penalty: float | Tensor, previous: Tensor | None) -> bool:
    """Whether LAPACK solves the system in the thread that asks, on numbers where they lie."""
    unknowns, outputs = moments.shape
    given = [one for one in (penalty, previous) if isinstance(one, Tensor)]
    return unknowns <= _SMALL and unknowns**2 * outputs <= ONE_THREAD and all(map(is_plain, given))


@np.errstate(all="ignore")
def losses_of(known: Sequence[Residuals], before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mean squared errors of n solves with their heads before and after, (n, F, C), and with none: (3, n).

        mean |W^T phi - y|^2 = mean(y^2) - <W, C> - <W, C - G W>,      C - G W = P (W - W_0) after the solve

    Of many solves at once: one by one they would cost as much as the solves.
    """
    # Joined, and given their shape: np.stack looks at each of them, and takes several times as long.
    cross, residual, change = (
        np.concatenate([one[place] for one in known]).reshape(before.shape) for place in range(3)
    )
    penalty = np.array([one.penalty for one in known], dtype=np.float64)
    none = np.concatenate([one.squares for one in known]).reshape(len(known), -1).sum(axis=1)
    first = none - _products(before, cross) - _products(before, residual)
    last = none - _products(after, cross) - penalty * _products(after, change)
    return np.stack([first, last, none]) / before.shape[-1]


def _products(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """(n,) inner products of n pairs of matrices."""
    return np.einsum("nfc,nfc->n", these, those)


def _check_finite(total: float) -> None:
    """Raise NotPositiveDefinite for the sum of a head's entries: one NaN or infinity is enough."""
    if not math.isfinite(total):
        raise NotPositiveDefinite(_NOT_FINITE)


def _shifted(factor: Tensor, moments: Moments, previous: Tensor | None) -> Tensor:
    if previous is None:
        return torch.cholesky_solve(moments.cross, factor)
    return previous + torch.cholesky_solve(moments.cross - moments.gram @ previous, factor)


def _fewer_rows(moments: Moments, penalty: float | Tensor) -> bool:
    """Whether the rows are at hand, fewer than the features, and the penalty can be divided by."""
    if moments.rows is None:
        return False
    if not isinstance(penalty, Tensor):
        return penalty > 0
    return penalty.ndim < 2 and (penalty.is_cuda or bool((penalty > 0).all()))


def _by_rows(moments: Moments, penalty: float | Tensor, previous: Tensor | None) -> Tensor:
    """The solve by the rows R (n, F) and targets Y, each times the root of its share of the weight.

        W = W_0 + P^-1/2 B^T (B B^T + I)^-1 (Y - R W_0)      B = R P^-1/2
          = W_0 + P^-1/2 Q U^-T (Y - R W_0)                  (B^T; I) = (Q; .) U with orthonormal columns, U triangular

    B B^T is never formed: it would lose features that are small beside a constant one, which the system of the
    features keeps apart. The system cannot fail to be definite, so there is no jitter.
    """
    features, targets = moments.rows or (moments.gram, moments.cross)
    root = penalty.sqrt() if isinstance(penalty, Tensor) else math.sqrt(penalty)
    scaled = features / root
    eye = torch.eye(len(scaled), dtype=scaled.dtype, device=scaled.device)
    basis, factor = torch.linalg.qr(torch.cat([scaled.T, eye]))
    residual = targets if previous is None else targets - features @ previous
    change = basis[: features.shape[1]] @ torch.linalg.solve_triangular(factor.T, residual, upper=False)
    change = (change.T / root).T
    return change if previous is None else previous + change


def ridge(moments: Moments, *, strength: float) -> Tensor:
    """Head that minimises the mean squared error plus a pull to zero.

        min_W  mean |W^T phi - y|^2 + strength |W|^2      W = (G + b I)^-1 C

    Args:
        moments: feature moments, gram (F, F) and cross (F, C), float64 means.
        strength: b >= 0 on the MEAN loss, so independent of batch size and resolution (paper: beta = rows * b).
    Returns:
        (F, C), float64.
    Raises:
        ValueError: strength is negative or not finite.
        NotPositiveDefinite: G + b I fails Cholesky after the jitter ladder.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (2) and (11).
    """
    check_strength("ridge", strength, allow_zero=True)
    return solve_head(moments, penalty=strength).head


def proximal(moments: Moments, previous: Tensor, *, strength: float) -> Tensor:
    """Head that minimises the mean squared error plus a pull to the previous head.

        min_W  mean |W^T phi - y|^2 + strength |W - previous|^2      W = (G + s I)^-1 (C + s previous)

    Args:
        moments: feature moments, gram (F, F) and cross (F, C), float64 means.
        previous: (F, C), the head before this batch.
        strength: s > 0 on the MEAN loss, so independent of batch size and resolution (paper: lambda = rows * s).
    Returns:
        (F, C), float64.
    Raises:
        ValueError: shapes disagree, or strength is not above zero.
        NotPositiveDefinite: G + s I fails Cholesky after the jitter ladder.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (13).
    """
    check_strength("proximal", strength)
    if previous.shape != moments.cross.shape:
        raise ValueError(
            f"proximal: `previous` must be {tuple(moments.cross.shape)}, (features, outputs) of the moments; "
            f"got {tuple(previous.shape)}."
        )
    return solve_head(moments, penalty=strength, previous=previous.detach().to(torch.float64)).head


def strength_from_paper(value: float, *, rows: int) -> float:
    """The strength on means that equals a coefficient on sums over ``rows`` rows: strength = value / rows.

    The paper writes sums over the batch (Eq. 10 to 13), so its lambda and beta grow with batch size and resolution:
    lambda = 10 on 32 samples of 256 points is a strength of 10 / 8192.
    """
    return value / rows


def check_strength(function: str, strength: object, *, allow_zero: bool = False) -> None:
    """Raise ValueError unless ``strength`` is a finite number above zero (or at least zero)."""
    value = float(strength) if isinstance(strength, (int, float)) and not isinstance(strength, bool) else math.nan
    fine = math.isfinite(value) and (value > 0 or (allow_zero and value == 0))
    if not fine:
        bound = "of at least 0" if allow_zero else "above 0"
        raise ValueError(
            f"{function}: `strength` must be a finite number {bound}; got {strength!r}. "
            "It multiplies |W|^2 beside a MEAN squared error; 1e-2 is a usual value."
        )


def _system(gram: Tensor, penalty: float | Tensor) -> Tensor:
    if isinstance(penalty, Tensor) and penalty.ndim == 2:
        return gram + penalty
    system = gram.clone()
    system.diagonal().add_(penalty)
    return system


def _cholesky(system: Tensor) -> tuple[Tensor, float]:
    for jitter in JITTER_LADDER:
        shifted = system
        if jitter:
            shifted = system.clone()
            shifted.diagonal().add_(jitter * system.diagonal().mean())
        factor, info = torch.linalg.cholesky_ex(shifted)
        if info.item() == 0:
            if jitter:
                _warn(jitter)
            return factor, jitter
    finite = bool(torch.isfinite(system).all())
    reason = (
        "the features are linearly dependent; raise `strength`" if finite else "features or targets hold NaN or Inf"
    )
    raise NotPositiveDefinite(
        f"solve_head: `moments` must give a positive definite system of size {system.shape[0]}; "
        f"Cholesky failed with every jitter up to {JITTER_LADDER[-1]:g}. Likely cause: {reason}."
    )


def _warn(jitter: float) -> None:
    warnings.warn(
        f"solve_head: Cholesky needed a diagonal shift of {jitter:g} times the mean diagonal. "
        "Features are linearly dependent at this strength; raise `strength`.",
        JitterWarning,
        stacklevel=4,
    )
