"""Two processes, each with half of every batch: the heads' moments are summed over both, the backbone by DDP."""

import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sciml_cf import ClosedFormLoss, Proximal

STEPS, BATCH = 100, 128


def train(rank, world, folder):
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1)).double()
    loss_of = ClosedFormLoss(model[-1], Proximal(strength=1e-2))  # before DDP: the head is none of its business
    network = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(STEPS):
        x = (2 * torch.rand(BATCH, 2, dtype=torch.float64) - 1)[rank::world]
        optimizer.zero_grad()
        loss_of(network(x), torch.sin(3 * x[:, :1]) * x[:, 1:]).backward()
        optimizer.step()
    torch.save(model.state_dict(), os.path.join(folder, f"{world}-{rank}.pt"))
    if world > 1:
        dist.barrier()  # neither leaves while the other still talks to it
        del network
        dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        train(0, 1, folder)
        mp.spawn(train, args=(2, folder), nprocs=2)
        one, first, second = (torch.load(os.path.join(folder, f"{name}.pt")) for name in ("1-0", "2-0", "2-1"))
    apart = max((first[name] - second[name]).abs().max().item() for name in one)
    off = max((first[name] - one[name]).abs().max().item() for name in one)
    print(f"after {STEPS} steps the two processes differ by {apart:.1e}, and from one process by {off:.1e}")
