"""Cost and error of a trajectory of the Navier-Stokes equations by our solver, exponax, and a split scheme.

Three questions, each answered in one run on the same fields, by process time:

    step    one ETDRK4 step on the same grid, ours against exponax's (order 4, float64)
    forced  a whole forced trajectory (Li et al., 2021) against Crank-Nicolson with Euler, whose few hundred steps are
            scaled to the time asked for; its own error is that of another scheme's scaled run and is not repeated here
    race    a decaying trajectory at equal error: exponax is handed the coarsest grid and longest step, of those in the
            settings, that keep to the error

    OMP_NUM_THREADS=1 python -m benchmarks.navier_stokes          # exponax: pip install 'sciml-cf[bench]'
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import tyro

from benchmarks.common import write_result
from data_gen import PeriodicGrid, navier_stokes, resample, solve
from data_gen.sample_fields import initial_fields
from data_gen.spec import DatasetSpec
from data_gen.stepping.etdrk4 import coefficients, etdrk4_step


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        resolution: grid points along each axis of the stored fields.
        rounds: turns of every contestant.
        steps: steps timed in a turn of the question "step".
        forced_viscosity: viscosity of the trajectory of the question "forced".
        forced_time: its final time.
        forced_tolerance: its tolerance.
        reference_tolerance: tolerance of what it is compared with, on a larger grid.
        split_step: step of the split scheme.
        split_steps: how many of them are timed.
        race: viscosity, time and our tolerance of each decaying trajectory.
        race_points: grids that exponax is tried with.
        race_steps: numbers of steps for each unit of time that it is tried with.
        samples: fields of a turn.
        seed: seed of the initial conditions.
    """

    resolution: int = 256
    rounds: int = 3
    steps: int = 40
    forced_viscosity: float = 1e-3
    forced_time: float = 50.0
    forced_tolerance: float = 1e-8
    reference_tolerance: float = 1e-11
    split_step: float = 1e-4
    split_steps: int = 300
    race: tuple[tuple[float, float, float], ...] = ((1e-3, 10.0, 1e-8), (1e-4, 10.0, 1e-6))
    race_points: tuple[int, ...] = (48, 64, 96, 128, 192, 256)
    race_steps: tuple[float, ...] = (2.5, 5.0, 10.0, 20.0, 40.0)
    samples: int = 2
    seed: int = 0


def fields_of(config: Config, viscosity: float) -> np.ndarray:
    """``(samples, 1, N, N)``: initial vorticity of Li et al. (2021)."""
    spec = DatasetSpec(
        equation="navier_stokes",
        parameters={"viscosity": viscosity},
        samples=config.samples,
        resolution=config.resolution,
        seed=config.seed,
    )
    return initial_fields(spec, np.arange(config.samples))


