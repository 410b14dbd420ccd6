"""Processor time of a sample of each equation at its defaults, and of exponax at equal error.

Each equation is solved in each of its numbers of dimensions: the samples of its usual dataset, at its usual resolution,
tolerance and time, without writing them. Where exponax has the equation, it is handed the grid and the number of steps
with the least work that reach our largest measured error, or a tenth of the tolerance if we are more exact than that;
both are found on the first batch. Errors are measured against our time stepping at a hundredth of the tolerance, or a
tenth where the grid resolves no more. Then both solve the same new batches in turn, in float64, and go from the data's
points to their own grid and back. What is made once for a whole dataset (compiled code, coefficients of steps) is made
before the clock starts. One thread:

    OMP_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false python -m benchmarks.equation_rates --dims 1

One number of dimensions at a time: each has a result file of its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks.common import largest_error, write_result
from benchmarks.exponax_steppers import Run, absent, is_linear, runner
from data_gen import DatasetSpec, solve
from data_gen.equations import OLDER_NAMES, equation_dims, equation_names
from data_gen.errors import SolverDiverged, UnresolvedError
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.sample_fields import initial_fields
from data_gen.solvers.schemes import SCHEMES
from data_gen.solvers.solve import chunk_size

Found = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        equations: names; all if empty.
        dims: the number of dimensions.
        samples: samples of a turn on a line; elsewhere one, which is integrated alone.
        rounds: turns, of which the median counts.
        longest: processor seconds of our own turns after which no further one begins.
        longest_try: processor seconds of a turn above which exponax is handed no more steps or points.
        seed: of the samples.
    """

    equations: tuple[str, ...] = ()
    dims: Literal[1, 2, 3] = 1
    samples: int = 16
    rounds: int = 3
    longest: float = 30.0
    longest_try: float = 30.0
    seed: int = 0


