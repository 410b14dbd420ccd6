"""The arrangement of a prediction: proof that it is its last layer's output, at most with numbers moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sciml_cf.head.binding.graph import Trace, marks_of

# How the channel axis moves from a prediction to a layer's output: not, or between the second place and the last.
Move = Literal["same", "channels_to_end", "channels_to_second"]
_MOVES: dict[Move, tuple[int, int] | None] = {
    "same": None,
    "channels_to_end": (1, -1),
    "channels_to_second": (-1, 1),
}
_BASE = 256  # whole numbers below it are exact in every floating dtype, bfloat16 included
_CASTS = (torch.float32, torch.bfloat16, torch.float16)  # through which an output may have been rounded
_ROUNDING = 8.0  # units in the last place in which a copy may differ
_REMEMBERED = 4  # arrangements: of full batches, of the last one of an epoch, of another resolution


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Where each number of a layer's output lies in a prediction that has these numbers and no others.

    Attributes:
        prediction: shape of the prediction.
        output: shape of the layer's output.
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
        return agree(self.to_output(prediction.detach()), output)

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
    as many samples as channels or points. Values agree relative to each number, at any scale of the output, and up to
    the rounding of a cast.

    Args:
        fixed: whether everything but the head is unchanged. Else other leaves of the prediction's graph, such as a
            gate that is zero still, refute it.
    """

    def __init__(self, *, fixed: bool = False) -> None:
        self._fixed = fixed
        self._known: dict[tuple[object, ...], Arrangement] = {}

    def find(self, prediction: Tensor, output: Tensor, trace: Trace | None = None) -> Arrangement | None:
        """How the prediction is arranged from the output; None if it is not, or nothing proves it.

        Where the places for these shapes are known, values that agree are enough. Of a constant output without shared
        memory nothing is remembered: a zero head hides an activation, or looks like the pass of another batch.

        Args:
            prediction: the prediction of the model.
            output: the output of the layer.
            trace: the graph from the prediction to the output, which may then come without one.

        Raises:
            ValueError: there is no proof but the values, and they fit several moves of the channel axis.
        """
        if prediction is output:
            return Arrangement(output.shape, output.shape)
        if (shared := self.in_memory(prediction, output)) is not None or prediction.numel() != output.numel():
            return shared
        if prediction.requires_grad and trace is None:
            if not output.requires_grad:  # the prediction's graph begins somewhere else
                return None
            trace = Trace(prediction, marks_of([output]))
        key, constant = _key(prediction, output), bool((output == output.flatten()[:1]).all())
        usable = trace is None or (not constant and (trace.closed or self._fixed))
        if usable and (known := self._known.get(key)) is not None and known.agrees(prediction, output):
            return known
        found = _by_values(prediction, output) if trace is None else self._by_graph(prediction, output, trace)
        return found if constant else self._remember(key, found)

    def in_memory(self, prediction: Tensor, output: Tensor) -> Arrangement | None:
        """The arrangement of a prediction whose numbers are the output's own, where they lie; None if they are not."""
        if not _share_memory(prediction, output) or prediction.numel() != output.numel():
            return None
        key = ("memory", *_key(prediction, output))
        return self._known.get(key) or self._remember(key, _in_memory(prediction, output))

    def _by_graph(self, prediction: Tensor, output: Tensor, trace: Trace) -> Arrangement | None:
        """The arrangement that pulling back through the graph shows."""
        places = places_in(prediction, trace, {sign: output for sign in trace.signs}, fixed=self._fixed)
        return None if places is None or len(places) != 1 else _arranged(prediction.shape, *places.values())

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


def agree(values: Tensor, output: Tensor) -> bool:
    """Whether values are those of an output, place by place: relative to each number, so at any scale.

    They may have been rounded to a narrower precision, and cast to any after it.
    """
    values, output = values.detach().to(output.device), output.detach()
    common = torch.promote_types(values.dtype, torch.float32)
    tolerance = _ROUNDING * torch.finfo(common).eps
    for dtype in dict.fromkeys((values.dtype, *_CASTS)):
        rounded = output.to(dtype).to(common)
        if torch.allclose(values.to(common), rounded, rtol=tolerance, atol=0.0, equal_nan=True):
            return True
    return False


def find_places(prediction: Tensor, outputs: Sequence[Tensor]) -> list[Tensor | None] | None:
    """Where each number of several outputs is in a prediction that only puts them into other places.

    Stacked, joined, cut into patches, shuffled or cast: such a prediction is ``P o`` with a permutation ``P``, and
    pulling a probe back through the graph gives ``P^T probe``. A probe of ones proves that every number is used once
    and unchanged, probes of the digits of 0, 1, 2, ... say where each one is, and the values agree. Only the graph
    between prediction and outputs counts: an output may have been computed from another one.

    Args:
        prediction: the model's output, any shape, with its graph.
        outputs: outputs of the layer, from one or more passes through it.

    Returns:
        For each output its places in ``prediction.flatten()``, shaped like the output (int64), or None if the
        prediction does not use it; None altogether if the prediction is no such rearrangement.
    """
    if not prediction.requires_grad or not outputs or not all(output.requires_grad for output in outputs):
        return None
    found = places_in(prediction, Trace(prediction, marks_of(outputs)), dict(enumerate(outputs)))
    return None if found is None else [found.get(index) for index in range(len(outputs))]


def places_in(
    prediction: Tensor, trace: Trace, outputs: dict[Any, Tensor], *, fixed: bool = False
) -> dict[Any, Tensor] | None:
    """The same along a trace, by the signs of the outputs that the prediction uses."""
    size = prediction.numel()

    def pull_back(probe: Tensor) -> dict[Any, Tensor] | None:
        return trace.pull_back(probe, fixed=fixed)

    places = _counted(pull_back, torch.arange(size, device=prediction.device))
    if places is None or not _is_permutation(list(places.values()), size):
        return None
    flat = prediction.detach().flatten()
    return places if all(agree(flat[place], outputs[sign]) for sign, place in places.items()) else None


def _counted(pull_back: Callable[[Tensor], dict[Any, Tensor] | None], counter: Tensor) -> dict[Any, Tensor] | None:
    """The place in the prediction of each number of the outputs; None if one is not used once and unchanged."""
    used = pull_back(torch.ones_like(counter))
    if used is None or not _each_once(list(used.values()), len(counter)):
        return None
    places = {sign: torch.zeros(part.shape, dtype=torch.int64, device=part.device) for sign, part in used.items()}
    scale = 1
    while scale < len(counter):
        digits = pull_back(counter // scale % _BASE)
        if digits is None:
            return None
        for sign, digit in digits.items():
            places[sign] += scale * digit.round().long()
        scale *= _BASE
    return places


def _each_once(used: Sequence[Tensor], size: int) -> bool:
    """Whether the pull-back of ones is one for each number of the used outputs, as many as the prediction has."""
    return sum(part.numel() for part in used) == size and all(bool((part == 1).all()) for part in used)


def _is_permutation(places: Sequence[Tensor], size: int) -> bool:
    """Whether the places are 0 .. size - 1, each once."""
    together = torch.cat([place.flatten() for place in places]).clamp(0, size - 1)
    return bool((torch.bincount(together, minlength=size) == 1).all())


def _key(prediction: Tensor, output: Tensor) -> tuple[object, ...]:
    """Two predictions with the same key are arranged alike by one model."""
    return prediction.shape, prediction.stride(), output.shape, output.stride()


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
