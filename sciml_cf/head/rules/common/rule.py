"""The base class of rules: settings, a state, and one update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from sciml_cf.head.moments import Moments
from sciml_cf.head.per_output import OutputMoments
from sciml_cf.head.rules.common.state import JitterReport, State, known_number, report_of, with_report
from sciml_cf.head.rules.common.update import Update


class Rule(ABC):
    """One way to turn moments into a head. Subclasses are frozen dataclasses that hold only settings.

    The state is a dict of float64 tensors of fixed shapes. It always holds ``head`` ``(F, C)``, the head that the last
    update returned, and ``jitter`` (), the relative diagonal shift that its solve needed. docs/rules.md shows a
    rule of your own.
    """

    def init(self, num_features: int, num_outputs: int) -> State:
        """State before the first update: the zero head (the paper's default, section 4.1)."""
        return {
            "head": torch.zeros(num_features, num_outputs, dtype=torch.float64),
            "jitter": torch.zeros((), dtype=torch.float64),
        }

    @abstractmethod
    def update(self, state: State, moments: Moments) -> Update:
        """The head for these moments and the state for the next update: what ``solved_state`` returns.

        Args:
            state: of ``init`` or of the update before.
            moments: of a batch, F features and C outputs.
        """

    def completed(self, state: State) -> State:
        """A state that an earlier version saved, with the entries that have been added since; most rules have none."""
        return state

    def remembers(self) -> bool:
        """Whether moments of earlier batches enter an update, so that a bias cannot be centred away batch by batch."""
        return False

    def solves_apart(self) -> bool:
        """Whether one update serves outputs with a Gram matrix each: it asks nothing of the moments but to be solved.

        A rule without a memory that does not say so is asked for each group of outputs with the same rows.
        """
        return False

    def passes_over(self, state: State) -> State | None:
        """The state after a step whose moments this rule would not look at; None if it wants them (as most do)."""
        return None


def updated(rule: Rule, state: State, moments: Moments) -> Update:
    """One update of any rule, whose solve cannot fail unseen: a jitter that the host does not know is under report.

    Also of a rule that returns a pair (head, state), as all did in an earlier version.
    """
    if isinstance(moments, OutputMoments) and not rule.solves_apart():
        return _updated_by_group(rule, state, moments)
    found: Any = rule.update(state, moments)
    if not isinstance(found, Update):
        head, after = found
        found = Update(after | {"head": head})
    if "jitter" not in found.state:
        found = found.changed({"jitter": state["jitter"]})
    after = found.state
    if known_number(after, "jitter") is not None or report_of(after) is not None:
        return found
    report = report_of(state)
    if after["jitter"] is not state["jitter"]:  # a CPU warns at once, but a rule may have asked it not to wait
        report = JitterReport(after["jitter"], warns=after["jitter"].is_cuda)
    return found if report is None else found.changed(with_report(after, report))


def _updated_by_group(rule: Rule, state: State, moments: OutputMoments) -> Update:
    """One update of a rule for each group of outputs, whose states are the head and its jitter alone."""
    head, jitters, waits = state["head"].clone(), [], False
    for outputs, one in moments.apart():
        update = updated(rule, state | {"head": state["head"][:, outputs]}, one)
        head[:, outputs] = update.head
        jitters.append(update.jitter)
        waits = waits or report_of(update.state) is not None
    jitter = torch.stack(jitters).max()
    after = {"head": head, "jitter": jitter}
    return Update(with_report(state, JitterReport(jitter), head=head) if waits else state | after)


def check_bias(rule: Rule, *, penalise_bias: bool) -> None:
    """Raise ValueError for a free bias with a rule that remembers moments of earlier batches.

    A free bias is centred away with the means of one batch; moments that were centred with the means of several do not
    add up to those of all their rows.
    """
    if rule.remembers() and not penalise_bias:
        raise ValueError(
            f"ClosedFormHead: `penalise_bias` must be True with a rule that remembers earlier batches; got False with "
            f"{rule!r}. Use Proximal, Ridge, PerFeature or Automatic, or let the bias be penalised."
        )
