"""Cost and error of a sample by our time stepping, a textbook's, and exponax's, in one run.

For Burgers' equation every contestant gets the same initial conditions on 8192 points and is compared, sample by
sample, with the Cole-Hopf solution; the contestants take turns, and times are of the process, not of the clock. The
slow ones march a few samples only (the file says how many). Then whole datasets are written to disk, each in a process
of its own, and every sample of them is compared with the truth.

The other problems are in ``data_generation_1d``.

    OMP_NUM_THREADS=1 python -m benchmarks.data_generation          # exponax: pip install 'sciml-cf[bench]'
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks import data_generation_1d
from benchmarks.common import write_result
from data_gen import PeriodicGrid, burgers, cole_hopf, resample, solve
from data_gen.errors import UnresolvedError
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.random_fields import gaussian_random_field

EXTENT = 2 * np.pi


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        problems: what to measure; all but burgers (see ``data_generation_1d``) share a result file of their own.
        resolution: grid points of the data.
        rounds: turns of every contestant.
        samples: samples a turn for our methods, by viscosity.
        slow_samples: samples a turn for those that march on the full grid.
        coarse_samples: samples a turn for exponax on the coarse grid.
        textbook_steps: steps of those that march on the full grid.
        coarse_points: grid of exponax when it is given one.
        coarse_steps: number of its steps.
        tolerances: what our time stepping is asked for, by viscosity.
        dataset_samples: sizes of the datasets written to disk.
        seed: seed of the initial conditions.
    """

    problems: tuple[Literal["burgers", "ks", "kdv", "kdv-solitons"], ...] = ("burgers", "ks", "kdv", "kdv-solitons")
    resolution: int = 8192
    rounds: int = 3
    samples: tuple[tuple[float, int], ...] = ((0.1, 128), (0.01, 16), (0.001, 8))
    slow_samples: int = 4
    coarse_samples: int = 32
    textbook_steps: int = 1000
    coarse_points: int = 384
    coarse_steps: int = 800
    tolerances: tuple[tuple[float, float], ...] = ((0.1, 1e-10), (0.01, 1e-10), (0.001, 1e-4))
    dataset_samples: tuple[int, ...] = (512, 2048, 8192)
    seed: int = 0


@dataclass(frozen=True)
class Contestant:
    """A way to go from u0 ``(B, N)`` to u(1) ``(B, N)``: its name, how many samples it gets a turn, and what it was
    told.
    """

    name: str
    samples: int
    run: Callable[[np.ndarray], np.ndarray]
    note: str


