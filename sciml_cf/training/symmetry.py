"""Exact symmetries of an equation: as random changes of its samples, and imposed on a trained model."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.datasets.items import as_items


def reflect(fields: Tensor) -> Tensor:
    """u(x) -> -u(-x) on a periodic grid x_j = j L / N: value j becomes minus value -j modulo N.

    A symmetry of equations whose flux is even and whose other terms are even derivatives, such as Burgers' (and
    Kuramoto-Sivashinsky): the solution of a reflected initial condition is the reflected solution.

    Args:
        fields: ``(..., N)``.
    """
    return -torch.roll(fields.flip(-1), 1, dims=-1)


class Reflected(Dataset[dict[str, Tensor]]):
    """Each item unchanged, or reflected with its target, by a fair coin at every access.

    The coin is torch's global generator, so that a training which seeds it resumes to the same bits.

    Args:
        data: items ``{"x": (C, N), "y": (C', N)}`` or (x, y) of an equation with the symmetry of ``reflect``, in one
            dimension.

    Raises:
        ValueError: the items have no grid of one dimension.
    """

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = _on_a_line("Reflected", data)

    def __len__(self) -> int:
        return len(cast(Sized, self.data))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = self.data[index]
        if torch.rand(()) < 0.5:
            return item
        return {name: reflect(fields) for name, fields in item.items()}


def shift(fields: Tensor, cells: float) -> Tensor:
    """u(x) -> u(x + s h) on a periodic grid of spacing h, by the Fourier interpolant: exact where it is resolved.

    The highest frequency of an even number of points becomes its real part, cos(pi s) of what it was.

    Args:
        fields: (..., N).
        cells: s, in grid cells.
    """
    points = fields.shape[-1]
    frequencies = torch.arange(points // 2 + 1, dtype=torch.float64, device=fields.device)
    phases = torch.polar(torch.ones_like(frequencies), 2 * math.pi * cells / points * frequencies)
    return torch.fft.irfft(torch.fft.rfft(fields.double()) * phases, n=points).to(fields.dtype)


class Shifted(Dataset[dict[str, Tensor]]):
    """Each item shifted with its target by a random part of a grid cell, a new one at every access.

    A convolution network or a Fourier neural operator commutes with shifts by whole cells, so that only parts of a cell
    are new to it. For equations that look the same everywhere on a periodic line. The shift is drawn from torch's
    global generator, so that a training which seeds it resumes to the same bits.

    Args:
        data: items {"x": (C, N), "y": (C', N)} or (x, y), in one dimension.

    Raises:
        ValueError: the items have no grid of one dimension.
    """

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = _on_a_line("Shifted", data)

    def __len__(self) -> int:
        return len(cast(Sized, self.data))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cells = torch.rand((), dtype=torch.float64).item()
        return {name: shift(fields, cells) for name, fields in self.data[index].items()}


def _on_a_line(function: str, data: Dataset[Any]) -> Dataset[dict[str, Tensor]]:
    data = as_items(function, "data", data)
    shape = tuple(data[0]["x"].shape)
    if len(shape) != 2:
        raise ValueError(f"{function}: `data` must have items (channels, points); got {shape}. Use it in 1-D only.")
    return data


class Symmetrised(nn.Module):
    """A model made exactly equivariant under ``reflect``, at twice the cost of a forward pass.

    ::

        f_s(u) = (f(u) + R f(R u)) / 2,    R u(x) = -u(-x)

    Where the data have the symmetry, its mean squared error is at most that of the model over samples and their
    reflections together, as the mean of two predictions.

    Args:
        model: takes and returns fields ``(B, C, N)`` on a periodic grid of one dimension.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, fields: Tensor) -> Tensor:
        """``(B, C, N)`` -> ``(B, C', N)``."""
        return (self.model(fields) + reflect(self.model(reflect(fields)))) / 2
