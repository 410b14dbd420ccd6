"""Choice of a penalty on the change of a head: cross-validation and generalised cross-validation on moments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head.moments import Moments

UNCHANGED = math.inf  # the strength that leaves the head where it is
_HALF_DECADES = range(-16, 5)  # from 1e-8 to 1e2, of the mean square of the features
_FLOOR = 1e-12  # smallest eigenvalue of a Gram matrix that counts, of its largest
# Standard errors by which a change must be better than none: Student's t at 95 %, for 1, 2, ... degrees of freedom.
_CLEARLY = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895)


def strength_grid(gram: Tensor) -> tuple[float, ...]:
    """Strengths to try, weakest first: 1e-8 to 1e2 of the features' mean square trace(G) / F, and infinity.

    An infinite strength means the unchanged head.
    """
    scale = float(gram.diagonal().mean())
    return (*(scale * 10 ** (step / 2) for step in _HALF_DECADES), UNCHANGED)


def pull_metric(gram: Tensor) -> Tensor:
    """The square root of a Gram matrix, of mean diagonal one: the metric of a pull that a model's training suggests.

    ::

        P = F / trace(G^(1/2)) G^(1/2)

    It lies half-way (as the geometric mean) between the identity, which holds all weights alike, and G itself, under
    which ``|D|_G^2 = mean |D^T phi|^2`` is the change of the predictions on the data behind G.

    Args:
        gram: ``(F, F)``, positive semi-definite.
    """
    values, vectors = torch.linalg.eigh(gram)
    roots = values.clamp_min(_FLOOR * values[-1]).sqrt()
    return (vectors * (roots / roots.mean())) @ vectors.T


def fold_errors(folds: Sequence[Moments], strengths: Sequence[float], *, metric: Tensor | None = None) -> Tensor:
    """Error on each fold of the head that was solved on all others, for every strength: K-fold cross-validation.

    ::

        D_k(s) = (G_-k + s P)^-1 C_-k      error_k(s) = mean over outputs of  t_k - 2 D_k^T C_k + D_k^T G_k D_k

    with targets that are the residuals of the unchanged head, so that D is the change of the head. It is exact: no row
    is looked at again, and the error is the mean squared error over the rows of the fold.

    Args:
        folds: K >= 2 moments with residuals as targets; rows that depend on each other belong into one fold.
        strengths: s >= 0 each, infinite for the unchanged head.
        metric: P ``(F, F)``, positive definite; None is the identity.

    Returns:
        (strengths, K), float64.

    Raises:
        ValueError: fewer than two folds.
        NotPositiveDefinite: the moments are not finite, or the metric is not positive definite.
    """
    if len(folds) < 2:
        raise ValueError(f"fold_errors: `folds` must be at least 2; got {len(folds)}. One sample cannot be held out.")
    columns = []
    for index, fold in enumerate(folds):
        rest = reduce(add, [other for place, other in enumerate(folds) if place != index])
        values, basis = _diagonalise(rest.gram, metric)
        columns.append(_errors(_changes(values, basis.T @ rest.cross, strengths), basis, fold))
    return torch.stack(columns, dim=1)


def generalised_errors(moments: Moments, strengths: Sequence[float], *, metric: Tensor | None = None) -> Tensor:
    """Generalised cross-validation, for every strength; it takes all rows for independent.

    ::

        GCV(s) = mean |r - D(s)^T phi|^2 / (1 - d(s) / n)^2,   d(s) = trace((G + s P)^-1 G),   n the number of rows

    Args:
        moments: with the residuals of the unchanged head as targets.
        strengths: as in fold_errors.
        metric: as in fold_errors.

    Returns:
        (strengths,), float64, infinite where the degrees of freedom d reach the number of rows.

    References:
        Golub, Heath and Wahba (1979), Technometrics 21, 215.
    """
    values, basis = _diagonalise(moments.gram, metric)
    errors = _errors(_changes(values, basis.T @ moments.cross, strengths), basis, moments)
    freedom = torch.stack([_freedom(values, strength) for strength in strengths])
    left = 1 - freedom / moments.weight
    return torch.where(left > 0, errors / left.square(), torch.inf)


def degrees_of_freedom(gram: Tensor, strengths: Sequence[float], *, metric: Tensor | None = None) -> Tensor:
    """Effective number of weights that a solve sets, trace((G + s P)^-1 G), for every strength: (strengths,)."""
    values, _ = _diagonalise(gram, metric)
    return torch.stack([_freedom(values, strength) for strength in strengths])


def choose_strength(errors: Tensor, weights: Tensor) -> int:
    """The strength that cross-validation calls for, and none other than "unchanged" unless the case for it is clear.

    First the strongest pull whose error is within one standard error (over folds, of paired differences) of the lowest.
    Then, since a few samples of large error can dominate such means, the logarithm of the error must be lower than
    that of the unchanged head by a one-sided t-test over the folds at the 5 % level; else the head stays.

    Args:
        errors: (strengths, K) of ``fold_errors``, strengths increasing, the last one infinite.
        weights: ``(K,)``, weights of the folds.

    Returns:
        Index of the strength.

    References:
        the one-standard-error rule is that of Breiman, Friedman, Olshen and Stone (1984), CART, section 3.4.3.
    """
    means = errors @ weights / weights.sum()
    best = int(means.argmin())
    gaps = errors - errors[best]
    index = int(torch.nonzero(means - means[best] <= _standard_error(gaps))[-1])
    logs = errors.clamp_min(torch.finfo(errors.dtype).tiny).log()
    gain = logs[-1] - logs[index]
    clearly = _CLEARLY[min(len(gain) - 1, len(_CLEARLY)) - 1]
    return index if gain.mean() > clearly * _standard_error(gain) else len(errors) - 1


def _standard_error(values: Tensor) -> Tensor:
    return values.std(dim=-1) / math.sqrt(values.shape[-1])


def _diagonalise(gram: Tensor, metric: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values v and basis T with T^T P T = 1 and T^T G T = diag(v): then (G + s P)^-1 = T diag(1 / (v + s)) T^T."""
    if not bool(torch.isfinite(gram).all()):
        raise NotPositiveDefinite("fold_errors: `folds` must be finite; got features with NaN or infinite entries.")
    if metric is None:
        values, basis = torch.linalg.eigh(gram)
        return values.clamp_min(0), basis
    factor, info = torch.linalg.cholesky_ex(metric)
    if int(info):
        raise NotPositiveDefinite(
            "fold_errors: `metric` must be positive definite; its Cholesky factor does not exist."
        )
    half = torch.linalg.solve_triangular(factor, gram, upper=False)
    values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(factor, half.T, upper=False))
    return values.clamp_min(0), torch.linalg.solve_triangular(factor.T, vectors, upper=True)


def _changes(values: Tensor, cross: Tensor, strengths: Sequence[float]) -> Tensor:
    """The change of the head in the basis, (strengths, F, C)."""
    floor = torch.finfo(values.dtype).eps * values[-1]  # strength zero: leave out what the features do not span
    changes = []
    for strength in strengths:
        damped = values + strength
        changes.append(torch.where(damped[:, None] > floor, cross / damped[:, None], 0.0))
    return torch.stack(changes)


def _errors(changes: Tensor, basis: Tensor, moments: Moments) -> Tensor:
    """Mean squared residual, over the outputs too, of changes in the basis, on moments of residuals: (strengths,)."""
    gram, cross = basis.T @ moments.gram @ basis, basis.T @ moments.cross
    each = moments.target_square - 2 * (changes * cross).sum(1) + (changes * (gram @ changes)).sum(1)
    return each.mean(1).clamp_min(0)


def _freedom(values: Tensor, strength: float) -> Tensor:
    return torch.where(values > 0, values / (values + strength), 0.0).sum()
