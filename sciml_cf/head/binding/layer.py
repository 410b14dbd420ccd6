"""The rows of a linear last layer: nn.Linear (features last) and 1x1 convolutions (features second)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sciml_cf.head.small import is_plain

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def check_layer(layer: object) -> None:
    """Raise TypeError or ValueError unless ``layer`` is an nn.Linear or a plain 1x1 convolution.

    Its weight must be a plain real parameter that exists: not lazy, and not computed from others (weight_norm,
    spectral_norm, any parametrization), for a weight written there would be overwritten at the next forward pass.
    """
    if not isinstance(layer, (nn.Linear, *_CONVOLUTIONS)):
        raise TypeError(f"ClosedFormHead: `layer` must be nn.Linear or a 1x1 nn.Conv1d/2d/3d; got {_foreign(layer)}")
    own = dict(layer.named_parameters(recurse=False))
    if "weight" not in own or (layer.bias is not None and "bias" not in own):
        raise ValueError(
            f"ClosedFormHead: `layer` must hold its weight and bias as plain parameters; got a "
            f"{type(layer).__name__} that computes them (weight_norm, spectral_norm or another parametrization). "
            "Remove it from this layer, for instance with torch.nn.utils.parametrize.remove_parametrizations."
        )
    others = sorted({name for name, _ in layer.named_parameters()} - {"weight", "bias"})
    if others:
        raise ValueError(
            f"ClosedFormHead: `layer` must have no parameters but weight and bias; got a {type(layer).__name__} with "
            f"{', '.join(others)}. Is it an adapter such as LoRA? Its output is more than W^T phi + b."
        )
    if isinstance(own["weight"], nn.parameter.UninitializedParameter):
        raise ValueError(
            f"ClosedFormHead: `layer` must have its shape; got a lazy {type(layer).__name__}. "
            "Run the model once on a batch first."
        )
    if not own["weight"].is_floating_point():
        raise TypeError(f"ClosedFormHead: `layer` must have real weights; got {own['weight'].dtype}.")
    if isinstance(layer, nn.Linear):
        return
    plain = set(layer.kernel_size) == {1} and set(layer.stride) == {1} and layer.groups == 1
    if not plain or layer.padding not in ((0,) * len(layer.kernel_size), "valid"):
        raise ValueError(
            f"ClosedFormHead: `layer` must have kernel size 1, stride 1, one group and no padding; got {layer}. "
            "Only then is every output a linear function of the features at its own grid point."
        )


def _foreign(layer: object) -> str:
    """What a layer of another type is, and what to do about it."""
    kind = type(layer)
    if isinstance(getattr(layer, "base_layer", None), nn.Module):  # an adapter, such as PEFT's LoRA
        return (
            f"{kind.__module__}.{kind.__qualname__}, an adapter around a {type(layer.base_layer).__name__}. "  # type: ignore[attr-defined]
            "Merge it into the layer first (PEFT: merge_and_unload()), or leave this layer out of the adapters."
        )
    known = {one.__name__ for one in (nn.Linear, *_CONVOLUTIONS)}
    name = f"{kind.__module__}.{kind.__qualname__}" if kind.__name__ in known else kind.__name__
    return f"{name}. Pass the model's own last linear layer, for instance model.projection.fcs[-1]."


def is_head_layer(module: nn.Module) -> bool:
    """Whether ``module`` could be a closed-form head."""
    try:
        check_layer(module)
    except (TypeError, ValueError):
        return False
    return True


def num_inputs(layer: Layer) -> int:
    """Number of features that enter the layer, without the constant feature of a bias."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def num_outputs(layer: Layer) -> int:
    """Number of outputs of the layer."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def to_rows(values: Tensor, layer: Layer) -> Tensor:
    """``(B, *N, F)`` of a linear layer, or ``(B, F, *N)`` of a convolution, as ``(rows, F)``."""
    return features_last(values, layer).flatten(0, -2)


def features_last(values: Tensor, layer: Layer) -> Tensor:
    """``(B, *N, F)`` of a linear layer, or ``(B, F, *N)`` of a convolution, as ``(B, *N, F)``: a view, never a copy."""
    if isinstance(layer, nn.Linear):
        return values if values.ndim > 1 else values.unsqueeze(0)
    if values.ndim == len(layer.kernel_size) + 1:  # an unbatched convolution
        values = values.unsqueeze(0)
    return values.movedim(1, -1)


def row_shape(output: Tensor, layer: Layer) -> torch.Size:
    """Shape of the layer's output without its channel axis, ``(B, *N)``: one row for each entry, in the order of
    to_rows.

    An unbatched convolution has B = 1.
    """
    if isinstance(layer, nn.Linear):
        return output.shape[:-1]
    shape = output.shape if output.ndim == len(layer.kernel_size) + 2 else torch.Size([1, *output.shape])
    return torch.Size([shape[0], *shape[2:]])


def split_channel(values: Tensor, layer: Layer) -> Tensor:
    """Values of a layer with one output, their channel axis put back if it was squeezed away."""
    if num_outputs(layer) > 1:
        return values
    if isinstance(layer, nn.Linear):
        return values if values.ndim > 1 and values.shape[-1] == 1 else values.unsqueeze(-1)
    return values.unsqueeze(1) if values.ndim == len(layer.kernel_size) + 1 else values


def row_weights(weights: Tensor, rows: torch.Size, layer: Layer) -> Tensor:
    """Weights of samples or grid points, one for each row.

    Args:
        weights: ``(B,)``, ``(*N,)``, or anything that broadcasts to either or to ``(B, *N)``, such as (latitudes, 1);
            an axis of length one in the place of the channels is allowed too. ``(B, 1, ..., 1)`` are weights of
            samples, however many axes the rows have. True and False count as 1 and 0.
        rows: ``(B, *N)``, from row_shape.
        layer: whose output has the channels last (nn.Linear) or second.

    Returns:
        ``(rows,)`` in the weights' dtype, float32 for boolean and integer ones.

    Raises:
        ValueError: the shape fits in no way or in two ways, a weight is negative or not finite.
    """
    given = tuple(weights.shape)
    weights = weights.detach()
    weights = weights if weights.is_floating_point() else weights.to(torch.float32)
    weights = _without_channels(weights, rows, layer)
    samples = weights.ndim == 1 and len(rows) > 0 and weights.shape[0] == rows[0]
    fits = _broadcasts(weights.shape, rows)
    points = not fits and len(rows) > 1 and _broadcasts(weights.shape, rows[1:])
    samples = samples or (not fits and len(rows) > 0 and weights.shape == (rows[0], *[1] * (weights.ndim - 1)))
    if samples and points and weights.numel() > 1:
        raise ValueError(
            f"ClosedFormLoss: `weights` must say whether they belong to samples or points; got {given} for "
            f"(B, *N) = {tuple(rows)}. Give them every axis, of length one where they do not vary: "
            f"{(rows[0], *[1] * (len(rows) - 1))} for samples, {(1, *weights.shape)} for points."
        )
    if samples:
        weights = weights.reshape(-1, *[1] * (len(rows) - 1))
    if not points and not _broadcasts(weights.shape, rows):
        wanted = f"(B, *N) = {tuple(rows)}, (B,) or (*N,)"
        raise ValueError(
            f"ClosedFormLoss: `weights` must be {wanted}, without the channels; got {given}. Weights of "
            "single outputs are shaped like the prediction."
        )
    return _checked(weights).expand(rows).reshape(-1)


def output_weights(weights: Tensor, prediction: torch.Size, layer: Layer) -> Tensor | None:
    """Weights of each output at each row, shaped like the prediction; None if they are weights of rows.

    Args:
        weights: ``(B, C, *N)`` or ``(B, *N, C)`` like the prediction, up to axes of length one.
        prediction: its shape.
        layer: the layer.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    axis = -1 if isinstance(layer, nn.Linear) else 1
    if weights.ndim != len(prediction) or weights.ndim < 2 or num_outputs(layer) == 1:
        return None
    apart = weights.shape == prediction or weights.shape[axis] == prediction[axis] == num_outputs(layer)
    if not apart or not _broadcasts(weights.shape, prediction):
        return None
    return _checked(weights).expand(prediction)


