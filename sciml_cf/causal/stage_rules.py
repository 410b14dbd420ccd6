"""The rules of the heads of the two stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sciml_cf.errors import check_choice
from sciml_cf.head import Moments, Proximal, Ridge, Rule, check_solved
from sciml_cf.head.registry import rule_named, rule_names
from sciml_cf.head.rules import State
from sciml_cf.head.rules.common.rule import updated
from sciml_cf.head.rules.common.state import JitterReport, report_of

# Whether the first gradient of a batch is taken at the head before the batch, or at the head solved on it, held fixed
# or with the backward pass through its solve.
Gradients = Literal["previous", "solved", "through"]
GRADIENTS: tuple[Gradients, ...] = ("previous", "solved", "through")
# Strengths of the three solves where they are not the rule's own; None inside stage 2 is that of stage 1.
_STRENGTHS: dict[str, tuple[float, float, float | None]] = {
    "proximal": (0.1, 1.0, 1e-6),
    "ridge": (1e-2, 1e-2, None),
    "kalman": (1e-3, 1e-3, 1e-6),
}


@dataclass(frozen=True)
class StageRules:
    """The rules of the three solves of deep-feature instrumental variables.

    Strengths multiply ``|W|^2`` or ``|W - W_prev|^2``, added to a MEAN squared error. They mean the same at every batch
    size. The paper writes sums over the batch: lambda_1 = rows * first, lambda_2 = rows * second, lambda_12 = rows *
    inner.

    Args:
        first: the head W of the instrument's features, fitted to the treatment's features (paper: lambda_1).
        second: the head w of the expected treatment features, fitted to the outcome (lambda_2).
        inner: W*(theta_X), the first head as a function of the treatment net inside stage 2 (lambda_12). Weak: a strong
            pull to W takes away the treatment net's gradient.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithm 3.
    """

    first: Rule
    second: Rule
    inner: Rule

    def __post_init__(self) -> None:
        for name in ("first", "second", "inner"):
            rule = getattr(self, name)
            if not isinstance(rule, Rule):
                raise TypeError(f"StageRules: `{name}` must be a Rule such as Proximal(0.1); got {rule!r}.")

    @classmethod
    def named(
        cls,
        rule: str,
        first: float | None = None,
        second: float | None = None,
        inner: float | None = None,
        **settings: Any,
    ) -> StageRules:
        """One rule in all three solves, by its name.

        Args:
            rule: one of ``sciml_cf.head.rule_names()``.
            first: strength of the first solve. By default strengths are those of ``proximal``, ``ridge`` and ``kalman``
                below, and the rule's own for others; leave them out for rules that choose theirs.
            second: strength of the second solve.
            inner: strength of the inner solve.
            settings: further settings of the rule, the same in each solve.

        Raises:
            ValueError: unknown name, or a setting that the rule refuses or does not have.
        """
        made = rule_named(rule, function="StageRules", argument="rule")
        defaults = _STRENGTHS.get(rule, (None, None, None))
        given = [own if one is None else one for one, own in zip((first, second, inner), defaults, strict=True)]
        if rule == "ridge" and given[2] is None:
            given[2] = given[0]
        return cls(*(made.make("StageRules", strength=strength, **settings) for strength in given))

    @classmethod
    def proximal(cls, first: float = 0.1, second: float = 1.0, inner: float = 1e-6) -> StageRules:
        """Algorithm 3: every head near the one before."""
        return cls.named("proximal", first, second, inner)

    @classmethod
    def ridge(cls, first: float = 1e-2, second: float = 1e-2, inner: float | None = None) -> StageRules:
        """Each batch alone, as in DFIV (arXiv:2010.07154): the strength of stage 1 is also that inside stage 2."""
        return cls.named("ridge", first, second, inner)

    @classmethod
    def kalman(
        cls, first: float = 1e-3, second: float = 1e-3, inner: float = 1e-6, *, forgetting: float = 0.9
    ) -> StageRules:
        """Remembered second moments in every solve, for batches with fewer rows than features."""
        return cls.named("kalman", first, second, inner, forgetting=forgetting)


def stage_rules(function: str, rule: str | StageRules) -> StageRules:
    """The rules that a name stands for, with their default strengths; rules as they are.

    Raises:
        ValueError: the name is unknown.
    """
    if isinstance(rule, StageRules):
        return rule
    if not isinstance(rule, str):
        raise TypeError(f"{function}: `rule` must be a name or StageRules; got {rule!r}. For instance 'proximal'.")
    check_choice(function, "rule", rule, rule_names())
    return StageRules.named(rule)


class StageHead:
    """One head: its rule, and the state that the rule carries from batch to batch.

    Within a batch, the head of a rule without a memory moves on from its last value at each update (line 9 of Algorithm
    3). A rule that remembers starts each update from its state before the batch, so that no row is counted twice.
    """

    def __init__(self, rule: Rule, num_features: int, num_outputs: int, device: torch.device) -> None:
        self.rule = rule
        self.state: State = {key: value.to(device) for key, value in rule.init(num_features, num_outputs).items()}
        self._before = self.state
        self._report: JitterReport | None = None  # of the last solve, on a device; ``start_from`` goes behind it

    @property
    def value(self) -> Tensor:
        """``(F, C)`` float64."""
        return self.state["head"]

    def begin(self) -> None:
        """A new batch comes."""
        self._before = self.state

    def start_from(self, head: Tensor) -> None:
        """Another head takes the place of the one before the batch."""
        self.state = self._before = self._before | {"head": head}

    def base(self, *, again: bool = False) -> State:
        """The state that the next update starts from; ``again``: the one before the batch, whatever the rule."""
        return self._before if again or self.rule.remembers() else self.state

    def solve(self, moments: Moments, *, again: bool = False) -> Tensor:
        """The head for these moments, in their graph if they have one; the state is kept without it."""
        if self._report is not None:
            self._report.check()
        update = updated(self.rule, self.base(again=again), moments)
        self._report = report_of(update.state)
        self.state = update.state | {key: one.detach() for key, one in update.state.items() if one.requires_grad}
        return update.head

    def check(self) -> None:
        """Raise or warn for the last solve, if that was not waited for: see ``check_solved``."""
        if self._report is not None:
            self._report.check()
        check_solved(self.state)

    def penalty(self, head: Tensor, start: Tensor) -> Tensor:
        """Penalty that the solve adds to the mean square, for a gradient through it; ``start``: the head before.

        Raises:
            ValueError: the rule is neither Ridge nor Proximal.
        """
        check_through("StageHead", self.rule)
        pull = head if isinstance(self.rule, Ridge) else head - start
        return self.rule.strength * pull.square().sum()  # pyright: ignore[reportAttributeAccessIssue]


def check_through(function: str, rule: Rule) -> None:
    """Raise ValueError unless a gradient can go through the rule's solve: Ridge or Proximal."""
    if not isinstance(rule, (Ridge, Proximal)):
        raise ValueError(
            f"{function}: `gradients` must be 'previous' or 'solved' with {rule!r}; got 'through'. A gradient through "
            "the solve is for Ridge and Proximal."
        )
