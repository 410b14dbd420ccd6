"""Flags of `sciml-cf study recipe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sciml_cf.studies.harness.flags import GridFlags

METHODS = ("proximal", "l2")


@dataclass(frozen=True, kw_only=True)
class Recipe(GridFlags):
    """The most accurate Burgers surrogate that we know how to train on 256 points, measured on 8192.

    A Fourier neural operator with a proximal head: SOAP or Adam with a cosine schedule, the relative loss, random
    reflections (an exact symmetry), a moving average of the weights. The baseline is the same with every layer trained
    by gradients; both choose their learning rate alike, with a seed of its own. At the end one head is solved over the
    features of the models of all seeds. The small preset takes minutes, the full one about five hours of one core for
    each optimizer.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        methods: proximal, and l2 for the baseline.
        optimizers: adam, in batches of 8, and soap, in batches of 16, which needs the extra ``soap``.
        cases: which of the preset's cases to run, by number from 1; by default all.
        rates: learning rates to choose from; by default three of each optimizer.
        batch_size: of every training; by default that of the optimizer.
        strength: of the proximal term; by default that of the rule.
        epochs: of the reported trainings; by default those of the preset, in the full one 150 of Adam and 100 of SOAP.
    """

    out: Path = Path("recipe")
    preset: Literal["small", "full"] = "small"
    methods: tuple[Literal["proximal", "l2"], ...] = METHODS
    optimizers: tuple[Literal["adam", "soap"], ...] = ("adam",)
    cases: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    batch_size: int | None = None
    strength: float | None = None
    epochs: int | None = None
