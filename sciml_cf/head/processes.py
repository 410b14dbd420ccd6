"""Processes that share a batch."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_of_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; itself when there is one."""
    if num_processes() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / num_processes()
