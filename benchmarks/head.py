"""Cost of the closed-form head: one step of training with it against the same step without, on one thread.

Four questions: the step of the two algorithms against the l2 step of the same model; time and memory against feature
width and rows, beside automatic differentiation through the solve; how many gradient steps on the head alone one solve
replaces; and accuracy against time as the features get wider. Methods take turns within a round, times are processor
times, and only ratios of one run are meant to be read. On a machine with CUDA the first two are repeated there.

    OMP_NUM_THREADS=1 python -m benchmarks.head
"""

from __future__ import annotations

import importlib.util
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from benchmarks.common import write_result
from benchmarks.head_steps import (
    Step,
    against,
    closed_form_step,
    convolutional,
    l2_step,
    peak_memory,
    perceptron,
    take_turns,
    through_solve_step,
)
from sciml_cf.head import Moments, Proximal
from sciml_cf.head.rules import Every
from sciml_cf.head.solve import solve_head
from sciml_cf.models import FNOConfig

NOT_CUDA = "not measured: no CUDA device on this machine"


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        batch_size: samples of a batch in the first question.
        points: grid points of each; one row is one sample and point.
        rounds: turns of each method in the first question.
        widths: feature widths of the second question.
        rows: rows of the second question.
        largest: rows * width^2 beyond which a cell of that grid is left out (one step takes seconds there).
        every: steps between solves where a rule solves now and then.
        inner_widths: feature widths of the third question.
        inner_steps: gradient steps on the head after which the third question gives up.
        accuracy_widths: feature widths of the fourth question.
        accuracy_steps: steps of the last question.
        accuracy_rows: rows a step there.
        seeds: its seeds.
    """

    batch_size: int = 32
    points: int = 256
    rounds: int = 25
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    rows: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    largest: float = 1.7e10
    every: int = 4
    inner_widths: tuple[int, ...] = (64, 128, 256)
    inner_steps: int = 3_000
    accuracy_widths: tuple[int, ...] = (64, 256, 1024)
    accuracy_steps: int = 250
    accuracy_rows: int = 256
    seeds: tuple[int, ...] = (0, 1)


def training_step(config: Config, device: str) -> dict[str, Any]:
    """Both algorithms against l2 on two models with 128 features, 32 samples of 256 points a step."""
    torch.manual_seed(0)
    x = torch.randn(config.batch_size, 1, config.points, device=device)
    y = torch.cumsum(x, -1) / config.points**0.5
    builders: dict[str, Callable[[], nn.Module]] = {
        "convolutional network": convolutional,
        "neuralop FNO": lambda: FNOConfig().build(seed=0),
    }
    figures = {}
    for name, build in builders.items():
        models = [build().to(device) for _ in range(4)]
        layers = [_last(model) for model in models]
        steps = {
            "l2": l2_step(models[0], x, y),
            "algorithm 1": closed_form_step(models[1], layers[1], x, y, rule=Proximal(), algorithm=1),
            "algorithm 2": closed_form_step(models[2], layers[2], x, y, rule=Proximal()),
            f"algorithm 2, solved every {config.every} steps": closed_form_step(
                models[3], layers[3], x, y, rule=Every(Proximal(), config.every, on="last")
            ),
        }
        figures[name] = against(take_turns(steps, config.rounds, device))
        print(device, name, figures[name]["over_l2"], flush=True)
    return figures


def _last(model: nn.Module) -> nn.Module:
    return [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Linear)][-1]


def scaling(config: Config, device: str) -> dict[str, Any]:
    """Time and peak memory of a step against width and rows, on a network whose hidden layers are that wide."""
    cells, left_out = [], []
    for width in config.widths:
        for rows in config.rows:
            if rows * width**2 > config.largest:
                left_out.append({"width": width, "rows": rows})
                continue
            cells.append(_cell(config, width, rows, device))
            print(device, cells[-1], flush=True)
    return {"cells": cells, "left_out": left_out}


def _cell(config: Config, width: int, rows: int, device: str) -> dict[str, Any]:
    torch.manual_seed(0)
    x = torch.randn(rows, 8, device=device)
    y = torch.sin(x.sum(1, keepdim=True))
    models = [perceptron(width).to(device) for _ in range(4)]
    steps: dict[str, Step] = {
        "l2": l2_step(models[0], x, y),
        "algorithm 2": closed_form_step(models[1], models[1][-1], x, y, rule=Proximal()),
        f"solved every {config.every} steps": closed_form_step(
            models[2], models[2][-1], x, y, rule=Every(Proximal(), config.every, on="last")
        ),
    }
    # Whole periods of `every`, so that the mean of its times counts one solve in so many steps.
    turns = config.every if rows * width**2 > 1e9 else 3 * config.every
    slow = {"through the solve": through_solve_step(models[3], x, y)}
    seconds = take_turns(steps, turns, device)
    seconds |= take_turns(slow, 1 if turns == config.every else turns, device)
    peaks = {name: peak_memory(step, device) for name, step in (steps | slow).items()}
    figures = against(seconds)
    means = {name: statistics.fmean(values) for name, values in seconds.items()}
    figures["mean_over_l2"] = {name: value / means["l2"] for name, value in means.items() if name != "l2"}
    return {"width": width, "rows": rows, **figures, "peak_bytes": peaks}


def inner_loop(config: Config) -> list[dict[str, Any]]:
    """Gradient steps on the head alone until its objective is within 1 % of the solved one, against one solve.

    Features are a network's at its initial weights. The steps are gradient descent with Nesterov momentum 0.9 on the
    proximal objective's mean squared error plus penalty, at the largest rate that is safe, 1 / largest eigenvalue.
    """
    figures = []
    for width in config.inner_widths:
        torch.manual_seed(0)
        x = torch.randn(config.batch_size * config.points, 8)
        y = torch.sin(x.mean(1, keepdim=True))
        with torch.no_grad():
            features = perceptron(width)[:-1](x)
            features = torch.cat([features, features.new_ones(len(features), 1)], 1)
        for strength in (1e-2, 1e-4, 1e-6):
            figures.append({"width": width, **_inner(features, y, strength, config.inner_steps)})
            print(figures[-1], flush=True)
    return figures


def _inner(features: Tensor, y: Tensor, strength: float, limit: int) -> dict[str, Any]:
    solve_seconds = min(
        take_turns({"solve": lambda: solve_head(Moments.from_batch(features, y), penalty=strength)}, 5, "cpu")["solve"]
    )
    moments = Moments.from_batch(features, y)
    best = solve_head(moments, penalty=strength).head

    def objective(head: Tensor) -> float:
        return (features @ head.float() - y).square().mean().item() + strength * head.square().sum().item()

    aim = 1.01 * objective(best)
    rate = 1 / (2 * (torch.linalg.eigvalsh(moments.gram)[-1].item() + strength))
    head = nn.Parameter(torch.zeros(features.shape[1], 1))
    optimizer = torch.optim.SGD([head], lr=rate, momentum=0.9, nesterov=True)
    begun, steps, reached = time.process_time(), 0, False
    while steps < limit and not reached:
        optimizer.zero_grad()
        loss = (features @ head - y).square().mean() + strength * head.square().sum()
        reached = loss.item() <= aim
        loss.backward()
        optimizer.step()
        steps += not reached
    seconds = time.process_time() - begun
    return {
        "strength": strength,
        "steps": steps if reached else f"more than {limit}",
        "seconds_over_solve": seconds / solve_seconds,
        "reached": reached,
    }


def bayesian_layer(config: Config) -> dict[str, Any] | str:
    """A step with the variational last layer of the package vbll, against l2 and Algorithm 2, at 128 features."""
    if importlib.util.find_spec("vbll") is None:
        return "not measured: vbll is not installed"
    import vbll  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    x = torch.randn(config.batch_size * config.points, 8)
    y = torch.sin(x.sum(1, keepdim=True))
    models = [perceptron(128) for _ in range(3)]
    figures = {}
    for kind in ("diagonal", "dense"):
        layer = vbll.Regression(128, 1, 1.0 / len(x), parameterization=kind)
        variational = nn.Sequential(*models[2][:-1], layer)
        optimizer = torch.optim.Adam(variational.parameters(), lr=1e-3)

        def step(network: nn.Module = variational, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            network(x).train_loss_fn(y).backward()
            optimizer.step()

        steps = {
            "l2": l2_step(models[0], x, y),
            "algorithm 2": closed_form_step(models[1], models[1][-1], x, y, rule=Proximal()),
            "vbll": step,
        }
        figures[kind] = against(take_turns(steps, config.rounds, "cpu"))
    return figures


def accuracy(config: Config) -> list[dict[str, Any]]:
    """Test error and time against width: a teacher of random cosines, fresh rows each step, Adam with cosine rate."""
    figures = []
    for width in config.accuracy_widths:
        for method in ("l2", "algorithm 2"):
            runs = [_train(config, width, method, seed) for seed in config.seeds]
            figures.append(
                {
                    "width": width,
                    "method": method,
                    "test_mse_over_variance": [error for error, _ in runs],
                    "seconds": [seconds for _, seconds in runs],
                }
            )
            print(figures[-1], flush=True)
    return figures


def _train(config: Config, width: int, method: str, seed: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(8, 64, generator=generator) / 2
    shift = 2 * math.pi * torch.rand(64, generator=generator)
    amplitude = torch.randn(64, 1, generator=generator) / 64**0.5

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(rows, 8, generator=generator)
        return x, torch.cos(x @ waves + shift) @ amplitude

    test_x, test_y = draw(4096)
    torch.manual_seed(seed)
    model = perceptron(width)
    x, y = draw(config.accuracy_rows)
    # The step closes over x and y, so fresh rows are copied into them.
    step = (
        l2_step(model, x, y, 3e-3)
        if method == "l2"
        else closed_form_step(model, model[-1], x, y, rule=Proximal(), rate=3e-3)
    )
    begun = time.process_time()
    for _ in range(config.accuracy_steps):
        step()
        fresh = draw(config.accuracy_rows)
        x.copy_(fresh[0])
        y.copy_(fresh[1])
    seconds = time.process_time() - begun
    with torch.no_grad():
        error = nn.functional.mse_loss(model(test_x), test_y) / test_y.var()
    return error.item(), seconds


def main(config: Config) -> Path:
    """Run everything and write the result file."""
    torch.set_num_threads(1)
    cuda = torch.cuda.is_available()
    loads = [os.getloadavg()[0]]
    questions: dict[str, Callable[[], Any]] = {
        "training_step": lambda: training_step(config, "cpu"),
        "scaling": lambda: scaling(config, "cpu"),
        "inner_loop": lambda: inner_loop(config),
        "vbll": lambda: bayesian_layer(config),
        "accuracy": lambda: accuracy(config),
        "training_step_cuda": lambda: training_step(config, "cuda") if cuda else NOT_CUDA,
        "scaling_cuda": lambda: scaling(config, "cuda") if cuda else NOT_CUDA,
    }
    figures: dict[str, Any] = {}
    for name, question in questions.items():
        begun = time.perf_counter()
        figures[name] = question()
        loads.append(os.getloadavg()[0])
        print(f"{name}: {time.perf_counter() - begun:.0f} s, load {loads[-1]:.1f}", flush=True)
    figures["load"] = loads
    return write_result("head", config=config, seeds=config.seeds, figures=figures)


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
