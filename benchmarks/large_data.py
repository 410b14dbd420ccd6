"""Training on samples that are read when needed: memory by the size of the file, and speed against samples in memory.

python -m benchmarks.large_data --folder DIR [--gigabytes 1 4]      writes benchmarks/results/large_data.json

Files of Burgers on 8192 points, trained on at 256. Memory is the largest anonymous memory of the process and those that
it starts, during `sciml-cf train --lazy yes` with a small model. Speed is that of whole epochs (steps and validation)
of the default model on the first file, which the machine has in its cache; the kinds take turns in one process, and the
figure is the ratio to memory in the same round (median).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, ROOT, between, write_result
from data_gen import DatasetSpec, generate
from sciml_cf.datasets import FieldDataset
from sciml_cf.models import FNOConfig
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit

PAGE = ROOT / "docs" / "large_data.md"
POINTS = 8192
SMALL = ("--width", "8", "--modes", "8", "--layers", "2", "--batch-size", "128", "--epochs", "1", "--resolution", "256")


@dataclass(frozen=True)
class Config:
    """Sizes of the files, points that are trained on, rounds of the comparison and epochs of its trainings."""

    gigabytes: tuple[float, ...] = (1.0,)
    resolution: int = 256
    rounds: int = 3
    epochs: int = 2
    loader_workers: tuple[int, ...] = (0, 1)


def file_of(gigabytes: float, folder: Path) -> Path:
    """A file of about this size, made if it is not there."""
    samples = round(gigabytes * 1e9 / (2 * 8 * POINTS))
    path = folder / f"burgers_{gigabytes:g}.h5"
    if not path.exists():
        generate(DatasetSpec(samples=samples, resolution=POINTS), path)
    return path


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory of a process and those below it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return 0
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    own = int(rows.get("RssAnon", "0 kB").split()[0]) * 1024
    return own + sum(anonymous(int(child)) for child in children)


def peak_of_training(path: Path, run: Path, workers: int) -> tuple[float, float]:
    """Largest anonymous memory in MB of `sciml-cf train --lazy yes`, and its seconds."""
    words = ["train", "--data", path, "--out", run, "--lazy", "yes", "--loader-workers", str(workers), "--overwrite"]
    command = [sys.executable, "-m", "sciml_cf.cli", *map(str, words), *SMALL]
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"benchmarks.large_data: training on {path} failed.")
    return peak / 1e6, time.perf_counter() - start


def seconds_an_epoch(path: Path, run: Path, config: Config, lazy: bool, workers: int) -> float:
    """Of the last epoch of a training with the default model."""
    parts = [FieldDataset(path, part, resolution=config.resolution, lazy=lazy) for part in ("train", "validation")]
    settings = FitConfig(epochs=config.epochs, accelerator="cpu")
    history = fit(
        FNOConfig().build(seed=0),
        *parts,
        config=settings,
        out=run,
        overwrite=True,
        progress=False,
        loader_workers=workers,
        until=config.epochs,
    )
    return history.rows[-1]["seconds"]


def speeds(path: Path, folder: Path, config: Config) -> dict[str, Any]:
    """Seconds of an epoch in memory and lazily, and the speed of each kind over that in memory."""
    kinds = {"memory": (False, 0), **{f"lazy, {count} processes": (True, count) for count in config.loader_workers}}
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(config.rounds):
        for name, kind in kinds.items():
            taken[name].append(seconds_an_epoch(path, folder / "speed", config, *kind))
    ratios = {
        name: statistics.median(a / b for a, b in zip(taken["memory"], values, strict=True))
        for name, values in taken.items()
    }
    return {"seconds_an_epoch": taken, "speed_over_memory": ratios}


def filled(text: str) -> str:
    """The page, filled from the result file."""
    figures = json.loads((RESULTS / "large_data.json").read_text())["figures"]
    alone = [row for row in figures["memory"] if not row["loader_workers"]]
    ratios, peaks = figures["speed"]["speed_over_memory"], [row["megabytes"] for row in alone]
    sizes = ", ".join(f"{row['gigabytes']:.0f}" for row in alone)
    taken = ", ".join(f"{peak:.0f}" for peak in peaks)
    said = (
        f"A small training takes {taken} MB of anonymous memory on files of {sizes} "
        f"GB, {100 * (max(peaks) / min(peaks) - 1):.1f} % apart. The default model at 256 points trains at "
        + " and ".join(f"{ratio:.2f} ({name.split(', ')[1]})" for name, ratio in ratios.items() if name != "memory")
        + " times the speed from memory, with the file in the machine's cache (`python -m benchmarks.large_data`)."
    )
    return between(text, "large data", said)


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the files and the runs")
    parser.add_argument("--gigabytes", type=float, nargs="+", default=list(Config.gigabytes))
    parser.add_argument("--rounds", type=int, default=Config.rounds)
    parser.add_argument("--only-memory", action="store_true", help="keep the speed that the result file has")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = Config(gigabytes=tuple(given.gigabytes), rounds=given.rounds)
    rows = []
    for size in config.gigabytes:
        path = file_of(size, given.folder)
        for workers in config.loader_workers if size == config.gigabytes[0] else (0,):
            peak, seconds = peak_of_training(path, given.folder / "run", workers)
            rows.append({"gigabytes": path.stat().st_size / 1e9, "loader_workers": workers, "megabytes": peak,
                         "seconds": seconds})  # fmt: skip
            print(rows[-1], flush=True)
    path = file_of(config.gigabytes[0], given.folder)
    before = RESULTS / "large_data.json"
    kept = json.loads(before.read_text())["figures"]["speed"] if given.only_memory else None
    figures = {"memory": rows, "speed": kept or speeds(path, given.folder, config)}
    place = write_result("large_data", config=config, seeds=[0], figures=figures)
    PAGE.write_text(filled(PAGE.read_text()))
    print(place, figures["speed"]["speed_over_memory"])


if __name__ == "__main__":
    main()
