"""Diagnostics of one solve of a head, from its moments alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments, RowMoments
from sciml_cf.head.per_output import OutputMoments
from sciml_cf.head.solution import Penalty
from sciml_cf.head.systems import with_penalty

_NO_PENALTY = 1e-10  # stands for none in the reachable loss, times the mean diagonal


@dataclass(frozen=True)
class Diagnostics:
    """One solve of a head in figures; NaN where the rule made no solve through ``solved_state``.

    The batch is what was solved on: with ``Streaming`` all batches that it remembers, each as far as it does.

    Attributes:
        rows: rows of the batch; NaN if they were weighted.
        features: F, the constant one of a penalised bias included.
        condition: largest over smallest eigenvalue of the solved system G + P, its jitter included.
        jitter: the relative diagonal shift that the Cholesky factor needed.
        degrees_of_freedom: tr(G (G + P)^-1), between 0 and F: in so many directions the batch alone decides.
        feature_scale: root mean square of the features, sqrt(tr(G) / F).
        head_norm: @@|W|`` after the solve.
        head_step: @@|W - W_0|`` over the larger of both norms.
        loss_before: mean squared error of the batch with the head before the solve.
        loss_after: mean squared error of the batch with the head after it.
        loss_reachable: the same with the batch's own least squares head, with no pull.
    """

    rows: float
    features: int
    condition: float
    jitter: float
    degrees_of_freedom: float
    feature_scale: float
    head_norm: float
    head_step: float
    loss_before: float
    loss_after: float
    loss_reachable: float

    @property
    def gain(self) -> float:
        """Share of the batch's loss that the solve took away."""
        return 1 - self.loss_after / self.loss_before if self.loss_before else 0.0

    @property
    def gain_share(self) -> float:
        """The gain over what the batch's own least squares head would have gained; 1 where nothing was to gain."""
        reachable = self.loss_before - self.loss_reachable
        return (self.loss_before - self.loss_after) / reachable if reachable > 0 else 1.0


def diagnose(
    moments: Moments,
    before: Tensor,
    after: Tensor,
    *,
    penalty: Penalty | None,
    jitter: float = 0.0,
    rows: float | None = None,
) -> Diagnostics:
    """Figures of one solve, from its moments alone.

    ::

        loss(W) = mean over outputs of  mean(y^2) - 2 <C, W> + <W, G W>
        degrees of freedom = tr(G (G + P)^-1) = sum_i g_i / (g_i + s)  for P = s I and eigenvalues g_i of G

    Costs the eigenvalues of an ``(F, F)`` matrix: for now and then, not for each step.

    Args:
        moments: what was solved on, F features and C outputs.
        before: ``(F, C)`` float64, the head before.
        after: ``(F, C)`` float64, the head after.
        penalty: P, a number (a multiple of the identity), ``(F,)`` a diagonal, or ``(F, F)``; None if unknown.
        jitter: the relative diagonal shift of the solve.
        rows: how many rows the moments hold, by default their weight.

    Raises:
        ValueError: the heads are not shaped like the moments' cross.

    References:
        Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd ed., Eq. (3.50).
    """
    for name, head in (("before", before), ("after", after)):
        if head.shape != moments.cross.shape:
            raise ValueError(
                f"diagnose: `{name}` must be {tuple(moments.cross.shape)}, (features, outputs) of the moments; "
                f"got {tuple(head.shape)}."
            )
    gram, num_features = moments.gram, moments.num_features
    mean_diagonal = gram.diagonal().mean()
    condition = degrees = mean_diagonal.new_full((), math.nan)
    if penalty is not None:
        shift = jitter * with_penalty(gram, penalty).diagonal().mean()
        system = with_penalty(gram, penalty)
        system.diagonal().add_(shift)
        if isinstance(penalty, Tensor):
            values = torch.linalg.eigvalsh(system)
            degrees = degrees_of_freedom(gram, system)
        else:
            own = torch.linalg.eigvalsh(gram).clamp(min=0)
            values = own + penalty + shift
            degrees = torch.where(own > 0, own / values, 0.0).sum()
        condition = torch.where(values[0] > 0, values[-1] / values[0], torch.inf)
    losses = [loss_at(moments, head) for head in (before, after, least_squares_head(moments))]
    norm = torch.linalg.norm(after)
    figures = [condition, degrees, mean_diagonal.sqrt(), norm, _relative(before, after), *losses]
    condition, degrees, scale, size, change, *losses = torch.stack(figures).tolist()
    count = moments.weight.item() if rows is None else rows
    return Diagnostics(count, num_features, condition, jitter, degrees, scale, size, change, *losses)


def loss_at(moments: Moments, head: Tensor) -> Tensor:
    """() mean squared error of a head ``(F, C)``, over rows and outputs, not below zero."""
    return _losses(moments, head[None])[0]


def losses_at(moments: Sequence[Moments], heads: Tensor) -> Tensor:
    """``(K, n)``, the same of K heads for each of n moments, ``(K, n, F, C)``."""
    if any(isinstance(one, RowMoments | OutputMoments) for one in moments):
        return torch.stack([_losses(one, own) for one, own in zip(moments, heads.unbind(dim=1), strict=True)], dim=1)
    gram, cross = (torch.stack([getattr(one, name) for one in moments]) for name in ("gram", "cross"))
    squares = torch.stack([one.target_square for one in moments]).sum(dim=1)
    quadratic = (heads * torch.sub(gram @ heads, cross, alpha=2)).sum(dim=(2, 3))
    return ((squares + quadratic) / moments[0].num_outputs).clamp(min=0)


def _losses(moments: Moments, heads: Tensor) -> Tensor:
    """``(K,)`` of heads ``(K, F, C)``."""
    return (moments.squared_errors(heads) / moments.num_outputs).clamp(min=0)


def least_squares_head(moments: Moments) -> Tensor:
    """The batch's least squares head; NaN if it has none."""
    system = with_penalty(moments.gram, _NO_PENALTY * moments.gram.diagonal().mean())
    factor, info = torch.linalg.cholesky_ex(system)
    return torch.where(info == 0, torch.cholesky_solve(moments.cross, factor), math.nan)


def degrees_of_freedom(gram: Tensor, system: Tensor) -> Tensor:
    """() tr(G S^-1) of a Gram matrix and the system that was solved; NaN if that is not definite."""
    factor, info = torch.linalg.cholesky_ex(system)
    return torch.where(info == 0, torch.cholesky_solve(gram, factor).diagonal().sum(), math.nan)


def _relative(before: Tensor, after: Tensor) -> Tensor:
    larger = torch.maximum(torch.linalg.norm(before), torch.linalg.norm(after))
    return torch.linalg.norm(after - before) / larger.clamp(min=torch.finfo(torch.float64).tiny)
