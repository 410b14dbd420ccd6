"""Optimizers: training with each optimizer and each way to train the head, for equal steps and for equal seconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_gen import DatasetSpec
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import check_choice
from sciml_cf.evaluate import adapt
from sciml_cf.models import build_from
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import RunTrials, Trial, combinations, trial_runner
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select_and_report
from sciml_cf.studies.harness.sizes import ModelSize, Scale
from sciml_cf.studies.harness.training import DATA_FOLDER, errors_at, fit_trial, make_data
from sciml_cf.studies.optimizers.flags import METHODS, OPTIMIZERS, PROBLEMS, Optimizers
from sciml_cf.training.config import FitConfig
from sciml_cf.training.optimizers import check_optimizer
from sciml_cf.training.place import choose_place

NAME = "optimizers"
_RATES = (1e-3, 3e-3, 1e-2)
_FIT: dict[str, Any] = {"schedule": "cosine", "warmup": 0}
_REFERENCE = ("adam", "l2")  # its processor seconds are the budget of all


@dataclass(frozen=True, kw_only=True)
class Size(ModelSize):
    """How large one problem is.

    Args:
        samples: of the file, which is split into training, validation and test.
        stored: stored points of the samples, at which errors are measured.
        resolution: points to train at.
        width: see ``ModelSize``.
        modes: see ``ModelSize``.
        layers: see ``ModelSize``.
        batch_size: see ``ModelSize``.
        epochs: of the training for equal steps.
    """

    samples: int
    stored: int
    resolution: int
    epochs: int


_LINE = Size(samples=2048, stored=8192, resolution=256, width=64, modes=16, layers=4, batch_size=32, epochs=20)
_PLANE = Size(samples=724, stored=32, resolution=32, width=20, modes=8, layers=4, batch_size=16, epochs=24)
_FEW: dict[str, int] = {"layers": 2, "batch_size": 8}
_SMALL_PLANE = replace(_PLANE, samples=64, width=8, modes=5, epochs=4, **_FEW)
PRESETS = {
    "full": Scale({"burgers": _LINE, "darcy": _PLANE, "navier_stokes": _PLANE}, share=0.25, seeds=(1, 2, 3)),
    "small": Scale(
        {
            "burgers": replace(_LINE, samples=128, stored=512, resolution=128, width=12, modes=12, epochs=6, **_FEW),
            "darcy": _SMALL_PLANE,
            "navier_stokes": _SMALL_PLANE,
        },
        share=0.5,
        seeds=(1, 2),
    ),
}
Cell = tuple[str, str, str]  # problem, optimizer, method


def run(config: Optimizers, command: str = "") -> Path | None:
    """Run what is missing of the grid; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    _check(config)
    make_folder(NAME, config.out)
    problems = workers.own(list(config.problems))  # a problem is one part: its cells share a budget of seconds
    for problem in problems:
        size = scale.sizes[problem]
        described = {**PROBLEMS[problem], "samples": size.samples, "resolution": size.stored, "dtype": "float32"}
        make_data(config.out, problem, DatasetSpec(**described))
    asked = itertools.product(problems, config.optimizers, config.methods)
    cells: dict[str, Cell] = {" ".join(cell): cell for cell in asked}

    def candidate(cell: str, options: Any, _: int) -> Trial:
        return _trial(scale, cells[cell], options, SELECTION_SEED)

    def reports(cell: str, options: Any) -> list[tuple[dict[str, Any], Trial]]:
        return [({"seed": seed}, _trial(scale, cells[cell], options, seed)) for seed in scale.seeds]

    tried = dict.fromkeys(cells, combinations(learning_rate=_RATES))
    run_all = trial_runner(NAME, config.out, optimizer_trial, workers)
    found = select_and_report(tried, (Rung(1, 1),), candidate, reports, run_all, extend=2)
    _add_equal_seconds(scale, cells, found, run_all)
    if config.shard is not None:
        return None
    names = ("problem", "optimizer", "method")
    figures = {cell: {**dict(zip(names, cells[cell], strict=True)), **found[cell]} for cell in cells}
    settings = {"preset": config.preset, **asdict(scale), "rates": _RATES}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _check(config: Optimizers) -> None:
    for name, known in (("problems", tuple(PROBLEMS)), ("optimizers", OPTIMIZERS), ("methods", METHODS)):
        for value in getattr(config, name):
            check_choice(NAME, name, value, known)
    for optimizer in config.optimizers:
        check_optimizer(optimizer)


