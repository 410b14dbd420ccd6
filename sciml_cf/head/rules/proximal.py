"""Proximal: each batch, held near the head before."""

from __future__ import annotations

from dataclasses import dataclass

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update
from sciml_cf.head.solve import check_strength


@dataclass(frozen=True)
class Proximal(Rule):
    """Least squares on the batch, held near the previous head; the paper's method.

    Args:
        strength: s > 0 on the mean loss (paper: lambda = rows * s).

    Raises:
        ValueError: ``strength`` is not above 0.

    References:
        arXiv:2510.04606, Eq. (13) and (17).
    """

    strength: float = 1e-2

    def __post_init__(self) -> None:
        check_strength("Proximal", self.strength)

    def solves_apart(self) -> bool:
        return True

    def update(self, state: State, moments: Moments) -> Update:
        return solved_state(state, moments, self.strength, previous=state["head"])