def solved(u0: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """The solutions of these samples at the last time, as ``generate`` finds them."""
    equation, end = spec.make_equation(), spec.times[-1] if spec.times else 0.0
    if spec.method not in SCHEMES or equation.nonlinear is None:
        return exact_solution(equation, spec.grid, u0, end)
    return solve(equation, spec.periodic_grid, u0, [end], method=spec.method, tolerance=spec.tolerance)[:, -1]


def batches(spec: DatasetSpec, count: int, rounds: int) -> Iterator[np.ndarray]:
    """Initial fields of one turn after the other."""
    for turn in range(rounds):
        yield initial_fields(spec, np.arange(turn * count, (turn + 1) * count))


def timed(run: Run, u0: np.ndarray) -> tuple[np.ndarray, float]:
    """A result, and the processor seconds of a sample."""
    begun = time.process_time()
    u = run(u0)
    return u, (time.process_time() - begun) / len(u0)


def rate(name: str, dims: int | None, config: Config) -> Found:
    """Seconds a sample of one equation, beside exponax's where it has the equation, or why there are none."""
    spec = DatasetSpec(name, num_dims=dims, samples=config.samples * (config.rounds + 1), seed=config.seed)
    count = min(config.samples, chunk_size(spec.header.num_dims))
    first, *others = batches(spec, count, config.rounds + 1)
    usual = {"resolution": spec.resolution, "method": spec.method, "tolerance": spec.tolerance, "times": spec.times}
    found: Found = {"dims": spec.header.num_dims, **usual}
    ours = partial(solved, spec=spec)
    try:
        u, seconds = timed(ours, first)
    except (SolverDiverged, UnresolvedError) as error:
        return {**found, "refused": str(error)}
    rounds = max(1, min(len(others), int(config.longest / (seconds * count))))
    contestants: dict[str, Run] = {"ours": ours}
    try:
        version("exponax")
        found["exponax"] = why = absent(spec.make_equation())
        if not why:
            found["exponax"], contestants = rival(spec, first, u, config, contestants)
    except PackageNotFoundError:
        found["exponax"] = "not installed"
    times: dict[str, list[float]] = {who: [] for who in contestants}
    for u0 in others[:rounds]:
        for who, run in contestants.items():
            times[who].append(timed(run, u0)[1])
    found["seconds_per_sample"], found["turns"] = statistics.median(times["ours"]), rounds
    if "exponax" in times:
        found["exponax"]["seconds_per_sample"] = statistics.median(times["exponax"])
        found["ratio"] = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
    return found


def rival(
    spec: DatasetSpec, u0: np.ndarray, u: np.ndarray, config: Config, contestants: dict[str, Run]
) -> tuple[Found, dict[str, Run]]:
    """Exponax with the least work that reaches the error of ``u``; the contestants with it if it does."""
    equation, end = spec.make_equation(), spec.times[-1]
    if is_linear(equation):
        run = runner(equation, time=end, points=spec.resolution, steps=1, batch=len(u0))
        return {"points": spec.resolution, "steps": 1, "error": largest_error(run(u0), u)}, {
            **contestants,
            "exponax": run,
        }
    truth = reference(u0, spec)
    if truth is None:
        return {"no_reference": "our tolerance is the least that its grid resolves"}, contestants
    error = largest_error(u, truth)
    goal = max(error, spec.tolerance / 10)
    best: tuple[float, int, int] | None = None
    closest, first, after = np.inf, 4, 0
    for points in _points(spec):
        steps = first
        for seconds, steps, found in _steps(spec, u0, truth, points, first, config):
            closest = min(closest, found)
            if best and seconds > best[0]:
                break
            if found <= goal:
                best = seconds, points, steps
                break
        first = max(4, steps // 16)
        after += best is not None
        if after > 1:  # a larger grid needs as many steps
            break
    said: Found = {"our_error": error, "goal": goal}
    if best is None:
        return {**said, "not_reached": closest}, contestants
    _, points, steps = best
    between = round(steps / 2**0.5)
    run = runner(equation, time=end, points=points, steps=between, batch=len(u0))
    if (found := largest_error(run(u0), truth)) <= goal:
        steps = between
    else:
        run = runner(equation, time=end, points=points, steps=steps, batch=len(u0))
        found = largest_error(run(u0), truth)
    return {**said, "points": points, "steps": steps, "error": found}, {**contestants, "exponax": run}


def reference(u0: np.ndarray, spec: DatasetSpec) -> np.ndarray | None:
    """Solutions at a hundredth of the tolerance, or a tenth where no more is resolved; of exact ones, by steps."""
    if spec.method not in SCHEMES:
        return solved(u0, replace(spec, method="lawson7"))
    for share in (100, 10):
        try:
            return solved(u0, replace(spec, tolerance=spec.tolerance / share))
        except (SolverDiverged, UnresolvedError, ValueError):
            continue
    return None


def _points(spec: DatasetSpec) -> list[int]:
    """Numbers of points that are tried: halves and thirds of the data's, and twice it."""
    full, least = int(spec.resolution), {1: 64, 2: 32, 3: 16}[spec.header.num_dims]
    halves = [2 * full >> i for i in range(12)]
    return sorted(n for n in {*halves, *(3 * h // 4 for h in halves)} if n >= least and n % 2 == 0)


def _steps(
    spec: DatasetSpec, u0: np.ndarray, truth: np.ndarray, points: int, first: int, config: Config
) -> Iterator[tuple[float, int, float]]:
    """Seconds, steps and error of one grid, from the first number of steps on until the grid decides the error."""
    equation, errors = spec.make_equation(), [np.inf] * 3
    for steps in (first * 2**i for i in range(16)):
        run = runner(equation, time=spec.times[-1], points=points, steps=steps, batch=len(u0))
        u, seconds = timed(run, u0)
        errors.append(largest_error(u, truth))
        yield seconds, steps, errors[-1]
        known = steps >= (128 if errors[-1] < 0.05 else 4096)  # the first steps may be too long for any convergence
        settled = known and np.isfinite(errors[-3]) and errors[-1] > 0.5 * errors[-3]
        if seconds * len(u0) > config.longest_try or settled:
            return


def main(config: Config) -> Path:
    """Measure all and write the result file."""
    rows: dict[str, Any] = {}
    for name in config.equations or [name for name in equation_names() if name not in OLDER_NAMES]:
        for dims in equation_dims(name) or (None,):
            if (dims or DatasetSpec(name).header.num_dims) == config.dims:
                rows[f"{name} {dims}" if dims else name] = found = rate(name, dims, config)
                print(name, dims or "", found, flush=True)
    return write_result(
        f"equation_rates_{config.dims}d", config=config, seeds=[config.seed], figures={"equations": rows}
    )


if __name__ == "__main__":
    print(main(tyro.cli(Config)))
