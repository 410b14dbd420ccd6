"""Processor time of a viscosity that varies by sample, against fixed runs at the same viscosities.

A dataset of Burgers' equation with a random viscosity takes turns with datasets of fixed viscosities, which are spread
over the values that its samples have, each the middle one of equally many samples. Each generation is timed from the
call of ``generate`` to the whole file.

    OMP_NUM_THREADS=1 python -m benchmarks.varying_parameters
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import write_result
from data_gen import DatasetSpec, generate, validate


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        laws: the viscosities.
        methods: schemes.
        samples: samples of a dataset.
        resolution: points.
        fixed: fixed viscosities that stand for all.
        rounds: turns.
    """

    laws: tuple[str, ...] = ("0.01:0.1", "log:0.01:0.1", "0.01,0.03,0.1")
    methods: tuple[str, ...] = ("lawson7", "cole-hopf")
    samples: int = 128
    resolution: int = 2048
    fixed: int = 8
    rounds: int = 3


def seconds(spec: DatasetSpec, path: Path) -> float:
    """Processor seconds of one generation."""
    begun = time.process_time()
    generate(spec, path, overwrite=True, progress=False)
    return time.process_time() - begun


def measure(config: Config, law: str, method: Any, path: Path) -> dict[str, Any]:
    """Processor seconds of the varying run and of the fixed ones, their ratio by round, and the largest error."""
    common: dict[str, Any] = {"samples": config.samples, "resolution": config.resolution, "method": method}
    varying = DatasetSpec("burgers", {"viscosity": law}, **common)
    values = np.sort(varying.parameter_table(range(config.samples))["viscosity"])
    places = (np.arange(config.fixed) + 0.5) * config.samples / config.fixed
    middles = values[places.astype(int)]
    fixed = [DatasetSpec("burgers", {"viscosity": float(value)}, **common) for value in middles]
    rounds = []
    for _ in range(config.rounds):
        rounds.append((seconds(varying, path), [seconds(spec, path) for spec in fixed]))
    generate(varying, path, overwrite=True, progress=False)
    return {
        "law": law,
        "method": method,
        "varying s": statistics.median(own for own, _ in rounds),
        "fixed s": statistics.median(statistics.mean(others) for _, others in rounds),
        "ratio": statistics.median(own / statistics.mean(others) for own, others in rounds),
        "max error": validate(path, truth=True).max_error,
    }


def main(config: Config) -> Path:
    """Measure all and write the result file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        rows = [measure(config, law, method, path) for law in config.laws for method in config.methods]
    return write_result("varying_parameters", config=config, seeds=[0], figures={"rows": rows})


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
