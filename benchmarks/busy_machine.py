"""Training time next to one busy process, with torch's waiting threads spinning or asleep.

The same training, in a process of its own with all cores, by turns as torch has it and with OMP_WAIT_POLICY=passive,
which the command line sets, each alone and beside a process that keeps one core busy.

    python -m benchmarks.busy_machine
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.common import write_result

# OpenMP reads its settings when torch is loaded: before the command line could set the policy.
_CODE = "import torch; from sciml_cf.cli import main; main()"
_COMMAND = [sys.executable, "-W", "ignore", "-c", _CODE]
_POLICIES = {"as torch has it": None, "passive": "passive"}


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        samples: of the dataset (Burgers on 1024 points).
        resolution: grid points to train at.
        epochs: of a training.
        rounds: turns of each setting.
        cores: that the commands and the busy process share, where the system can hold them there.
    """

    samples: int = 256
    resolution: int = 256
    epochs: int = 15
    rounds: int = 3
    cores: int = 2


@contextmanager
def one_busy_process() -> Iterator[None]:
    """A process that takes all of one core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def seconds(config: Config, data: Path, out: Path, policy: str | None) -> float:
    """Wall seconds of one training, start-up included."""
    flags = ["--data", data, "--out", out, "--resolution", config.resolution, "--epochs", config.epochs]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    if policy is not None:
        environment["OMP_WAIT_POLICY"] = policy
    begun = time.perf_counter()
    subprocess.run([*_COMMAND, "train", *map(str, flags)], env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun


def main(config: Config) -> Path:
    """Run everything and write the result file."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: config.cores]))
    walls: dict[str, dict[str, list[float]]] = {
        place: {name: [] for name in _POLICIES} for place in ("alone", "beside one busy process")
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = ["--samples", config.samples, "--resolution", 1024, "--out", folder / "data.h5"]
        subprocess.run([*_COMMAND, "generate", "burgers", *map(str, flags)], check=True, capture_output=True)
        for turn in range(config.rounds):
            for policy, value in _POLICIES.items():
                out = folder / f"{policy} {turn}"
                walls["alone"][policy].append(seconds(config, folder / "data.h5", out, value))
                with one_busy_process():
                    beside = seconds(config, folder / "data.h5", Path(f"{out} busy"), value)
                walls["beside one busy process"][policy].append(beside)
            print({place: {key: round(each[-1], 1) for key, each in row.items()} for place, row in walls.items()})
    figures = {
        place: {
            "wall_seconds": row,
            "over_passive": statistics.median(row["as torch has it"]) / statistics.median(row["passive"]),
        }
        for place, row in walls.items()
    }
    return write_result("busy_machine", config=config, seeds=[0], figures=figures)


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