def _checked(weights: Tensor) -> Tensor:
    """Weights as floating numbers without a graph."""
    weights = weights.detach()
    weights = weights if weights.is_floating_point() else weights.to(torch.float32)
    if not bool(((weights >= 0) & torch.isfinite(weights)).all()):
        raise ValueError("ClosedFormLoss: `weights` must be finite and not negative; got some that are not.")
    return weights


def _without_channels(weights: Tensor, rows: torch.Size, layer: Layer) -> Tensor:
    """The weights without an axis of length one in the place of the channels."""
    if weights.ndim != len(rows) + 1:
        return weights
    for axis in (-1, 1) if isinstance(layer, nn.Linear) else (1, -1):
        if axis < weights.ndim and weights.shape[axis] == 1:
            return weights.squeeze(axis)
    return weights


def _broadcasts(shape: torch.Size, rows: torch.Size) -> bool:
    """Whether every axis has the rows' length, or one."""
    return len(shape) == len(rows) and all(size in (1, whole) for size, whole in zip(shape, rows, strict=True))


def linear(rows: Tensor, layer: Layer) -> Tensor:
    """``(rows, C)`` or ``(B, *N, C)``: the layer applied to feature rows, past its hooks, in the precision of its
    weights.

    The channels of a convolution, seen as features last, are convolved where they lie: no copy.
    """
    rows = rows.to(_parameters(layer)[0].dtype)
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(rows, *_parameters(layer))
    if rows.ndim == layer.weight.ndim and rows.ndim > 2:
        convolved = type(layer).forward(layer, rows.movedim(-1, 1))  # pyright: ignore[reportArgumentType]
        return convolved.movedim(1, -1)
    weight = layer.weight.reshape(num_outputs(layer), num_inputs(layer))
    return nn.functional.linear(rows, weight, layer.bias)


