"""Streaming: ridge on a fading memory of all batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import check_memory, merged, nothing, renewed
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update


@dataclass(frozen=True)
class Streaming(Rule):
    """Ridge on all batches so far, the older ones fading; forgets the previous head, but not its data.

    ::

        L <- g L + n G + (1 - g) n s I      eta <- g eta + n C      W = L^-1 eta      n: weight (rows) of the batch

    As g -> 0 it is ``Ridge(strength)`` on the last batch. With g = 1 the prior n s I enters at the first update alone,
    and one pass over fixed features is ridge on all rows. Features of earlier batches are those of an earlier
    backbone: unlike ``Kalman``, whose residual is measured with the present features alone, it solves for both.

    Args:
        forgetting: g from 0 to 1; about the last 1 / (1 - g) batches count.
        strength: s > 0 on the mean loss of a batch, the pull to zero.

    Raises:
        ValueError: ``strength`` is not above 0, or ``forgetting`` not from 0 to 1.

    References:
        Ljung and Soederstroem, Theory and Practice of Recursive Identification (1983), chapter 2.
    """

    forgetting: float = 0.9
    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_memory("Streaming", self.strength, self.forgetting)

    def init(self, num_features: int, num_outputs: int) -> State:
        memory = {
            "gram": nothing(num_features, num_features),
            "cross": nothing(num_features, num_outputs),
            "target_square": nothing(num_outputs),
            "weight": nothing(),
            "prior": nothing(),
        }
        return {**super().init(num_features, num_outputs), **memory}

    def completed(self, state: State) -> State:
        if "target_square" in state:
            return state
        return {**state, "target_square": torch.full_like(state["cross"][0], math.nan)}

    def remembers(self) -> bool:
        return True

    def update(self, state: State, moments: Moments) -> Update:
        faded = self.forgetting * state["weight"]
        # Of targets that an earlier version did not remember, the batch at hand says the most.
        square = torch.where(state["target_square"].isnan(), moments.target_square, state["target_square"])
        olds = {"gram": state["gram"], "cross": state["cross"], "target_square": square}
        means = {name: merged(old, getattr(moments, name), faded, moments.weight) for name, old in olds.items()}
        weight = faded + moments.weight
        prior = renewed(state["prior"], state["weight"], self.forgetting, moments.weight)
        memory = {**means, "weight": weight, "prior": prior}
        remembered = Moments(**means, weight=weight)
        return solved_state(state, remembered, self.strength * prior / weight, previous=None, memory=memory)
