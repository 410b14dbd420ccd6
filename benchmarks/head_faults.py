"""Warnings of the head against failures of training: digits over strengths, rules and batch sizes.

A perceptron on scikit-learn's digits, Nesterov momentum, squared loss on one-hot targets. Each run ends with the
accuracy on images that it has not seen, the figures of its last stretch of solves, and the warnings that it was told.

    OMP_NUM_THREADS=1 python -m benchmarks.head_faults
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from sklearn.datasets import load_digits  # pyright: ignore[reportMissingImports]
from torch import nn

from benchmarks.common import write_result
from sciml_cf import ClosedFormLoss, HeadWarning, Proximal, Ridge
from sciml_cf.head.monitor import DRAWN_ANEW, IN_A_ROW, INTERPOLATES, OSCILLATES, STUCK, WINDOW


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        strengths: of each rule.
        batch_sizes: rows a step.
        rates: learning rate for each batch size.
        steps: steps of a run; warnings need IN_A_ROW * WINDOW.
        stretch: the last steps, whose figures are written.
        seeds: seeds of each run.
    """

    strengths: tuple[float, ...] = (1e-6, 1e-4, 1e-2, 1e-1, 1.0, 1e2, 1e4)
    batch_sizes: tuple[int, ...] = (16, 32, 128, 512)
    rates: tuple[float, ...] = (0.1, 0.1, 0.3, 0.3)
    steps: int = 300
    stretch: int = 100
    seeds: tuple[int, ...] = (0, 1)


def train(config: Config, rule: Proximal | Ridge, batch_size: int, rate: float, seed: int) -> dict[str, Any]:
    """One run."""
    images, labels = load_digits(return_X_y=True)
    x, label = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    y, seen = nn.functional.one_hot(label).float(), 1200
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    loss_of = ClosedFormLoss(model[-1], rule)  # pyright: ignore[reportArgumentType]
    backbone = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(backbone, rate, momentum=0.9, nesterov=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HeadWarning)
        for step in range(config.steps):
            if step == config.steps - config.stretch:
                loss_of.head.recent()
            rows = torch.randint(0, seen, (batch_size,))
            optimizer.zero_grad()
            loss_of(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[seen:]).argmax(1) == label[seen:]).double().mean().item()
    last = loss_of.head.diagnostics()
    told = sorted({one.category.__name__ for one in caught if issubclass(one.category, HeadWarning)})
    return {
        "rule": type(rule).__name__,
        "strength": rule.strength,
        "batch_size": batch_size,
        "seed": seed,
        "accuracy": accuracy,
        "warnings": told,
        **loss_of.head.figures(),
        "degrees_of_freedom_a_row": last.degrees_of_freedom / last.rows,
        "gain_share": last.gain_share,
    }


def main(config: Config) -> Path:
    """All runs, and the accuracy of those that were told something and of those that were not."""
    torch.set_num_threads(1)
    runs = []
    for batch_size, rate in zip(config.batch_sizes, config.rates, strict=True):
        for make in (Proximal, Ridge):
            for strength in config.strengths:
                for seed in config.seeds:
                    runs.append(train(config, make(strength), batch_size, rate, seed))
                    row = runs[-1]
                    print(
                        f"B={batch_size} {row['rule']} {strength:g}: accuracy {row['accuracy']:.3f}, "
                        f"rebound {row['rebound']:.2f}, {', '.join(row['warnings']) or 'silent'}",
                        flush=True,
                    )
    best = {size: max(run["accuracy"] for run in runs if run["batch_size"] == size) for size in config.batch_sizes}
    groups: dict[str, list[float]] = {}
    for run in runs:
        lost = best[run["batch_size"]] - run["accuracy"]
        for kind in run["warnings"] or ["silent"]:
            groups.setdefault(kind, []).append(lost)
    lost = {
        kind: {"runs": len(v), "least": min(v), "mean": sum(v) / len(v), "most": max(v)} for kind, v in groups.items()
    }
    limits = {
        "WINDOW": WINDOW,
        "IN_A_ROW": IN_A_ROW,
        "OSCILLATES": OSCILLATES,
        "DRAWN_ANEW": DRAWN_ANEW,
        "STUCK": STUCK,
        "INTERPOLATES": INTERPOLATES,
    }
    figures = {"limits": limits, "accuracy_lost_against_the_best": lost, "runs": runs}
    return write_result("head_faults", config=config, seeds=config.seeds, figures=figures)


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
