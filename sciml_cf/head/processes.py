"""Processes that share a batch."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if num_processes() > 1 else 0


def own_share(shared: bool) -> tuple[int, int]:
    """Which of how many shares of a work is this process's: all of it, unless processes share it."""
    return (process_number(), num_processes()) if shared else (0, 1)


def of_processes(value: Any) -> list[Any]:
    """The value of each process, in their order."""
    found: list[Any] = [value] * num_processes()
    if len(found) > 1:
        dist.all_gather_object(found, value)
    return found


def joined(parts: list[Any], shared: bool) -> list[Any]:
    """The parts of all processes, if they share out a work, else those of this one."""
    return [one for own in of_processes(parts) for one in own] if shared else parts


def mean_of_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; itself when there is one."""
    if num_processes() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / num_processes()
