"""Training on states that the model itself has made: noise on inputs, and several of its outputs in a row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sciml_cf.datasets.steps import SingleSteps, Steps, steps_of
from sciml_cf.model_outputs import Predict, predicted
from sciml_cf.training.config import FitConfig
from sciml_cf.training.units import Units

Items = dict[str, Tensor]


class Unroll:
    """How the items of a batch become the rows that a step is trained on.

    ::

        x_1 = x + noise,   x_(i+1) = (the last states of x_i, f(x_i)),   rows (x_i, y_i), i = 1 .. k

    The states f(x_i) are made with the head and the backbone from before the step. Taken as data, they make all rows
    one least-squares problem of the head, which one solve answers exactly (the pushforward trick, for which the
    gradient ends at each state). With gradients through the steps the same problem is solved for the head, at the
    states that the head before has led to, and the backbone's gradient passes through these states as well; what is
    left out is that a state depends on the head, which moves little under a proximal rule.

    Args:
        steps: how states are arranged in inputs and outputs; None where neither ``unroll`` nor ``noise`` is asked for.
        config: of the training.

    References:
        pushforward trick: Brandstetter, Worrall and Welling (2022), Message Passing Neural PDE Solvers,
        arXiv:2202.03376, section 3.1. Noise: Sanchez-Gonzalez et al. (2020), arXiv:2002.09405.
    """

    def __init__(self, steps: Steps | None, config: FitConfig) -> None:
        self._steps, self.count = steps, config.unroll
        self._noise, self._through = config.noise, config.through_steps

    @classmethod
    def of(cls, data: Dataset[Items], config: FitConfig) -> Unroll:
        """That of a training on a dataset.

        Raises:
            ValueError: the targets are no later states of the inputs.
        """
        asked = config.unroll > 1 or config.noise > 0
        return cls(steps_of("fit", data, unroll=config.unroll) if asked else None, config)

    def single(self, data: Dataset[Items]) -> Dataset[Items]:
        """The dataset as one of single outputs, with true states throughout."""
        return data if self._steps is None or self.count == 1 else SingleSteps(data, self._steps, self.count)

    def roll(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Outputs for all that a target holds, of a model ``(B, C, *N)`` -> ``(B, C', *N)`` of physical fields."""
        return model(x) if self._steps is None or self.count == 1 else self._steps.roll(model, x, self.count)

    def rows(self, items: Items, predict: Predict, units: Units) -> Items:
        """The items of a batch as rows of single outputs, (k B, ...); the model's mode is kept.

        Args:
            items: a batch ``{"x": (B, C, *N), "y": (B, k C', *N)}``, physical.
            predict: of the bare model, in the units that it trains in.
            units: of the training.
        """
        if self._steps is None:
            return items
        x = self._noisy(items["x"], units)
        if self.count == 1:
            return {**items, "x": x}
        made = [x]
        model, training = predict.model, predict.model.training
        model.eval()
        try:
            with torch.set_grad_enabled(self._through and torch.is_grad_enabled()):
                model_now = _as_it_is(predict)
                for _ in range(self.count - 1):
                    made.append(self._steps.advance(made[-1], units.forward(model_now, made[-1])))
        finally:
            model.train(training)
        rows = {"x": torch.cat(made), "y": torch.cat(items["y"].chunk(self.count, dim=1))}
        return rows | {name: torch.cat([part] * self.count) for name, part in items.items() if name not in rows}

    def _noisy(self, x: Tensor, units: Units) -> Tensor:
        if self._steps is None or not self._noise:
            return x
        states = x[:, : self._steps.states]
        noise = torch.randn(states.shape, dtype=states.dtype) * self._noise
        deviations = units.deviations(x)[:, : self._steps.states].to(states.dtype)
        return torch.cat([states + (noise * deviations).to(x), x[:, self._steps.states :]], dim=1)


def _as_it_is(predict: Predict) -> Callable[[Tensor], Tensor]:
    """The same prediction with copies of all that no gradient trains: the solve to come writes into the head itself,
    whose old weights the backward pass through these states still needs.
    """
    model = predict.model
    kept = {name: own.detach().clone() for name, own in model.named_parameters() if not own.requires_grad}

    def apply(x: Tensor) -> Tensor:
        return predicted(predict.function, torch.func.functional_call(model, kept, (x,)), predict.entry)

    return apply if torch.is_grad_enabled() else predict
