"""Rules: how a head follows from the moments of a batch and the state it carries."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from sciml_cf.errors import check_choice, check_count
from sciml_cf.head.moments import Moments
from sciml_cf.head.solve import check_jitter, check_strength, solve_head, solve_head_later

State = dict[str, Tensor]


class Rule(ABC):
    """One way to turn moments into a head. Subclasses are frozen dataclasses that hold only settings.

    The state is a dict of float64 tensors of fixed shapes. It always holds ``head`` (F, C), the head that the last
    update returned, and ``jitter`` (), the relative diagonal shift that its solve needed.
    """

    def init(self, num_features: int, num_outputs: int) -> State:
        """State before the first update: the zero head (the paper's default, section 4.1)."""
        return {
            "head": torch.zeros(num_features, num_outputs, dtype=torch.float64),
            "jitter": torch.zeros((), dtype=torch.float64),
        }

    @abstractmethod
    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        """Head (F, C) float64 for these moments, and the state to hand to the next update."""

    def passes_over(self, state: State) -> State | None:
        """The state after a step whose moments this rule would not look at; None if it wants them (as most do)."""
        return None


@dataclass(frozen=True)
class Ridge(Rule):
    """Each batch's own ridge solution; forgets the previous head. Needs large batches (paper, section 6).

    Args:
        strength: b >= 0 on the mean loss (paper: beta = rows * b).
    Source: arXiv:2510.04606, Eq. (9) and (11).
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_strength("Ridge", self.strength, allow_zero=True)

    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        return _solved(state, moments, self.strength, previous=None)


@dataclass(frozen=True)
class Proximal(Rule):
    """Least squares on the batch, held near the previous head; the paper's method.

    Args:
        strength: s > 0 on the mean loss (paper: lambda = rows * s).
    Source: arXiv:2510.04606, Eq. (13) and (17).
    """

    strength: float = 1e-2

    def __post_init__(self) -> None:
        check_strength("Proximal", self.strength)

    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        return _solved(state, moments, self.strength, previous=state["head"])


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
            state["waiting_weight"] = zeros()
        return state

    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        names = ("gram", "cross", "target_square", "weight") if self.on == "all" else ()
        if names:
            moments = Moments(*(state[f"waiting_{name}"] for name in names)) + moments
        waited = int(known_value(state["waited"])) + 1
        if waited < self.steps:
            kept = {f"waiting_{name}": getattr(moments, name) for name in names}
            return state["head"], {**state, **kept, "waited": _known(state["waited"], waited)}
        _, solved = self.rule.update(state, moments)
        cleared = {f"waiting_{name}": torch.zeros_like(state[f"waiting_{name}"]) for name in names}
        return solved["head"], {**solved, **cleared, "waited": _known(state["waited"], 0)}

    def passes_over(self, state: State) -> State | None:
        waited = int(known_value(state["waited"])) + 1
        if self.on == "all" or waited >= self.steps:
            return None
        return {**state, "waited": _known(state["waited"], waited)}


def check_solved(state: State) -> None:
    """Raise or warn for the last solve of a rule, if that was not waited for; on a CPU every solve is checked at once.

    On CUDA a solve is checked when the next one begins, so the last solve of a loop is checked by this.

    Raises:
        NotPositiveDefinite: the solve failed, and the head before it was kept.
    """
    report = _REPORTS.pop(state["jitter"], None)
    if report is not None:
        check_jitter(report.value())
    elif not math.isfinite(jitter := state["jitter"].item()):  # a state that was saved before it was checked
        check_jitter(jitter)


class _Report:
    """A number that a device is still computing, on its way to the host; reading it waits for that number alone."""

    def __init__(self, number: Tensor) -> None:
        self._event = None
        self._number = number
        if number.is_cuda:
            self._number = torch.empty((), dtype=number.dtype, pin_memory=True)
            self._number.copy_(number, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def value(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return self._number.item()


# What the host knows, or will know, of small tensors in a state: looked up instead of waiting for the device.
_REPORTS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_KNOWN: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def known_value(number: Tensor) -> float:
    """The value of a tensor () in a state, without a wait if the host wrote it and nothing has changed it since."""
    known = _KNOWN.get(number)
    return known[0] if known is not None and known[1] == number._version else number.item()


def _known(like: Tensor, value: float) -> Tensor:
    number = torch.full_like(like, value)
    _KNOWN[number] = value, number._version
    return number


def _solved(
    state: State, moments: Moments, penalty: float, previous: Tensor | None, *, later: bool | None = None
) -> tuple[Tensor, State]:
    """One solve; ``later`` leaves its check to the next one (by default on CUDA, where checking would wait)."""
    if not (moments.gram.is_cuda if later is None else later):
        solution = solve_head(moments, penalty=penalty, previous=previous)
        jitter = torch.full_like(state["jitter"], solution.jitter)
        return solution.head, {**state, "head": solution.head, "jitter": jitter}
    if state["jitter"] in _REPORTS:
        check_solved(state)
    head, jitter = solve_head_later(moments, penalty=penalty, previous=previous, keep=state["head"])
    _REPORTS[jitter] = _Report(jitter)
    return head, {**state, "head": head, "jitter": jitter}
