"""Flags of `sciml-cf study ablations`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sciml_cf.studies.harness.flags import GridFlags

Part = Literal["design", "methods", "strength", "rate"]


@dataclass(frozen=True, kw_only=True)
class Ablations(GridFlags):
    """The paper's ablations of the closed-form head (Figures 6, 7, F.1 to F.7), on digits or data of your own.

    Every cell of Algorithms 1 and 2 and a batch size is chosen on the validation part among as many candidates, and
    reported on the test part. On digits the full preset takes about twelve minutes of one core, the small one about
    two; tasks with many classes take longer. Nothing is downloaded; interrupted, the same command goes on.

    Args:
        out: folder for the trials, the result file and the page.
        preset: how large.
        task: digits; or FILE.npz with numbers x ``(samples, ...)`` and labels y ``(samples,)`` from 0 on; or the name
            of a synthetic task: "100 classes 64 features", "100 classes 256 features", "1000 classes 128 features".
        parts: design (bias, initial head, Adam against SGD), methods (Algorithms 1 and 2 of each rule, and gradient
            descent), strength (lambda and beta, at the rate chosen), rate (learning rates, at the strength chosen). A
            part that is left out of a later call keeps what the result file has.
    """

    out: Path = Path("ablations")
    preset: Literal["small", "full"] = "small"
    task: str = "digits"
    parts: tuple[Part, ...] = get_args(Part)
