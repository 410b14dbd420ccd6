"""Flags of `sciml-cf study parameters`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags

METHODS = ("l2", "proximal")


@dataclass(frozen=True, kw_only=True)
class Parameters(GridFlags):
    """A Burgers model with the viscosity as an input, one for each viscosity, and one without that input.

    All are trained with Adam on the same samples at 256 points, with gradients alone and with the closed-form head
    (proximal, Algorithm 2), and tested at the five viscosities of the training and at two between. Every one chose
    among the same rates on its validation samples with a seed of its own. Interrupted, the same command goes on. The
    small preset takes about a minute on two cores, the full one about a quarter of an hour of one core.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        methods: how the head is trained.
    """

    out: Path = Path("parameters")
    preset: Literal["small", "full"] = "small"
    methods: tuple[str, ...] = METHODS
