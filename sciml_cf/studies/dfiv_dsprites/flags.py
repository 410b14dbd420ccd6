"""Flags of `sciml-cf study dfiv-dsprites`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags

NAMES = ("proximal", "ridge", "gcv", "streaming")


@dataclass(frozen=True, kw_only=True)
class DFIVDsprites(GridFlags):
    """The paper's Figure 3: instrumental variables on hearts, error against iteration at several batch sizes.

    Proximal stages (Algorithm 3) and ridge stages with the gradients of DFIV; for batches of at most 64 also proximal
    ones whose inner strength is chosen on each batch by cross-validation (gcv), and ones whose inner solve remembers
    second moments of earlier batches (streaming). Each has its current heads, and heads solved again on all samples.
    Every method gets twelve candidates at every batch size and for either kind of head, chosen by successive halving on
    the 100 validation images with one seed; the winner is trained with others. Interrupted, the same command goes on
    where it stopped; parts of the grid may be run one after another into the same folder. The small preset takes
    minutes, the paper's grid with the small net on images about an hour of one core.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        methods: which methods to compare.
        batch_sizes: by default those of the preset.
        treatment_net: the net on images: 4096-256-128-64-32, or the paper's 4096-1024-512-128-32.
        archive: the published dSprites file, to take the images from; by default they are drawn.
    """

    out: Path = Path("dfiv-dsprites")
    preset: Literal["small", "paper"] = "small"
    methods: tuple[str, ...] = NAMES
    batch_sizes: tuple[int, ...] = ()
    treatment_net: Literal["small", "paper"] = "small"
    archive: Path | None = None
