"""Prove that a model's prediction is its last layer's output, at most with its numbers in other places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# How the channel axis moves from a prediction to a layer's output: not, or between the second place and the last.
Move = Literal["same", "channels_to_end", "channels_to_second"]
_MOVES: dict[Move, tuple[int, int] | None] = {
    "same": None,
    "channels_to_end": (1, -1),
    "channels_to_second": (-1, 1),
}
_BASE = 256  # whole numbers below it are exact in every floating dtype, bfloat16 included
_REMEMBERED = 4  # arrangements: of full batches, of the last one of an epoch, of another resolution


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Where each number of a layer's output lies in a prediction that has these numbers and no others.

    Attributes:
        prediction, output: shapes of both.
        places: shaped like the output, int64, positions in ``prediction.flatten()``; None for the same order.
    """

    prediction: torch.Size
    output: torch.Size
    places: Tensor | None = None

    def to_output(self, values: Tensor) -> Tensor:
        """Values shaped like the prediction, in the layout of the output."""
        return values.reshape(self.output) if self.places is None else values.flatten()[self.places]

    def to_prediction(self, values: Tensor) -> Tensor:
        """Values shaped like the output, in the layout of the prediction."""
        if self.places is None:
            return values.reshape(self.prediction)
        flat = values.new_empty(values.numel())
        flat[self.places.flatten()] = values.flatten()
        return flat.reshape(self.prediction)

    def agrees(self, prediction: Tensor, output: Tensor) -> bool:
        """Whether the values of both agree, place by place."""
        return torch.allclose(
            self.to_output(prediction.detach()), output.detach(), rtol=1e-5, atol=1e-6, equal_nan=True
        )

    @property
    def move(self) -> Move | None:
        """The move of the channel axis that leads to these places, and so to those of other shapes; None if none does.

        Where axes of length one let several do, the one that drops or adds no axis.
        """
        whole = {name: _moved(self.prediction, name) == list(self.output) for name in _MOVES}
        for name in sorted(_MOVES, key=lambda name: not whole[name]):
            if _by_move(name, self.prediction, self.output, self.places).alike(self):
                return name
        return None

    def alike(self, other: Arrangement) -> bool:
        """Whether both have the same places."""
        if self.places is None or other.places is None:
            return self.places is other.places
        return torch.equal(self.places, other.places)


class Arrangements:
    """Proofs that predictions are arrangements of a layer's output, remembered by their shapes.

    A proof is by identity, by memory (both are views of the same numbers), by the graph (``find_places``), or, where
    there is none of these, by values that single out one move of the channel axis. Shapes prove nothing: there may be
    as many samples as channels or points.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Arrangement] = {}

    def find(self, prediction: Tensor, output: Tensor) -> Arrangement | None:
        """How the prediction is arranged from the output; None if it is not, or nothing proves it.

        Where the places for these shapes are known, values that agree are enough. Of a constant output without shared
        memory nothing is remembered: a zero head hides an activation, or looks like the pass of another batch.

        Raises:
            ValueError: there is no proof but the values, and they fit several moves of the channel axis.
        """
        if prediction is output:
            return Arrangement(output.shape, output.shape)
        if prediction.numel() != output.numel():
            return None
        key = (prediction.shape, prediction.stride(), output.shape, output.stride())
        known = self._known.get(key)
        if _share_memory(prediction, output):
            return known or self._remember(key, _in_memory(prediction, output))
        constant = bool((output == output.flatten()[:1]).all())
        recorded = prediction.requires_grad and output.requires_grad
        if known is not None and not (recorded and constant) and known.agrees(prediction, output):
            return known
        found = _by_graph(prediction, output) if recorded else _by_values(prediction, output)
        return found if constant else self._remember(key, found)

    def of_shape(self, shape: torch.Size) -> Arrangement | None:
        """The last one that was proven for a prediction of this shape."""
        return next((one for one in reversed(self._known.values()) if one.prediction == shape), None)

    @property
    def last(self) -> Arrangement | None:
        """The last one that was proven."""
        return next(reversed(self._known.values()), None)

    def _remember(self, key: tuple[object, ...], found: Arrangement | None) -> Arrangement | None:
        if found is not None:
            self._known = dict([*self._known.items(), (key, found)][-_REMEMBERED:])
        return found


def move_channels(values: Tensor, move: Move) -> Tensor:
    """Values shaped like a prediction with their channel axis moved."""
    axes = _MOVES[move]
    return values if axes is None or values.ndim < 3 else values.movedim(*axes)


def find_places(prediction: Tensor, outputs: Sequence[Tensor]) -> list[Tensor | None] | None:
    """Where each number of several outputs is in a prediction that only puts them into other places.

    Stacked, joined, cut into patches or shuffled: such a prediction is ``P o`` with a permutation ``P``, and pulling
    a probe back through the graph gives ``P^T probe``. A probe of ones proves that every number is used once and
    unchanged, probes of the digits of 0, 1, 2, ... say where each one is, and the values agree.

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

    def pull_back(probe: Tensor) -> tuple[Tensor | None, ...]:
        probe = probe.to(prediction.dtype).reshape(prediction.shape)
        return torch.autograd.grad(prediction, list(outputs), probe, retain_graph=True, allow_unused=True)

    places = _counted(pull_back, torch.arange(size, device=prediction.device))
    if places is None or not _is_permutation(places, size):
        return None
    flat = prediction.detach().flatten()
    pairs = [(place, output.detach()) for place, output in zip(places, outputs, strict=True) if place is not None]
    if not all(torch.allclose(flat[place], output, rtol=1e-5, atol=1e-6, equal_nan=True) for place, output in pairs):
        return None
    return places


