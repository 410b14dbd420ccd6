"""A trained model as a plain torch module, to be scripted, quantized, exported, and used without this package."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sciml_cf.head.binding.bound import release
from sciml_cf.model_outputs import Entry, carry_entry, entry_of, predicted
from sciml_cf.normalization import Normalization, detach_normalization, dtype_of

__all__ = ["PhysicalModel", "detach_heads", "plain_model"]


def detach_heads(model: nn.Module) -> nn.Module:
    """Take every trace of a closed-form head off a model: hooks on its layers, and layers left out of the training.

    For any model: one that is still being trained (its losses are then plain ones), a deep copy, or a whole model from
    ``torch.load``. Weights and outputs stay. A normalization that the model carries stays too: see ``plain_model``.

    Args:
        model: changed in place.

    Returns:
        The model itself.
    """
    for module in model.modules():
        release(module)
    return model


class PhysicalModel(nn.Module):
    """A model between two affine maps of the channels, written out as a module that torch can script and export.

    ::

        y = mean_y + std_y * model((x - mean_x) / std_x)        (+ x, for a model of increments)

    Fields are physical ones, in any floating precision. The mean is subtracted, and added, in float64 where the
    normalization asks for it.

    Args:
        model: of normalized fields ``(B, C, *N)`` -> ``(B, C', *N)``.
        normalization: the means and deviations.
    """

    def __init__(self, model: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype_of(model)
        self.double_outputs = normalization.needs_double
        self.increments = bool(normalization.residual)
        for name in ("input_mean", "input_scale", "target_mean", "target_scale"):
            self.register_buffer(name, torch.tensor(getattr(normalization, name), dtype=torch.float64))
        self.register_buffer("residual", torch.tensor(normalization.residual, dtype=torch.int64), persistent=False)
        self.residual: Tensor
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.target_mean: Tensor
        self.target_scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        z = (x.double() - _by_channel(self.input_mean, x.dim())) / _by_channel(self.input_scale, x.dim())
        w = self.model(z.to(self.dtype))
        y = w.double() * _by_channel(self.target_scale, w.dim()) + _by_channel(self.target_mean, w.dim())
        if self.increments:
            y = y + x.double().index_select(1, self.residual)
        return y if self.double_outputs else y.to(w.dtype)


class PredictionAlone(nn.Module):
    """A model that returns its prediction, and nothing of the rest.

    Args:
        model: any module.
        entry: which entry of its return value that is; see ``sciml_cf.fit``.
    """

    def __init__(self, model: nn.Module, entry: Entry) -> None:
        super().__init__()
        self.model, self.entry = model, entry

    def forward(self, x: Tensor) -> Tensor:
        return predicted("plain_model", self.model(x), self.entry)


def plain_model(model: nn.Module) -> nn.Module:
    """A copy of a trained model that is nothing but torch modules, in evaluation mode.

    It has no hooks of a head. A normalization that the model carries becomes a part of it, so it maps physical fields
    to physical fields as before; of a model that returns more than its prediction it returns the prediction alone.
    ``torch.export``, ``torch.jit.script``, quantization and ONNX take it as they take the
    model that you built; the model itself is not changed.

    Args:
        model: from ``sciml_cf.load``, ``fit``, or a loop of your own.

    Returns:
        A deep copy without gradients' history; a ``PhysicalModel`` where there is a normalization.
    """
    own = detach_heads(copy.deepcopy(model)).eval()
    normalization, entry = detach_normalization(own), entry_of(own)
    carry_entry(own, None)
    if normalization is None:
        return own
    return PhysicalModel(own if entry is None else PredictionAlone(own, entry), normalization).eval()


def _by_channel(values: Tensor, dims: int) -> Tensor:
    """``(C,)`` as ``(C, 1, ..., 1)``, for fields of so many axes."""
    return values.reshape([-1] + [1] * (dims - 2))
