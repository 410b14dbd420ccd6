"""Checked settings of a training of deep-feature instrumental variables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from sciml_cf.causal.stage_rules import GRADIENTS, Gradients, StageRules, check_through
from sciml_cf.errors import check_choice, check_count, check_positive
from sciml_cf.head.solve import check_strength

FUNCTION = "DeepFeatureIV.fit"
OptimizerName = Literal["sgd", "adam"]
Schedule = Literal["constant", "cosine"]
OptimizerMaker = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
BatchSize = int | tuple[int | None, int | None] | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The parameters of a DeepFeatureIV that its training needs.

    Args:
        batch_sizes: rows of the batches of stages 1 and 2; None takes all rows of a stage.
        updates: gradient steps a pair of batches in stages 1 and 2 (T1, T2); a covariate net makes T1.
        rules: as in DeepFeatureIV.
        gradients: as in DeepFeatureIV.
        iterations: as in DeepFeatureIV.
        optimizer: as in DeepFeatureIV.
        learning_rate: as in DeepFeatureIV.
        schedule: as in DeepFeatureIV.
        split: as in DeepFeatureIV.
        refit_strength: as in DeepFeatureIV.
        seed: as in DeepFeatureIV.

    Raises:
        ValueError: a parameter is not as described there.
    """

    rules: StageRules
    gradients: Gradients
    iterations: int
    batch_sizes: tuple[int | None, int | None]
    updates: tuple[int, int]
    optimizer: OptimizerName | OptimizerMaker
    learning_rate: float
    schedule: Schedule
    split: float
    refit_strength: float
    seed: int

    def __post_init__(self) -> None:
        check_choice(FUNCTION, "gradients", self.gradients, GRADIENTS)
        if self.gradients == "through":
            check_through(FUNCTION, self.rules.first)
            check_through(FUNCTION, self.rules.second)
        if not callable(self.optimizer):
            check_choice(FUNCTION, "optimizer", self.optimizer, ("sgd", "adam"))
        check_choice(FUNCTION, "schedule", self.schedule, ("constant", "cosine"))
        check_count(FUNCTION, "iterations", self.iterations)
        check_count(FUNCTION, "seed", self.seed, minimum=0)
        check_positive(FUNCTION, "learning_rate", self.learning_rate)
        check_strength(FUNCTION, self.refit_strength)
        check_positive(FUNCTION, "split", self.split, "It is the share of the rows for stage 1, such as 0.5.")
        if self.split >= 1:
            raise ValueError(f"{FUNCTION}: `split` must be below 1; got {self.split:g}. 0.5 halves the rows.")
        for name, numbers in (("batch_size", self.batch_sizes), ("updates", self.updates)):
            if not isinstance(numbers, (tuple, list)) or len(numbers) != 2:
                raise ValueError(f"{FUNCTION}: `{name}` must be two numbers, one a stage; got {numbers!r}.")
            for number in numbers:
                if number is not None or name == "updates":
                    check_count(FUNCTION, name, number, minimum=2 if name == "batch_size" else 1)

    def rate_factor(self, iteration: int) -> float:
        """What the learning rates are multiplied by: 1, or half a cosine from 1 towards 0."""
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * iteration / self.iterations)) / 2

    def described(self) -> dict[str, Any]:
        """Plain values that decide the training; its length is one only where the schedule depends on it."""
        optimizer = self.optimizer if isinstance(self.optimizer, str) else getattr(self.optimizer, "__name__", "given")
        return {
            "rules": repr(self.rules),
            "gradients": self.gradients,
            "batch_sizes": list(self.batch_sizes),
            "updates": list(self.updates),
            "optimizer": optimizer,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule if self.schedule == "constant" else f"cosine over {self.iterations}",
            "split": self.split,
            "seed": self.seed,
        }
