"""Channels of coordinates, for problems whose law depends on the place: walls, open boundaries, a fixed forcing.

An operator that commutes with shifts, as a Fourier neural operator does, cannot know the place. Coordinates of the
points at hand are appended to its inputs::

    linear      2 s - 1 along each axis                     walls and open ends
    periodic    sin 2 pi s, cos 2 pi s along each axis      periodic boundaries: no jump where the axis closes

with s the position as a fraction of the domain's length. On n points s_j = j / n, on cells s_j = (j + 1/2) / n, on
nodes from end to end s_j = j / (n - 1); on every k-th of n cells s_j = (k j + 1/2) / n, which is no grid of cells
itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from data_gen.grids.positions import relative_axis
from sciml_cf.errors import check_choice
from sciml_cf.plain import plain

Coordinates = Literal["none", "linear", "periodic"]


def coordinate_channels(kind: Coordinates, num_dims: int) -> int:
    """How many channels are appended: one an axis, two where they are periodic."""
    return {"none": 0, "linear": 1, "periodic": 2}[kind] * num_dims


class Located(nn.Module):
    """A model whose inputs are given channels of coordinates first: ``(B, C, *N)`` -> ``(B, C', *N)``.

    Args:
        model: takes C + coordinate_channels(kind, num_dims) channels.
        kind: "linear" or "periodic".
        cells: whether an input of n points lies on n cells, where nothing else is said (see ``positions``).
        right_end: whether its last point is the right end of the domain, where nothing else is said.
    """

    def __init__(self, model: nn.Module, kind: Coordinates, *, cells: bool = False, right_end: bool = False) -> None:
        super().__init__()
        check_choice("Located", "kind", kind, get_args(Coordinates)[1:])
        self.model, self.kind, self.cells, self.right_end = model, kind, cells, right_end
        self.positions: tuple[np.ndarray, ...] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The model's output for inputs ``(B, C, *N)``."""
        channels = self._channels(tuple(x.shape[2:]), x)
        return self.model(torch.cat([x, channels.expand(len(x), *channels.shape[1:])], dim=1))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The tensors alone: neuraloperator's models add an entry that only their own ``load_state_dict`` knows."""
        state = super().state_dict(*args, **kwargs)
        state.pop("_metadata", None)
        return state

    def _channels(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """``(1, channels, *N)`` in the precision and on the device of the inputs."""
        given = self.positions
        if given is not None and tuple(len(axis) for axis in given) == shape:
            axes = [torch.from_numpy(axis) for axis in given]
        else:
            indices = [torch.arange(n, dtype=torch.float64) for n in shape]  # an exporter may leave n open
            ends = {"cells": self.cells, "right_end": self.right_end}
            axes = [relative_axis(j, n, **ends) for j, n in zip(indices, shape, strict=True)]
        grids = torch.meshgrid(*axes, indexing="ij")
        if self.kind == "linear":
            columns = [2 * s - 1 for s in grids]
        else:
            columns = [wave(2 * math.pi * s) for s in grids for wave in (torch.sin, torch.cos)]
        return torch.stack(columns)[None].to(like.device, like.dtype)


def located(model: nn.Module, kind: Coordinates, *, cells: bool, right_end: bool = False) -> nn.Module:
    """The model with channels of coordinates before it; the model itself where there are none."""
    return model if kind == "none" else Located(model, kind, cells=cells, right_end=right_end)


@contextmanager
def positions(model: nn.Module, axes: Sequence[np.ndarray] | None) -> Iterator[None]:
    """Inside this block inputs of these points lie at these positions; a model without coordinates takes no notice.

    Args:
        model: any module.
        axes: fractions of the domain's length along each axis, as ``FieldDataset.positions`` has them; None for the
            points of a grid.
    """
    found = [module for module in model.modules() if isinstance(module, Located)]
    before = [module.positions for module in found]
    for module in found:
        module.positions = None if axes is None else tuple(np.asarray(axis, dtype=np.float64) for axis in axes)
    try:
        yield
    finally:
        for module, old in zip(found, before, strict=True):
            module.positions = old


def check_place(function: str, coordinates: str, padding: float) -> None:
    """Raise ValueError for unknown coordinates, or a padding outside 0 to 1."""
    check_choice(function, "coordinates", coordinates, get_args(Coordinates))
    if not 0 <= padding < 1:
        raise ValueError(f"{function}: `padding` must be from 0 to below 1; got {padding!r}. Try 0.125, or 0 for none.")


def plain_arguments(config: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a builder to store: those that older versions did not have only where they change the model."""
    usual = {name: one.default for name, one in type(config).__dataclass_fields__.items() if name in PLACE}
    if values.get("num_dims") == 1:  # where all Fourier layers are the same
        usual["spectral"] = values.get("spectral")
    return {name: plain(value) for name, value in values.items() if name not in usual or value != usual[name]}


def stored_arguments(kind: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a builder as they were stored, filled up with what its models were when it had fewer arguments."""
    return {name: value for name, value in _EARLIER.items() if name in kind.__dataclass_fields__} | arguments


#: What models were before a builder had an argument, where that is not its default today.
_EARLIER = {"spectral": "neuraloperator"}
#: Arguments of builders that version 0.1 did not have.
PLACE = ("coordinates", "cells", "right_end", "padding", "boundary")
