"""Steps on labels, and with masks of outputs, in two processes, then the same in one (see test_objectives)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from sciml_cf.head import ClosedFormLoss, CrossEntropy, OneHot, Proximal, SquaredError
from tests.problems import mlp

OBJECTIVES = {
    "one-hot": OneHot(0.1, (1.0, 2.0, 0.5)),
    "bound": CrossEntropy(0.1, (1.0, 2.0, 0.5)),
    "iterations": CrossEntropy(iterations=3),
    "per-class": CrossEntropy(curvature="per-class", iterations=2),
    "overshooting": CrossEntropy(curvature="per-class", iterations=3),  # whose steps have to be halved
    "masks": SquaredError(),  # of each output
}


def steps(objective, rank: int, world: int) -> dict[str, list]:
    """Five steps on the rows ``rank::world``; losses averaged over processes, and the head after each."""
    generator = torch.Generator().manual_seed(0)
    model = mlp(4, 6, 3)
    strength = 1e-9 if objective is OBJECTIVES["overshooting"] else 1e-3
    loss_of = ClosedFormLoss(model[-1], Proximal(strength), objective=objective)
    heads, losses = [], []
    for _ in range(5):
        x = 3 * torch.randn(40, 4, dtype=torch.float64, generator=generator)
        labels = torch.randint(3, (40,), generator=generator)
        weights = torch.rand(40, dtype=torch.float64, generator=generator)
        if isinstance(objective, SquaredError):
            labels, weights = torch.sin(x[:, :3]), (x[:, 1:] > 0).double()
            weights[1::2, 0] = 0  # the second process has no row of this output
        loss = loss_of(model(x[rank::world]), labels[rank::world], weights[rank::world]).detach()
        if world > 1:
            dist.all_reduce(loss)
        losses.append(loss.item() / world)
        heads.append(loss_of.head.state()["head"].tolist())
    loss_of.head.frozen = True  # the loss alone has to ask the others then
    for weights[1::2] in (0.5, 0.0):  # and one process may be left without a row
        loss = loss_of(model(x[rank::world]), labels[rank::world], weights[rank::world]).detach()
        if world > 1:
            dist.all_reduce(loss)
        losses.append(loss.item() / world)
    return {"heads": heads, "losses": losses}


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    shared = {name: steps(objective, rank, world) for name, objective in OBJECTIVES.items()}
    dist.destroy_process_group()  # while there are several processes, moments are merged over all of them
    if rank == 0:
        found = {name: [shared[name], steps(objective, 0, 1)] for name, objective in OBJECTIVES.items()}
        Path(sys.argv[1]).write_text(json.dumps(found))
