"""Speed-up of writing a dataset by two worker processes instead of one, by the clock, start-up included.

One and two workers take turns, each run in an interpreter of its own, which is timed from the call of ``generate`` to
the whole file. Beside them two generations of one worker each run at the same time into two files: what two processes
of this machine could do at that moment, whoever else used it, and so the most that two workers can be asked for.

    OMP_NUM_THREADS=1 python -m benchmarks.data_workers
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common import write_result


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        methods: schemes that write the dataset of the preset ``burgers_8192``.
        samples: its samples.
        rounds: turns of each number of workers.
        shards: files of the sharded dataset that two workers write too.
    """

    methods: tuple[str, ...] = ("lawson7", "etdrk4")
    samples: int = 4096
    rounds: int = 3
    shards: int = 4


_CODE = """
import json, time
from data_gen import generate
from data_gen.spec import preset
spec = preset("burgers_8192", samples={samples}, method={method!r})
begun = time.perf_counter()
generate(spec, {path!r}, workers={workers}, shards={shards}, progress=False)
print(json.dumps(time.perf_counter() - begun))
"""


def start(config: Config, method: str, path: Path, workers: int, shards: int = 1) -> subprocess.Popen[str]:
    """A process that writes the dataset and prints the seconds it took."""
    code = _CODE.format(samples=config.samples, method=method, path=str(path), workers=workers, shards=shards)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def seconds(process: subprocess.Popen[str]) -> float:
    """What a process of ``start`` printed."""
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"data_workers: a generation failed with status {process.returncode}")
    return float(json.loads(output))


def measure(config: Config, method: str, folder: Path) -> dict[str, Any]:
    """Wall seconds of each way, in turns, and their ratios by the median."""
    walls: dict[str, list[float]] = {"one worker": [], "two workers": [], "two workers, shards": [], "two files": []}
    loads = []
    for _ in range(config.rounds):
        loads.append(os.getloadavg()[0])
        walls["one worker"].append(seconds(start(config, method, folder / "data.h5", 1)))
        clear(folder)
        walls["two workers"].append(seconds(start(config, method, folder / "data.h5", 2)))
        clear(folder)
        walls["two workers, shards"].append(seconds(start(config, method, folder / "data.h5", 2, config.shards)))
        clear(folder)
        both = [start(config, method, folder / f"{i}.h5", 1) for i in range(2)]
        walls["two files"].append(max(seconds(process) for process in both) / 2)
        clear(folder)
        print(method, {name: round(values[-1], 2) for name, values in walls.items()}, flush=True)
    loads.append(os.getloadavg()[0])
    one = statistics.median(walls["one worker"])
    ratios = {name: one / statistics.median(values) for name, values in walls.items() if name != "one worker"}
    best = min(walls["one worker"]) / min(walls["two workers"])
    return {
        "wall_seconds": walls,
        "times_as_fast_as_one_worker": ratios,
        "best_of_one_over_best_of_two": best,
        "load": loads,
    }


def clear(folder: Path) -> None:
    """Remove the files of a turn."""
    for path in folder.iterdir():
        path.unlink()


def main(config: Config) -> Path:
    """Run everything and write the result file."""
    with tempfile.TemporaryDirectory() as folder:
        figures = {method: measure(config, method, Path(folder)) for method in config.methods}
    for method, row in figures.items():
        print(method, row["times_as_fast_as_one_worker"], "load", row["load"])
    return write_result("data_workers", config=config, seeds=[0], figures=figures)


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
