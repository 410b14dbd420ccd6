"""Random walk: the paper's Kalman filter of a head that drifts between batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import check_memory, nothing
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update


@dataclass(frozen=True)
class RandomWalk(Rule):
    """The Kalman filter of the paper's random walk: nothing is forgotten, but the head drifts between batches.

    ::

        P <- P + q I,   P <- (P^-1 + n G)^-1,   W <- W_prev + P n (C - G W_prev)        q = 1 / (n s)

    P is the covariance of the head in units of the noise of a row, kept as its inverse. With P = 0 before each batch
    (the paper's collapse), and at the first update, it is ``Proximal(strength)``.

    Args:
        strength: s > 0, the ratio of the variance of a batch's mean error to that of the head's drift from batch to
            batch (paper: lambda = rows * s).

    Raises:
        ValueError: ``strength`` is not above 0.

    References:
        arXiv:2510.04606, Eq. (22), (23) and (25).
    """

    strength: float = 1e-2

    def __post_init__(self) -> None:
        check_memory("RandomWalk", self.strength, 0)

    def init(self, num_features: int, num_outputs: int) -> State:
        memory = {"precision": nothing(num_features, num_features), "weight": nothing()}
        return {**super().init(num_features, num_outputs), **memory}

    def remembers(self) -> bool:
        return True

    def update(self, state: State, moments: Moments) -> Update:
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
