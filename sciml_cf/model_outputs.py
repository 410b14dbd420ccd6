"""The prediction within what a model returns: the tensor itself, or an entry of a tuple, a mapping or an object."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import Any

from torch import Tensor, nn

__all__ = [
    "Entry",
    "Predict",
    "carry_entry",
    "carrying",
    "check_entry",
    "entry_of",
    "predicted",
    "replaced",
    "stored_entry",
    "which_entry",
]

Entry = str | int | Callable[[Any], Tensor]
_ATTRIBUTE = "_sciml_cf_prediction"
_NAMED = 4  # entries that a message names


def predicted(function: str, returned: Any, entry: Entry | None) -> Tensor:
    """The prediction in a model's return value.

    Args:
        function: who asks, for messages.
        returned: what the model returned.
        entry: a key, an index or a function from the return value to the tensor; None if it is the tensor itself.

    Raises:
        TypeError: there is no such entry, or it is no tensor.
    """
    if entry is None:
        if isinstance(returned, Tensor):
            return returned
        raise TypeError(
            f"{function}: `prediction` must say which entry is the prediction of a model that returns "
            f"{_described(returned)}; got None. {_advice(returned)}"
        )
    found = entry(returned) if callable(entry) else _looked_up(function, returned, entry)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"{function}: `prediction` must lead to a tensor; got a {type(found).__name__} at {_shown(entry)} of "
            f"{_described(returned)}."
        )
    return found


class Predict:
    """The prediction of a model from its inputs: what it returns, or an entry of that.

    Args:
        function: who asks, for messages.
        model: any module.
        entry: see ``predicted``; by default the one that the model carries.
        replaceable: refuse an entry that normalization could not replace in the return value.
    """

    def __init__(
        self, function: str, model: nn.Module, entry: Entry | None = None, *, replaceable: bool = False
    ) -> None:
        self.function, self.model = function, model
        self.entry = entry_of(model) if entry is None else entry
        self._replaceable = replaceable and callable(self.entry)

    def __call__(self, x: Any) -> Tensor:
        returned = self.model(x)
        prediction = predicted(self.function, returned, self.entry)
        if self._replaceable and prediction is not returned:
            replaced(returned, prediction, prediction.detach())
        return prediction


def stored_entry(entry: Entry) -> dict[str, Any]:
    """An entry as run.json stores it; of a function only its name, for people."""
    if callable(entry):
        return {"entry": None, "function": _shown(entry)}
    return {"entry": entry}


def replaced(returned: Any, old: Tensor, new: Tensor) -> Any:
    """A model's return value with another tensor in the place of one of its entries; a shallow copy.

    Raises:
        TypeError: ``old`` is no entry, but computed from some.
    """
    found = _replaced(returned, old, new)
    if found is returned:
        raise TypeError(
            "fit: `prediction` must lead to a tensor that the model returns, which normalization replaces; got a "
            f"function that computes one from {_described(returned)}. Return it from the model, or use "
            'FitConfig(normalize="none").'
        )
    return found


def which_entry(function: str, argument: str, returned: Any) -> TypeError:
    """The error of a loss that is given a whole return value in the place of a tensor."""
    place = _first(returned)
    how = "" if place is None else f" Pass one entry of it, for instance {argument}[{place!r}]."
    return TypeError(f"{function}: `{argument}` must be a tensor; got {_described(returned)}.{how}")


def entry_of(model: nn.Module) -> Entry | None:
    """The entry that a model carries since ``fit`` trained it, or None."""
    return getattr(model, _ATTRIBUTE, None)


def carry_entry(model: nn.Module, entry: Entry | None) -> None:
    """Let a model remember which entry is its prediction, for ``predict``, ``adapt`` and the rest; None forgets it."""
    if entry is not None:
        object.__setattr__(model, _ATTRIBUTE, entry)
    elif _ATTRIBUTE in vars(model):
        object.__delattr__(model, _ATTRIBUTE)


@contextmanager
def carrying(model: nn.Module, entry: Entry | None) -> Iterator[None]:
    """Inside this block and after it the model carries the entry; an error leaves it with the one before."""
    before = entry_of(model)
    carry_entry(model, before if entry is None else entry)
    try:
        yield
    except BaseException:
        carry_entry(model, before)
        raise


def check_entry(function: str, entry: object) -> None:
    """Raise TypeError unless ``entry`` is a key, an index, a function or None."""
    number = isinstance(entry, Integral) and not isinstance(entry, bool)
    if not (entry is None or number or isinstance(entry, str) or callable(entry)):
        raise TypeError(
            f"{function}: `prediction` must be a key, an index, or a function from the model's return value to the "
            f"tensor; got {entry!r}."
        )


def _looked_up(function: str, returned: Any, entry: str | int) -> Any:
    if isinstance(entry, str) and not isinstance(returned, (Mapping, Tensor)) and hasattr(returned, entry):
        return getattr(returned, entry)  # of a named tuple or an object
    try:
        if isinstance(returned, Tensor):
            raise TypeError
        return returned[entry]
    except (KeyError, IndexError, TypeError) as error:
        raise TypeError(
            f"{function}: `prediction` must lead to an entry of what the model returns, {_described(returned)}; got "
            f"{_shown(entry)}. {_advice(returned)}"
        ) from error


def _replaced(value: Any, old: Tensor, new: Tensor) -> Any:
    """``value`` with ``new`` in the place of ``old``; ``value`` itself if it is not in there."""
    if value is old:
        return new
    if isinstance(value, Mapping):
        names = [(name, _replaced(part, old, new)) for name, part in value.items()]
        if all(part is value[name] for name, part in names):
            return value
        changed: Any = copy.copy(value)
        for name, part in names:
            changed[name] = part
        return changed
    if isinstance(value, (list, tuple)):
        parts = [_replaced(part, old, new) for part in value]
        if all(part is before for part, before in zip(parts, value, strict=True)):
            return value
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    for name, part in getattr(value, "__dict__", {}).items() if not isinstance(value, Tensor) else ():
        if part is old:
            changed = copy.copy(value)
            object.__setattr__(changed, name, new)
            return changed
    return value


def _described(returned: Any) -> str:
    """The return value in a message: its type and its first entries."""
    if isinstance(returned, Tensor):
        return f"a tensor {tuple(returned.shape)}"
    kind = type(returned).__name__
    if isinstance(returned, Mapping):
        parts = [f"{name!r}: {_kind(part)}" for name, part in returned.items()]
    elif isinstance(returned, (list, tuple)):
        parts = [_kind(part) for part in returned]
    else:
        return f"a {kind}"
    more = [] if len(parts) <= _NAMED else [f"{len(parts) - _NAMED} more"]
    return f"a {kind} of {', '.join(parts[:_NAMED] + more) or 'nothing'}"


def _kind(part: Any) -> str:
    return f"tensor {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__


def _first(returned: Any) -> str | int | None:
    """The key or index of the first tensor."""
    if isinstance(returned, Tensor):
        return None
    parts = returned.items() if isinstance(returned, Mapping) else ()
    parts = enumerate(returned) if isinstance(returned, (list, tuple)) else parts
    return next((place for place, part in parts if isinstance(part, Tensor)), None)


def _advice(returned: Any) -> str:
    if isinstance(returned, Tensor):
        return "Leave `prediction` out."
    place = _first(returned)
    if place is None:
        return "Pass a function from it to the tensor."
    return f"For instance prediction={place!r}."


def _shown(entry: Entry) -> str:
    return getattr(entry, "__name__", repr(entry)) if callable(entry) else repr(entry)
