"""Flags of `sciml-cf study time-to-accuracy`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TimeToAccuracy:
    """Seconds and steps until the validation error on the full grid first passes three thresholds.

    Every method chooses among the same learning rates and schedule lengths, with one seed, the setting that passes the
    middle threshold after the fewest steps. Where the best rate or length is the lowest or the highest of those tried,
    up to two beyond it are tried too. Reported runs come one at a time, seed by seed and method by method, so that all
    see the same machine; the time of the measurements is not counted. The full preset takes about four hours of one
    core.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        arms: which methods to run: neuralop, l2, proximal, best, and each with -soap, which needs the extra ``soap``;
            by default those of the preset.
        workers: processes for the selection; the reported runs are timed and run alone.
    """

    out: Path = Path("time")
    preset: Literal["small", "full"] = "small"
    arms: tuple[str, ...] = ()
    workers: int = 2
