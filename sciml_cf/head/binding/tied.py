"""Checks that the parameters of a layer belong to it alone, and that the layer was not replaced."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

_MOST_SCANS = 8  # of all objects in memory, for each layer: others may keep its parameters for good reasons


def check_untied(layer: nn.Module, model: nn.Module, name: str) -> None:
    """Raise ValueError if another module of the model has the memory of one of the layer's parameters, or the layer is
    not in the model.
    """
    modules = list(model.named_modules())
    if not any(module is layer for _, module in modules):
        raise ValueError(
            f"ClosedFormHead: `model` must contain layer {name}; got a {type(model).__name__} without it. Is it a copy?"
        )
    spans = [_span(one) for one in _parameters(layer)]
    for path, module in modules:
        if module is layer:
            continue
        for other in _parameters(module):
            first, last = _span(other)
            if any(first < end and start < last for start, end in spans):
                raise _tied(name, f"{path or 'the model'!r} ({type(module).__name__})")


class Ties:
    """Looks for other modules that hold a layer's parameters, whenever more references to these have appeared.

    Args:
        model: in which to look; all objects in memory, which takes 0.1 s in a large process, if None.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self._most: dict[str, int] = {}
        self._scans = 0
        self._model = None if model is None else weakref.ref(model)

    def check(self, layer: nn.Module, who: Callable[[], str]) -> None:
        """Raise ValueError if a module holds a parameter of the layer. Costs next to nothing while nobody does."""
        for key, own in layer._parameters.items():
            if own is None or (count := sys.getrefcount(own)) <= self._most.get(key, _OWN_REFERENCES):
                continue
            model = None if self._model is None else self._model()
            if model is not None:
                self._most[key] = count
                check_untied(layer, model, who())
                continue
            if self._scans >= _MOST_SCANS:
                return
            self._most[key], self._scans = count, self._scans + 1
            for other in _holders(own, layer):
                if other is not layer:
                    raise _tied(who(), f"another {type(other).__name__}")


class Kind:
    """What must not change in a layer while it is a head."""

    def __init__(self, layer: nn.Module) -> None:
        self._type, self._children = type(layer), len(layer._modules)
        self._names = frozenset(layer._parameters)
        self._shapes = _shapes(layer)

    def is_of(self, layer: nn.Module) -> bool:
        """Whether the layer has its own parameters still, and no others."""
        own = layer._parameters
        if type(layer) is not self._type or own.keys() != self._names or len(layer._modules) != self._children:
            return False
        return _shapes(layer) == self._shapes


def _shapes(layer: nn.Module) -> dict[str, Any]:
    return {name: None if one is None else one.shape for name, one in layer._parameters.items()}


def _parameters(module: nn.Module) -> list[Tensor]:
    return [one for one in module._parameters.values() if one is not None]


def _span(one: Tensor) -> tuple[int, int]:
    """Where a parameter begins and ends in memory; two numbers that overlap nothing if it has none."""
    try:
        start = one.data_ptr()
    except (RuntimeError, ValueError):  # lazy ones
        return 0, 0
    return (start, start + one.numel() * one.element_size()) if start else (0, 0)


def _tied(name: str, other: str) -> ValueError:
    return ValueError(
        f"ClosedFormHead: layer {name} must have parameters of its own; got one that {other} shares (tied weights). "
        "The solve would change both: give the last layer a weight of its own."
    )


def _holders(own: Tensor, layer: nn.Module) -> Iterator[nn.Module]:
    """Modules that hold a parameter of a layer, anywhere in memory, but for the layer."""
    for holder in gc.get_referrers(own):
        if (
            holder is layer._parameters
            or not isinstance(holder, dict)
            or not any(value is own for value in list(holder.values()))
        ):
            continue
        for owner in gc.get_referrers(holder):
            if isinstance(owner, dict) and owner.get("_parameters") is holder:
                yield from (one for one in gc.get_referrers(owner) if isinstance(one, nn.Module))
            elif isinstance(owner, nn.Module) and owner._parameters is holder:
                yield owner


def _references_of_one() -> int:
    """What ``check`` counts for a parameter that only its module holds."""
    held: dict[str, Any] = {"weight": object()}
    for _, own in held.items():  # a loop variable counts as a reference, too
        if own is None or (count := sys.getrefcount(own)) < 0:
            continue
        return count
    return 0


_OWN_REFERENCES = _references_of_one()
