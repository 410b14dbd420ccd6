"""Detection of an optimizer that moves the parameters of a head, checked at each step of every optimizer."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

_ALONG = 0.5  # cosine of a change with the downward gradient, from which on it is a step made by hand


class Steps:
    """Sees the steps of torch optimizers that move a layer; weights that are loaded are none of them.

    An optimizer moves the parameters that it was given and that have a gradient; a line search (LBFGS) moves all
    that it was given.

    Args:
        layer: which is watched for as long as this object lives.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.moved = False
        self._layer = weakref.ref(layer)
        _ALL.append(weakref.ref(self, _ALL.remove))
        if not _HOOKS:
            _HOOKS.append(register_optimizer_step_post_hook(_look))

    def look(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has taken a step."""
        layer = self._layer()
        if layer is None:
            return
        puts_back = optimizer.param_groups[0].get("line_search_fn") is not None  # all weights, for the next trial
        for own in layer._parameters.values():
            if own is not None and (own.grad is not None or puts_back):
                given = (one for group in optimizer.param_groups for one in group["params"])
                self.moved = self.moved or any(one is own for one in given)


def follows_gradient(layer: nn.Module, change: Tensor) -> bool:
    """Whether a layer was moved along the gradient that it has, as by a step written by hand.

    Args:
        layer: the layer.
        change: ``(F, C)`` of the head, the bias last.
    """
    own = [one for one in layer._parameters.values() if one is not None]
    if any(one.grad is None for one in own):
        return False
    grads = [one.grad.detach().reshape(len(one), -1).T for one in own if one.grad is not None]
    slope = torch.cat(grads).to(change)
    norms = torch.linalg.vector_norm(slope) * torch.linalg.vector_norm(change)
    return bool((norms > 0) & (-(slope * change).sum() >= _ALONG * norms))


_ALL: list[weakref.ref[Steps]] = []
_HOOKS: list[Any] = []  # made with the first head


def _look(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    if torch.compiler.is_compiling():
        return
    for found in _ALL:
        if (one := found()) is not None:
            one.look(optimizer)
