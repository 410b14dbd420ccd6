"""The paper's Figure 3: instrumental variables on images of hearts, error against iteration at several batch sizes.

References:
    Closed-Form Last Layer Optimization (arXiv:2510.04606), section 6, Figure 3 and appendix E.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sciml_cf.causal import (
    ConstantOutcome,
    DeepFeatureIV,
    DirectRegression,
    StructuralData,
    dsprites,
    dsprites_test,
)
from sciml_cf.errors import DatasetError, NotPositiveDefinite, TrainingDiverged, check_choice
from sciml_cf.studies.dfiv_dsprites.flags import DFIVDsprites
from sciml_cf.studies.harness.dfiv import (
    DATA_FOLDER,
    HEADS,
    Candidates,
    load_structural,
    load_training,
    mean_square,
    rules_of,
    settled,
)
from sciml_cf.studies.harness.dfiv_nets import heart_nets, heart_regression
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, combinations, one_at_a_time, trial_runner
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select_and_report

NAME = "dfiv-dsprites"
_RATES = (0.01, 0.03)
# name: (what defines the method, twelve candidates for what is tuned); coefficients are on sums over a batch
METHODS: dict[str, tuple[dict[str, Any], Candidates]] = {
    "proximal": (
        {"rule": "proximal", "gradients": "previous", "lambda_1": 10.0},
        combinations(learning_rate=_RATES, lambda_12=(1e-4, 1e-2, 0.3), lambda_2=(5e2, 3e3)),
    ),
    "ridge": (
        {"rule": "ridge", "gradients": "through"},
        combinations(learning_rate=_RATES, lambda_1=(1.0, 10.0, 100.0), lambda_2=(30.0, 300.0)),
    ),
    "gcv": (
        {"rule": "gcv", "gradients": "previous", "lambda_1": 10.0},
        combinations(learning_rate=(0.001, 0.003, *_RATES), lambda_2=(5e2, 1e3, 3e3)),
    ),
    "streaming": (
        {"rule": "streaming", "gradients": "previous", "lambda_1": 10.0, "lambda_12": 1.0, "lambda_2": 1e3},
        combinations(learning_rate=(*_RATES, 0.05, 0.1), forgetting=(0.3, 0.5, 0.8)),
    ),
}
# Ways out for batches with about as many rows as features; larger batches do not need them.
FEW_ROWS = {"gcv": 64, "streaming": 64}
_DIRECT = combinations(learning_rate=(1e-4, 3e-4, 1e-3, 3e-3), epochs=(2, 5, 10))
# Direct regression chooses its settings on held-out outcomes, as a regression does, or on the truth, as all others do.
BASELINES: dict[str, Candidates] = {"constant": [{}], "direct": _DIRECT, "direct-truth": _DIRECT}
_HELD_OUT = 0.1  # share of the samples that direct regression does not train on


@dataclass(frozen=True)
class Scale:
    """How large the study is.

    Args:
        samples: training samples of each seed, half of them for each stage.
        batch_sizes: of both stages alike.
        iterations: pairs of batches of a reported training.
        every: iterations between measurements.
        rungs: of the selection; their "epochs" are iterations.
        seeds: of the reported trainings; each draws its own samples. The selection has its own, 0.
    """

    samples: int
    batch_sizes: tuple[int, ...]
    iterations: int
    every: int
    rungs: tuple[Rung, ...]
    seeds: tuple[int, ...]


PRESETS = {
    "paper": Scale(
        samples=10000,
        batch_sizes=(32, 64, 128, 512, 1024),
        iterations=200,
        every=10,
        rungs=(Rung(50, 3), Rung(150, 1)),
        seeds=(1, 2, 3),
    ),
    "small": Scale(
        samples=2000, batch_sizes=(32, 128), iterations=50, every=5, rungs=(Rung(20, 2), Rung(40, 1)), seeds=(1, 2)
    ),
}


Cell = tuple[str, int | None]  # a method at a batch size; baselines have none


def run(config: DFIVDsprites, command: str = "") -> Path | None:
    """Run what is missing of the grid; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    _check(config, scale)
    make_folder(NAME, config.out)
    make_data(config.out, scale, config.archive)
    cells = {_cell(*cell): cell for cell in workers.own(_grid(config, scale))}
    deep = {name: cell for name, cell in cells.items() if name not in BASELINES}
    figures: dict[str, Any] = {}
    for name in (name for name in cells if name not in deep):
        score = "held_out" if name == "direct" else "validation"
        figures.update(_measure(config, scale, {name: cells[name]}, None, score))
    for heads in HEADS:
        figures.update(_measure(config, scale, deep, heads, f"validation_{heads}"))
    if config.shard is not None:
        return None
    settings = {"preset": config.preset, "treatment_net": config.treatment_net, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _grid(config: DFIVDsprites, scale: Scale) -> list[Cell]:
    """All cells: the baselines, and each method at the batch sizes that it is for."""
    sizes = config.batch_sizes or scale.batch_sizes
    pairs = [(method, size) for size in sizes for method in config.methods if size <= FEW_ROWS.get(method, size)]
    return [*((name, None) for name in BASELINES), *pairs]


def _check(config: DFIVDsprites, scale: Scale) -> None:
    for method in config.methods:
        check_choice(NAME, "methods", method, tuple(METHODS))
    for size in config.batch_sizes:
        if not 2 <= size <= scale.samples // 2:
            raise ValueError(f"{NAME}: `batch_sizes` must be from 2 to {scale.samples // 2}; got {size}.")


def _measure(
    config: DFIVDsprites, scale: Scale, cells: Mapping[str, Cell], heads: str | None, score: str
) -> dict[str, dict[str, Any]]:
    """Choose every cell by the metric ``score`` and report it, deep ones for one kind of heads."""
    run_all = trial_runner(NAME, config.out, train_trial, config.where())
    kind = "baselines" if heads is None else f"{heads} heads"

    def candidate(name: str, options: Any, iterations: int) -> Trial:
        return _trial(config, scale, cells[name], options, SELECTION_SEED, until=iterations)

    def reports(name: str, options: Any) -> list[tuple[dict[str, Any], Trial]]:
        return [({"seed": seed}, _trial(config, scale, cells[name], options, seed)) for seed in scale.seeds]

    def scored(result: dict[str, Any]) -> dict[str, Any]:
        return result if "diverged" in result else {"best_validation_mse": settled(result.get("curve", result)[score])}

    tried = {name: _candidates(method) for name, (method, _) in cells.items()}
    rungs = scale.rungs if heads else (Rung(0, 1),)  # a baseline trains once
    found = select_and_report(
        tried, rungs, candidate, reports, lambda trials, label: run_all(trials, f"{label}, {kind}"), scored=scored
    )
    return {
        name if heads is None else f"{name}, {heads} heads": {
            "method": method,
            "batch_size": size,
            "heads": heads,
            **found[name],
        }
        for name, (method, size) in cells.items()
    }


def _candidates(method: str) -> Candidates:
    return BASELINES[method] if method in BASELINES else METHODS[method][1]


def _cell(method: str, size: int | None) -> str:
    return method if size is None else f"{method} batch {size}"


def _trial(config: DFIVDsprites, scale: Scale, cell: Cell, options: Any, seed: int, until: int | None = None) -> Trial:
    """One training: of a candidate up to an iteration, or to report. Both kinds of direct regression share theirs."""
    method, size = cell[0].removesuffix("-truth"), cell[1]
    words = " ".join(f"{key}={value:g}" for key, value in options.items())
    name = " ".join(filter(None, [_cell(method, size), words, f"{config.treatment_net} net seed {seed}"]))
    settings = {
        "method": method,
        "batch_size": size,
        "fit": {**(METHODS[method][0] if method in METHODS else {}), **options},
        "net": config.treatment_net,
        "samples": scale.samples,
        "seed": seed,
    }
    if method in BASELINES:
        return Trial(name, settings)
    until = min(until or scale.iterations, scale.iterations)
    settings.update(iterations=until, every=scale.every, run=f"run {name}")
    return Trial(f"{name} iteration {until}", settings)


def make_data(out: Path, scale: Scale, archive: Path | None) -> None:
    """OUT/data: the training samples of every seed, and the images of the validation and the test."""
    folder = out / DATA_FOLDER
    with one_at_a_time(folder):
        for seed in (SELECTION_SEED, *scale.seeds):
            path = folder / f"train seed {seed}.h5"
            if not path.exists():
                dsprites(samples=scale.samples, seed=seed, archive=archive).save(path)
        paths = [folder / f"{part}.h5" for part in ("validation", "test")]
        if not all(path.exists() for path in paths):
            for part, path in zip(dsprites_test(archive=archive), paths, strict=True):
                part.save(path)


def train_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """One training as ``settings`` say, and its errors against the structural function on validation and test."""
    torch.set_num_threads(1)
    folder, seed = scratch.parents[1] / DATA_FOLDER, settings["seed"]
    data = load_training(folder / f"train seed {seed}.h5")
    if len(data) != settings["samples"]:
        raise DatasetError(
            f"{NAME}: `out` must hold {settings['samples']} samples a seed; got {len(data)} in {folder}. Other preset?"
        )
    parts = {name: load_structural(folder / f"{name}.h5") for name in ("validation", "test")}
    given = {"treatment": data.treatment, "instrument": data.instrument, "outcome": data.outcome}
    try:
        if settings["method"] in BASELINES:
            return _train_baseline(settings, given, parts)
        return _train_deep(settings, given, parts, scratch.with_name(settings["run"]))
    except (TrainingDiverged, NotPositiveDefinite) as error:
        return {"diverged": str(error)}


def _train_baseline(
    settings: dict[str, Any], given: dict[str, Any], parts: dict[str, StructuralData]
) -> dict[str, Any]:
    """Errors of a constant or of direct regression, the latter also on outcomes that it did not train on."""
    if settings["method"] == "constant":
        estimator = ConstantOutcome()
    else:
        net = heart_regression(settings["net"], seed=settings["seed"])
        estimator = DirectRegression(net, **settings["fit"], seed=settings["seed"], progress=False)
    count = round((1 - _HELD_OUT) * settings["samples"]) if settings["method"] == "direct" else settings["samples"]
    estimator.fit(**{name: values[:count] for name, values in given.items()})
    result = {name: [mean_square(estimator.predict(part.treatment), part)] for name, part in parts.items()}
    if count < settings["samples"]:
        error = np.asarray(estimator.predict(given["treatment"][count:])) - given["outcome"][count:]
        result["held_out"] = [float(np.square(error).mean())]
    return result


def _train_deep(
    settings: dict[str, Any], given: dict[str, Any], parts: dict[str, StructuralData], run: Path
) -> dict[str, Any]:
    def measure(estimator: DeepFeatureIV, iteration: int) -> dict[str, float]:
        if iteration % settings["every"]:
            return {}
        return {
            f"{name}_{heads}": mean_square(estimator.predict(part.treatment, heads=heads), part)
            for name, part in parts.items()
            for heads in HEADS
        }

    psi, phi = heart_nets(settings["net"], seed=settings["seed"])
    size, fit = settings["batch_size"], settings["fit"]
    estimator = DeepFeatureIV(
        psi,
        phi,
        rule=rules_of(fit, rows=size),
        gradients=fit["gradients"],
        iterations=settings["iterations"],
        batch_size=size,
        learning_rate=fit["learning_rate"],
        scale_outcome=False,
        seed=settings["seed"],
        measure=measure,
        progress=False,
        out=run,
        save_every=50,
        resume=True,
    ).fit(**given)
    rows = [row for row in estimator.history_ if "test_current" in row]
    names = ("iteration", *(f"{name}_{heads}" for name in parts for heads in HEADS))
    if not all(math.isfinite(row[name]) for row in rows for name in names):
        return {"diverged": f"an error is not finite by iteration {settings['iterations']}"}
    return {
        "curve": {name: [row[name] for row in rows] for name in names},
        "seconds": sum(row["seconds"] for row in estimator.history_),
    }
