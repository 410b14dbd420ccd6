"""Flags of `sciml-cf study infinite-data`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags

METHODS = ("l2", "proximal")
ARMS = ("finite", "more", "infinite")


@dataclass(frozen=True, kw_only=True)
class InfiniteData(GridFlags):
    """New samples in every epoch against the same ones again and again, for as many steps.

    Burgers in the paper's setting: 1448 training samples at 256 points, tested at 8192. The variants: these samples in
    every epoch; as many steps over 4096 samples; and as many over samples that the solver makes anew each time. All
    are trained with Adam, with gradients alone and with the closed-form head (proximal, Algorithm 2); each chose
    among the same rates on the same validation samples with a seed of its own. Interrupted, the same command goes on.
    The small preset takes about a minute on two cores; each variant of the full one about half an hour of one core.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        arms: which samples to train on.
        methods: how the head is trained.
    """

    out: Path = Path("infinite_data")
    preset: Literal["small", "full"] = "small"
    arms: tuple[str, ...] = ARMS
    methods: tuple[str, ...] = METHODS
