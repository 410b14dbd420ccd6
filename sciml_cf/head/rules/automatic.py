"""Automatic: several strengths in parallel, and the one that best predicted recent batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import check_forgetting, checked_strengths, merged, nothing
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update
from sciml_cf.head.rules.per_feature import feature_pull

_FLOOR = 1e-14  # of the targets' mean square: what is left of an error below it is rounding


@dataclass(frozen=True)
class Automatic(Rule):
    """Proximal heads at several strengths side by side; the head is the one that best predicted recent batches.

    ::

        score_k <- faded mean of log mean |W_k^T phi - y|^2 on each new batch, before W_k has seen it
        W_k <- (G + s_k D)^-1 (C + s_k D W_k)      W <- that of the least score
        D_jj = max(mean(phi_j^2), median_i mean(phi_i^2))

    The pull is in the units of the features, so that multiplying all of them by a number changes no prediction (from a
    zero head); a feature smaller than most is pulled like most, or it would get large weights before it means anything.
    The error on the next batch needs no count of independent rows, which generalised cross-validation on the batch
    itself would divide by: neighbouring grid points are nearly copies of each other.

    Args:
        forgetting: g from 0 (the last batch decides alone) to 1; scores are means of about 1 / (1 - g) batches.
        strengths: the candidates, relative to the features' mean squares; the first is used until errors tell.

    Raises:
        ValueError: ``forgetting`` is not from 0 to 1, or ``strengths`` are none or not above 0.

    References:
        the idea of choosing the strength anew at each step from the data is slimTrain's (arXiv:2109.14002); the
        criterion is prequential validation (Dawid, 1984).
    """

    forgetting: float = 0.99
    strengths: tuple[float, ...] = (1e-2, 1e-4, 1e-3, 1e-1, 1.0)

    def __post_init__(self) -> None:
        check_forgetting("Automatic", self.forgetting)
        object.__setattr__(self, "strengths", checked_strengths("Automatic", self.strengths))

    def init(self, num_features: int, num_outputs: int) -> State:
        count = len(self.strengths)
        own = {"heads": nothing(count, num_features, num_outputs), "scores": nothing(count), "weight": nothing()}
        return {**super().init(num_features, num_outputs), **own}

    def update(self, state: State, moments: Moments) -> Update:
        heads, head = state["heads"], state["head"]
        ours = (heads == head).flatten(1).all(dim=1).any()  # else the head was set from outside, or is the initial one
        heads = torch.where(ours, heads, head)
        faded = self.forgetting * torch.where(ours, state["weight"], 0.0)
        scores = merged(state["scores"], squared_errors(heads, moments).log(), faded, moments.weight)
        scales = moments.squares.maximum(moments.squares.median())
        pulls = [feature_pull(scales, strength) for strength in self.strengths]
        new = [_solved(moments, pull, own) for pull, own in zip(pulls, heads, strict=True)]
        best = scores.argmin().reshape(1)
        memory = {"heads": torch.stack(new), "scores": scores, "weight": faded + moments.weight}
        pull = torch.stack(pulls).index_select(0, best)[0]
        return solved_state(state, moments, pull, previous=heads.index_select(0, best)[0], memory=memory)


def squared_errors(heads: Tensor, moments: Moments) -> Tensor:
    """Mean squared errors ``(K,)`` of heads ``(K, F, C)`` on a batch, summed over outputs, no less than rounding."""
    least = (_FLOOR * moments.target_square.sum()).clamp_min(torch.finfo(torch.float64).tiny)
    return moments.squared_errors(heads).maximum(least)


def _solved(moments: Moments, penalty: Tensor, head: Tensor) -> Tensor:
    """The head ``(F, C)`` after a solve near ``head``, which on a device stays if that fails."""
    if moments.device.type == "cuda":
        return moments.solve_later(penalty, head, keep=head).head
    return moments.solve(penalty, head).head
