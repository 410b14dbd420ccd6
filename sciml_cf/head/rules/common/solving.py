"""One solve of a rule, checked at once on a CPU and later on a device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.state import JitterReport, State, report_of, with_number, with_report
from sciml_cf.head.rules.common.update import Update
from sciml_cf.head.solution import Penalty, check_jitter


def check_solved(state: State) -> None:
    """Raise or warn for the last solve of a rule, if that was not waited for; on a CPU every solve is checked at once.

    On CUDA a solve is checked when the next one begins, so the last solve of a loop is checked by this.

    Args:
        state: the rule's state, such as ``head.state()``; of a plain dictionary the jitter is looked at.

    Raises:
        NotPositiveDefinite: the solve failed, and the head before it was kept.
    """
    report = report_of(state)
    if report is not None and not report.checked:
        report.check()
    elif not math.isfinite(jitter := state["jitter"].item()):  # a state that was saved before it was checked
        check_jitter(jitter)


def solved_state(
    state: State,
    moments: Moments,
    penalty: Penalty,
    previous: Tensor | None,
    *,
    memory: State | None = None,
    later: bool | None = None,
) -> Update:
    """One solve of a rule, and the rule's state after it: what an update returns.

    ::

        W = W_0 + (G + P)^-1 (C - G W_0)

    Args:
        state: the rule's state before.
        moments: gram G ``(F, F)`` and cross C ``(F, C)``, means over rows.
        penalty: P, a number (a multiple of the identity), ``(F,)`` a diagonal, or ``(F, F)``.
        previous: W_0 ``(F, C)``, the head that P pulls to; None for zero.
        memory: new values of the rule's own entries of the state; a solve that fails leaves those before.
        later: leave the check of this solve to the next one; by default on CUDA, where checking would wait.

    Returns:
        The state with the new head, and the solve, see ``Update``.

    Raises:
        NotPositiveDefinite: G + P fails Cholesky after the jitter ladder, or the moments are not finite.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (2), (13) and appendix A.
    """
    memory = memory or {}
    if not (moments.device.type == "cuda" if later is None else later):
        solution = moments.solve(penalty, previous)
        after = with_number(state, "jitter", solution.jitter, head=solution.head, **memory)
        return Update(after, moments, penalty, solution.residuals)
    if (report := report_of(state)) is not None:
        report.check()
    head, jitter = moments.solve_later(penalty, previous, keep=state["head"])
    solved = torch.isfinite(jitter)
    memory = {name: torch.where(solved, value, state[name]) for name, value in memory.items()}
    return Update(with_report(state, JitterReport(jitter), head=head, **memory), moments, penalty)
