"""Monitor of a head's solves: cheap metrics of each, summed up, and warnings when they show a fault."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
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
    with_penalty,
)
from sciml_cf.head.gram import ONE_THREAD, is_plain
from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.rule import State
from sciml_cf.head.rules.common.solving import Penalty, Report, solved_problem
from sciml_cf.head.solve import Residuals, losses_of

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
        head_step: |W_t - W_{t-1}| over the larger of both norms.
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
        self.last: _Solve | None = None
        self._previous: tuple[Tensor, Tensor, Tensor] | None = None  # change of the head, its norm, and the loss after
        self._waiting: list[_Waiting] = []
        self._since = _Sums()
        self._window = _Sums()
        self._report: Report | None = None
        self._num_rows: float | None = None  # of one of the batches; asking each would wait for the device
        self._in_a_row: dict[type[HeadWarning], int] = {}

    def record(
        self, state: State, moments: Moments, after: State, *, weighted: bool, free_bias: bool, sum_up: bool
    ) -> None:
        """The rule has turned ``state`` and ``moments`` into ``after``; with ``sum_up`` it is one of the training."""
        if after["head"] is state["head"]:  # a rule that waits
            return
        self.last = _Solve(state, moments, after, weighted, free_bias)
        if not sum_up:
            return
        problem = solved_problem(after)
        known = problem.residuals if problem is not None and problem.moments is moments else None
        old, new = state["head"], after["head"]
        self._waiting.append(
            _Waiting.of(moments, old, new) if known is None else _Waiting(old, new, None, known, _UNKNOWN)
        )
        features, outputs = moments.shape
        if len(self._waiting) * features * (features + outputs) >= _AT_ONCE or self.solves >= WINDOW:
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
            self._num_rows = _rows(self.last, _problem(self.last)[0]).item()
        report = Report(torch.cat([self._window.means(), _shares(self.last, self._num_rows)]))
        self._window = _Sums()
        ready, self._report = (self._report, report) if report.travels else (report, None)
        if ready is not None:
            self._warn(ready.values())

    def diagnostics(self) -> Diagnostics | None:
        """Figures of the last solve."""
        if self.last is None:
            return None
        moments, penalty = _problem(self.last)
        state, after, rows = self.last.state, self.last.after, _rows(self.last, moments).item()
        jitter = after["jitter"].item()
        with exactly(moments.weight.device):
            return diagnose(moments, state["head"], after["head"], penalty=penalty, jitter=jitter, rows=rows)

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


class _Solve(NamedTuple):
    state: State
    moments: Moments
    after: State
    weighted: bool
    free_bias: bool


class _Waiting(NamedTuple):
    """A solve that is to be summed up; of a small one on a CPU its moments are let go, for its losses, or residuals."""

    before: Tensor
    after: Tensor
    moments: Moments | None
    residuals: Residuals | None
    losses: tuple[float, float, float]

    @classmethod
    @np.errstate(all="ignore")
    def of(cls, moments: Moments, before: Tensor, after: Tensor) -> _Waiting:
        """Of a solve that left no residuals."""
        features, count = moments.shape
        arrays = moments.arrays if 2 * features**2 * count <= ONE_THREAD else None
        if arrays is None or not (is_plain(before) and is_plain(after)):
            return cls(before, after, moments, None, _UNKNOWN)
        (gram, cross, squares), first, last = arrays, before.numpy(), after.numpy()
        fitted = gram @ np.concatenate((first, last), axis=1)  # one product costs as much as each of the two would
        square = squares.sum()
        found = (
            float(square + np.vdot(head, own) - 2 * np.vdot(head, cross)) / count
            for head, own in ((first, fitted[:, :count]), (last, fitted[:, count:]))
        )
        return cls(before, after, None, None, (next(found), next(found), float(square) / count))


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


def _problem(solve: _Solve) -> tuple[Moments, Penalty | None]:
    found = solved_problem(solve.after)
    return (solve.moments, None) if found is None else (found.moments, found.penalty)


def _rows(solve: _Solve, moments: Moments) -> Tensor:
    """() rows of the solve; NaN if they were weighted. A free bias has fitted one of them beforehand."""
    return torch.full_like(moments.weight, math.nan) if solve.weighted else moments.weight - int(solve.free_bias)


def _shares(solve: _Solve, num_rows: float) -> Tensor:
    """(4,) on the device, NaN where unknown.

    Those are the share gained of what was there to gain, that over the loss, an upper bound of the degrees of freedom,
    tr(G P^-1), and the degrees of freedom a row. A full matrix as penalty is the memory of all batches, which rightly
    holds the head back.
    """
    moments, penalty = _problem(solve)
    unknown = moments.weight.new_full((), math.nan)
    if penalty is None or (isinstance(penalty, Tensor) and penalty.ndim == 2):
        return torch.stack([unknown] * 4)
    loose = (moments.squares / penalty).sum()
    fills = moments.num_features >= INTERPOLATES * num_rows
    if not fills and loose.device.type == "cpu" and loose >= 1:  # then no figure makes it a stuck head
        return torch.stack([unknown, unknown, loose, unknown])
    before, after = loss_at(moments, solve.state["head"]), loss_at(moments, solve.after["head"])
    reachable = before - loss_at(moments, least_squares_head(moments))
    filled = unknown
    if fills:
        filled = degrees_of_freedom(moments.gram, with_penalty(moments.gram, penalty)) / _rows(solve, moments)
    return torch.stack([(before - after) / reachable, reachable / before, loose, filled])


def _all_losses(solves: Sequence[_Waiting], before: Tensor, after: Tensor) -> Tensor:
    """(3, n), the losses of both heads of n solves, (n, F, C), and of none, the mean square of the targets."""
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
