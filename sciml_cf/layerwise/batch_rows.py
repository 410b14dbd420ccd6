"""Inputs and targets in batches of rows, from tensors or from a loader, as often as they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from sciml_cf.arrays import tensor_of
from sciml_cf.layerwise.structure import Layer, flattens

BATCH_ROWS = 4096  # rows of tensors that are passed through a network at a time


@dataclass(frozen=True)
class Batch:
    """Inputs ``(n, F)`` and targets ``(n, C)`` in the network's precision; labels ``(n,)``, or None where targets are
    numbers.
    """

    x: Tensor
    y: Tensor
    labels: Tensor | None


class Rows:
    """All rows, batch by batch; each pass over them reads them anew, and holds one batch.

    Args:
        data: (x, y) as tensors, or a loader of batches (x, y) or ``{"x": x, "y": y}``, of tensors or arrays, that can
            be iterated over again.
        network: the network that the rows are for; they are brought to its device and precision (float32 at least), and
            flattened if it begins so.
        layers: its layers.
    """

    def __init__(self, data: tuple[Tensor, Tensor] | Iterable[Any], network: nn.Sequential, layers: list[Layer]):
        self._data = data
        self._flatten = flattens(network)
        self._inputs, self._outputs = layers[0].linear.in_features, layers[-1].linear.out_features
        self._labels = layers[-1].inverse.labels
        self._low, self._high = layers[-1].inverse.low, layers[-1].inverse.high
        self._device = layers[0].linear.weight.device
        self._dtype = torch.promote_types(layers[0].linear.weight.dtype, torch.float32)
        self._only: Batch | None = None
        if isinstance(data, Iterator):
            raise TypeError(
                f"fit_least_squares: `x` must be a loader that can be read several times; got {type(data).__name__}, "
                "an iterator. Give a DataLoader or a list of batches."
            )

    @property
    def shuffled(self) -> bool:
        """Whether it is known that two passes give the rows in two orders."""
        return isinstance(self._data, DataLoader) and isinstance(self._data.sampler, RandomSampler)

    def __iter__(self) -> Iterator[Batch]:
        if self._only is not None:
            yield self._only
            return
        count = 0
        for x, y in self._pairs():
            count += 1
            batch = self._batch(x, y)
            if isinstance(self._data, tuple) and len(self._data[0]) == len(x):
                self._only = batch  # tensors of one batch are looked at once
            yield batch
        if not count:
            raise ValueError("fit_least_squares: `x` must hold at least one row; got none. An empty loader?")

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self._data, tuple) and all(isinstance(part, Tensor) for part in self._data):
            x, y = self._data
            if x.ndim == 0 or y.ndim == 0:
                raise ValueError("fit_least_squares: `x` and `y` must have an axis of rows; got a single number.")
            if len(x) != len(y):
                raise ValueError(f"fit_least_squares: `y` must have a row for each of {len(x)} of `x`; got {len(y)}.")
            for start in range(0, len(x), BATCH_ROWS):
                yield x[start : start + BATCH_ROWS], y[start : start + BATCH_ROWS]
            return
        for item in self._data:
            x, y = pair(item)
            if x is None or y is None:
                raise TypeError(
                    "fit_least_squares: `x` must be a loader of batches (x, y) or {'x': x, 'y': y}, or rows with "
                    f"`y`; got a batch that is a {type(item).__name__}."
                )
            x, y = (tensor_of("fit_least_squares", name, value) for name, value in (("x", x), ("y", y)))
            if not len(x):
                raise ValueError("fit_least_squares: `x` must have a row in each batch; got one without.")
            yield x, y

    def _batch(self, x: Tensor, y: Tensor) -> Batch:
        x = (x.flatten(1) if self._flatten else x).detach().to(self._device, self._dtype)
        y = y.detach().to(self._device)
        if x.ndim != 2 or x.shape[1] != self._inputs:
            raise ValueError(f"fit_least_squares: `x` must be (rows, {self._inputs}); got {tuple(x.shape)}.")
        labels = None
        if not y.is_floating_point():
            labels = y = self._checked_labels(y, len(x))
            off, on = self._labels
            y = torch.full((len(x), self._outputs), off, dtype=self._dtype, device=self._device)
            y.scatter_(1, labels[:, None], on)
        elif y.shape != (len(x), self._outputs):
            raise ValueError(
                f"fit_least_squares: `y` must be ({len(x)}, {self._outputs}), or ({len(x)},) integer labels; "
                f"got {tuple(y.shape)} {y.dtype}."
            )
        y = y.to(self._dtype)
        _finite_ends("x", x)
        low, high = _finite_ends("y", y)
        if low < self._low or high > self._high:
            raise ValueError(
                f"fit_least_squares: `y` must be within the values of the last activation, {self._low:g} to "
                f"{self._high:g}; got {low:.3g} to {high:.3g}. Scale the targets, or end with nn.Linear."
            )
        return Batch(x, y, labels)

    def _checked_labels(self, y: Tensor, rows: int) -> Tensor:
        classes = self._outputs
        y = y.long()
        if y.shape != (rows,) or y.min() < 0 or y.max() >= classes:
            raise ValueError(
                f"fit_least_squares: `y` must be ({rows},) labels from 0 to {classes - 1}, the outputs of the last "
                f"layer; got {tuple(y.shape)} of {y.min()} to {y.max()}."
            )
        return y


def _finite_ends(name: str, values: Tensor) -> tuple[float, float]:
    """The least and the greatest entry; NaN anywhere makes both NaN."""
    low, high = (end.item() for end in values.aminmax()) if values.numel() else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"fit_least_squares: `{name}` must be finite; got NaN or infinite entries.")
    return low, high


def pair(item: Any) -> tuple[Any, Any]:
    """The two entries of a batch; (None, None) if it has others."""
    if isinstance(item, dict):
        return item.get("x"), item.get("y")
    return tuple(item) if isinstance(item, (tuple, list)) and len(item) == 2 else (None, None)
