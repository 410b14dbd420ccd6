"""Prove that a model's prediction is its last layer's output, at most with axes moved."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

# How a prediction becomes the layer's output: as it is (up to axes of length one), or with the channel axis moved.
Arrangement = Literal["same", "channels_to_end", "channels_to_second"]
_MOVES: dict[Arrangement, tuple[int, int] | None] = {
    "same": None,
    "channels_to_end": (1, -1),
    "channels_to_second": (-1, 1),
}


def rearrange(values: Tensor, arrangement: Arrangement, shape: torch.Size) -> Tensor:
    """``values``, shaped like the prediction, in the layout of a layer output of this ``shape``."""
    move = _MOVES[arrangement]
    return (values if move is None else values.movedim(*move)).reshape(shape)


def find_arrangement(prediction: Tensor, output: Tensor) -> tuple[Arrangement | None, bool]:
    """How the prediction is arranged from the layer's output, and whether that is proven.

    Two tests: the values agree, and (where the graph is recorded) the derivative of the prediction by the output is
    the rearrangement itself. Neither is enough alone: a zero head hides a mask or an activation from the values, a
    residual hides from the derivative. Under a constant output nothing is proven; ask again at the next step.

    Args:
        prediction: the model's output, any shape.
        output: the layer's output in the same forward pass.
    Returns:
        (arrangement, proven); the arrangement is None if the prediction is not the layer's output.
    """
    constant = bool((output == output.flatten()[:1]).all())
    recorded = prediction.requires_grad and output.requires_grad
    probe, pulled_back = _pull_back(prediction, output)
    for arrangement, move in _MOVES.items():
        if not _fits(prediction.shape, move, output.shape):
            continue
        back = rearrange(prediction.detach(), arrangement, output.shape)
        same = torch.allclose(back, output.detach(), rtol=1e-5, atol=1e-6, equal_nan=True)
        if same and recorded:
            same = pulled_back is not None and torch.allclose(
                rearrange(probe, arrangement, output.shape), pulled_back, rtol=1e-5, atol=1e-6
            )
        if same:
            return arrangement, not constant
    return None, False


def is_arranged(prediction: Tensor, arrangement: Arrangement, output: Tensor) -> bool:
    """Whether the prediction's values are the output's, arranged so; needs no look at them if they share memory."""
    if prediction.data_ptr() == output.data_ptr() and prediction.numel() == output.numel():
        return True
    if prediction.numel() != output.numel():
        return False
    back = rearrange(prediction.detach(), arrangement, output.shape)
    return torch.allclose(back, output.detach(), rtol=1e-5, atol=1e-6, equal_nan=True)


def _fits(given: torch.Size, move: tuple[int, int] | None, wanted: torch.Size) -> bool:
    if move is not None and len(given) <= 2:
        return False
    moved = torch.empty(given, device="meta")
    moved = moved if move is None else moved.movedim(*move)
    return [size for size in moved.shape if size != 1] == [size for size in wanted if size != 1]


def _pull_back(prediction: Tensor, output: Tensor) -> tuple[Tensor, Tensor | None]:
    """A probe shaped like the prediction, and its pull-back to the output if the graph was recorded."""
    probe = torch.linspace(1.0, 2.0, prediction.numel(), dtype=prediction.dtype, device=prediction.device)
    probe = probe.reshape(prediction.shape)
    if prediction is output:
        return probe, probe
    if not (prediction.requires_grad and output.requires_grad):
        return probe, None
    (pulled_back,) = torch.autograd.grad(prediction, output, probe, retain_graph=True, allow_unused=True)
    return probe, pulled_back
