"""A moving average of a model's weights, to evaluate and keep in place of the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of every floating tensor in a model's state_dict.

    ::

        average <- d average + (1 - d) weights        d = min(decay, (1 + t) / (10 + t)) at update t = 0, 1, ...

    The decay rises with the number of updates, so that a short training is not held at its initial weights. Integer
    tensors (counters) are copied. A closed-form head is averaged too: as the previous head, from which the averaged
    backbone's own is solved.

    Args:
        model: whose weights are averaged.
        decay: 0 <= decay < 1; about the last 1 / (1 - decay) steps count.

    References:
        Polyak and Juditsky, 1992; the rise of the decay is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._model = model
        self._average = {name: value.clone() for name, value in _tensors(model).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in _tensors(self._model).items():
            average = self._average[name]
            if average.is_floating_point() or average.is_complex():
                average.mul_(decay).add_(value, alpha=1 - decay)
            else:
                average.copy_(value)

    def swap_in(self) -> dict[str, Tensor]:
        """Put the average into the model; returns the model's own weights."""
        present = _tensors(self._model)
        own = {name: value.clone() for name, value in present.items()}
        with torch.no_grad():
            for name, value in present.items():
                value.copy_(self._average[name])
        return own

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        average = {name: value.cpu() for name, value in self._average.items()}
        return {"updates": self.updates, "average": average}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.updates = state["updates"]
        for name, value in state["average"].items():
            self._average[name].copy_(value)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
