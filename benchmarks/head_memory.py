"""Memory of a process over 200 steps whose passes no loss of the head takes.

    OMP_NUM_THREADS=1 python -m benchmarks.head_memory

Each case is a process of its own (Linux with glibc): it takes some steps, then 200 more, and compares its resident
memory, freed pages given back. A kept graph of one step would add more than ``graph_mib`` each time.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

ROWS, WIDTH = 1000, 500


@dataclass(frozen=True)
class Config:
    """Steps before the first look, and between both looks."""

    warm_up: int = 20
    steps: int = 200


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))


def physics_only(model: nn.Module, loss_of: nn.Module, optimizer: Optimizer, x: Tensor) -> None:
    """The loss of a residual, which nobody differentiates."""
    (model(x).square().mean() + 1).item()


def derivatives_only(model: nn.Module, loss_of: nn.Module, optimizer: Optimizer, x: Tensor) -> None:
    """A derivative in the graph, and the optimizer's step down it; the head's loss is never called."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    optimizer.zero_grad()
    slope.square().mean().backward()
    optimizer.step()


def several_passes(model: nn.Module, loss_of: nn.Module, optimizer: Optimizer, x: Tensor) -> None:
    """Three passes on points of collocation, and one of data that the head's loss takes."""
    prediction = model(x)
    physics = torch.stack([model(x + shift).square().mean() for shift in range(3)]).sum()
    optimizer.zero_grad()
    (loss_of(prediction, x[:, :1]) + physics).backward()
    optimizer.step()


def several_passes_no_backward(model: nn.Module, loss_of: nn.Module, optimizer: Optimizer, x: Tensor) -> None:
    """The same, and no backward pass: a validation that forgot to switch gradients off."""
    prediction = model(x)
    for shift in range(3):
        model(x + shift)
    loss_of(prediction, x[:, :1]).item()


CASES: dict[str, Callable[..., None]] = {
    one.__name__: one for one in (physics_only, derivatives_only, several_passes, several_passes_no_backward)
}


def rise(case: str, config: Config) -> float:
    """MiB by which this process grows over the steps of a case."""
    from sciml_cf.head import ClosedFormLoss, Proximal

    torch.set_num_threads(1)
    model, x = _network(), torch.rand(ROWS, 2)
    loss_of = ClosedFormLoss(model[-1], Proximal())  # pyright: ignore[reportArgumentType]
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=1e-3)
    begun = 0.0
    for step in range(config.warm_up + config.steps):
        if step == config.warm_up:
            begun = resident()
        CASES[case](model, loss_of, optimizer, x)
    return resident() - begun


def resident() -> float:
    """MiB of this process, without what it has freed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def measured(case: str, config: Config) -> float:
    """``rise`` in a process of its own."""
    call = f"from benchmarks.head_memory import *; print(rise({case!r}, {config!r}))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", call], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(config: Config) -> Path:
    """All cases."""
    from benchmarks.common import write_result

    figures = {"graph_mib": 2 * ROWS * WIDTH * 4 / 2**20, "rise_mib": {case: measured(case, config) for case in CASES}}
    return write_result("head_memory", config=config, seeds=(0,), figures=figures)


if __name__ == "__main__":
    print(main(Config()))
