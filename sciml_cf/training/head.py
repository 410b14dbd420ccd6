"""The losses of a training: with a head that is solved, and with an objective and a head that is not."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.datasets.items import first_inputs
from sciml_cf.head import ClosedFormLoss, Objective, Proximal
from sciml_cf.head.binding.find import layer_of
from sciml_cf.training.batches import mix_seed
from sciml_cf.training.config import FitConfig

_HEAD = 2  # purpose of a seed


def make_losses(
    model: nn.Module,
    head: nn.Module | str | None,
    data: Dataset[dict[str, Tensor]],
    config: FitConfig,
    objective: Objective | None,
) -> tuple[ClosedFormLoss | None, ClosedFormLoss | None]:
    """The loss that solves the head, and the one that is descended, of the same head or of a separate objective.

    The first is None for a method without a closed-form head, both for the squared error of such a method. The head is
    as given, by its dotted name, or the last linear layer to run on the first sample.
    """
    solves = config.method != "l2"
    if not solves and objective is None:
        return None, None
    layer = layer_of("fit", model, head, example=first_inputs(data))
    if not solves:
        plain = ClosedFormLoss(layer, Proximal(), initial="keep", objective=objective)
        plain.head.detach()
        return None, plain
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seed(config.seed, 0, _HEAD))
        initial = config.initial_head or "zeros"
        loss = ClosedFormLoss(layer, config.rule(), initial=initial, objective=objective, model=model)
    return loss, loss