def check_real(function: str, **given: object) -> None:
    """Raise TypeError unless what is given, by its name, is a tensor of real numbers, or None."""
    for name, values in given.items():
        if values is None:
            continue
        if not isinstance(values, Tensor):
            raise TypeError(f"{function}: `{name}` must be a tensor; got {type(values).__name__}.")
        if values.is_complex():
            raise TypeError(
                f"{function}: `{name}` must be real; got {values.dtype}. Let the model have two real outputs for each "
                "complex one, and give torch.view_as_real(targets), the real and imaginary parts on the last axis."
            )


def describe_type(layer: Layer, name: str | None) -> str:
    """A layer that may have lost its shape, in an error message."""
    return type(layer).__name__ if name is None else f"{name!r} ({type(layer).__name__})"


def describe(layer: Layer, name: str | None) -> str:
    """The layer in an error message: its name in the model, if known, its type and its widths."""
    what = f"{type(layer).__name__} {num_inputs(layer)} -> {num_outputs(layer)}"
    return what if name is None else f"{name!r} ({what})"


def read_head(layer: Layer) -> Tensor:
    """The layer's weights as a head ``(F, C)`` float64, the bias as its last row."""
    weight = layer.weight.detach().reshape(num_outputs(layer), num_inputs(layer)).T
    if layer.bias is not None:
        weight = torch.cat([weight, layer.bias.detach()[None, :]], dim=0)
    return weight.to(torch.float64)


def holds_head(layer: Layer, head: Tensor) -> bool:
    """Whether the layer has this very head ``(F, C)``, rounded to its precision; looking waits for a device."""
    inputs = num_inputs(layer)
    weight = layer.weight.detach().reshape(num_outputs(layer), inputs)
    same = torch.equal(weight, head[:inputs].T.to(weight.dtype))
    return same and (layer.bias is None or torch.equal(layer.bias.detach(), head[inputs].to(layer.bias.dtype)))


class Written:
    """A head that was written into a layer on a CPU, and the bytes it became: the cheapest way to see it unchanged."""

    def __init__(self, layer: Layer, head: Tensor, arrays: list[np.ndarray] | None = None) -> None:
        """``arrays`` are the memory of weight and bias, if at hand."""
        self._head, self._version = head, head._version
        self._arrays = _arrays(layer) if arrays is None else arrays
        self._places, self._bytes = _places(layer), [one.tobytes() for one in self._arrays]

    def holds(self, layer: Layer, head: Tensor) -> bool:
        """Whether this is the head that was written, and the layer has it still; if not, ``holds_head`` may know."""
        same = bool(self._arrays) and head is self._head and head._version == self._version
        unmoved = same and _places(layer) == self._places
        return unmoved and [one.tobytes() for one in self._arrays] == self._bytes


def write_head(layer: Layer, head: Tensor) -> Written:
    """Put a head ``(F, C)`` into the layer's weight and bias.

    The parameters get new storage. A graph that was recorded with the old weights keeps them, so a later backward
    through an old prediction stays right; copying into the old storage would change it silently.
    """
    inputs, (weight, bias) = num_inputs(layer), _parameters(layer)
    single = weight.dtype == torch.float32 and (bias is None or bias.dtype == torch.float32)
    if single and weight.device.type == "cpu" and is_plain(head):  # past torch, whose calls cost more than small heads
        numbers = head.float().numpy()  # too large a number for the layer becomes infinite, without a word
        arrays = [numbers[:inputs].T.reshape(weight.shape).copy()]
        weight.data = torch.from_numpy(arrays[0])
        if bias is not None:
            arrays.append(numbers[inputs].copy())
            bias.data = torch.from_numpy(arrays[1])
        return Written(layer, head, arrays)
    weight.data = head[:inputs].T.reshape(weight.shape).to(weight.dtype, copy=True).contiguous()
    if bias is not None:
        bias.data = head[inputs].to(bias.dtype, copy=True)
    return Written(layer, head)


def _arrays(layer: Layer) -> list[np.ndarray]:
    """Weight and bias as numpy sees them where they lie; none if it cannot."""
    both = [one.detach() for one in (layer.weight, layer.bias) if one is not None]
    return [one.numpy() for one in both] if all(map(is_plain, both)) else []


def _places(layer: Layer) -> list[tuple[int, torch.dtype, torch.Size]]:
    """Where in memory weight and bias lie."""
    return [(one.data_ptr(), one.dtype, one.shape) for one in _parameters(layer) if one is not None]


def _parameters(layer: Layer) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, past a module's own way of looking for attributes, which costs as much as using them."""
    own = layer._parameters
    weight = own.get("weight")
    return (layer.weight, layer.bias) if weight is None else (weight, own.get("bias"))
