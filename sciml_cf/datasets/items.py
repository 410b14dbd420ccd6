"""User datasets as ones of items ``{"x": ..., "y": ...}``, and the check that their numbers are finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sciml_cf.arrays import describe_type, tensor_of

__all__ = ["as_items", "check_finite", "find_not_finite", "items_at", "reads_in_blocks"]

_BLOCK = 64  # samples read at once
_HELD_POINTS = 2**18
_FORMS = '{"x": (C, *N), "y": (C\', *N)} or (x, y)'


class Items(Dataset[dict[str, Tensor]]):
    """The items of another dataset as ``{"x": tensor, "y": tensor}``; see ``as_items``."""

    def __init__(self, function: str, argument: str, data: Any) -> None:
        self.data = data
        self._names = function, argument

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._item(self.data[index], index)

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Tensor]]:
        """Items by their numbers."""
        return [self._item(*pair) for pair in zip(items_at(self.data, numbers), numbers, strict=True)]

    def _item(self, item: Any, index: int) -> dict[str, Tensor]:
        function, argument = self._names
        x, y = _pair(function, argument, item, index)
        return {name: tensor_of(function, f"{argument}[{index}]", value) for name, value in (("x", x), ("y", y))}


def items_at(data: Dataset[Any], numbers: Sequence[int]) -> list[Any]:
    """Items by their numbers, read together where the dataset can (its method ``__getitems__``)."""
    together = getattr(data, "__getitems__", None)
    return together(list(numbers)) if together is not None else [data[number] for number in numbers]


def reads_in_blocks(data: Dataset[Any]) -> bool:
    """Whether a dataset says in which blocks its samples are read: an attribute ``blocks``, (blocks,) first numbers."""
    return getattr(data, "blocks", None) is not None


def as_items(function: str, argument: str, data: Any) -> Dataset[dict[str, Tensor]]:
    """A map-style dataset as one of items ``{"x": tensor, "y": tensor}``.

    Items may be such mappings, or pairs (x, y) as a TensorDataset has them, of tensors, arrays or numbers. A dataset of
    mappings of tensors is returned unchanged.

    Args:
        function: the function that messages name.
        argument: its name for the data in messages.
        data: anything with a length and items by number, such as a Dataset or a list.

    Raises:
        TypeError: the data have no length or no items by number, or an item is none of the above.
    """
    if isinstance(data, Items):
        return data
    _check_kind(function, argument, data)
    if not len(data):
        return data
    with torch.random.fork_rng(devices=[]):  # a dataset may draw its items
        item = data[0]
    x, y = _pair(function, argument, item, 0)
    if isinstance(item, Mapping) and isinstance(x, Tensor) and isinstance(y, Tensor):
        return data
    return Items(function, argument, data)


def _check_kind(function: str, argument: str, data: Any) -> None:
    """Raise TypeError unless the data have a length and items by number, and are not the fields themselves."""
    if isinstance(data, DataLoader):
        raise TypeError(f"{function}: `{argument}` must be a dataset; got a DataLoader. Pass its .dataset.")
    if isinstance(data, (Tensor, np.ndarray)) or _is_pair_of_arrays(data):
        raise TypeError(
            f"{function}: `{argument}` must be a dataset of items {_FORMS}; got "
            f"{'a pair of arrays' if isinstance(data, tuple) else describe_type(data)}. "
            "Use torch.utils.data.TensorDataset(x, y)."
        )
    indexed = hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (Mapping, str))
    if not indexed or isinstance(data, IterableDataset):
        raise TypeError(
            f"{function}: `{argument}` must be a dataset with a length and items by number; got "
            f"{describe_type(data)}. Make a list of its items."
        )


def first_inputs(data: Dataset[dict[str, Tensor]]) -> Tensor | None:
    """Inputs ``(1, C, *N)`` of the first sample, a batch of one; None without samples. The random state is kept."""
    if not len(cast(Sized, data)):
        return None
    with torch.random.fork_rng(devices=[]):
        return data[0]["x"][None]


def find_not_finite(data: Dataset[dict[str, Tensor]]) -> tuple[int, str] | None:
    """Number of the first sample that holds NaN or infinity, and "x" or "y"; None if all are finite."""
    with torch.random.fork_rng(devices=[]):
        count = len(cast(Sized, data))
        for start in range(0, count, _BLOCK):
            numbers = range(start, min(start + _BLOCK, count))
            for index, item in zip(numbers, items_at(data, numbers), strict=True):
                for name in ("x", "y"):
                    if not bool(torch.isfinite(item[name]).all()):
                        return index, name
    return None


def is_lazy(data: Dataset[Any]) -> bool:
    """Whether a dataset, or the one that it takes samples from, reads samples when they are asked for."""
    return bool(getattr(data, "lazy", False)) or (hasattr(data, "dataset") and is_lazy(cast(Any, data).dataset))


def calibration_samples(data: Dataset[Any]) -> Sequence[int]:
    """Numbers of the samples whose errors are held at once to set error bars.

    Of a dataset in memory these are all, of a lazy one as many in equal steps as have 262144 grid points.
    """
    count = len(cast(Sized, data))
    if not is_lazy(data) or not count:
        return range(count)
    with torch.random.fork_rng(devices=[]):
        points = data[0]["y"][0].numel()
    most = max(2, _HELD_POINTS // points)
    return range(count) if count <= most else np.linspace(0, count - 1, most).round().astype(int).tolist()


def not_finite(function: str, argument: str, index: int, name: str) -> ValueError:
    """The error of a sample that holds NaN or infinity."""
    return ValueError(
        f"{function}: `{argument}` must hold finite numbers; got NaN or Inf in {name} of sample {index}. "
        "Leave the sample out, or correct it."
    )


def check_batch(function: str, argument: str, values: Tensor, name: str, start: int) -> None:
    """Raise ValueError if a sample of a batch ``(B, *)``, whose first has the number ``start``, is not finite."""
    finite = torch.isfinite(values).reshape(len(values), -1).all(1)
    if not bool(finite.all()):
        raise not_finite(function, argument, start + int(finite.int().argmin()), name)


def check_finite(function: str, argument: str, data: Dataset[dict[str, Tensor]]) -> None:
    """Raise ValueError if a sample holds NaN or infinity, which it names."""
    found = find_not_finite(data)
    if found is not None:
        raise not_finite(function, argument, *found)


def _pair(function: str, argument: str, item: Any, index: int) -> tuple[Any, Any]:
    if isinstance(item, Mapping) and "x" in item and "y" in item:
        return item["x"], item["y"]
    if isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
        return item[0], item[1]
    raise TypeError(f"{function}: `{argument}` must have items {_FORMS}; got {_shape_of(item)} as item {index}.")


def _is_pair_of_arrays(data: Any) -> bool:
    """Whether it is (x, y) with all samples in each, rather than a tuple of items."""
    return isinstance(data, tuple) and len(data) == 2 and all(isinstance(one, (Tensor, np.ndarray)) for one in data)


def _shape_of(item: Any) -> str:
    if isinstance(item, Mapping):
        return f"a mapping of {', '.join(map(repr, list(item)[:6])) or 'nothing'}"
    if isinstance(item, (list, tuple)):
        return f"a {type(item).__name__} of {len(item)}"
    return f"a {describe_type(item)}"
