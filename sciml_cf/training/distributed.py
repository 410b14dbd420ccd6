"""Training in several processes: the launch, and the same decisions in each of them."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class _DDPStrategy(DDPStrategy):
    """Distributed data parallel with ``_mean_of_each``."""

    def setup_module(self, module: nn.Module) -> DistributedDataParallel:
        wrapped = super().setup_module(module)
        wrapped.register_comm_hook(None, lambda _, bucket: _mean_of_each(bucket))
        return wrapped


def make_fabric(accelerator: str) -> Fabric:
    """One device, or under torchrun the device of this process (distributed data parallel)."""
    launched = dist.is_available() and dist.is_torchelastic_launched()
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError("fit: `accelerator` must be one that this machine has; got 'cuda' without a CUDA GPU.")
    local = int(os.environ["LOCAL_WORLD_SIZE"]) if launched else 1
    nodes = int(os.environ["WORLD_SIZE"]) // local if launched else 1
    strategy = _DDPStrategy() if local * nodes > 1 else "auto"
    fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=local, num_nodes=nodes)
    fabric.launch()
    return fabric


def _mean_of_each(bucket: Any) -> torch.futures.Future[Tensor]:
    """A bucket of gradients with each averaged over all processes by itself.

    DDP orders the gradients of a bucket anew after the first step. The place in a bucket decides how a sum over three
    processes or more is rounded, so a resumed training would not end in the bits of one that was not interrupted.
    """
    buffer = bucket.buffer().div_(dist.get_world_size())
    sizes = [one.numel() * (2 if one.is_complex() else 1) for one in bucket.parameters()]  # the buffer is real
    sums = [dist.all_reduce(one, async_op=True) for one in buffer.split(sizes)]
    return torch.futures.collect_all([one.get_future() for one in sums if one is not None]).then(lambda _: buffer)


def is_first_process() -> bool:
    """Whether this process is the one that writes files and prints: the only one, or rank 0 under torchrun."""
    return int(os.environ.get("RANK", "0")) == 0


def process_rank() -> tuple[int, int]:
    """(rank, world): which process this is, and how many there are."""
    return (0, 1) if _alone() else (dist.get_rank(), dist.get_world_size())


def total(values: Tensor) -> Tensor:
    """The sum over all processes, the same to the bit in each; the values themselves if there is one process."""
    if _alone():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


def gathered(value: Any) -> list[Any]:
    """The value of each process, in their order; of one process its own."""
    if _alone():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def join_processes() -> None:
    """Under torchrun, let the processes that it started know each other; nothing in a process alone."""
    if dist.is_available() and dist.is_torchelastic_launched() and not dist.is_initialized():
        make_fabric("cpu")


def mean(values: Tensor) -> Tensor:
    """The mean over all processes, the same to the bit in each; the values themselves if there is one process."""
    return values if _alone() else total(values) / dist.get_world_size()


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of the first (running statistics differ between shares of a batch)."""
    if not _alone():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def _alone() -> bool:
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
