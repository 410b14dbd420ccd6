"""Progress of a training: a bar of at most 80 columns, or without a terminal a line every few epochs."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence, Sized
from typing import Any, cast

from torch.utils.data import Dataset

from data_gen.terminal.quiet import progress_bar
from sciml_cf.datasets.items import items_at

_LOG = logging.getLogger(__name__)
_COLUMNS = 80
_LINES = 20  # of a whole training, without a terminal
_TIMED_STEPS = 5  # after which the time of an epoch is foreseen


class Progress:
    """Shown on standard error by the process that was asked to; nothing otherwise.

    Args:
        name: of the training.
        epochs: epochs of the whole training.
        steps_per_epoch: steps of an epoch.
        done: epochs that are done already.
        shown: whether anything is shown.
    """

    def __init__(self, name: str, *, epochs: int, steps_per_epoch: int, done: int, shown: bool) -> None:
        self._epochs, self._steps, self._done, self._shown = epochs, steps_per_epoch, done, shown
        self._every = max(1, math.ceil(epochs / _LINES))
        self._start, self._taken, self._lowest = time.perf_counter(), 0, math.inf
        interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._bar = None
        if shown and interactive:
            total = epochs * steps_per_epoch
            self._bar = progress_bar(
                total=total, initial=done * steps_per_epoch, desc=name, unit="step", ncols=_COLUMNS
            )

    def step(self) -> None:
        """One step is done."""
        self._taken += 1
        if self._bar is not None:
            self._bar.update()
        elif self._shown and self._taken == _TIMED_STEPS and self._epochs - self._done > 1:
            _LOG.info("an epoch of %d steps will take about %s", self._steps, _duration(self._seconds_an_epoch))

    def epoch(self, row: Mapping[str, float]) -> None:
        """One epoch is done, with this row of the history."""
        self._done += 1
        error, what = shown_error(row)
        self._lowest = min(self._lowest, error) if math.isfinite(error) else self._lowest
        text = f"{what} {_figure(error, what)}"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif self._shown and (self._done % self._every == 0 or self._done == self._epochs):
            left = (self._epochs - self._done) * self._seconds_an_epoch
            ahead = f", about {_duration(left)} left" if left else ""
            _LOG.info("epoch %d of %d: %s, lowest %s%s", self._done, self._epochs, text,
                      _figure(self._lowest, what), ahead)  # fmt: skip

    def close(self) -> None:
        """No more is shown."""
        if self._bar is not None:
            self._bar.close()

    @property
    def _seconds_an_epoch(self) -> float:
        return (time.perf_counter() - self._start) / max(self._taken, 1) * self._steps


class Watched(Dataset[Any]):
    """A dataset that shows how much of it has been read, in one pass in order; the items are its own.

    Args:
        data: the dataset.
        name: of the pass.
        shown: whether a bar is shown.
    """

    def __init__(self, data: Dataset[Any], name: str, *, shown: bool) -> None:
        self._data, self._furthest = data, 0
        total, interactive = len(cast(Sized, data)), sys.stderr.isatty() or "ipykernel" in sys.modules
        self._bar = progress_bar(shown=shown and interactive, total=total, desc=name, unit="sample", ncols=_COLUMNS)

    def __len__(self) -> int:
        return len(cast(Sized, self._data))

    def __getitem__(self, index: int) -> Any:
        return self._data[index]

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Items by their numbers."""
        found = items_at(self._data, numbers)
        self._bar.update(max(0, max(numbers) + 1 - self._furthest))
        self._furthest = max(self._furthest, max(numbers) + 1)
        if self._furthest == len(self):
            self._bar.close()
        return found


def shown_error(row: Mapping[str, float]) -> tuple[float, str]:
    """(value, name) of the error of an epoch that a person looks at first: relative where it is known."""
    for name, words in (("validation_relative_l2", "relative error"), ("validation_loss", "validation loss")):
        if name in row and math.isfinite(row[name]):
            return row[name], words
    return row.get("validation_mse", math.nan), "validation mse"


def _figure(value: float, what: str) -> str:
    return percent(value) if what == "relative error" else f"{value:.3g}"


def percent(value: float) -> str:
    """A share in per cent with two digits, or in scientific notation below a hundredth of a per cent."""
    if not 1e-4 <= value < 10:
        return f"{value:.2g}"
    digits = f"{100 * value:.2g}"
    return f"{float(digits):.0f} %" if "e+" in digits else f"{digits} %"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0.1):.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
