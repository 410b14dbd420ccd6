"""Flags of `sciml-cf study digits`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sciml_cf.studies.harness.flags import GridFlags

Part = Literal["accuracy", "stability", "optimizers", "gap", "cost"]


@dataclass(frozen=True, kw_only=True)
class Digits(GridFlags):
    """Classification with closed-form heads: scikit-learn's digits, and synthetic tasks with 100 and 1000 classes.

    The full preset takes about half an hour of one core, the small one minutes. Nothing is downloaded.

    Args:
        out: folder for the trials, the result file and the page.
        preset: how large.
        parts: accuracy (every method, optimizer and batch size at its own best), stability (at fixed rates), optimizers
            (rules under eight optimizers, and how far heads move), gap (is it the loss or the tuning?), cost (of a
            step). A part that is left out of a later call keeps what the result file has.
    """

    out: Path = Path("digits")
    preset: Literal["small", "full"] = "small"
    parts: tuple[Part, ...] = get_args(Part)