def _add_equal_seconds(
    scale: Scale[Size], cells: Mapping[str, Cell], found: dict[str, Any], run_all: RunTrials
) -> None:
    """Train for equal seconds what equal steps do not give, and add the runs to what was found."""
    wanted = [
        (cell, seed, _trial(scale, cells[cell], found[cell]["chosen"], seed, epochs))
        for cell, epochs in equal_seconds(scale, cells, found).items()
        for seed in scale.seeds
    ]
    results = run_all([trial for *_, trial in wanted], "report at equal seconds")
    runs: dict[str, list[dict[str, Any]]] = {cell: [] for cell in cells}
    for (cell, seed, _), result in zip(wanted, results, strict=True):
        runs[cell].append({"seed": seed, **result})
    for cell in cells:
        found[cell]["runs_of_equal_seconds"] = runs[cell] or found[cell]["runs"]


def equal_seconds(scale: Scale[Size], cells: Mapping[str, Cell], found: Mapping[str, Any]) -> dict[str, int]:
    """Epochs of each combination that take the processor seconds of Adam with gradients, where they are others."""
    epochs: dict[str, int] = {}
    for name, (problem, *_) in cells.items():
        full = scale.sizes[problem].epochs
        of, own = _seconds(found.get(" ".join((problem, *_REFERENCE)))), _seconds(found[name])
        if of and own and (wanted := max(1, round(full * of / own))) != full:
            epochs[name] = wanted
    return epochs


def _seconds(found: Mapping[str, Any] | None) -> float | None:
    """Mean processor seconds of the runs that ended."""
    seconds = [run["seconds"] for run in (found or {"runs": []})["runs"] if "diverged" not in run]
    return float(np.mean(seconds)) if seconds else None


def optimizer_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say; the validation errors by steps, and the errors on test samples.

    The keys of ``settings``:

    - data: the dataset's name
    - resolution: points to train at
    - model: as a run folder stores it; arguments of the place are added
    - fit: arguments of FitConfig
    - test: the resolution to test at; None for a trial that only selects
    """
    torch.set_num_threads(1)
    path = scratch.parents[1] / DATA_FOLDER / f"{settings['data']}.h5"
    parts = {part: FieldDataset(path, part, resolution=settings["resolution"]) for part in ("train", "validation")}
    config = FitConfig(**{"accelerator": "cpu", **settings["fit"]})
    place = choose_place(parts["train"], "auto", "auto").arguments  # as sciml-cf train gives it
    arguments = {**settings["model"]["arguments"], **place}
    model = build_from({**settings["model"], "arguments": arguments}, seed=config.seed)
    begun = time.process_time()
    history = fit_trial(model, parts["train"], parts["validation"], config=config, out=scratch)
    seconds = time.process_time() - begun
    if isinstance(history, str):
        return {"diverged": history}
    result: dict[str, Any] = {
        "best_validation_mse": history.best["validation_mse"],
        "steps": [row["steps"] for row in history.rows],
        "validation_mse": [row["validation_mse"] for row in history.rows],
        "seconds": seconds,
    }
    if settings["test"]:
        result["test"] = errors_at(model, path, settings["test"])
        fitted = adapt(model, parts["train"])
        result["head_norm"] = fitted.previous.norm().item()
        result["head_change"] = [row["head_change"] for row in history.rows if "head_change" in row]
        result["head_fitted_after"] = errors_at(model, path, settings["test"])
    return result


def _trial(scale: Scale[Size], cell: Cell, options: Mapping[str, Any], seed: int, epochs: int | None = None) -> Trial:
    """One training: of a candidate, or to report, for the usual number of epochs or another."""
    (problem, optimizer, method), selects = cell, seed == SELECTION_SEED
    size = scale.sizes[problem]
    number = epochs or max(1, round(size.epochs * (scale.share if selects else 1.0)))
    settings = {
        "data": problem,
        "resolution": size.resolution,
        "model": size.operator(1 if problem == "burgers" else 2),
        "fit": {**_FIT, **options, "optimizer": optimizer, "method": method, "batch_size": size.batch_size,
                "seed": seed, "epochs": number},
        "test": None if selects else size.stored,
    }  # fmt: skip
    kind = "selection" if selects else f"seed {seed}" + (f" {number} epochs" if epochs else "")
    return Trial(f"{problem} {optimizer} {method} rate={options['learning_rate']:g} {kind}", settings)
