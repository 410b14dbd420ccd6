"""Optimizers of the backbone by name."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from torch import nn

from sciml_cf.training.config import FitConfig

_LOG = logging.getLogger(__name__)


def set_up(fabric: Any, model: nn.Module, config: FitConfig) -> tuple[nn.Module, Any, bool]:
    """The model and its optimizer on their device, and whether any parameter requires a gradient.

    Without one (a frozen backbone under a head in closed form) the optimizer has nothing to move.

    Raises:
        ValueError: there is none, and no head is solved either.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if parameters:
        return *fabric.setup(model, make_optimizer(parameters, config)), True
    if config.method == "l2":
        raise ValueError(
            "fit: `model` must have parameters that require a gradient with method 'l2'; got none. Unfreeze some, or "
            "choose a method that solves the head."
        )
    _LOG.info("fit: the backbone has no parameter that requires a gradient; only the head is solved.")
    return fabric.to_device(model), make_optimizer([nn.Parameter(torch.zeros(1))], config), False


def make_optimizer(parameters: list[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    """The optimizer that a configuration names, on these parameters."""
    rate = cast(float, config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)
