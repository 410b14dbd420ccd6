"""Exact symmetries of an equation: as random changes of its samples, and imposed on a trained model."""

from __future__ import annotations

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
        fields: (..., N).
    """
    return -torch.roll(fields.flip(-1), 1, dims=-1)


class Reflected(Dataset[dict[str, Tensor]]):
    """Each item as it is, or reflected with its target, by a fair coin at every access.

    The coin is torch's global generator, so that a training which seeds it resumes to the same bits.

    Args:
        data: items {"x": (C, N), "y": (C', N)} or (x, y) of an equation with the symmetry of ``reflect``, in one
            dimension.
    Raises:
        ValueError: the items have no grid of one dimension.
    """

    def __init__(self, data: Dataset[Any]) -> None:
        data = as_items("Reflected", "data", data)
        shape = tuple(data[0]["x"].shape)
        if len(shape) != 2:
            raise ValueError(f"Reflected: `data` must have items (channels, points); got {shape}. Use it in 1-D only.")
        self.data = data

    def __len__(self) -> int:
        return len(cast(Sized, self.data))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = self.data[index]
        if torch.rand(()) < 0.5:
            return item
        return {name: reflect(fields) for name, fields in item.items()}


class Symmetrised(nn.Module):
    """A model made exactly equivariant under ``reflect``, at twice the cost of a forward pass.

        f_s(u) = (f(u) + R f(R u)) / 2,    R u(x) = -u(-x)

    Where the data have the symmetry, its mean squared error is at most that of the model over samples and their
    reflections together, as the mean of two predictions.

    Args:
        model: takes and returns fields (B, C, N) on a periodic grid of one dimension.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, fields: Tensor) -> Tensor:
        """(B, C, N) -> (B, C', N)."""
        return (self.model(fields) + reflect(self.model(reflect(fields)))) / 2
