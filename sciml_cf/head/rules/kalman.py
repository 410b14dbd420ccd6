"""Kalman: the proximal update with the whole covariance remembered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.memory import check_memory, merged, nothing, renewed
from sciml_cf.head.rules.rule import Rule, State
from sciml_cf.head.rules.solving import solved_state


@dataclass(frozen=True)
class Kalman(Rule):
    """Filter of a head that drifts with the backbone; one (F, F) precision L is shared by all outputs.

        L <- g L + n G + (1 - g) n s I        W <- W_prev + L^-1 n (C - G W_prev)        n: weight (rows) of the batch

    Directions that many batches have seen move little; new ones move freely. As g -> 0 it is ``Proximal(strength)``.
    With g = 1 the prior n s I enters at the first update alone, and one pass over fixed features is ridge on all rows.
    The paper collapses L to a multiple of the identity after each batch, which gives its proximal update.

    Args:
        forgetting: g from 0 to 1; about the last 1 / (1 - g) batches count.
        strength: s > 0 on the mean loss of a batch, the prior's pull to the previous head.
    Raises:
        ValueError: ``strength`` is not above 0, or ``forgetting`` not from 0 to 1.
    Source: arXiv:2510.04606, appendix A, without the collapse of Eq. (24); forgetting as in recursive least squares
        (Haykin, Adaptive Filter Theory, chapter 10).
    """

    forgetting: float = 0.9
    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_memory("Kalman", self.strength, self.forgetting)

    def init(self, num_features: int, num_outputs: int) -> State:
        memory = {"gram": nothing(num_features, num_features), "weight": nothing(), "prior": nothing()}
        return {**super().init(num_features, num_outputs), **memory}

    def remembers(self) -> bool:
        return True

    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        faded = self.forgetting * state["weight"]
        prior = renewed(state["prior"], state["weight"], self.forgetting, moments.weight)
        pull = state["gram"] * (faded / moments.weight)
        pull.diagonal().add_(self.strength * prior / moments.weight)
        memory = {
            "gram": merged(state["gram"], moments.gram, faded, moments.weight),
            "weight": faded + moments.weight,
            "prior": prior,
        }
        return solved_state(state, moments, pull, previous=state["head"], memory=memory)


@dataclass(frozen=True)
class RandomWalk(Rule):
    """The Kalman filter of the paper's random walk: nothing is forgotten, but the head drifts between batches.

        P <- P + q I,   P <- (P^-1 + n G)^-1,   W <- W_prev + P n (C - G W_prev)        q = 1 / (n s)

    P is the covariance of the head in units of the noise of a row, kept as its inverse. With P = 0 before each batch
    (the paper's collapse), and at the first update, it is ``Proximal(strength)``.

    Args:
        strength: s > 0, the ratio of the variance of a batch's mean error to that of the head's drift from batch to
            batch (paper: lambda = rows * s).
    Raises:
        ValueError: ``strength`` is not above 0.
    Source: arXiv:2510.04606, Eq. (22), (23) and (25).
    """

    strength: float = 1e-2

    def __post_init__(self) -> None:
        check_memory("RandomWalk", self.strength, 0)

    def init(self, num_features: int, num_outputs: int) -> State:
        memory = {"precision": nothing(num_features, num_features), "weight": nothing()}
        return {**super().init(num_features, num_outputs), **memory}

    def remembers(self) -> bool:
        return True

    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        # (P + q I)^-1 in the units of the batch: with l = P^-1 / n it is (l^-1 + I / s)^-1 = (l / s + I)^-1 l.
        known = state["precision"] / moments.weight
        drift = known / self.strength
        drift.diagonal().add_(1.0)
        pull = torch.cholesky_solve(known, torch.linalg.cholesky_ex(drift).L)
        certain = self.strength * torch.eye(len(pull), dtype=pull.dtype, device=pull.device)
        pull = torch.where(state["weight"] > 0, (pull + pull.T) / 2, certain)
        memory = {
            "precision": moments.weight * (pull + moments.gram),
            "weight": state["weight"] + moments.weight,
        }
        return solved_state(state, moments, pull, previous=state["head"], memory=memory)
