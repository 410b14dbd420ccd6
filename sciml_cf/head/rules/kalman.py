"""Kalman: the proximal update with the whole covariance remembered."""

from __future__ import annotations

from dataclasses import dataclass

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import check_memory, merged, nothing, renewed
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update


@dataclass(frozen=True)
class Kalman(Rule):
    """Filter of a head that drifts with the backbone; one ``(F, F)`` precision L is shared by all outputs.

    ::

        L <- g L + n G + (1 - g) n s I        W <- W_prev + L^-1 n (C - G W_prev)        n: weight (rows) of the batch

    Directions that many batches have seen move little; new ones move freely. As g -> 0 it is ``Proximal(strength)``.
    With g = 1 the prior n s I enters at the first update alone, and one pass over fixed features is ridge on all rows.
    The paper collapses L to a multiple of the identity after each batch, which gives its proximal update.

    Args:
        forgetting: g from 0 to 1; about the last 1 / (1 - g) batches count.
        strength: s > 0 on the mean loss of a batch, the prior's pull to the previous head.

    Raises:
        ValueError: ``strength`` is not above 0, or ``forgetting`` not from 0 to 1.

    References:
        arXiv:2510.04606, appendix A, without the collapse of Eq. (24); forgetting as in recursive least squares
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

    def update(self, state: State, moments: Moments) -> Update:
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
