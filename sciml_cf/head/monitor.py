"""Monitor of a head's solves: cheap metrics of each, summed up, and warnings when they show a fault."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sciml_cf.errors import HeadWarning, InterpolatingHeadWarning, OscillatingHeadWarning, StuckHeadWarning
from sciml_cf.head.binding.capture import exactly
from sciml_cf.head.diagnostics import (
    Diagnostics,
    degrees_of_freedom,
    diagnose,
    least_squares_head,
    loss_at,
    losses_at,
)
from sciml_cf.head.free_bias import center
from sciml_cf.head.moments import Moments
from sciml_cf.head.per_output import OutputMoments, first_of
from sciml_cf.head.rules.common.state import Report, State, number_in
from sciml_cf.head.rules.common.update import Update
from sciml_cf.head.small import losses_at_once, losses_of
from sciml_cf.head.solution import Residuals
from sciml_cf.head.systems import with_penalty

WINDOW = 50  # solves between two looks for a fault
IN_A_ROW = 3  # windows that must show it: the first steps may shake any head
# Where a fault begins; docs/diagnostics.md says how these were chosen.
OSCILLATES = 10.0  # loss before a solve over the loss after the solve before it, geometric mean
DRAWN_ANEW = 0.2  # relative change of a head in a solve; below it a high loss is made by the backbone's moves
STUCK = 1e-2  # share that a solve gains of what it could, while no direction of the features outweighs the pull
INTERPOLATES = 0.8  # degrees of freedom a row
_UNKNOWN = (math.nan, math.nan, math.nan)  # losses that are still to be found
_WORTHWHILE = 0.1  # share of the loss that must be there to gain, before a head can be called stuck
_AT_ONCE = 2**18  # numbers in the moments of the solves that wait to be summed up


@dataclass(frozen=True)
class Steps:
    """Means over the solves of a stretch of training; NaN where there were none.

    Attributes:
        solves: how many.
        head_step: @@|W_t - W_{t-1}|`` over the larger of both norms.
        gain: share of the batch's loss that a solve takes away.
        rebound: loss before a solve over the loss after the solve before it, geometric mean: 1 where heads fit the
            next batch as well as their own.
        turn: cosine between successive changes of the head: 1 on a straight way, -1/2 for a head drawn anew at each
            step, -1 back and forth.
    """

    solves: int
    head_step: float
    gain: float
    rebound: float
    turn: float


class Monitor:
    """Remembers the last solve of a head and sums up cheap metrics of each, on the device, without waiting for it.

    Every ``WINDOW`` solves it looks for a fault, and warns of one that ``IN_A_ROW`` windows showed, once. On CUDA the
    verdict travels to the host until the next window ends.
    """

    def __init__(self) -> None:
        self.last: Solve | None = None
        self._previous: tuple[Tensor, Tensor, Tensor] | None = None  # change of the head, its norm, and the loss after
        self._waiting: list[_Waiting] = []
        self._since = _Sums()
        self._window = _Sums()
        self._report: Report | None = None
        self._num_rows: float | None = None  # of one of the batches; asking each would wait for the device
        self._in_a_row: dict[type[HeadWarning], int] = {}

    def record(self, solve: Solve, *, sum_up: bool) -> None:
        """A rule has made an update; with ``sum_up`` it is one of the training."""
        before, after = solve.state["head"], solve.update.head
        if after is before:  # a rule that waits
            return
        self.last = solve
        if not sum_up:
            return
        moments, update = solve.moments, solve.update
        known = update.residuals if update.moments is moments else None
        self._waiting.append(
            _Waiting.of(moments, before, after) if known is None else _Waiting(before, after, None, known, _UNKNOWN)
        )
        features, outputs = moments.shape
        grams = len(moments.grams) if isinstance(moments, OutputMoments) else 1
        if len(self._waiting) * grams * features * (features + outputs) >= _AT_ONCE or self.solves >= WINDOW:
            self._sum_up()

    @property
    def solves(self) -> int:
        """Solves since the last look for a fault."""
        return self._window.solves + len(self._waiting)

    def _sum_up(self) -> None:
        """Add the metrics of the solves that wait; of small heads many at once, for a call costs as much as a solve."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        before, after = (torch.stack(heads) for heads in list(zip(*waiting, strict=True))[:2])
        tiny = torch.finfo(torch.float64).tiny
        # Of a loss below this only rounding is left.
        *losses, none = _all_losses(waiting, before, after)
        least = 1e-14 * none + tiny
        losses = torch.stack(losses).maximum(least)
        change = after - before
        norms = torch.stack([torch.linalg.vector_norm(one, dim=(1, 2)) for one in (before, after, change)])
        steps = torch.stack([norms[2] / norms[:2].amax(dim=0).clamp(min=tiny), 1 - losses[1] / losses[0]])
        olds = (change[:-1], norms[2, :-1], losses[1, :-1])
        if self._previous is not None:
            olds = tuple(torch.cat([old[None], more]) for old, more in zip(self._previous, olds, strict=True))
        self._previous = change[-1], norms[2, -1], losses[1, -1]
        pairs = torch.empty(2, 0, dtype=torch.float64, device=change.device)
        if count := len(olds[0]):
            turn = (change[-count:] * olds[0]).sum(dim=(1, 2)) / (norms[2, -count:] * olds[1]).clamp(min=tiny)
            ratio = losses[0, -count:] / olds[2].maximum(least[-count:])
            pairs = torch.stack([ratio.log(), turn])
        self._since.add(steps, pairs)
        self._window.add(steps, pairs)

    def judge(self) -> None:
        """Warn of a fault, if a window of solves has just ended."""
        if self.solves < WINDOW or self.last is None:
            return
        self._sum_up()
        # Change, gain, ratio and turn, and the four shares.
        if self._num_rows is None:
            self._num_rows = self.last.rows.item()
        report = Report(torch.cat([self._window.means(), _shares(self.last, self._num_rows)]))
        self._window = _Sums()
        ready, self._report = (self._report, report) if report.travels else (report, None)
        if ready is not None:
            self._warn(ready.values())

    def diagnostics(self) -> Diagnostics | None:
        """Figures of the last solve."""
        if self.last is None:
            return None
        state, update, moments = self.last.state, self.last.update, self.last.solved_on
        jitter, rows = number_in(update.state, "jitter"), self.last.rows.item()
        with exactly(moments.device):
            one = first_of(moments)
            before, after = (head[:, : one.num_outputs] for head in (state["head"], update.head))
            return diagnose(one, before, after, penalty=update.penalty, jitter=jitter, rows=rows)

    def figures(self) -> dict[str, float]:
        """Of the solves since the last call, and of the last one, by the names they have in history.csv."""
        steps = self.take()
        last = self.diagnostics() if steps.solves else None
        names = ("condition", "degrees_of_freedom", "feature_scale")
        means = {"head_step": steps.head_step, "gain": steps.gain, "rebound": steps.rebound, "turn": steps.turn}
        return {**means, **{name: getattr(last, name, math.nan) for name in names}}

    def take(self) -> Steps:
        """Means since the last call; forgets them, and what the next solve would have been compared with."""
        self._sum_up()
        sums, self._since, self._previous = self._since, _Sums(), None
        change, gain, ratio, turn = sums.means().tolist() if sums.solves else [math.nan] * 4
        return Steps(sums.solves, change, gain, math.exp(ratio), turn)

    def _warn(self, figures: list[float]) -> None:
        change, _, ratio, turn, share, worthwhile, loose, filled = figures
        rebound = math.exp(min(ratio, 700.0))
        faults: dict[type[HeadWarning], tuple[bool, str]] = {
            OscillatingHeadWarning: (
                rebound > OSCILLATES and change > DRAWN_ANEW and turn < 0,
                f"a head fits its own batch and not the next: before a solve the loss is {rebound:.3g} times what the "
                "solve before had left, and each change undoes part of the last. Raise `strength` (with Ridge, use "
                "Proximal), take larger batches, or lower the learning rate of the backbone.",
            ),
            StuckHeadWarning: (
                share < STUCK and worthwhile > _WORTHWHILE and loose < 1,
                f"the head hardly moves: a solve gains {share:.1e} of what it could. Lower `strength`.",
            ),
            InterpolatingHeadWarning: (
                filled > INTERPOLATES,
                f"the head interpolates its batch: it uses {filled:.2f} degrees of freedom a row, so it fits noise. "
                "Raise `strength`, or take batches of more rows than the layer has features.",
            ),
        }
        for kind, (shown, text) in faults.items():
            count = self._in_a_row.get(kind, 0)
            if count >= IN_A_ROW:  # warned already
                continue
            self._in_a_row[kind] = count + 1 if shown else 0
            if count + 1 == IN_A_ROW and shown:
                warnings.warn(f"ClosedFormHead: over {IN_A_ROW * WINDOW} solves {text}", kind, stacklevel=4)


