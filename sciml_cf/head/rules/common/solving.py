"""One solve of a rule, checked at once on a CPU and later on a device; what the host knows of small tensors there."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.rule import State
from sciml_cf.head.solve import Residuals, check_jitter, solve_head, solve_head_later


def check_solved(state: State) -> None:
    """Raise or warn for the last solve of a rule, if that was not waited for; on a CPU every solve is checked at once.

    On CUDA a solve is checked when the next one begins, so the last solve of a loop is checked by this.

    Args:
        state: the rule's state, such as ``head.state``.
    Raises:
        NotPositiveDefinite: the solve failed, and the head before it was kept.
    """
    report = _REPORTS.pop(state["jitter"], None)
    if report is not None:
        check_jitter(report.value())
    elif not math.isfinite(jitter := state["jitter"].item()):  # a state that was saved before it was checked
        check_jitter(jitter)


Penalty = float | Tensor  # P: a multiple of the identity, (F,) a diagonal, or (F, F)


class Problem(NamedTuple):
    """What a solve was of: its moments, the penalty with them, and its residuals if those were computed."""

    moments: Moments
    penalty: Penalty
    residuals: Residuals | None


def solved_problem(state: State) -> Problem | None:
    """What the last solve behind a state was of; None if it is not known."""
    return _PROBLEMS.get(state["jitter"])


class Report:
    """Numbers that a device is still computing, on their way to the host; reading them waits for those alone."""

    def __init__(self, number: Tensor) -> None:
        self._event = None
        self._number = number
        self.travels = number.is_cuda
        if self.travels:
            self._number = torch.empty(number.shape, dtype=number.dtype, pin_memory=True)
            self._number.copy_(number, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def value(self) -> float:
        return self.values()[0]

    def values(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._number.reshape(-1).tolist()


# What each solve was of, found by the jitter it left in the state.
_PROBLEMS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
# What the host knows, or will know, of small tensors in a state: looked up instead of waiting for the device.
_REPORTS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_KNOWN: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def known_value(number: Tensor) -> float:
    """The value of a tensor () in a state, without a wait if the host wrote it and nothing has changed it since."""
    known = _KNOWN.get(number)
    return known[0] if known is not None and known[1] == number._version else number.item()


def known(like: Tensor, value: float) -> Tensor:
    number = torch.full_like(like, value)
    _KNOWN[number] = value, number._version
    return number


def solved_state(
    state: State,
    moments: Moments,
    penalty: Penalty,
    previous: Tensor | None,
    *,
    memory: State | None = None,
    later: bool | None = None,
) -> tuple[Tensor, State]:
    """One solve of a rule, and the rule's state after it: what an update returns.

        W = W_0 + (G + P)^-1 (C - G W_0)

    Args:
        state: the rule's state before.
        moments: gram G (F, F) and cross C (F, C), means over rows.
        penalty: P, a number (a multiple of the identity), (F,) a diagonal, or (F, F).
        previous: W_0 (F, C), the head that P pulls to; None for zero.
        memory: new values of the rule's own entries of the state; a solve that fails leaves those before.
        later: leave the check of this solve to the next one; by default on CUDA, where checking would wait.
    Returns:
        The head (F, C) float64, and the state with it.
    Raises:
        NotPositiveDefinite: G + P fails Cholesky after the jitter ladder, or the moments are not finite.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (2), (13) and appendix A.
    """
    memory = memory or {}
    if not (moments.device.type == "cuda" if later is None else later):
        solution = solve_head(moments, penalty=penalty, previous=previous)
        jitter = torch.full_like(state["jitter"], solution.jitter)
        _PROBLEMS[jitter] = Problem(moments, penalty, solution.residuals)
        return solution.head, {**state, **memory, "head": solution.head, "jitter": jitter}
    if state["jitter"] in _REPORTS:
        check_solved(state)
    head, jitter = solve_head_later(moments, penalty=penalty, previous=previous, keep=state["head"])
    _REPORTS[jitter], _PROBLEMS[jitter] = Report(jitter), Problem(moments, penalty, None)
    solved = torch.isfinite(jitter)
    memory = {name: torch.where(solved, value, state[name]) for name, value in memory.items()}
    return head, {**state, **memory, "head": head, "jitter": jitter}
