"""Per feature: a proximal pull in the units of each feature."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import check_memory, merged, nothing
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update

_LEAST = 1e-200  # keeps a feature that was never active at its weight, far below the square of any other


def feature_pull(scales: Tensor, strength: float | Tensor) -> Tensor:
    """Penalty ``(F,)`` in proportion to the mean squares of the features, never zero."""
    return (strength * scales).clamp_min(_LEAST)


@dataclass(frozen=True)
class PerFeature(Rule):
    """Proximal with a pull in proportion to each feature's mean square: free of the features' scales.

    ::

        min_W  mean |W^T phi - y|^2 + s sum_j d_j |W_j - W_prev,j|^2        d_j: running mean of phi_j^2

    Multiplying any feature by a number divides its weight by it and changes no prediction (from a zero head).

    Args:
        strength: s > 0, without unit.
        forgetting: g from 0 (d of the batch at hand) to 1; about the last 1 / (1 - g) batches count.

    Raises:
        ValueError: ``strength`` is not above 0, or ``forgetting`` not from 0 to 1.

    References:
        the proximal update (arXiv:2510.04606, Eq. (13)) with the scaling of Marquardt (1963).
    """

    strength: float = 1e-2
    forgetting: float = 0.9

    def __post_init__(self) -> None:
        check_memory("PerFeature", self.strength, self.forgetting)

    def init(self, num_features: int, num_outputs: int) -> State:
        return {**super().init(num_features, num_outputs), "scales": nothing(num_features), "weight": nothing()}

    def update(self, state: State, moments: Moments) -> Update:
        faded = self.forgetting * state["weight"]
        scales = merged(state["scales"], moments.squares, faded, moments.weight)
        memory = {"scales": scales, "weight": faded + moments.weight}
        pull = feature_pull(scales, self.strength)
        return solved_state(state, moments, pull, previous=state["head"], memory=memory)
