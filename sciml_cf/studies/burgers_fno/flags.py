"""Flags of `sciml-cf study burgers-fno`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class BurgersFNO:
    """Burgers data, an FNO with a closed-form head and one trained by gradients, errors on the full grid.

    The setting of the closed-form last-layer paper (arXiv:2510.04606, section 6): 2048 samples on 8192 points,
    split 1448/200/400, trained on every 32nd point, mean squared error on all points of the test samples.

    Args:
        out: folder for the data, the runs and their comparison.
        data: an existing data file; by default OUT/burgers.h5 is generated.
        samples: initial conditions to generate.
        stored_resolution: grid points of the generated file.
        viscosity: viscosity of the generated data.
        methods: what to train, each from the same initial weights and in the same order of samples.
        algorithm: 1 or 2, for the closed-form methods.
        optimizer: optimizer of the backbone; "sgd" has Nesterov momentum 0.9.
        learning_rate: one rate for all methods; by default each has its own (see `sciml-cf train --help`).
        schedule: learning rate over the steps.
        warmup: steps over which the rate first rises linearly; by default 90 for sgd, none for adam.
        strength: pull of the proximal head to its previous value, added to a mean squared error.
        batch_size: samples a step.
        epochs: passes over the training samples.
        resolution: grid points to train at.
        resolutions: grid points to evaluate at.
        seed: seed of weights and sample order (the data and their split have their own, 0).
        resume: continue what is in OUT.
        overwrite: replace what is in OUT.
    """

    out: Path = Path("burgers-fno")
    data: Path | None = None
    samples: int = 2048
    stored_resolution: int = 8192
    viscosity: float = 0.1
    methods: tuple[str, ...] = ("proximal", "l2")
    algorithm: Literal[1, 2] = 1
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int | None = None
    strength: float | None = None
    batch_size: int = 32
    epochs: int = 100
    resolution: int = 256
    resolutions: tuple[int, ...] = (128, 256, 512, 1024, 8192)
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