def _counted(pull_back: Callable[[Tensor], tuple[Tensor | None, ...]], counter: Tensor) -> list[Tensor | None] | None:
    """The place in the prediction of each number of the outputs; None if one is not used once and unchanged."""
    used = pull_back(torch.ones_like(counter))
    if not _each_once(used, len(counter)):
        return None
    places = [None if part is None else torch.zeros(part.shape, dtype=torch.int64, device=part.device) for part in used]
    scale = 1
    while scale < len(counter):
        for place, digit in zip(places, pull_back(counter // scale % _BASE), strict=True):
            if place is not None and digit is not None:
                place += scale * digit.round().long()
        scale *= _BASE
    return places


def _each_once(ones: Sequence[Tensor | None], size: int) -> bool:
    """Whether the pull-back of ones is one for each number of the used outputs, as many as the prediction has."""
    used = [part for part in ones if part is not None]
    return sum(part.numel() for part in used) == size and all(bool((part == 1).all()) for part in used)


def _is_permutation(places: Sequence[Tensor | None], size: int) -> bool:
    """Whether the places are 0 .. size - 1, each once."""
    together = torch.cat([place.flatten() for place in places if place is not None]).clamp(0, size - 1)
    return bool((torch.bincount(together, minlength=size) == 1).all())


def _share_memory(prediction: Tensor, output: Tensor) -> bool:
    """Whether both begin with the same number in memory, and may so be views of the same numbers."""
    same = prediction.dtype == output.dtype and prediction.device == output.device
    return same and prediction.data_ptr() == output.data_ptr()


def _in_memory(prediction: Tensor, output: Tensor) -> Arrangement | None:
    """The arrangement of a prediction whose numbers are the output's own; None if they are not, each once."""
    if prediction.is_contiguous() and output.is_contiguous():
        return Arrangement(prediction.shape, output.shape)
    there, here = (_addresses(values).sort() for values in (prediction, output))
    if not torch.equal(there.values, here.values) or bool((here.values.diff() == 0).any()):
        return None
    places = torch.empty_like(here.indices)
    places[here.indices] = there.indices
    return _arranged(prediction.shape, places.reshape(output.shape))


def _addresses(values: Tensor) -> Tensor:
    """(numel,), where each number lies in memory, from the first of them on."""
    addresses = torch.zeros((), dtype=torch.int64, device=values.device)
    for size, stride in zip(values.shape, values.stride(), strict=True):
        addresses = addresses.unsqueeze(-1) + stride * torch.arange(size, device=values.device)
    return addresses.flatten()


def _by_graph(prediction: Tensor, output: Tensor) -> Arrangement | None:
    """The arrangement that pulling back through the graph shows."""
    places = find_places(prediction, [output])
    return None if places is None or places[0] is None else _arranged(prediction.shape, places[0])


def _by_values(prediction: Tensor, output: Tensor) -> Arrangement | None:
    """The one move of the channel axis under which the values agree; those that keep the other axes come first."""
    fitting: list[Arrangement] = []
    others: list[Arrangement] = []
    for name in _MOVES:
        sizes = [[size for size in shape if size != 1] for shape in (_moved(prediction.shape, name), output.shape)]
        found = fitting if sizes[0] == sizes[1] else others
        new = _by_move(name, prediction.shape, output.shape, output)
        if new.agrees(prediction, output) and not any(new.alike(other) for other in found):
            found.append(new)
    if len(fitting) > 1:
        raise ValueError(
            "ClosedFormHead: `prediction` must show where it has the numbers of its layer's output; got "
            f"{tuple(prediction.shape)} and {tuple(output.shape)}, whose values fit several orders of the axes. "
            "Run the model with gradients on once before this."
        )
    return next(iter(fitting), others[0] if len(others) == 1 else None)


def _by_move(name: Move, prediction: torch.Size, output: torch.Size, like: Tensor | None) -> Arrangement:
    """The arrangement that a move of the channel axis makes, on the device of ``like``."""
    if _MOVES[name] is None or len(prediction) < 3:
        return Arrangement(prediction, output)
    counter = torch.arange(prediction.numel(), device=None if like is None else like.device)
    return _arranged(prediction, move_channels(counter.reshape(prediction), name).reshape(output))


def _arranged(prediction: torch.Size, places: Tensor) -> Arrangement:
    """The arrangement with these places, which are not kept where they only count up."""
    counter = torch.arange(places.numel(), device=places.device).reshape(places.shape)
    return Arrangement(prediction, places.shape, None if torch.equal(places, counter) else places)


def _moved(shape: torch.Size, name: Move) -> list[int]:
    sizes, move = list(shape), _MOVES[name]
    if move is not None and len(sizes) > 2:
        source, place = move
        size = sizes.pop(source)
        sizes.insert(len(sizes) if place == -1 else place, size)
    return sizes
