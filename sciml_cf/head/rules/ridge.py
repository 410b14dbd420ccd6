"""Ridge: each batch alone."""

from __future__ import annotations

from dataclasses import dataclass

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update
from sciml_cf.head.solve import check_strength


@dataclass(frozen=True)
class Ridge(Rule):
    """Each batch's own ridge solution; forgets the previous head. Needs large batches (paper, section 6).

    Args:
        strength: b >= 0 on the mean loss (paper: beta = rows * b).

    Raises:
        ValueError: ``strength`` is below 0.

    References:
        arXiv:2510.04606, Eq. (9) and (11).
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_strength("Ridge", self.strength, allow_zero=True)

    def solves_apart(self) -> bool:
        return True

    def update(self, state: State, moments: Moments) -> Update:
        return solved_state(state, moments, self.strength, previous=None)
