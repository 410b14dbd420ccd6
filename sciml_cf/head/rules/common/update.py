"""The result of one update of a rule: the next state, and the solve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.solution import Penalty, Residuals


@dataclass(frozen=True, eq=False)
class Update:
    """The state after one update of a rule, and the solve that led to it.

    A rule gets it from ``solved_state``. A rule that solves for itself gives the state alone: its losses then follow
    from the moments of the batch. It unpacks into the pair ``head, state``.

    Args:
        state: named float64 tensors of fixed shapes for the next update, among them ``head`` ``(F, C)`` and ``jitter``
            ().
        moments: what was solved on; None if unknown.
        penalty: P of the solve, a number, ``(F,)`` or ``(F, F)``; None if unknown.
        residuals: parts of the losses that the solve left, if it was a small one.
    """

    state: State
    moments: Moments | None = None
    penalty: Penalty | None = None
    residuals: Residuals | None = None

    @property
    def head(self) -> Tensor:
        """``(F, C)`` float64."""
        return self.state["head"]

    @property
    def jitter(self) -> Tensor:
        """() the relative diagonal shift of the solve; not finite if it failed, which on a device is known later."""
        return self.state["jitter"]

    def changed(self, entries: State) -> Update:
        """The same solve with other entries of the state, for instance a ``head`` that follows from the solved one."""
        residuals = None if "head" in entries and entries["head"] is not self.head else self.residuals
        return Update(self.state | entries, self.moments, self.penalty, residuals)

    def __iter__(self) -> Iterator[Tensor | State]:
        return iter((self.head, self.state))

    def __getitem__(self, place: int) -> Tensor | State:
        return (self.head, self.state)[place]
