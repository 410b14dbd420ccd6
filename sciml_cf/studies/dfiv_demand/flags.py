"""Flags of `sciml-cf study dfiv-demand`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags

NAMES = ("DFIV proximal", "DFIV ridge", "kernel IV", "two-stage least squares", "direct regression", "constant")


@dataclass(frozen=True, kw_only=True)
class DFIVDemand(GridFlags):
    """Demand for airline tickets: deep features, kernels, least squares and direct regression in one table.

    The papers' sales differ from the structural function by 1 (Xu et al.) or by 158, their own deviation (the program
    of Hartford et al.): with the first there is next to nothing hidden, with the second there is. The study has both.
    Every method gets eighteen candidates, chosen with one seed by the error against the structural function on 400
    points of the test grid; the winner is fitted to the samples of others and measured on the other 2400 points.
    Interrupted, the same command goes on where it stopped. The small preset takes minutes, the paper's about two hours
    of one core.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; the paper's has 5000 samples and five seeds.
        methods: which methods to compare.
    """

    out: Path = Path("dfiv-demand")
    preset: Literal["small", "paper"] = "small"
    methods: tuple[str, ...] = NAMES
