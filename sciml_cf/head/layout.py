"""How a linear last layer lays out its rows: nn.Linear (features last) and 1x1 convolutions (features second)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def check_layer(layer: object) -> None:
    """Raise TypeError or ValueError unless ``layer`` is an nn.Linear or a plain 1x1 convolution."""
    if isinstance(layer, nn.Linear):
        return
    if not isinstance(layer, _CONVOLUTIONS):
        raise TypeError(
            f"ClosedFormHead: `layer` must be nn.Linear or a 1x1 nn.Conv1d/2d/3d; got {type(layer).__name__}. "
            "Pass the model's own last linear layer, for instance model.projection.fcs[-1]."
        )
    plain = set(layer.kernel_size) == {1} and set(layer.stride) == {1} and layer.groups == 1
    if not plain or layer.padding not in ((0,) * len(layer.kernel_size), "valid"):
        raise ValueError(
            f"ClosedFormHead: `layer` must have kernel size 1, stride 1, one group and no padding; got {layer}. "
            "Only then is every output a linear function of the features at its own grid point."
        )


def is_head_layer(module: nn.Module) -> bool:
    """Whether ``module`` could be a closed-form head."""
    try:
        check_layer(module)
    except (TypeError, ValueError):
        return False
    return True


def find_head(model: nn.Module) -> Layer:
    """The last layer of ``model`` (in order of registration) that can be solved in closed form.

    Raises:
        ValueError: the model has no nn.Linear and no 1x1 convolution.
    """
    layers = [module for module in model.modules() if is_head_layer(module)]
    if not layers:
        raise ValueError(
            f"find_head: `model` must contain an nn.Linear or a 1x1 convolution; got {type(model).__name__} with none."
        )
    return layers[-1]  # type: ignore[return-value]


def num_inputs(layer: Layer) -> int:
    """Number of features that enter the layer, without the constant feature of a bias."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def num_outputs(layer: Layer) -> int:
    """Number of outputs of the layer."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def to_rows(values: Tensor, layer: Layer) -> Tensor:
    """(B, *N, F) of a linear layer, or (B, F, *N) of a convolution, as (rows, F)."""
    if isinstance(layer, nn.Linear):
        return values.reshape(-1, values.shape[-1])
    if values.ndim == len(layer.kernel_size) + 1:  # an unbatched convolution
        values = values.unsqueeze(0)
    return values.movedim(1, -1).flatten(0, -2)


def with_bias(features: Tensor, layer: Layer) -> Tensor:
    """(rows, F) with a constant feature appended where the layer has a bias."""
    if layer.bias is None:
        return features
    return torch.cat([features, features.new_ones(features.shape[0], 1)], dim=1)


def read_head(layer: Layer) -> Tensor:
    """The layer's weights as a head (F, C) float64, the bias as its last row."""
    weight = layer.weight.detach().reshape(num_outputs(layer), num_inputs(layer)).T
    if layer.bias is not None:
        weight = torch.cat([weight, layer.bias.detach()[None, :]], dim=0)
    return weight.to(torch.float64)


def write_head(layer: Layer, head: Tensor) -> None:
    """Put a head (F, C) into the layer's weight and bias.

    The parameters get new storage. A graph that was recorded with the old weights keeps them, so a later backward
    through an old prediction stays right; copying into the old storage would change it silently.
    """
    inputs = num_inputs(layer)
    weight = head[:inputs].T.reshape(layer.weight.shape)
    layer.weight.data = weight.to(layer.weight.dtype, copy=True).contiguous()
    if layer.bias is not None:
        layer.bias.data = head[inputs].to(layer.bias.dtype, copy=True)
