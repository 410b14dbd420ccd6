"""The closed-form head of a training: which layer it is, and the loss that solves it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sciml_cf.errors import check_choice
from sciml_cf.head import ClosedFormLoss, Objective, Proximal, find_head
from sciml_cf.training.batches import mix_seed
from sciml_cf.training.config import FitConfig

_HEAD = 2  # purpose of a seed


def make_loss(
    model: nn.Module, head: nn.Module | str | None, config: FitConfig, objective: Objective | None
) -> ClosedFormLoss | None:
    """The loss that solves the head of ``model``; None for a method without a closed-form head."""
    if config.method == "l2":
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seed(config.seed, 0, _HEAD))
        initial = config.initial_head or "zeros"
        return ClosedFormLoss(_layer(model, head), config.rule(), initial=initial, objective=objective, model=model)


def make_plain_loss(
    model: nn.Module, head: nn.Module | str | None, objective: Objective | None
) -> ClosedFormLoss | None:
    """An objective's loss beside a head that is trained like the other layers."""
    if objective is None:
        return None
    plain = ClosedFormLoss(_layer(model, head), Proximal(), initial="keep", objective=objective)
    plain.head.detach()
    return plain


def _layer(model: nn.Module, head: nn.Module | str | None) -> Any:
    if head is None:
        return find_head(model)
    if isinstance(head, str):
        names = [name for name, _ in model.named_modules()]
        check_choice("fit", "head", head, tuple(name for name in names if name))
        return model.get_submodule(head)
    return head
