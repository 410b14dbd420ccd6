"""One head over the features of several trained models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.datasets.items import as_items, first_inputs
from sciml_cf.evaluate.adaptation import Adaptation, adapt
from sciml_cf.evaluate.choices import Choice
from sciml_cf.head.binding.find import layer_of
from sciml_cf.head.binding.layer import Layer, check_layer, features_last, num_inputs, num_outputs, read_head
from sciml_cf.normalization import attach_normalization, detach_normalization, dtype_of, normalization_of


class Stacked(nn.Module):
    """Several models under one linear head, as ``stack`` makes it: ``(B, C, *N)`` -> ``(B, C', *N)``.

    It carries the normalization that its members share, so it takes and returns fields in physical units.

    Attributes:
        members: copies of the models; their own heads run, but do not count.
        head: the layer over all features, one after the other in the order of the members.
        adaptation: how the head was solved, with the strength chosen and its errors; None before.
    """

    def __init__(self, models: Sequence[nn.Module], layers: Sequence[str]) -> None:
        super().__init__()
        self.members = nn.ModuleList(models)
        self._layers = tuple(layers)
        heads = [self._layer(place) for place in range(len(models))]
        weights = torch.cat([self._weights(layer) for layer in heads]) / len(heads)  # the mean of the models
        bias = torch.stack([self._bias(layer) for layer in heads]).mean(0)
        own = dtype_of(models[0])
        inputs, outputs = weights.shape
        self.head = nn.Linear(inputs, outputs, device=heads[0].weight.device, dtype=own)
        with torch.no_grad():
            self.head.weight.copy_(weights.T)
            self.head.bias.copy_(bias)
        self.adaptation: Adaptation | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The head's output at each grid point."""
        features = [self._run(place, x)[0] for place in range(len(self.members))]
        return self.head(torch.cat(features, -1)).movedim(-1, 1)

    def _run(self, place: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``(B, *N, F)`` of one member, the output of its head ``(B, *N, C')``, and its own prediction."""
        seen: list[tuple[Tensor, Tensor]] = []
        layer = self._layer(place)
        hook = layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
        try:
            prediction = self.members[place](x)
        finally:
            hook.remove()
        features, output = (features_last(values, layer) for values in seen[-1])
        return features, output, prediction

    def _layer(self, place: int) -> Any:
        return self.members[place].get_submodule(self._layers[place])

    @staticmethod
    def _weights(layer: Layer) -> Tensor:
        return read_head(layer)[: num_inputs(layer)]

    @staticmethod
    def _bias(layer: Layer) -> Tensor:
        known = read_head(layer)[num_inputs(layer) :]
        return known[0] if len(known) else torch.zeros(num_outputs(layer), dtype=known.dtype, device=known.device)


def stack(
    models: Sequence[nn.Module],
    data: Dataset[Any],
    *,
    strength: float | None = None,
    choose: Choice = "cross-validation",
    folds: int = 8,
    batch_size: int = 32,
) -> Stacked:
    """Solve one head over the features of several trained models, in one pass over the data.

    ::

        W = argmin  mean |W^T (phi_1, ..., phi_K) - y|^2 + s |W - W_mean|^2

    W_mean is the mean of the models, which the head falls back to where the data do not speak against it: infinite
    ``strength`` is the ensemble's mean. The backbones are not touched.

    Args:
        models: at least two trained models, whose predictions ``(B, C', *N)`` are the outputs of their last linear
            layers; with the same normalization, as models trained on the same samples have.
        data: items ``{"x": (C, *N), "y": (C', *N)}`` or (x, y), for instance the training samples.
        strength: as in ``adapt``.
        choose: as in ``adapt``.
        folds: as in ``adapt``.
        batch_size: as in ``adapt``.

    Returns:
        the models under one head; its ``adaptation`` has the strength and the errors.

    Raises:
        ValueError: fewer than two models, unlike normalizations or outputs, or a model that changes its output after
            its last linear layer.
        NotPositiveDefinite: the features or targets are not finite.

    References:
        Breiman (1996), Stacked regressions, Machine Learning 24, 49-64, for the mean of predictions under a penalty;
        here it is features that are stacked.
    """
    models = list(models)
    if len(models) < 2:
        raise ValueError(f"stack: `models` must be at least two; got {len(models)}. For one model use adapt.")
    data = as_items("stack", "data", data)
    normalizations = [normalization_of(model) for model in models]
    if any(one != normalizations[0] for one in normalizations):
        raise ValueError(
            "stack: `models` must have the same normalization; got others. Train them on the same samples, with the "
            "same `normalize`."
        )
    example = first_inputs(data)
    if example is None:
        raise ValueError("stack: `data` must hold at least 2 samples; got none.")
    names = [_name_of_head(model, example) for model in models]
    stacked = Stacked([_core(model) for model in models], names).eval()
    _check_members(stacked, models, example)
    if normalizations[0] is not None:
        attach_normalization(stacked, normalizations[0])
    stacked.adaptation = adapt(
        stacked, data, strength=strength, choose=choose, folds=folds, batch_size=batch_size, head="head"
    )
    return stacked


def _name_of_head(model: nn.Module, example: Tensor) -> str:
    layer = layer_of("stack", model, None, example=example)
    check_layer(layer)
    return next(name for name, module in model.named_modules() if module is layer)


def _core(model: nn.Module) -> nn.Module:
    """A copy without its normalization."""
    core = copy.deepcopy(model)
    detach_normalization(core)
    return core


def _check_members(stacked: Stacked, models: Sequence[nn.Module], example: Tensor) -> None:
    """Each member's prediction must be the output of its head, with channels in front, and all of one shape."""
    shapes = set()
    for place, member in enumerate(stacked.members):
        with torch.no_grad():
            _, output, prediction = stacked._run(place, example.to(next(member.parameters()).device, dtype_of(member)))
        if not torch.equal(prediction, output.movedim(-1, 1)):
            raise ValueError(
                f"stack: `models` must predict the output of their last linear layer, channels first; got model "
                f"{place}, {type(models[place]).__name__}, whose prediction is another."
            )
        shapes.add(tuple(prediction.shape))
    if len(shapes) > 1:
        raise ValueError(f"stack: `models` must have outputs of the same shape; got {sorted(shapes)}.")
