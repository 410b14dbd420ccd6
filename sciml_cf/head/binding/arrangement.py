"""Prove that a model's prediction is its last layer's output, at most with its numbers in other places."""

from __future__ import annotations

from collections.abc import Sequence
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
_BASE = 256  # whole numbers below it are exact in every floating dtype, bfloat16 included


def rearrange(values: Tensor, arrangement: Arrangement, shape: torch.Size | None = None) -> Tensor:
    """``values``, shaped like the prediction, in the layout of a layer output (of this ``shape`` if given)."""
    move = _MOVES[arrangement]
    values = values if move is None or values.ndim < 3 else values.movedim(*move)
    return values if shape is None or shape == values.shape else values.reshape(shape)


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
    # On one grid point several arrangements agree: one that needs no axis dropped or added goes on to hold on others.
    whole = {name: _moved(prediction.shape, move) == list(output.shape) for name, move in _MOVES.items()}
    for arrangement in sorted(_MOVES, key=lambda name: not whole[name]):
        if not _fits(prediction.shape, _MOVES[arrangement], output.shape):
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
    if prediction.shape != output.shape and not _fits(prediction.shape, _MOVES[arrangement], output.shape):
        return False
    if prediction.data_ptr() == output.data_ptr() and prediction.numel() == output.numel():
        return True
    back = rearrange(prediction.detach(), arrangement, output.shape)
    return torch.allclose(back, output.detach(), rtol=1e-5, atol=1e-6, equal_nan=True)


def find_places(prediction: Tensor, outputs: Sequence[Tensor]) -> list[Tensor | None] | None:
    """Where each number of several outputs stands in a prediction that only puts them into other places.

    Stacked, joined, cut into patches or shuffled: such a prediction is ``P o`` with a permutation ``P``, and pulling
    a probe back through the graph gives ``P^T probe``. A probe of ones proves that every number is used once and
    unchanged, probes of the digits of 0, 1, 2, ... say where each one stands, and the values agree.

    Args:
        prediction: the model's output, any shape, with its graph.
        outputs: outputs of the layer, from one or more passes through it.
    Returns:
        For each output its places in ``prediction.flatten()``, shaped like the output (int64), or None if the
        prediction does not use it; None altogether if the prediction is no such rearrangement.
    """
    size = prediction.numel()
    if not prediction.requires_grad or not outputs or not all(output.requires_grad for output in outputs):
        return None
    counter = torch.arange(size, device=prediction.device)
    ones = _pull_back_to_all(prediction, outputs, torch.ones_like(counter))
    if not _uses_each_once(ones, size):
        return None
    places = [None if one is None else torch.zeros(one.shape, dtype=torch.int64, device=one.device) for one in ones]
    _read_places(prediction, outputs, counter, into=places)
    if not _is_permutation(places, size):
        return None
    pairs = zip(places, outputs, strict=True)
    return places if all(place is None or has_at(prediction, place, output) for place, output in pairs) else None


def has_at(prediction: Tensor, places: Tensor, output: Tensor) -> bool:
    """Whether the prediction has the output's numbers in these places of ``prediction.flatten()``."""
    there = prediction.detach().flatten()[places]
    return torch.allclose(there, output.detach(), rtol=1e-5, atol=1e-6, equal_nan=True)


def _pull_back_to_all(prediction: Tensor, outputs: Sequence[Tensor], probe: Tensor) -> tuple[Tensor | None, ...]:
    """P^T probe for each of the outputs; None for one that the prediction does not use."""
    probe = probe.to(prediction.dtype).reshape(prediction.shape)
    return torch.autograd.grad(prediction, list(outputs), probe, retain_graph=True, allow_unused=True)


def _uses_each_once(ones: Sequence[Tensor | None], size: int) -> bool:
    """Whether each number of the used outputs is in the prediction once and unchanged, by the pull-back of ones."""
    used = [part for part in ones if part is not None]
    return sum(part.numel() for part in used) == size and all(bool((part == 1).all()) for part in used)


def _read_places(
    prediction: Tensor, outputs: Sequence[Tensor], counter: Tensor, *, into: Sequence[Tensor | None]
) -> None:
    """The pull-back of 0, 1, 2, ..., digit by digit, added to zeros: where each number of the outputs went."""
    scale = 1
    while scale < len(counter):
        digits = _pull_back_to_all(prediction, outputs, counter // scale % _BASE)
        for place, digit in zip(into, digits, strict=True):
            if place is not None and digit is not None:
                place += scale * digit.round().long()
        scale *= _BASE


def _is_permutation(places: Sequence[Tensor | None], size: int) -> bool:
    """Whether the places are 0 to size - 1, each once."""
    together = torch.cat([place.flatten() for place in places if place is not None]).clamp(0, size - 1)
    return bool((torch.bincount(together, minlength=size) == 1).all())


def _fits(given: torch.Size, move: tuple[int, int] | None, wanted: torch.Size) -> bool:
    """Whether the arranged shape is the wanted one, up to axes of length one."""
    if move is not None and len(given) <= 2:
        return False
    return [size for size in _moved(given, move) if size != 1] == [size for size in wanted if size != 1]


def _moved(given: torch.Size, move: tuple[int, int] | None) -> list[int]:
    sizes = list(given)
    if move is not None and len(sizes) > 2:
        source, place = move
        size = sizes.pop(source)
        sizes.insert(len(sizes) if place == -1 else place, size)
    return sizes


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
