"""Datasets that say blocks, in a module that a process which reads them imports in no time."""

import os

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from sciml_cf.errors import DatasetError


class InMemory(Dataset):
    """Random inputs and a function of them."""

    def __init__(self, samples: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.rand(samples, 3, dtype=torch.float64, generator=generator)
        self.y = torch.stack([torch.sin(3 * self.x[:, 0]), self.x[:, 0] * self.x[:, 1]], dim=1)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


class InBlocks(InMemory):
    """The same, shuffled as samples of a file are."""

    blocks = np.arange(0, 40, 5)


class Dying(InBlocks):
    """A process that reads it ends at once."""

    def __getitems__(self, numbers: list[int]) -> list[dict[str, torch.Tensor]]:
        if get_worker_info() is not None:
            os._exit(3)
        return [self[number] for number in numbers]


class Refusing(InBlocks):
    """A file that a process cannot read any more."""

    def __getitems__(self, numbers: list[int]) -> list[dict[str, torch.Tensor]]:
        if get_worker_info() is not None:
            raise DatasetError("read: the disk is gone.")
        return [self[number] for number in numbers]
