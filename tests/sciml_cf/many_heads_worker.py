"""Two heads in two processes, of which each lacks one now and then (-m tests.sciml_cf.many_heads_worker FOLDER)."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sciml_cf.head import ClosedFormLosses, Every, Proximal

# Heads of each process' batch, step by step: both, one each, the same one, none of the second anywhere.
STEPS = [("ab", "ab"), ("a", "b"), ("b", "a"), ("ab", "b"), ("a", "a"), ("b", "b"), ("a", "ab")]
RULES = {"a": Proximal(0.1), "b": Every(Proximal(0.1), 2, on="last")}


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 8), nn.Tanh()).double()
        self.heads = nn.ModuleDict({"a": nn.Linear(8, 2), "b": nn.Linear(8, 1, bias=False)}).double()

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.heads[name](self.body(values)) for name, values in x.items()}


def batch(step: int, rank: int, name: str) -> tuple[Tensor, Tensor]:
    """Rows of one head in one process at one step."""
    generator = torch.Generator().manual_seed(100 * step + 10 * rank + (name == "b"))
    x = torch.randn(20 + 5 * rank, 3, dtype=torch.float64, generator=generator)
    return x, torch.sin(x[:, : 2 if name == "a" else 1] * (2 if name == "b" else 1))


def weights_of(step: int, name: str, x: Tensor) -> Tensor | None:
    """Weights of rows, which head b has after the first steps and head a never."""
    return 0.1 + x[:, 0].square() if name == "b" and step >= 2 else None


def work(rank: int, folder: str) -> None:
    """The heads after each step; the backbone stays, so that one process can say what they must be."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = TwoHeads()
    losses = ClosedFormLosses(dict(model.heads.items()), RULES)  # pyright: ignore[reportArgumentType]
    network = DistributedDataParallel(model)
    heads = []
    for step, present in enumerate(STEPS):
        batches = {name: batch(step, rank, name) for name in present[rank]}
        predictions = network({name: x for name, (x, _) in batches.items()})
        weights = {name: weights_of(step, name, x) for name, (x, _) in batches.items()}
        given = {name: one for name, one in weights.items() if one is not None}
        losses(predictions, {name: y for name, (_, y) in batches.items()}, given).backward()
        heads.append({name: head.state()["head"] for name, head in losses.heads.items()})
    for head in losses.heads.values():  # the losses of held heads meet in as many sums
        head.frozen = True
    name = "ab"[rank]
    x, y = batch(0, rank, name)
    losses(network({name: x}), {name: y}, {name: torch.rand(len(x), dtype=torch.float64)}).backward()
    torch.save(heads, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.start_processes(work, args=(sys.argv[1],), nprocs=2, start_method="fork")  # torch is imported once
