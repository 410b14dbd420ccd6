"""Flags of `sciml-cf study softmax`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags


@dataclass(frozen=True, kw_only=True)
class Softmax(GridFlags):
    """The explicit softmax layer on digits and on text: its norm, warm against cold starts, perplexity, its premise.

    Some minutes of one core.

    Args:
        out: folder for the trials, the result file and the page.
        preset: how large; see above.
        images: folder of MNIST or Fashion-MNIST idx files; by default scikit-learn's digits.
        text: folder of a corpus in BabyLM's layout (files ``*.train``, ``*.dev``, ``*.test``); by default the topics of
            Python's own help.
    """

    out: Path = Path("softmax")
    preset: Literal["small", "full"] = "small"
    images: Path | None = None
    text: Path | None = None