class Solve(NamedTuple):
    """One update of a rule as the head has made it.

    Attributes:
        state: before it.
        moments: that the rule was given.
        update: what it returned.
        weighted: whether the rows had weights.
        bias: whether the last feature is the constant one ("penalised"), was eliminated before the solve ("free"), or
            there is none.
    """

    state: State
    moments: Moments
    update: Update
    weighted: bool
    bias: Literal["penalised", "free", "none"]

    @property
    def solved_on(self) -> Moments:
        """What the rule has solved on, as far as it says."""
        return self.moments if self.update.moments is None else self.update.moments

    @property
    def rows(self) -> Tensor:
        """() rows of the solve; NaN if they were weighted. A free bias has fitted one of them beforehand."""
        weight = self.solved_on.weight
        return torch.full_like(weight, math.nan) if self.weighted else weight - int(self.bias == "free")

    def without_bias(self) -> tuple[Moments, Tensor, Tensor]:
        """Moments, and heads before and after, with a penalised bias eliminated, as a free one is beforehand.

        The constant feature outweighs most penalties and fits the targets' mean, whatever the other features do.
        """
        moments, before, after = self.solved_on, self.state["head"], self.update.head
        if self.bias == "penalised":
            return center(moments).moments, before[:-1], after[:-1]
        return moments, before, after


