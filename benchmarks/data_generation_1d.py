"""Kuramoto-Sivashinsky and Korteweg-de Vries at equal error: our time stepping, a textbook, and exponax, in one run.

We are asked for a tolerance and told nothing else. The others are handed the grid and the number of steps that just
meet it, and again those that are just as exact as our result; both are found by trying them on the first batch of the
very race. Each pays for going from the data's points to its own grid and back. All is in float64, in batches of 32, on
one thread. What is made once for a whole dataset (compiled code, coefficients of steps) is made before the clock
starts, by an untimed first batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from benchmarks.common import largest_error
from benchmarks.exponax_steppers import runner
from data_gen import Equation, PeriodicGrid, kdv, kdv_solitons, kuramoto_sivashinsky, resample, solve
from data_gen.random_fields import INITIAL_CONDITIONS

POINTS = 1024
BATCH = 32
ROUNDS = 3
TARGETS = (1e-6, 1e-8, 1e-10)
#: What the others are tried with.
TRIED_POINTS = (128, 192, 256, 320, 384, 512)
TRIED_STEPS = tuple(round(100 * 2 ** (i / 2)) for i in range(18))
REFERENCE_POINTS, REFERENCE_STEPS = 512, 32768

Runner = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Problem:
    """An equation, its initial conditions u0 ``(B, N)``, the truth at its usual time, and the error of that."""

    equation: Equation
    u0: np.ndarray
    truth: np.ndarray
    truth_error: float
    words: str

    @property
    def grid(self) -> PeriodicGrid:
        return PeriodicGrid(POINTS, self.equation.extent)


def textbook(u0: np.ndarray, *, equation: Equation, points: int, steps: int) -> np.ndarray:
    """ETDRK4 of Kassam and Trefethen (2005) on a grid of its own, with coefficients that stay complex."""
    h, contour = equation.time / steps, np.exp(2j * np.pi * (np.arange(64) + 0.5) / 64)
    k = 2 * np.pi / equation.extent * np.arange(points // 2 + 1)
    g = -0.5j * k * equation.parameters.get("nonlinearity", 1.0)
    g[-1] = 0
    symbol = equation.symbol(k)
    e, half, r = np.exp(h * symbol), np.exp(h * symbol / 2), h * symbol[:, None] + contour
    kept = (lambda w: h * w.mean(axis=1)) if np.iscomplexobj(symbol) else (lambda w: h * w.mean(axis=1).real)
    q = kept((np.exp(r / 2) - 1) / r)
    f1 = kept((-4 - r + np.exp(r) * (4 - 3 * r + r**2)) / r**3)
    f2 = kept((2 + r + np.exp(r) * (-2 + r)) / r**3)
    f3 = kept((-4 - 3 * r - r**2 + np.exp(r) * (4 - r)) / r**3)

    def slope(modes: np.ndarray) -> np.ndarray:
        return g * np.fft.rfft(np.fft.irfft(modes, points) ** 2)

    v = np.fft.rfft(resample(u0, points))
    for _ in range(steps):
        nv = slope(v)
        a = half * v + q * nv
        na = slope(a)
        nb = slope(half * v + q * na)
        nc = slope(half * a + q * (2 * nb - nv))
        v = e * v + nv * f1 + 2 * (na + nb) * f2 + nc * f3
    return resample(np.fft.irfft(v, points), u0.shape[-1])


def exponax_runner(*, equation: Equation, points: int, steps: int) -> Runner:
    """exponax's stepper of order 4, vectorised over the batch and compiled."""
    run = runner(equation, time=equation.time, points=points, steps=steps, batch=BATCH)
    return lambda u0: run(u0[:, None])[:, 0]


def ours(u0: np.ndarray, *, equation: Equation, method: str, tolerance: float) -> np.ndarray:
    """Our time stepping, through the public function."""
    grid = PeriodicGrid(u0.shape[-1], equation.extent)
    return solve(equation, grid, u0[:, None], [equation.time], method=method, tolerance=tolerance)[:, 0, 0]


def batched(run: Runner, u0: np.ndarray) -> np.ndarray:
    return np.concatenate([run(u0[i : i + BATCH]) for i in range(0, len(u0), BATCH)])


def reference(equation: Equation, u0: np.ndarray) -> tuple[np.ndarray, float]:
    """The textbook with very many steps, extrapolated (order 5), and what half its steps say of the error left."""
    fine, middle, coarse = (
        batched(partial(textbook, equation=equation, points=REFERENCE_POINTS, steps=REFERENCE_STEPS >> i), u0)
        for i in range(3)
    )
    best, second = fine + (fine - middle) / 15, middle + (middle - coarse) / 15
    return best, largest_error(second, best) / 32


def solitons(grid: PeriodicGrid, time: float, count: int, seed: int) -> np.ndarray:
    """Pairs of solitons, the fast one overtaking; tails exp(-2 L) small, so that their periodic sum is a solution."""
    rng, fields = np.random.default_rng(seed), []
    for _ in range(count):
        slow, fast, place = rng.uniform(4, 5), rng.uniform(8, 9), rng.uniform(10, 14)
        settings = {"speeds": [slow, fast], "centres": [place + 2.5, place]}
        fields.append(sum(kdv_solitons(grid.points + m * grid.extent, time, **settings) for m in (-1, 0, 1)))
    return np.array(fields)


