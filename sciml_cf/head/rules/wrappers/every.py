"""Another rule, now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sciml_cf.errors import check_choice, check_count
from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.rule import Rule, updated
from sciml_cf.head.rules.common.state import State, number_in, with_number
from sciml_cf.head.rules.common.update import Update

_NAMES = {"gram": "gram", "cross": "cross", "target_square": "target_square", "weight": "weight", "count": "num_rows"}


@dataclass(frozen=True)
class Every(Rule):
    """Another rule, applied at each ``steps``-th step only; in between the head stays.

    For wide layers, where a solve costs as much as many steps of the backbone. With ``on="all"`` the rule gets the
    exact weighted merge of the moments of all the steps since it was last applied: more rows, though the older ones
    are features of a backbone that has moved since, and each step still pays for its moments. With ``on="last"`` it
    gets those of the step itself, nothing is kept in between, and the steps between need no moments (see
    ``Rule.passes_over``). The first solve comes after ``steps`` steps; until then the head is the initial one.

    Args:
        rule: the rule to apply.
        steps: how often, 1 or more; with 1 it is the rule itself.
        on: "all" or "last", see above.

    Raises:
        TypeError: ``rule`` is not a rule.
        ValueError: ``steps`` is below 1, or ``on`` unknown.
    """

    rule: Rule
    steps: int
    on: Literal["all", "last"] = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise TypeError(f"Every: `rule` must be a Rule such as Proximal(strength=1e-2); got {self.rule!r}.")
        check_count("Every", "steps", self.steps)
        check_choice("Every", "on", self.on, ("all", "last"))

    def init(self, num_features: int, num_outputs: int) -> State:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        state = {**self.rule.init(num_features, num_outputs), "waited": zeros()}
        if self.on == "all":
            state["waiting_gram"] = zeros(num_features, num_features)
            state["waiting_cross"] = zeros(num_features, num_outputs)
            state["waiting_target_square"] = zeros(num_outputs)
            state["waiting_weight"], state["waiting_count"] = zeros(), zeros()
        return state

    def update(self, state: State, moments: Moments) -> Update:
        names = _NAMES if self.on == "all" else {}
        moments = self._gathered(state, moments)
        waited = int(number_in(state, "waited")) + 1
        if waited < self.steps:
            kept = {f"waiting_{name}": getattr(moments, field) for name, field in names.items()}
            return Update(with_number(state, "waited", waited, **kept))
        update = updated(self.rule, state, moments)
        cleared = {f"waiting_{name}": torch.zeros_like(state[f"waiting_{name}"]) for name in names}
        return update.changed(with_number(update.state, "waited", 0, **cleared))

    def _gathered(self, state: State, moments: Moments) -> Moments:
        return Moments(*(state[f"waiting_{name}"] for name in _NAMES)) + moments if self.on == "all" else moments

    def completed(self, state: State) -> State:
        state = self.rule.completed(state)
        if self.on == "all" and "waiting_count" not in state:  # an earlier version took the weight for it
            return {**state, "waiting_count": state["waiting_weight"].clone()}
        return state

    def remembers(self) -> bool:
        return self.rule.remembers() or (self.on == "all" and self.steps > 1)

    def solves_apart(self) -> bool:
        return self.on == "last" and self.rule.solves_apart()

    def passes_over(self, state: State) -> State | None:
        waited = int(number_in(state, "waited")) + 1
        if self.on == "all" or waited >= self.steps:
            return None
        return with_number(state, "waited", waited)
