"""Moving average of the batches' own ridge heads."""

from __future__ import annotations

from dataclasses import dataclass

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import check_forgetting, merged, nothing
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update
from sciml_cf.head.solve import check_strength


@dataclass(frozen=True)
class MovingAverage(Rule):
    """Exponential moving average of ridge heads, one of each batch: a baseline, not a recommendation.

    ::

        W <- (g m W + n (G + b I)^-1 C) / (g m + n)        m <- g m + n        n: weight (rows) of the batch

    The average minimises no loss that the backbone sees, and the paper calls training with it unstable (section 2).

    Args:
        forgetting: g from 0 (``Ridge``) to 1; about the last 1 / (1 - g) batches count.
        strength: b >= 0 on the mean loss, the pull of each batch's head to zero.

    Raises:
        ValueError: ``strength`` is below 0, or ``forgetting`` not from 0 to 1.

    References:
        as described in arXiv:2510.04606, section 2, of Barboni et al. (2025).
    """

    forgetting: float = 0.9
    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_strength("MovingAverage", self.strength, allow_zero=True)
        check_forgetting("MovingAverage", self.forgetting)

    def init(self, num_features: int, num_outputs: int) -> State:
        return {**super().init(num_features, num_outputs), "weight": nothing()}

    def update(self, state: State, moments: Moments) -> Update:
        faded = self.forgetting * state["weight"]
        memory = {"weight": faded + moments.weight}
        update = solved_state(state, moments, self.strength, previous=None, memory=memory)
        # A solve that failed on a device handed the previous head back, whose average with itself it is.
        return update.changed({"head": merged(state["head"], update.head, faded, moments.weight)})