def textbook_etdrk4(u0: np.ndarray, *, viscosity: float, steps: int) -> np.ndarray:
    """ETDRK4 as in Kassam and Trefethen (2005), Fig. 1 and 2, on the grid of u0, with numpy's real transforms."""
    n, h = u0.shape[-1], 1 / steps
    k = np.arange(n // 2 + 1.0)
    symbol, g = -viscosity * k**2, -0.5j * k
    e, half = np.exp(h * symbol), np.exp(h * symbol / 2)
    r = h * symbol[:, None] + np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    q = h * ((np.exp(r / 2) - 1) / r).mean(axis=1).real
    f1 = h * ((-4 - r + np.exp(r) * (4 - 3 * r + r**2)) / r**3).mean(axis=1).real
    f2 = h * ((2 + r + np.exp(r) * (-2 + r)) / r**3).mean(axis=1).real
    f3 = h * ((-4 - 3 * r - r**2 + np.exp(r) * (4 - r)) / r**3).mean(axis=1).real
    v = np.fft.rfft(u0)

    def slope(modes: np.ndarray) -> np.ndarray:
        return g * np.fft.rfft(np.fft.irfft(modes, n) ** 2)

    for _ in range(steps):
        nv = slope(v)
        a = half * v + q * nv
        na = slope(a)
        b = half * v + q * na
        nb = slope(b)
        c = half * a + q * (2 * nb - nv)
        nc = slope(c)
        v = e * v + nv * f1 + 2 * (na + nb) * f2 + nc * f3
    return np.fft.irfft(v, n)


def ours(u0: np.ndarray, *, viscosity: float, method: str, tolerance: float) -> np.ndarray:
    """Our time stepping, through the public function."""
    grid = PeriodicGrid(u0.shape[-1], EXTENT)
    return solve(burgers(viscosity=viscosity), grid, u0[:, None], [1.0], method=method, tolerance=tolerance)[:, 0, 0]


def exact(u0: np.ndarray, *, viscosity: float) -> np.ndarray:
    """Cole-Hopf, in the chunks in which datasets are made."""
    grid = PeriodicGrid(u0.shape[-1], EXTENT)
    return exact_solution(burgers(viscosity=viscosity), grid, u0[:, None], 1.0)[:, 0]


def exponax_runner(
    *, viscosity: float, points: int, steps: int, order: int | None, double: bool, batch: int
) -> Callable[[np.ndarray], np.ndarray]:
    """exponax's conservative Burgers stepper, vectorised over ``batch`` samples and compiled."""
    import exponax
    import jax

    dtype = np.float64 if double else np.float32
    order_given = {} if order is None else {"order": order}
    with jax.enable_x64(double):
        stepper = exponax.stepper.Burgers(
            1, EXTENT, points, 1 / steps, diffusivity=viscosity, conservative=True, **order_given
        )
        march = jax.jit(jax.vmap(exponax.repeat(stepper, steps)))
        march(np.zeros((batch, 1, points), dtype)).block_until_ready()  # compiling is not part of the race

    def run(u0: np.ndarray) -> np.ndarray:
        given = resample(u0, points).astype(dtype)[:, None]
        with jax.enable_x64(double):
            parts = [np.asarray(march(given[i : i + batch])) for i in range(0, len(given), batch)]
        return resample(np.concatenate(parts)[:, 0].astype(np.float64), u0.shape[-1])

    return run


def contestants(config: Config, viscosity: float) -> tuple[list[Contestant], dict[str, str]]:
    """Those that can run, and why the others cannot."""
    samples, tolerance = dict(config.samples)[viscosity], dict(config.tolerances)[viscosity]
    found = [
        Contestant(m, samples, partial(ours, viscosity=viscosity, method=m, tolerance=tolerance), f"at {tolerance:g}")
        for m in ("lawson7", "etdrk4")
    ]
    found.append(Contestant("cole-hopf", samples, partial(exact, viscosity=viscosity), "exact; it is also the truth"))
    steps = config.textbook_steps
    textbook = partial(textbook_etdrk4, viscosity=viscosity, steps=steps)
    found.append(Contestant("textbook etdrk4", config.slow_samples, textbook, f"numpy, full grid, {steps} steps"))
    full = partial(exponax_runner, viscosity=viscosity, points=config.resolution, steps=steps)
    full = partial(full, batch=config.slow_samples)
    coarse = partial(exponax_runner, viscosity=viscosity, points=config.coarse_points, steps=config.coarse_steps)
    coarse = partial(coarse, batch=min(16, config.coarse_samples))
    peers = {
        "exponax default": (config.slow_samples, partial(full, order=None, double=False), f"float32, {steps} steps"),
        "exponax order 4": (config.slow_samples, partial(full, order=4, double=True), f"float64, {steps} steps"),
    }
    if viscosity == 0.1:
        told = f"float64, handed {config.coarse_points} points and {config.coarse_steps} steps"
        peers["exponax order 4, coarse"] = (config.coarse_samples, partial(coarse, order=4, double=True), told)
    try:
        version("exponax")
    except PackageNotFoundError:
        return found, dict.fromkeys(peers, "not measured: exponax is not installed")
    found += [Contestant(name, count, make(), note) for name, (count, make, note) in peers.items()]
    return found, {}


def race(config: Config, viscosity: float) -> dict[str, Any]:
    """Process milliseconds a sample and largest error of every contestant, which take turns on the same samples."""
    runners, rows = contestants(config, viscosity)
    results: dict[str, Any] = dict(rows)
    grid = PeriodicGrid(config.resolution, EXTENT)
    times: dict[str, list[float]] = {c.name: [] for c in runners}
    errors: dict[str, list[float]] = {c.name: [] for c in runners}
    for turn in range(config.rounds):
        count = dict(config.samples)[viscosity]
        indices = range(turn * count, (turn + 1) * count)
        u0 = gaussian_random_field(grid, indices, seed=config.seed)[:, 0]
        truth = np.concatenate(
            [cole_hopf(u0[i : i + 16], viscosity=viscosity, time=1.0, extent=EXTENT) for i in range(0, count, 16)]
        )
        for contestant in runners:
            rows = slice(0, min(contestant.samples, count))
            start = time.process_time()
            try:
                u = contestant.run(u0[rows])
            except UnresolvedError as error:
                results[contestant.name] = f"refused: {error}"
                continue
            times[contestant.name].append((time.process_time() - start) / len(u) * 1e3)
            scale = np.abs(truth[rows]).max(axis=-1)
            errors[contestant.name] += (np.abs(u - truth[rows]).max(axis=-1) / scale).tolist()
            print(f"viscosity {viscosity:g}, turn {turn}, {contestant.name}: {times[contestant.name][-1]:.3g} ms")
    for contestant in (c for c in runners if c.name not in results):
        results[contestant.name] = {
            "settings": contestant.note,
            "ms_per_sample": statistics.median(times[contestant.name]),
            "ms_per_sample_each_turn": times[contestant.name],
            "samples_timed": len(errors[contestant.name]),
            "max_error": max(errors[contestant.name]),
        }
    return results


def refusal(config: Config) -> str:
    """What is said when viscosity 0.001 is asked for at 1e-10 on this grid."""
    u0 = gaussian_random_field(PeriodicGrid(config.resolution, EXTENT), range(8), seed=config.seed)[:, 0]
    try:
        ours(u0, viscosity=0.001, method="lawson7", tolerance=1e-10)
    except UnresolvedError as error:
        return f"refused: {error}"
    return "solved"


def dataset(method: str, samples: int, folder: Path, seed: int) -> dict[str, Any]:
    """Write the preset with so many samples in a process of its own; its costs, and the errors of all samples."""
    path = folder / f"{method}-{samples}.h5"
    code = (
        "import sys, time; from data_gen import generate; from data_gen.spec import preset\n"
        f"spec = preset('burgers_8192', samples={samples}, method={method!r}, seed={seed})\n"
        "before, clock = time.process_time(), time.perf_counter()\n"
        f"generate(spec, {str(path)!r}, progress=False)\n"
        "print(time.process_time() - before, time.perf_counter() - clock)\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.split('VmHWM:')[1].split()[0])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, elapsed, peak = (float(word) for word in run.stdout.split())
    size = path.stat().st_size
    code = (
        "import json; from data_gen import validate\n"
        f"report = validate({str(path)!r}, truth=True)\n"
        "print(json.dumps({'max_error': report.max_error, 'samples_compared': report.num_samples}))"
    )
    checked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path.unlink()
    return {
        "process_seconds": seconds,
        "wall_seconds": elapsed,
        "peak_memory_mb": peak / 1024,
        "file_bytes": size,
        "bytes_per_process_second": size / seconds,
        **json.loads(checked.stdout),
    }


def ratios(rows: dict[str, Any]) -> dict[str, float]:
    """How many times a sample of each other contestant costs one of ours."""
    cost = {name: row["ms_per_sample"] for name, row in rows.items() if isinstance(row, dict)}
    mine = [m for m in ("lawson7", "etdrk4", "cole-hopf") if m in cost]
    return {f"{other} / {m}": cost[other] / cost[m] for m in mine for other in cost if other not in mine}


def main(config: Config) -> list[Path]:
    """Run what is asked for and write the result files."""
    others = [name for name in config.problems if name != "burgers"]
    written = [main_burgers(config)] if "burgers" in config.problems else []
    if others:
        load = os.getloadavg()[0]
        figures: dict[str, Any] = {name: data_generation_1d.race(name, config.seed) for name in others}
        figures |= surroundings(load)
        written.append(write_result("data_generation_1d", config=config, seeds=[config.seed], figures=figures))
    return written


def surroundings(load: float) -> dict[str, Any]:
    """Versions of the peers, and how busy the machine was."""
    return {
        "exponax": {name: _version(name) for name in ("exponax", "jax", "jaxlib")},
        "machine_shared": (
            f"load of the machine before and after: {load:.1f} and {os.getloadavg()[0]:.1f}; above 1 other programs "
            "shared it. Times are process times; read the ratios."
        ),
    }


def main_burgers(config: Config) -> Path:
    """Race and datasets of Burgers' equation, and their result file."""
    load = os.getloadavg()[0]
    figures: dict[str, Any] = {"burgers": {}, "ratios": {}, "datasets": {}}
    for viscosity, _ in config.samples:
        rows = race(config, viscosity)
        figures["burgers"][f"{viscosity:g}"] = rows
        figures["ratios"][f"{viscosity:g}"] = ratios(rows)
    figures["viscosity 0.001 at tolerance 1e-10"] = refusal(config)
    with tempfile.TemporaryDirectory() as folder:
        for method in ("cole-hopf", "lawson7", "etdrk4"):
            for samples in config.dataset_samples if method != "etdrk4" else config.dataset_samples[:2]:
                row = dataset(method, samples, Path(folder), config.seed)
                figures["datasets"][f"{method}, {samples} samples"] = row
                print(method, samples, row)
    figures |= surroundings(load)
    return write_result("data_generation", config=config, seeds=[config.seed], figures=figures)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    for flag in ("--xla_cpu_multi_thread_eigen=false", "intra_op_parallelism_threads=1"):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    print(*main(tyro.cli(Config)))