def problem(name: str, seed: int) -> Problem:
    """The problem called "ks", "kdv" or "kdv-solitons"."""
    equation, count = kuramoto_sivashinsky() if name == "ks" else kdv(), BATCH * ROUNDS
    grid = PeriodicGrid(POINTS, equation.extent)
    if name == "kdv-solitons":
        u0, truth = (solitons(grid, t, count, seed) for t in (0.0, equation.time))
        return Problem(equation, u0, truth, 0.0, "pairs of solitons; the truth is their formula")
    draw = INITIAL_CONDITIONS[equation.initial_condition][0]
    u0 = draw(grid, range(count), seed=seed, **equation.initial_parameters)[:, 0]
    words = f"{equation.initial_condition} {dict(equation.initial_parameters)}; the truth is a textbook ETDRK4 with "
    return Problem(equation, u0, *reference(equation, u0), f"{words}{REFERENCE_STEPS} steps, extrapolated")


def least(
    make: Callable[[int, int], Runner], given: Problem, goals: dict[str, float]
) -> Iterator[tuple[str, str, Runner, float]]:
    """For each goal (its name, settings, runner, error) of the least work that meets it; the best where none does."""
    tried: list[tuple[float, int, int]] = []
    for points in TRIED_POINTS:
        errors: list[float] = []
        for steps in TRIED_STEPS:
            enough = [p * s for e, p, s in tried if e <= min(goals.values())]
            if enough and points * steps >= min(enough):
                break
            error = largest_error(make(points, steps)(given.u0[:BATCH]), given.truth[:BATCH])
            errors.append(error)
            tried.append((error, points, steps))
            if len(errors) > 4 and error > 0.9 * errors[-3] and np.isfinite(errors[-3]):
                break  # its grid decides, not its steps
        else:
            if errors[-1] > 10 * TARGETS[0]:
                break  # its steps decide, and more points need no fewer
    for name, goal in goals.items():
        meets = [t for t in tried if t[0] <= goal]
        error, points, steps = min(meets, key=lambda t: t[1] * t[2]) if meets else min(tried)
        between = round(steps / 2**0.25)  # half way to the next smaller number tried
        error_between = largest_error(make(points, between)(given.u0[:BATCH]), given.truth[:BATCH])
        if meets and error_between <= goal:
            error, steps = error_between, between
        yield name, f"handed {points} points and {steps} steps", make(points, steps), error


def race(name: str, seed: int) -> dict[str, Any]:
    """Process milliseconds a sample and largest error of every contestant at every target."""
    given = problem(name, seed)
    found: dict[str, Any] = {"problem": given.words, "extent": given.equation.extent, "time": given.equation.time}
    found["error of the truth, about"] = given.truth_error
    runners: dict[tuple[str, str], tuple[str, Runner]] = {}
    goals: dict[str, float] = {}
    for target in TARGETS:
        for method in ("adams6", "etdrk4"):
            run = partial(ours, equation=given.equation, method=method, tolerance=target)
            runners[f"{target:g}", method] = "asked for the target, nothing tuned", run
        run = runners[f"{target:g}", "adams6"][1]
        goals[f"{target:g}"] = target
        goals[f"{target:g}, as exact as adams6"] = largest_error(run(given.u0[:BATCH]), given.truth[:BATCH])
    peers: dict[str, Callable[[int, int], Runner]] = {
        "textbook etdrk4": lambda points, steps: partial(textbook, equation=given.equation, points=points, steps=steps)
    }
    try:
        version("exponax")
        peers["exponax order 4"] = lambda points, steps: exponax_runner(
            equation=given.equation, points=points, steps=steps
        )
    except PackageNotFoundError:
        found["exponax"] = "not measured: exponax is not installed"
    for peer, make in peers.items():
        for goal, words, run, error in least(make, given, goals):
            if error <= goals[goal]:
                runners[goal, peer] = words, run
            else:
                found[f"{goal}: {peer}"] = f"not reached: at best {error:.1e}, {words}"
            print(f"{name} {goal}: {peer}: {error:.1e}, {words}", flush=True)
    return {**found, **timed(given, runners)}


def timed(given: Problem, runners: dict[tuple[str, str], tuple[str, Runner]]) -> dict[str, Any]:
    """Each contestant's turn on each batch, the contestants of a goal one after the other."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runners}
    errors: dict[tuple[str, str], list[float]] = {key: [] for key in runners}
    for _, run in runners.values():
        run(given.u0[:BATCH])
    for turn in range(ROUNDS):
        rows = slice(turn * BATCH, (turn + 1) * BATCH)
        for key, (_, run) in runners.items():
            start = time.process_time()
            u = run(given.u0[rows])
            times[key].append((time.process_time() - start) / BATCH * 1e3)
            errors[key].append(largest_error(u, given.truth[rows]))
    rows = {
        f"{key[0]}: {key[1]}": {
            "settings": words,
            "ms_per_sample": statistics.median(times[key]),
            "ms_per_sample_each_turn": times[key],
            "samples_timed": BATCH * ROUNDS,
            "max_error": max(errors[key]),
        }
        for key, (words, _) in runners.items()
    }
    cost = {key: statistics.median(times[key]) for key in runners}
    ratios = {f"{g}: {m} / adams6": c / cost[g.split(",")[0], "adams6"] for (g, m), c in cost.items() if m != "adams6"}
    return {**rows, "ratios": ratios}
