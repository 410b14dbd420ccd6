"""Flags of `sciml-cf study figure2`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags

NAMES = ("l2-SGD", "l2-Adam", "ridge", "proximal-1", "proximal-2", "proximal-Adam", "kalman-Adam")


@dataclass(frozen=True, kw_only=True)
class Figure2(GridFlags):
    """The paper's Figure 2: test error on the full grid against iteration, for every method and batch size.

    Every method gets nine candidates at every batch size, chosen by successive halving on the validation set with one
    seed, and up to two beyond the edge where the best is at it; the winner is trained with three others. Interrupted,
    the same command goes on where it stopped; parts of the grid may be run one after another into the same folder. The
    small preset takes about ten minutes on two cores, the full one about twelve hours of one core.

    With `--learning-rate` nothing is chosen: one point of the figure, a method at a batch size, is trained as the flags
    say, which takes minutes.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        methods: which methods to compare; l2-SOAP and proximal-SOAP too, which need the extra ``soap``.
        batch_sizes: by default those of the preset.
        learning_rate: train with this rate, instead of a choice among nine candidates.
        strength: with `learning_rate`, of ridge and proximal methods; by default that of `sciml-cf train`.
        forgetting: with `learning_rate`, of kalman methods; by default that of `sciml-cf train`.
        epochs: of the reported trainings; by default those of the preset.
        seeds: of the reported trainings; by default those of the preset.
        earlier: a result file of this study: its choices and runs are taken from there, and settings beyond the edge
            are tried where a choice lies at it. Choices that fewer seeds judged than now are made again; where they
            stay the same, their runs do.
    """

    out: Path = Path("figure2")
    preset: Literal["small", "full"] = "small"
    methods: tuple[str, ...] = NAMES
    batch_sizes: tuple[int, ...] = ()
    learning_rate: float | None = None
    strength: float | None = None
    forgetting: float | None = None
    epochs: int | None = None
    seeds: tuple[int, ...] = ()
    earlier: Path | None = None
