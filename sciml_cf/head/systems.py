"""The linear systems of a head in torch: that of the features by Cholesky, that of the rows by QR."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head.solution import JITTER_LADDER, Penalty, Solution, UncheckedSolution, check_finite, warn_of_jitter


def solve_features(gram: Tensor, cross: Tensor, penalty: Penalty, previous: Tensor | None) -> Solution:
    """W_0 + (G + P)^-1 (C - G W_0), by a Cholesky factor of the system with the least jitter that it needs.

    Args:
        gram: G ``(F, F)`` float64.
        cross: C ``(F, C)`` float64.
        penalty: P, a number, ``(F,)`` a diagonal, or ``(F, F)``.
        previous: W_0 ``(F, C)``; None means zero.

    Raises:
        NotPositiveDefinite: no jitter of the ladder makes the system definite, or the head is not finite.
    """
    factor, jitter = _factorised(with_penalty(gram, penalty))
    head = _shifted(factor, gram, cross, previous)
    check_finite(head.sum().item())
    return Solution(head, jitter)


def solve_features_each(gram: Tensor, cross: Tensor, penalty: Penalty, previous: Tensor | None) -> Solution:
    """The same for K systems at once, each with the least jitter that it needs.

    Args:
        gram: ``(K, F, F)`` float64.
        cross: ``(K, F, C)`` float64.
        penalty: as in ``solve_features``, the same for all.
        previous: ``(K, F, C)``; None means zero.

    Returns:
        Heads ``(K, F, C)``, and the largest jitter.

    Raises:
        NotPositiveDefinite: no jitter of the ladder makes a system definite, or a head is not finite.
    """
    system = with_penalty(gram, penalty)
    factors, info = torch.linalg.cholesky_ex(system)
    failed, needed = info.nonzero()[:, 0], 0.0
    for jitter in JITTER_LADDER[1:]:
        if not len(failed):
            break
        shifted, needed = system[failed], jitter
        own = shifted.diagonal(dim1=-2, dim2=-1)
        own += jitter * own.mean(dim=-1, keepdim=True)
        again, info = torch.linalg.cholesky_ex(shifted)
        done = info == 0
        factors[failed[done]] = again[done]
        failed = failed[~done]
    if len(failed):
        raise _indefinite(system[failed[0]])
    if needed:
        warn_of_jitter(needed)
    head = _shifted(factors, gram, cross, previous)
    check_finite(head.sum().item())
    return Solution(head, needed)


def solve_features_later(
    gram: Tensor, cross: Tensor, penalty: Penalty, previous: Tensor | None, keep: Tensor
) -> UncheckedSolution:
    """One system or several, without a wait for a device.

    All jitters of the ladder are factorised in one call, and the first that succeeds is chosen on the device.

    Args:
        gram: as in ``solve_features`` or ``solve_features_each``.
        cross: as in ``solve_features`` or ``solve_features_each``.
        penalty: as in ``solve_features`` or ``solve_features_each``.
        previous: as in ``solve_features`` or ``solve_features_each``.
        keep: shaped like ``cross``, the head of a solve that fails; of several all are kept if one fails.
    """
    system = with_penalty(gram, penalty)
    ladder = torch.tensor(JITTER_LADDER, dtype=system.dtype)
    if system.is_cuda:
        ladder = ladder.pin_memory()
    ladder = ladder.to(system.device, non_blocking=True)
    shifted = system.expand(len(JITTER_LADDER), *system.shape).clone()
    means = system.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    shifted.diagonal(dim1=-2, dim2=-1).add_((ladder.reshape(-1, *[1] * means.ndim) * means)[..., None])
    factors, info = torch.linalg.cholesky_ex(shifted)
    first = (info == 0).to(torch.int8).argmax(dim=0)
    factor = factors.gather(0, first[..., None, None].expand_as(system)[None])[0]
    head = _shifted(factor, gram, cross, previous)
    definite = (info == 0).any(dim=0)
    solved = definite.all() & torch.isfinite(head).all()
    failure = torch.where(~definite.all() & torch.isfinite(system).all(), torch.inf, torch.nan)
    jitter = torch.where(solved, ladder.gather(0, first.reshape(-1)).max(), failure)
    return UncheckedSolution(torch.where(solved, head, keep), jitter)


def solve_rows(features: Tensor, targets: Tensor, penalty: Penalty, previous: Tensor | None) -> Tensor:
    """The head of rows R ``(n, F)`` and targets Y, each times the root of its share of the weight.

    ::

        W = W_0 + P^-1/2 B^T (B B^T + I)^-1 (Y - R W_0)      B = R P^-1/2
          = W_0 + P^-1/2 Q U^-T (Y - R W_0)                  (B^T; I) = (Q; .) U with orthonormal columns, U triangular

    B B^T is never formed: it would lose features that are small compared with a constant one, which the system of the
    features keeps apart. The system cannot fail to be definite, so there is no jitter.

    Args:
        features: ``(n, F)`` float64.
        targets: ``(n, C)`` float64.
        penalty: P, a number or ``(F,)`` a diagonal, above zero: see ``is_divisor``.
        previous: W_0 ``(F, C)``; None means zero.
    """
    root = penalty.sqrt() if isinstance(penalty, Tensor) else math.sqrt(penalty)
    scaled = features / root
    eye = torch.eye(len(scaled), dtype=scaled.dtype, device=scaled.device)
    basis, factor = torch.linalg.qr(torch.cat([scaled.T, eye]))
    residual = targets if previous is None else targets - features @ previous
    change = basis[: features.shape[1]] @ torch.linalg.solve_triangular(factor.T, residual, upper=False)
    change = (change.T / root).T
    return change if previous is None else previous + change


def is_divisor(penalty: Penalty) -> bool:
    """Whether rows can be divided by the root of a penalty; of a diagonal on CUDA that is taken for granted."""
    if not isinstance(penalty, Tensor):
        return penalty > 0
    return penalty.ndim < 2 and (penalty.is_cuda or bool((penalty > 0).all()))


def with_penalty(gram: Tensor, penalty: Penalty) -> Tensor:
    """G + P, a new tensor; of one Gram matrix ``(F, F)`` or several ``(K, F, F)``."""
    if isinstance(penalty, Tensor) and penalty.ndim == 2:
        return gram + penalty
    system = gram.clone()
    system.diagonal(dim1=-2, dim2=-1).add_(penalty)
    return system


def _factorised(system: Tensor) -> tuple[Tensor, float]:
    for jitter in JITTER_LADDER:
        shifted = system
        if jitter:
            shifted = system.clone()
            shifted.diagonal().add_(jitter * system.diagonal().mean())
        factor, info = torch.linalg.cholesky_ex(shifted)
        if info.item() == 0:
            if jitter:
                warn_of_jitter(jitter)
            return factor, jitter
    raise _indefinite(system)


def _indefinite(system: Tensor) -> NotPositiveDefinite:
    """The error for a system that no jitter makes definite."""
    finite = bool(torch.isfinite(system).all())
    reason = (
        "the features are linearly dependent; raise `strength`" if finite else "features or targets hold NaN or Inf"
    )
    return NotPositiveDefinite(
        f"solve_head: `moments` must give a positive definite system of size {system.shape[0]}; "
        f"Cholesky failed with every jitter up to {JITTER_LADDER[-1]:g}. Likely cause: {reason}."
    )


def _shifted(factor: Tensor, gram: Tensor, cross: Tensor, previous: Tensor | None) -> Tensor:
    if previous is None:
        return torch.cholesky_solve(cross, factor)
    return previous + torch.cholesky_solve(cross - gram @ previous, factor)
