"""Optimizers of the backbone by name."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from sciml_cf.training.config import FitConfig


def make_optimizer(parameters: list[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    """The optimizer that a configuration names, on these parameters."""
    rate = cast(float, config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)
