"""Classification with closed-form heads on data that need no download: every method at its own best settings."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from sciml_cf.classification.methods import classification_loss, train_step
from sciml_cf.studies.digits.flags import Digits, Part
from sciml_cf.studies.harness.class_data import load_task
from sciml_cf.studies.harness.class_grid import ClassGrid, known_figures, last
from sciml_cf.studies.harness.class_training import MARKS, make_optimizer
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.results import RESULT_FILE
from sciml_cf.studies.harness.selection import SELECTION_SEED

NAME = "digits"
# name: method, algorithm, and further settings
ARMS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "l2": ("l2", 2, {}),
    "ridge": ("ridge", 2, {}),
    "proximal, Alg. 1": ("proximal", 1, {}),
    "proximal": ("proximal", 2, {}),
    "kalman": ("kalman", 2, {}),
    "cross-entropy": ("cross-entropy", 2, {}),
    "cross-entropy closed form": ("cross-entropy-closed-form", 2, {}),
    "cross-entropy closed form x5": ("cross-entropy-closed-form", 2, {"steps_a_batch": 5}),
    "hybrid": ("hybrid", 2, {}),
}
_STRENGTHS = {"kalman": (1e-4, 1e-3, 1e-2)}  # others: _STRENGTH_GRID
_STRENGTH_GRID = (1e-3, 1e-2, 1e-1)
_STRONGER = (1e-2, 1e-1, 1.0)  # of batches with as few rows a class as those of many classes have
FIXED_RATES = (0.1, 0.2, 0.3, 0.4, 1.0, 3.0)
_CHEAP = ("digits", "100 classes 64 features")  # five solves a step cost too much elsewhere
# Twelve candidates each: of the rate alone, or four rates by three strengths over the same range.
_RATES = {
    "sgd": tuple(float(f"{rate:.2g}") for rate in np.geomspace(1e-2, 3, 12)),
    "adam": tuple(float(f"{rate:.2g}") for rate in np.geomspace(5e-4, 3e-2, 12)),
}
_FEW_RATES = {"sgd": (0.03, 0.1, 0.3, 1.0), "adam": (1e-3, 3e-3, 1e-2, 3e-2)}
MOVING_RULES = {
    "proximal": {"method": "proximal", "strength": 1e-2},
    "kalman": {"method": "kalman"},
    "per-feature": {"method": "per-feature"},
    "automatic": {"method": "automatic"},
}
MOVERS = {
    "sgd 0": (0.03, 0.1, 0.3, 1.0, 3.0),
    "sgd 0.5": (0.03, 0.1, 0.3, 1.0, 3.0),
    "sgd 0.9": (0.01, 0.03, 0.1, 0.3, 1.0),
    "sgd 0.99": (0.001, 0.003, 0.01, 0.03, 0.1),
    "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "adamw": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "rmsprop": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "muon": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
}


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        seeds: seeds of reported trainings; selection has its own seed, 0.
        gap_seeds: seeds of the trainings of the gap.
        rate_seeds: seeds of the trainings at fixed rates.
        batch_sizes: of digits.
        tasks: of the gap, each with its batch size and iterations.
        rounds: timed rounds of the step cost, each of ten steps of every method.
    """

    seeds: tuple[int, ...]
    gap_seeds: tuple[int, ...]
    rate_seeds: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    tasks: tuple[tuple[str, int, int], ...]
    rounds: int


PRESETS = {
    "full": Scale(
        seeds=(1, 2, 3),
        gap_seeds=(1, 2, 3),
        rate_seeds=(1, 2, 3, 4, 5),
        batch_sizes=(32, 128, 1024),
        tasks=(
            ("digits", 128, 200),
            ("100 classes 64 features", 256, 200),
            ("100 classes 256 features", 256, 200),
            ("1000 classes 128 features", 512, 100),
        ),
        rounds=40,
    ),
    "small": Scale(
        seeds=(1, 2), gap_seeds=(1, 2), rate_seeds=(1, 2), batch_sizes=(128,), tasks=(("digits", 128, 50),), rounds=5
    ),
}


