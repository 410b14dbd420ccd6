"""Flags of `sciml-cf study layerwise`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags


@dataclass(frozen=True, kw_only=True)
class Layerwise(GridFlags):
    """Layer-wise least squares against tuned gradient methods and random features, on digits and on known answers.

    Every gradient method chooses among as many learning rates and batch sizes, once for the time to the threshold
    and once for the final accuracy, on a validation part of its own. Timed runs come one at a time, seed by seed and
    method by method, on one thread, three times each, of which the quickest counts; time is the processor's, and
    measuring stops it. Some minutes of one core.

    Args:
        out: folder for the trials, the result file and the page.
        preset: how large; see above.
        images: folder of MNIST or Fashion-MNIST idx files; by default scikit-learn's digits.
    """

    out: Path = Path("layerwise")
    preset: Literal["small", "full"] = "small"
    images: Path | None = None
