"""Steps of training with and without a closed-form head, and how they are timed, for benchmarks.head."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.head import ClosedFormLoss
from sciml_cf.head.rules import Rule

Step = Callable[[], Any]


def take_turns(steps: dict[str, Step], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of every step in every round, the methods in turns; the first round is not counted."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            _wait(device)
            begun = clock()
            step()
            _wait(device)
            if turn:
                seconds[name].append(clock() - begun)
    return seconds


def against(seconds: dict[str, list[float]], name: str = "l2") -> dict[str, Any]:
    """Medians, and each method's median over that of ``name``."""
    medians = {method: statistics.median(values) for method, values in seconds.items()}
    return {
        "median_seconds": medians,
        f"over_{name}": {method: value / medians[name] for method, value in medians.items() if method != name},
    }


def peak_memory(step: Step, device: str) -> int | None:
    """Bytes that a step holds at most, above what was held before it; None where the system does not tell."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # give back what earlier steps freed, or this one would seem to need nothing
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident size so far
    except (OSError, AttributeError):
        return None
    before = _status("VmRSS")
    step()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def convolutional(width: int = 64, features: int = 128) -> nn.Sequential:
    """A convolutional network of about an FNO's cost; its last layer sees 128 features at each point."""
    layers: list[nn.Module] = [nn.Conv1d(1, width, 1)]
    for _ in range(4):
        layers += [nn.Conv1d(width, width, 9, padding=4, padding_mode="circular"), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv1d(width, features, 1), nn.GELU(), nn.Conv1d(features, 1, 1))


def perceptron(width: int, inputs: int = 8) -> nn.Sequential:
    """Two hidden layers as wide as the features."""
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))


def l2_step(model: nn.Module, x: Tensor, y: Tensor, rate: float = 1e-3) -> Step:
    """Adam on everything, the head included."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def closed_form_step(
    model: nn.Module, layer: nn.Module, x: Tensor, y: Tensor, *, rule: Rule, algorithm: int = 2, rate: float = 1e-3
) -> Step:
    """Adam on the backbone, the head solved on the batch: Algorithm 1 or 2 of arXiv:2510.04606."""
    loss_of = ClosedFormLoss(layer, rule).to(x.device)  # pyright: ignore[reportArgumentType]
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=rate)

    def first() -> Tensor:
        optimizer.zero_grad()
        prediction = model(x)
        loss = nn.functional.mse_loss(prediction, y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            loss_of.head.update(y, prediction=model(x))
        return loss.detach()

    def second() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return first if algorithm == 1 else second


def through_solve_step(model: nn.Sequential, x: Tensor, y: Tensor, strength: float = 1e-2) -> Step:
    """What Theorem 2 spares: the same proximal loss with automatic differentiation through torch.linalg.solve."""
    backbone = model[:-1]
    optimizer = torch.optim.Adam(backbone.parameters(), lr=1e-3)
    previous = torch.zeros(model[-1].in_features + 1, 1, dtype=torch.float64, device=x.device)  # pyright: ignore

    def step() -> None:
        nonlocal previous
        optimizer.zero_grad()
        features = backbone(x)
        rows = torch.cat([features, features.new_ones(len(features), 1)], 1).double()
        gram, cross = rows.T @ rows / len(rows), rows.T @ y.double() / len(rows)
        eye = torch.eye(len(gram), dtype=gram.dtype, device=x.device)
        head = torch.linalg.solve(gram + strength * eye, cross + strength * previous)
        (nn.functional.mse_loss(rows @ head, y.double()) + strength * (head - previous).square().sum()).backward()
        optimizer.step()
        previous = head.detach()

    return step
