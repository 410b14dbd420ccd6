"""Warm-up: another strength at first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from sciml_cf.errors import check_count, check_positive
from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import nothing
from sciml_cf.head.rules.common.rule import Rule, updated
from sciml_cf.head.rules.common.state import State, number_in, with_number
from sciml_cf.head.rules.common.update import Update


@dataclass(frozen=True)
class WarmUp(Rule):
    """Another rule, whose strength starts ``times`` as large and goes geometrically to its own in ``steps`` updates.

    ::

        strength at update t = strength * times^(1 - t / steps)        t = 0, 1, ..., then its own

    Early features change fast; a stronger pull (times > 1) keeps the head from following every batch.

    Args:
        rule: a rule with a ``strength``.
        steps: updates until the strength is its own, 1 or more.
        times: above 0; below 1 starts with a weaker pull.

    Raises:
        TypeError: ``rule`` is not a rule with a strength.
        ValueError: ``steps`` is below 1, or ``times`` not above 0.

    References:
        a choice of this package; the paper (arXiv:2510.04606) keeps its strength.
    """

    rule: Rule
    steps: int
    times: float = 100.0

    def __post_init__(self) -> None:
        if not (isinstance(self.rule, Rule) and hasattr(self.rule, "strength")):
            raise TypeError(
                f"WarmUp: `rule` must be a Rule with a strength, such as Proximal(strength=1e-2); got {self.rule!r}."
            )
        check_count("WarmUp", "steps", self.steps)
        check_positive("WarmUp", "times", self.times)

    def init(self, num_features: int, num_outputs: int) -> State:
        return {**self.rule.init(num_features, num_outputs), "warmed": nothing()}

    def update(self, state: State, moments: Moments) -> Update:
        done = min(int(number_in(state, "warmed")), self.steps)
        rule = cast(Any, self.rule)
        present = replace(rule, strength=rule.strength * self.times ** (1 - done / self.steps))
        update = updated(present, state, moments)
        return update.changed(with_number(update.state, "warmed", min(done + 1, self.steps)))

    def completed(self, state: State) -> State:
        return self.rule.completed(state)

    def solves_apart(self) -> bool:
        return self.rule.solves_apart()

    def remembers(self) -> bool:
        return self.rule.remembers()
