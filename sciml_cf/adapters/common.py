"""What the seams share: finding the head, and grids that a model flattens before it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head import find_head
from sciml_cf.head.binding.find import head_on
from sciml_cf.head.binding.layer import is_head_layer


def layer_of(function: str, model: nn.Module, head: Any, *, example: Any = None) -> Any:
    """The layer that ``head`` says: a layer, the dotted name of one, or None for the model's last linear layer.

    The last is the one that runs last on an example, where there is one.

    Raises:
        ValueError: there is no such layer, or it cannot be a head.
    """
    if head is None:
        return head_on(model, example) if isinstance(example, Tensor) else find_head(model)
    if isinstance(head, str):
        names = tuple(name for name, module in model.named_modules() if name and is_head_layer(module))
        check_choice(function, "head", head, names)
        return model.get_submodule(head)
    return head


def with_flat_points(values: Tensor, layer: nn.Module) -> Tensor:
    """Predictions or targets (B, C, *N) as (B, C, points) where the head takes a grid of several axes as one.

    neuralop's projection is a Conv1d in every number of dimensions, and its output is reshaped to the grid after it.
    """
    return values.flatten(2) if isinstance(layer, nn.Conv1d) and values.ndim > 3 else values