class _Waiting(NamedTuple):
    """A solve that is to be summed up; of a small one on a CPU its moments are let go, for its losses, or residuals."""

    before: Tensor
    after: Tensor
    moments: Moments | None
    residuals: Residuals | None
    losses: tuple[float, float, float]

    @classmethod
    def of(cls, moments: Moments, before: Tensor, after: Tensor) -> _Waiting:
        """Of a solve that left no residuals."""
        losses = None if moments.arrays is None else losses_at_once(moments.arrays, before, after)
        if losses is None:
            return cls(before, after, moments, None, _UNKNOWN)
        return cls(before, after, None, None, losses)


class _Sums:
    """Sums of (head change, gain) over solves, and of (log rebound, turn) over pairs of solves."""

    def __init__(self) -> None:
        self.solves, self._pairs = 0, 0
        self._all: Tensor | None = None

    def add(self, steps: Tensor, pairs: Tensor) -> None:
        """Columns of (2, solves) and (2, pairs)."""
        numbers = torch.cat([steps.sum(dim=1), pairs.sum(dim=1)])
        self._all = numbers if self._all is None else self._all + numbers
        self.solves, self._pairs = self.solves + steps.shape[1], self._pairs + pairs.shape[1]

    def means(self) -> Tensor:
        """(4,); NaN for the pairs if there were none."""
        sums = torch.full((4,), math.nan, dtype=torch.float64) if self._all is None else self._all
        return torch.cat([sums[:2] / max(self.solves, 1), sums[2:] / (self._pairs or math.nan)])


def _shares(solve: Solve, num_rows: float) -> Tensor:
    """(4,) on the device, NaN where unknown.

    Those are the share gained of what was there to gain, that over the loss, an upper bound of the degrees of freedom,
    tr(G P^-1), and the degrees of freedom a row. The first three leave out a bias. A full matrix as penalty is the
    memory of all batches, which rightly holds the head back. Outputs with rows of their own are not looked at.
    """
    moments, penalty = solve.solved_on, solve.update.penalty
    unknown = moments.weight.new_full((), math.nan)
    whole = isinstance(penalty, Tensor) and penalty.ndim == 2
    if penalty is None or whole or isinstance(moments, OutputMoments):
        return torch.stack([unknown] * 4)
    filled = unknown
    if moments.num_features >= INTERPOLATES * num_rows:
        filled = degrees_of_freedom(moments.gram, with_penalty(moments.gram, penalty)) / solve.rows
    moments, before, after = solve.without_bias()
    diagonal = penalty[: moments.num_features] if isinstance(penalty, Tensor) and penalty.ndim else penalty
    loose = (moments.squares / diagonal).sum()
    if loose.device.type == "cpu" and loose >= 1:  # then no figure makes it a stuck head
        return torch.stack([unknown, unknown, loose, filled])
    first = loss_at(moments, before)
    reachable = first - loss_at(moments, least_squares_head(moments))
    return torch.stack([(first - loss_at(moments, after)) / reachable, reachable / first, loose, filled])


def _all_losses(solves: Sequence[_Waiting], before: Tensor, after: Tensor) -> Tensor:
    """``(3, n)``, the losses of both heads of n solves, ``(n, F, C)``, and of none, the mean square of the targets."""
    known: Tensor | None = None
    # A small head leaves moments where its last batch has fewer rows than features, and residuals else.
    for source, losses in (("residuals", _losses_of_residuals), ("moments", _losses_of_moments)):
        places = [index for index, one in enumerate(solves) if getattr(one, source) is not None]
        if not places:
            continue
        given = [getattr(solves[index], source) for index in places]
        if len(places) == len(solves):
            return losses(given, before, after)
        known = _losses_at_once(solves) if known is None else known
        known[:, places] = losses(given, before[places], after[places])
    return _losses_at_once(solves) if known is None else known


def _losses_at_once(solves: Sequence[_Waiting]) -> Tensor:
    """Those that were found with the solve."""
    return torch.tensor([one.losses for one in solves], dtype=torch.float64).T.contiguous()


def _losses_of_residuals(residuals: list[Residuals], before: Tensor, after: Tensor) -> Tensor:
    return torch.from_numpy(losses_of(residuals, before.numpy(), after.numpy()))


def _losses_of_moments(moments: list[Moments], before: Tensor, after: Tensor) -> Tensor:
    none = torch.stack([one.target_square for one in moments]).mean(dim=1)
    return torch.cat([losses_at(moments, torch.stack([before, after])), none[None]])
