"""How many samples a second does each equation give, with everything as it is by default? In processor time.

Each equation is solved in each of its numbers of dimensions: the samples of its usual dataset, at its usual resolution,
tolerance and time, without writing them. What is made once for a whole dataset (coefficients of steps) is made before
the clock starts, where that takes one sample. One thread.

    OMP_NUM_THREADS=1 python -m benchmarks.equation_rates
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import write_result
from data_gen import DatasetSpec, solve
from data_gen.equations import OLDER_NAMES, equation_dims, equation_names
from data_gen.errors import SolverDiverged, UnresolvedError
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.sample_fields import initial_fields
from data_gen.solvers.schemes import SCHEMES
from data_gen.solvers.solve import chunk_size


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        equations: names; all if empty.
        dims: the numbers of dimensions that are measured.
        samples: samples of a turn on a line; elsewhere one, which is integrated alone.
        rounds: turns, of which the median counts.
        longest: processor seconds after which no further turn begins.
        seed: of the samples.
    """

    equations: tuple[str, ...] = ()
    dims: tuple[int, ...] = (1, 2, 3)
    samples: int = 16
    rounds: int = 2
    longest: float = 5.0
    seed: int = 0


def solved(spec: DatasetSpec, u0: np.ndarray) -> np.ndarray:
    """The solutions of these samples, as ``generate`` finds them."""
    equation = spec.make_equation()
    if spec.method not in SCHEMES or equation.nonlinear is None:
        return exact_solution(equation, spec.grid, u0, spec.times[-1] if spec.times else 0.0)
    return solve(equation, spec.periodic_grid, u0, spec.times, method=spec.method, tolerance=spec.tolerance)


def rate(name: str, dims: int | None, config: Config) -> dict[str, Any]:
    """Samples a processor second of one equation, or why there are none."""
    spec = DatasetSpec(name, num_dims=dims, samples=config.samples * (config.rounds + 1), seed=config.seed)
    count = min(config.samples, chunk_size(spec.header.num_dims))
    usual = {"resolution": spec.resolution, "method": spec.method, "tolerance": spec.tolerance, "times": spec.times}
    found = {"dims": spec.header.num_dims, **usual}
    seconds: list[float] = []
    try:
        for turn in range(config.rounds + 1):
            u0 = initial_fields(spec, np.arange(turn * count, (turn + 1) * count))
            begun = time.process_time()
            solved(spec, u0)
            seconds.append((time.process_time() - begun) / count)
            if sum(seconds) * count > config.longest:
                break
    except (SolverDiverged, UnresolvedError) as error:
        return {**found, "refused": str(error)}
    kept = seconds[1:] or seconds
    return {**found, "seconds_per_sample": statistics.median(kept), "turns": len(kept)}


def main(config: Config) -> Path:
    """Measure all and write the result file."""
    rows: dict[str, Any] = {}
    for name in config.equations or [name for name in equation_names() if name not in OLDER_NAMES]:
        for dims in equation_dims(name) or (None,):
            if (dims or DatasetSpec(name).header.num_dims) in config.dims:
                rows[f"{name} {dims}" if dims else name] = found = rate(name, dims, config)
                print(name, dims or "", found.get("seconds_per_sample", found.get("refused")), flush=True)
    return write_result("equation_rates", config=config, seeds=[config.seed], figures={"equations": rows})


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