def run(config: Digits, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of the grid."""
    scale = PRESETS[config.preset]
    grid = ClassGrid(config.out, config.where(), NAME)
    make_folder(NAME, config.out)
    makers = {"accuracy": accuracies, "stability": stability, "optimizers": optimizers, "gap": gap, "cost": cost}
    figures = known_figures(config.out / RESULT_FILE, preset=config.preset)
    for part in config.parts:
        figures[part] = makers[part](scale, grid)
    if config.shard is not None:
        return None
    settings = {"preset": config.preset, "marks": list(MARKS), "candidates": 12, **asdict(scale)}
    shown = {part: figures[part] for part in get_args(Part) if part in figures}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=shown)


def _common(task: str, arm: str, optimizer: str, batch_size: int, iterations: int) -> dict[str, Any]:
    method, algorithm, further = ARMS[arm]
    settings = {"task": task, "method": method, "algorithm": algorithm, "optimizer": optimizer, **further}
    return {**settings, "batch_size": batch_size, "iterations": iterations}


def candidates(arm: str, optimizer: str, strengths: tuple[float, ...] = _STRENGTH_GRID) -> list[dict[str, float]]:
    """Twelve settings to choose from."""
    if arm in ("l2", "cross-entropy"):
        return [{"learning_rate": rate} for rate in _RATES[optimizer]]
    strengths = _STRENGTHS.get(arm, strengths)
    return [{"learning_rate": rate, "strength": s} for rate in _FEW_RATES[optimizer] for s in strengths]


def _choices(scale: Scale, grid: ClassGrid) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The cells of digits, method by optimizer by batch size, and the settings chosen for each."""
    arms = [arm for arm in ARMS if arm != "cross-entropy closed form x5"]
    common = {
        f"{arm}, {optimizer}, {size}": _common("digits", arm, optimizer, size, MARKS[-1])
        for size in scale.batch_sizes
        for optimizer in ("sgd", "adam")
        for arm in arms
    }
    cells = {cell: candidates(one["arm"], one["optimizer"]) for cell, one in _names(common).items()}
    return common, grid.choose(cells, common, first=50, label="digits")


def accuracies(scale: Scale, grid: ClassGrid) -> dict[str, Any]:
    """Accuracy against iteration of each method, optimizer and batch size at its own best settings."""
    common, chosen = _choices(scale, grid)
    runs = grid.report(chosen, common, scale.seeds, "digits", calibration=True)
    return {cell: {**_named(cell), "chosen": chosen[cell], "runs": runs[cell]} for cell in chosen}


def _named(cell: str) -> dict[str, Any]:
    arm, optimizer, size = cell.rsplit(", ", 2)
    return {"arm": arm, "optimizer": optimizer, "batch_size": int(size)}


def _names(cells: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {cell: _named(cell) for cell in cells}


def stability(scale: Scale, grid: ClassGrid) -> dict[str, Any]:
    """Accuracy at the last iteration with SGD at fixed rates, at the strength chosen before; and Kalman with Adam."""
    _, chosen = _choices(scale, grid)
    cells, common = {}, {}
    for size in scale.batch_sizes:
        for arm in (
            "l2",
            "ridge",
            "proximal, Alg. 1",
            "proximal",
            "kalman",
            "cross-entropy",
            "cross-entropy closed form",
        ):
            if f"{arm}, sgd, {size}" not in chosen:  # another part of the grid has it
                continue
            strength = {k: v for k, v in chosen[f"{arm}, sgd, {size}"].items() if k == "strength"}
            for rate in FIXED_RATES:
                cell = f"{arm}, sgd, {size}, {rate:g}"
                cells[cell] = {"learning_rate": rate, **strength}
                common[cell] = _common("digits", arm, "sgd", size, MARKS[-1])
    for rate in (1e-3, 3e-3, 1e-2):
        cell = f"kalman, adam, {min(scale.batch_sizes)}, {rate:g}"
        cells[cell] = {"learning_rate": rate}
        common[cell] = _common("digits", "kalman", "adam", min(scale.batch_sizes), MARKS[-1])
    runs = grid.report(cells, common, scale.rate_seeds, "stability")
    return {
        cell: {**_named(cell.rsplit(", ", 1)[0]), **cells[cell], "runs": [last(run) for run in runs[cell]]}
        for cell in cells
    }


def optimizers(scale: Scale, grid: ClassGrid) -> dict[str, Any]:
    """Rules under eight optimizers at batch 128, each at its own best of five rates, and how far their heads move."""
    movers = {name: rates for name, rates in MOVERS.items() if name != "muon" or hasattr(torch.optim, "Muon")}
    common = {
        f"{rule}, {mover}": {
            "task": "digits", "algorithm": 2, "optimizer": mover, "batch_size": 128, "iterations": MARKS[-1], **settings
        }
        for mover in movers
        for rule, settings in MOVING_RULES.items()
    }  # fmt: skip
    cells = {cell: [{"learning_rate": rate} for rate in movers[cell.rsplit(", ", 1)[1]]] for cell in common}
    chosen = grid.choose(cells, common, first=50, label="optimizers")
    runs = grid.report(chosen, common, scale.seeds, "optimizers", movement=True)
    for each in runs.values():
        for run in each[1:]:  # one seed shows how it moves
            run.pop("movement", None)
    return {
        cell: {
            **dict(zip(("rule", "optimizer"), cell.rsplit(", ", 1), strict=True)),
            "chosen": chosen[cell],
            "runs": runs[cell],
        }
        for cell in chosen
    }


def _fits(arm: str, optimizer: str, *, classes: int) -> bool:
    """What is run of the dearer tasks: no five solves a step, and of many classes Adam and the main methods only."""
    return not arm.endswith("x5") and (classes <= 100 or (optimizer == "adam" and arm != "hybrid"))


def gap(scale: Scale, grid: ClassGrid) -> dict[str, Any]:
    """Squared loss against cross-entropy: all at the settings of cross-entropy, then each at its own best."""
    found: dict[str, Any] = {}
    for task, size, iterations in scale.tasks:
        label = f"gap {task}"
        common = _gap_cells(task, size, iterations)
        strengths = _STRENGTH_GRID if task == "digits" else _STRONGER
        cells = {cell: candidates(one["arm"], one["optimizer"], strengths) for cell, one in _names(common).items()}
        chosen = grid.choose(cells, common, first=50, label=label)
        own = grid.report(chosen, common, scale.gap_seeds, label)
        plain = {cell: f"cross-entropy, {cell.rsplit(', ', 2)[1]}, {size}" for cell in chosen}
        theirs = {cell: {"learning_rate": chosen[of]["learning_rate"]} for cell, of in plain.items() if of in chosen}
        lent = grid.report(theirs, common, scale.gap_seeds, f"{label} lent")
        for cell in lent:
            found[f"{task}, {cell}"] = {
                "task": task, **_named(cell), "chosen": chosen[cell],
                "runs": [last(run) for run in own[cell]],
                "at_rate_of_cross_entropy": [last(run) for run in lent[cell]],
            }  # fmt: skip
    return found


def _gap_cells(task: str, size: int, iterations: int) -> dict[str, dict[str, Any]]:
    """The cells of a task of the gap with their settings."""
    arms = ("cross-entropy", "l2", "proximal", "cross-entropy closed form", "cross-entropy closed form x5", "hybrid")
    return {
        f"{arm}, {opt}, {size}": _common(task, arm, opt, size, iterations)
        for arm in arms
        for opt in ("sgd", "adam")
        if task in _CHEAP or _fits(arm, opt, classes=load_task(task).classes)
    }


def cost(scale: Scale, grid: ClassGrid) -> dict[str, Any]:
    """Processor time of a step at batch 128 on the digits perceptron over that of l2, medians of interleaved rounds."""
    torch.set_num_threads(1)
    task = load_task("digits")
    x, y = (part[:128] for part in task.parts["train"])
    stations = {}
    for arm, (method, algorithm, further) in ARMS.items():
        torch.manual_seed(SELECTION_SEED)
        model = task.model()
        options = {"iterations": further["steps_a_batch"]} if further else {}
        loss_of = classification_loss(model[-1], method, **options)  # pyright: ignore
        (optimizer,) = make_optimizer(model, "sgd", 1e-3)
        stations[arm] = model, loss_of, optimizer, algorithm
    times: dict[str, list[float]] = {arm: [] for arm in stations}
    for _ in range(scale.rounds + 2):
        for arm, (model, loss_of, optimizer, algorithm) in stations.items():
            start = time.process_time()
            for _ in range(10):
                train_step(model, loss_of, optimizer, x, y, algorithm=algorithm)  # pyright: ignore
            times[arm].append((time.process_time() - start) / 10)
    steady = {arm: np.array(taken[2:]) for arm, taken in times.items()}
    return {
        arm: {
            "over_l2": round(float(np.median(taken / steady["l2"])), 3),
            "milliseconds": round(1e3 * float(np.median(taken)), 4),
        }
        for arm, taken in steady.items()
    }
