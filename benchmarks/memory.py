"""Cost of a training step on a CPU in a process that keeps its memory, over one that does not.

python -m benchmarks.memory [--rounds 5]      writes benchmarks/results/memory.json

Steps of the default Fourier neural operator (l2, backward included) on random fields of 256 points, one core, processor
time. The two kinds of process take turns; each round is one process of each kind.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import torch

from benchmarks.common import write_result
from sciml_cf.models import FNOConfig
from sciml_cf.training.malloc import keep_memory

BATCHES = (32, 128, 512)
KINDS = ("as it is", "kept")


@dataclass(frozen=True)
class Config:
    """Points of a field, samples of all timed steps of a process, and rounds."""

    points: int = 256
    samples: int = 4096
    rounds: int = 5


def milliseconds(kind: str, batch: int, config: Config) -> float:
    """Processor time of a step in this process."""
    torch.set_num_threads(1)
    if kind == "kept" and not keep_memory():
        raise SystemExit("benchmarks.memory: the C library must be glibc on Linux; got another one.")
    model = FNOConfig().build(seed=0)
    x = torch.randn(batch, 1, config.points)

    def step() -> None:
        model.zero_grad()
        model(x).square().mean().backward()

    for _ in range(2):
        step()
    count = max(config.samples // batch, 4)
    start = time.process_time()
    for _ in range(count):
        step()
    return 1e3 * (time.process_time() - start) / count


def measure(config: Config) -> dict[str, dict[str, float]]:
    """For each batch size the step of both kinds, and their ratio in the same round (medians)."""
    found = {}
    for batch in BATCHES:
        taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(config.rounds):
            for kind in KINDS:
                command = [sys.executable, "-m", "benchmarks.memory", "--one", kind, "--batch", str(batch)]
                taken[kind].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        ratios = [a / b for a, b in zip(*taken.values(), strict=True)]
        found[str(batch)] = {
            **{f"milliseconds, {kind}": statistics.median(each) for kind, each in taken.items()},
            "as_it_is_over_kept": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        }
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=Config.rounds)
    parser.add_argument("--one", choices=KINDS)
    parser.add_argument("--batch", type=int)
    given = parser.parse_args()
    if given.one:
        print(milliseconds(given.one, given.batch, Config()))
    else:
        settings = Config(rounds=given.rounds)
        print(write_result("memory", config=settings, seeds=[0], figures=measure(settings)))
