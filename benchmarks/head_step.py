"""Time of a step with the closed-form head in two checkouts: both algorithms, in interleaved pairs of blocks.

One process works in each checkout. They take turns in short blocks of steps, and the order within a pair alternates, so
that a busy machine slows both alike. Times are processor times; the result is the median over pairs of new over old.

    git worktree add --detach OLD REVISION
    OMP_NUM_THREADS=1 python -m benchmarks.head_step --old OLD --pairs 20
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common import ROOT, write_result

# Runs in either checkout, whose own packages it imports: it may use only what both have.
_WORKER = """
import sys, time, warnings
import torch
from sklearn.datasets import load_digits
from torch import nn
import sciml_cf
from sciml_cf import HeadWarning, Proximal
from sciml_cf.head import find_head
from sciml_cf.models import FNOConfig
from benchmarks.head_steps import closed_form_step

torch.set_num_threads(1)
warnings.simplefilter("ignore", HeadWarning)  # one batch again and again
images, labels = load_digits(return_X_y=True)
torch.manual_seed(0)
digits = torch.tensor(images[:128] / 16).float(), nn.functional.one_hot(torch.tensor(labels[:128]), 10).float()
x = torch.randn(8, 1, 64)
fields = x, torch.cumsum(x, -1) / 8

def perceptron():
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

def operator():
    return FNOConfig(width=16, modes=8, layers=2).build(seed=0)

steps = {}
for name, build, data in (("perceptron", perceptron, digits), ("fno", operator, fields)):
    for algorithm in (1, 2):
        torch.manual_seed(0)
        model = build()
        steps[name, algorithm] = closed_form_step(model, find_head(model), *data, rule=Proximal(), algorithm=algorithm)
print(sciml_cf.__file__, flush=True)
for line in sys.stdin:
    name, algorithm, count = line.split()
    step = steps[name, int(algorithm)]
    begun = time.process_time()
    for _ in range(int(count)):
        step()
    print(time.process_time() - begun, flush=True)
"""


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        old: the other checkout.
        pairs: blocks of each checkout, for each model and algorithm.
        perceptron: steps a block of the perceptron.
        fno: steps a block of the Fourier neural operator.
    """

    old: Path
    pairs: int = 20
    perceptron: int = 200
    fno: int = 50


class Worker:
    """A process that times blocks of steps in a checkout."""

    def __init__(self, checkout: Path) -> None:
        command = [sys.executable, "-c", _WORKER]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
        self._process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        found = Path(self._read())
        if not found.is_relative_to(checkout.resolve()):
            raise SystemExit(f"head_step: --old must be a checkout of this package; {checkout} imports {found}.")

    def seconds(self, model: str, algorithm: int, steps: int) -> float:
        """Processor time a step, of a block."""
        assert self._process.stdin is not None  # noqa: S101
        print(model, algorithm, steps, file=self._process.stdin, flush=True)
        return float(self._read()) / steps

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit("head_step: a process ended early; its message is above.")
        return line


def compared(config: Config, workers: dict[str, Worker], model: str, algorithm: int) -> dict[str, Any]:
    """Medians of the seconds a step, and of new over old in each pair, with its quartiles."""
    steps, seconds = getattr(config, model), {name: [] for name in workers}
    for worker in workers.values():  # the first block is not counted
        worker.seconds(model, algorithm, steps)
    for pair in range(config.pairs):
        for name in ("old", "new") if pair % 2 == 0 else ("new", "old"):
            seconds[name].append(workers[name].seconds(model, algorithm, steps))
    ratios = [new / old for new, old in zip(seconds["new"], seconds["old"], strict=True)]
    return {
        "model": model,
        "algorithm": algorithm,
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "median_ratio": statistics.median(ratios),
        "quartiles_of_ratio": [quartile for place, quartile in enumerate(statistics.quantiles(ratios)) if place != 1],
    }


def main(config: Config) -> Path:
    """All models and algorithms."""
    workers = {"old": Worker(config.old), "new": Worker(ROOT)}
    figures = []
    for model in ("perceptron", "fno"):
        for algorithm in (1, 2):
            figures.append(compared(config, workers, model, algorithm))
            print(figures[-1], flush=True)
    for worker in workers.values():
        worker.close()
    revision = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=config.old, capture_output=True, text=True, check=True
    ).stdout.strip()
    told = {"pairs": config.pairs, "perceptron": config.perceptron, "fno": config.fno}
    return write_result("head_step", config=Settings(**told), seeds=(0,), figures={"old": revision, "steps": figures})


@dataclass(frozen=True)
class Settings:
    """What of the settings belongs to the result: not where the other checkout lies."""

    pairs: int
    perceptron: int
    fno: int


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