def turns(config: Config, runs: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Process seconds of every contestant in each round; they take turns."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(config.rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            spent[name].append(time.process_time() - start)
    return spent


def our_step(w0: np.ndarray, steps: int) -> Callable[[], np.ndarray]:
    """March the modes by so many ETDRK4 steps."""
    grid, equation = PeriodicGrid(w0.shape[-1], 1.0, 2), navier_stokes()
    c = coefficients(equation.symbol(*grid.wavevector), 0.01)

    def slope(modes: np.ndarray) -> np.ndarray:
        return equation.nonlinear(modes, grid)  # type: ignore[misc]

    def run() -> np.ndarray:
        modes = grid.to_modes(w0[:1])
        for _ in range(steps):
            modes = etdrk4_step(modes, slope(modes), slope, c)
        return modes

    run()
    return run


def exponax_march(points: int, step: float, steps: int, viscosity: float) -> Callable[[np.ndarray], np.ndarray]:
    """``(N, N)`` -> ``(N, N)``: exponax's vorticity stepper of order 4 in float64, compiled."""
    import exponax
    import jax

    with jax.enable_x64(True):
        stepper = exponax.stepper.NavierStokesVorticity(
            2, 1.0, points, step, diffusivity=viscosity, order=4, dealiasing_fraction=1.0
        )
        march = jax.jit(exponax.repeat(stepper, steps))
        march(np.zeros((1, points, points))).block_until_ready()  # compiling is not part of the race

    def run(w0: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(march(w0[None]))[0]

    return run


def split_scheme(w0: np.ndarray, *, viscosity: float, forcing: float, step: float, steps: int) -> np.ndarray:
    """Crank-Nicolson for viscosity and Euler for the rest, with the 2/3 rule, as in Li et al. (2021)."""
    n = w0.shape[-1]
    k = 2 * np.pi * np.fft.fftfreq(n, 1 / n)
    ky, kx = k[:, None], np.abs(k[None, : n // 2 + 1])
    square = kx**2 + ky**2
    inverse = 1 / np.where(square == 0, 1, square)
    kept = (np.abs(ky) < 2 * np.pi * n / 3) & (kx < 2 * np.pi * n / 3)
    angle = 2 * np.pi * np.add.outer(np.arange(n) / n, np.arange(n) / n)
    force = scipy.fft.rfft2(forcing * (np.sin(angle) + np.cos(angle)))
    modes, half = scipy.fft.rfft2(w0), 0.5 * step * viscosity * square
    for _ in range(steps):
        flow = modes * inverse
        u, v = scipy.fft.irfft2(1j * ky * flow), scipy.fft.irfft2(-1j * kx * flow)
        convected = u * scipy.fft.irfft2(1j * kx * modes) + v * scipy.fft.irfft2(1j * ky * modes)
        modes = ((1 - half) * modes + step * (force - scipy.fft.rfft2(convected) * kept)) / (1 + half)
    return scipy.fft.irfft2(modes)


def largest_error(w: np.ndarray, truth: np.ndarray) -> float:
    """``max |w - truth| / max |truth|``, of the worst sample."""
    error = np.abs(w - truth).reshape(len(truth), -1).max(axis=1)
    return float((error / np.abs(truth).reshape(len(truth), -1).max(axis=1)).max())


def step_question(config: Config, has_exponax: bool) -> dict[str, Any]:
    """Cost of one ETDRK4 step on the same grid; with mkl_fft too where it is installed."""
    w0 = fields_of(config, 1e-3)
    runs: dict[str, Callable[[], Any]] = {"ours, scipy.fft": our_step(w0, config.steps)}
    try:
        from mkl_fft.interfaces import scipy_fft as mkl

        plain = runs["ours, scipy.fft"]

        def with_mkl() -> None:
            with scipy.fft.set_backend(mkl, only=False):
                plain()

        runs["ours, mkl_fft"] = with_mkl
    except ImportError:
        pass
    if has_exponax:
        march = exponax_march(config.resolution, 0.01, config.steps, 1e-3)
        runs["exponax order 4"] = lambda: march(w0[0, 0])
    spent = turns(config, runs)
    result: dict[str, Any] = {f"{name}, ms": statistics.median(t) / config.steps * 1e3 for name, t in spent.items()}
    if has_exponax:
        peer = result["exponax order 4, ms"]
        result["ratios"] = {f"{name} / exponax": result[f"{name}, ms"] / peer for name in runs if "ours" in name}
    for name in ("ours, mkl_fft", "exponax order 4"):
        if name not in runs:
            result[name] = "not measured: it is not installed"
    return result


def forced_question(config: Config) -> dict[str, Any]:
    """A whole forced trajectory, its error, and the split scheme's cost for it."""
    nu, end, w0 = config.forced_viscosity, config.forced_time, fields_of(config, config.forced_viscosity)
    equation, grid = navier_stokes(viscosity=nu), PeriodicGrid(config.resolution, 1.0, 2)
    fine = PeriodicGrid(2 * config.resolution, 1.0, 2)
    finer = resample(w0, fine.num_points, 2)
    reference = solve(equation, fine, finer, [end], method="etdrk4", tolerance=config.reference_tolerance)
    truth = reference[:, 0, :, ::2, ::2]
    result: dict[str, Any] = {"samples": config.samples}
    for method in ("lawson7", "etdrk4"):
        found: list[np.ndarray] = []
        spent = turns(
            config,
            {
                "ours": lambda m=method, kept=found: kept.append(
                    solve(equation, grid, w0, [end], method=m, tolerance=config.forced_tolerance)[:, 0]
                ),
                "split": lambda: split_scheme(
                    w0[0, 0], viscosity=nu, forcing=0.1, step=config.split_step, steps=config.split_steps
                ),
            },
        )
        ours = statistics.median(spent["ours"]) / config.samples
        split = statistics.median(spent["split"]) * end / config.split_step / config.split_steps
        result[method] = {
            "seconds_per_trajectory": ours,
            "max_error": largest_error(found[0], truth),
            "split_seconds_scaled": split,
            "split_steps_timed": config.split_steps,
            "split / ours": split / ours,
        }
    return result


def race_question(config: Config, viscosity: float, end: float, tolerance: float, has_exponax: bool) -> dict[str, Any]:
    """A decaying trajectory: ours, and the cheapest of exponax's settings with no larger error."""
    w0, grid = fields_of(config, viscosity), PeriodicGrid(config.resolution, 1.0, 2)
    equation = navier_stokes(viscosity=viscosity, forcing=0.0)
    fine = PeriodicGrid(2 * config.resolution, 1.0, 2)
    truth = solve(equation, fine, resample(w0, fine.num_points, 2), [end], method="etdrk4", tolerance=1e-3 * tolerance)[
        :, 0, :, ::2, ::2
    ]
    result: dict[str, Any] = {"tolerance": tolerance, "time": end}
    costs = {}
    for method in ("lawson7", "etdrk4"):
        found: list[np.ndarray] = []
        spent = turns(
            config,
            {
                method: lambda m=method, kept=found: kept.append(
                    solve(equation, grid, w0, [end], method=m, tolerance=tolerance)[:, 0]
                )
            },
        )
        costs[method] = statistics.median(spent[method]) / config.samples
        result[method] = {
            "seconds_per_trajectory": costs[method],
            "max_error": largest_error(found[0], truth),
        }
    if not has_exponax:
        return {**result, "exponax order 4": "not measured: it is not installed"}
    target = max(result[method]["max_error"] for method in costs)
    settings = itertools.product(config.race_points, config.race_steps)
    tried = [_tried(points, density, viscosity, end, w0, truth) for points, density in settings]
    good = [row for row in tried if row["max_error"] <= target]
    result["exponax order 4, all settings tried"] = tried
    if not good:
        return {**result, "exponax order 4": f"none of the settings tried has an error of {target:.1e}"}
    best = min(good, key=lambda row: row["seconds_per_trajectory"])
    result["exponax order 4"] = best
    result["ratios"] = {f"exponax / {method}": best["seconds_per_trajectory"] / cost for method, cost in costs.items()}
    return result


def _tried(
    points: int, density: float, viscosity: float, end: float, w0: np.ndarray, truth: np.ndarray
) -> dict[str, Any]:
    steps = round(end * density)
    march = exponax_march(points, end / steps, steps, viscosity)
    start = time.process_time()
    given = resample(w0, points, 2)[:, 0]
    found = np.stack([march(w) for w in given])[:, None]
    seconds = (time.process_time() - start) / len(w0)
    error = largest_error(resample(found, truth.shape[-1], 2), truth) if np.isfinite(found).all() else float("inf")
    return {"points": points, "steps": steps, "seconds_per_trajectory": seconds, "max_error": min(error, 1e300)}


def main(config: Config) -> Path:
    """Run everything and write the result file."""
    load = os.getloadavg()[0]
    try:
        import exponax

        has_exponax = bool(exponax)
    except ImportError:
        has_exponax = False
    figures: dict[str, Any] = {"step": step_question(config, has_exponax)}
    print(figures["step"])
    figures["race"] = {}
    for viscosity, end, tolerance in config.race:
        figures["race"][f"{viscosity:g}"] = race_question(config, viscosity, end, tolerance, has_exponax)
        print({k: v for k, v in figures["race"][f"{viscosity:g}"].items() if "tried" not in k})
    figures["forced"] = forced_question(config)
    print(figures["forced"])
    figures["device"] = "not measured: this machine has no GPU"
    figures["machine_shared"] = (
        f"load of the machine before and after: {load:.1f} and {os.getloadavg()[0]:.1f}; above 1 other programs shared "
        "it. Times are process times; read the ratios."
    )
    return write_result("navier_stokes", config=config, seeds=[config.seed], figures=figures)


if __name__ == "__main__":
    for flag in ("--xla_cpu_multi_thread_eigen=false", "intra_op_parallelism_threads=1"):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    print(main(tyro.cli(Config)))
