"""Instrumental variables on the demand design: every estimator, equally tuned, in one table.

References:
    the design of Hartford et al. (2017), Deep IV, as in Xu et al. (arXiv:2010.07154).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sciml_cf.causal import (
    ConstantOutcome,
    DeepFeatureIV,
    DirectRegression,
    Estimator,
    InstrumentalData,
    KernelIV,
    StageRules,
    TwoStageLeastSquares,
    demand,
    demand_test,
)
from sciml_cf.errors import DatasetError, NotPositiveDefinite, TrainingDiverged, check_choice
from sciml_cf.studies.dfiv_demand.flags import DFIVDemand
from sciml_cf.studies.harness.dfiv import (
    DATA_FOLDER,
    HEADS,
    Candidates,
    load_structural,
    load_training,
    mean_square,
)
from sciml_cf.studies.harness.dfiv_nets import demand_nets, demand_regression, standardised
from sciml_cf.studies.harness.extension import at_edge
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import RunTrials, Trial, combinations, one_at_a_time, trial_runner
from sciml_cf.studies.harness.selection import SELECTION_SEED

NAME = "dfiv-demand"
# name: eighteen candidates for what is tuned, around what a coarser search had found; strengths are on means. One
# training serves both kinds of heads.
METHODS: dict[str, Candidates] = {
    "DFIV proximal": combinations(learning_rate=(3e-3, 1e-2, 3e-2), strength_2=(1e-4, 1e-3, 1e-2), heads=HEADS),
    "DFIV ridge": combinations(learning_rate=(1e-3, 3e-3, 1e-2), strength_2=(1e-2, 1e-1, 1.0), heads=HEADS),
    "kernel IV": [
        {},
        {"widths": "joint"},
        *combinations(strength_1=(1e-8, 1e-7, 1e-6, 1e-5), strength_2=(1e-6, 1e-5, 1e-4, 1e-3)),
    ],
    "two-stage least squares": combinations(degree=(3, 4, 5), strength=(1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
    "direct regression": combinations(learning_rate=(3e-4, 1e-3, 3e-3), epochs=(40, 80, 160, 320, 640, 1280)),
    "constant": [{}],
}
_VALIDATION = 400  # points of the test grid that settings are chosen on
_REFIT_STRENGTH = 1e-4  # the paper's 0.01 is for 32 features of unit size, not for one feature of the price


@dataclass(frozen=True)
class Scale:
    """How large the study is.

    Args:
        samples: training samples of each seed.
        correlation: of the hidden cause with the outcome.
        noises: standard deviations of the outcome around the structural function; each is a design of its own.
        iterations: pairs of batches of a deep training.
        batch_size: rows of each batch.
        epochs_share: what part of the epochs of direct regression is made.
        seeds: of the reported trainings; each draws its own samples. The selection has its own, 0.
    """

    samples: int
    correlation: float
    noises: tuple[float, ...]
    iterations: int
    batch_size: int
    epochs_share: float
    seeds: tuple[int, ...]


PRESETS = {
    "paper": Scale(
        samples=5000,
        correlation=0.5,
        noises=(1.0, 158.0),
        iterations=800,
        batch_size=1024,
        epochs_share=1.0,
        seeds=(1, 2, 3, 4, 5),
    ),
    "small": Scale(
        samples=1000,
        correlation=0.5,
        noises=(158.0,),
        iterations=40,
        batch_size=256,
        epochs_share=0.1,
        seeds=(1, 2),
    ),
}


Cell = tuple[str, float]  # method, noise


def run(config: DFIVDemand, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of the grid."""
    for method in config.methods:
        check_choice(NAME, "methods", method, tuple(METHODS))
    scale, workers = PRESETS[config.preset], config.where()
    make_folder(NAME, config.out)
    make_data(config.out, scale)
    cells: list[Cell] = workers.own([(method, noise) for noise in scale.noises for method in config.methods])
    run_all = trial_runner(NAME, config.out, train_trial, workers)
    logs = _select(cells, scale, run_all)
    chosen = {cell: _best(log) for cell, log in logs.items()}
    runs = _report(chosen, scale, run_all)
    if config.shard is not None:
        return None
    figures = {
        f"{method}, noise {noise:g}": {
            "method": method,
            "noise": noise,
            "chosen": options,
            "at_edge": [] if options is None else _at_edge(options, METHODS[method]),
            "selection": logs[method, noise],
            "runs": runs[method, noise],
        }
        for (method, noise), options in chosen.items()
    }
    settings = {"preset": config.preset, "validation_points": _VALIDATION, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _select(cells: Sequence[Cell], scale: Scale, run_all: RunTrials) -> dict[Cell, list[dict[str, Any]]]:
    """For each cell its candidates with their errors."""
    trials = [_trial(scale, cell, options, SELECTION_SEED) for cell in cells for options in METHODS[cell[0]]]
    results = iter(run_all(trials, "select"))  # the two kinds of heads share a training
    return {cell: [_logged(options, next(results)) for options in METHODS[cell[0]]] for cell in cells}


def _best(log: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The settings of the least error; None where every candidate diverged."""
    best = min(log, key=lambda one: one["validation_mse"])
    return best["settings"] if math.isfinite(best["validation_mse"]) else None


def _report(
    chosen: Mapping[Cell, dict[str, Any] | None], scale: Scale, run_all: RunTrials
) -> dict[Cell, list[dict[str, Any]]]:
    """The reported trainings of each cell; none where every candidate diverged."""
    sound = {cell: options for cell, options in chosen.items() if options is not None}
    trials = [_trial(scale, cell, options, seed) for cell, options in sound.items() for seed in scale.seeds]
    results = iter(run_all(trials, "report"))
    runs = {cell: [_reported(options, seed, next(results)) for seed in scale.seeds] for cell, options in sound.items()}
    return {cell: runs.get(cell, []) for cell in chosen}


def _logged(options: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    score = math.inf if "diverged" in result else result[f"validation_{options.get('heads', 'current')}_mse"]
    return {"settings": options, "validation_mse": score}


def _reported(options: dict[str, Any], seed: int, result: dict[str, Any]) -> dict[str, Any]:
    """A run with its error as ``test_mse``: of the heads that were chosen."""
    if "diverged" in result:
        return {"seed": seed, **result}
    return {"seed": seed, "test_mse": result[f"test_{options.get('heads', 'current')}_mse"], **result}


def _at_edge(chosen: dict[str, Any], candidates: Candidates) -> list[str]:
    """Numbers at the edge of what was tried, among candidates that set the same things."""
    return at_edge(chosen, [one for one in candidates if one.keys() == chosen.keys()])


def _trial(scale: Scale, cell: tuple[str, float], options: dict[str, Any], seed: int) -> Trial:
    """One fit; which heads predict is no part of it."""
    method, noise = cell
    options = {key: value for key, value in options.items() if key != "heads"}
    words = " ".join(f"{key}={value}" for key, value in options.items())
    settings = {
        "method": method,
        "noise": noise,
        "options": options,
        "samples": scale.samples,
        "iterations": scale.iterations,
        "batch_size": scale.batch_size,
        "epochs_share": scale.epochs_share,
        "seed": seed,
    }
    return Trial(" ".join(filter(None, [method, words, f"noise {noise:g} seed {seed}"])), settings)


def make_data(out: Path, scale: Scale) -> None:
    """OUT/data: the training samples of every design and seed, and the points of the validation and the test."""
    folder = out / DATA_FOLDER
    with one_at_a_time(folder):
        for noise, seed in itertools.product(scale.noises, (SELECTION_SEED, *scale.seeds)):
            path = _train_file(folder, noise, seed)
            if not path.exists():
                demand(samples=scale.samples, correlation=scale.correlation, noise=noise, seed=seed).save(path)
        for part, name in zip(demand_test().split(_VALIDATION), ("validation", "test"), strict=True):
            if not (folder / f"{name}.h5").exists():
                part.save(folder / f"{name}.h5")


def _train_file(folder: Path, noise: float, seed: int) -> Path:
    return folder / f"train noise {noise:g} seed {seed}.h5"


def train_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """One fit as ``settings`` say, and its errors against the structural function."""
    torch.set_num_threads(1)
    folder = scratch.parents[1] / DATA_FOLDER
    data = load_training(_train_file(folder, settings["noise"], settings["seed"]))
    if len(data) != settings["samples"]:
        raise DatasetError(
            f"{NAME}: `out` must hold {settings['samples']} samples a seed; got {len(data)} in {folder}. Other preset?"
        )
    estimator = make_estimator(settings, data, scratch)
    try:
        estimator.fit(
            treatment=data.treatment, instrument=data.instrument, outcome=data.outcome, covariates=data.covariates
        )
    except (TrainingDiverged, NotPositiveDefinite) as error:
        return {"diverged": str(error)}
    result: dict[str, Any] = {}
    for name in ("validation", "test"):
        part = load_structural(folder / f"{name}.h5")
        if isinstance(estimator, DeepFeatureIV):
            found = {heads: estimator.predict(part.treatment, part.covariates, heads=heads) for heads in HEADS}
        else:
            found = {"current": estimator.predict(part.treatment, part.covariates)}
        for heads, prediction in found.items():
            result[f"{name}_{heads}_mse"] = mean_square(prediction, part)
    if not all(math.isfinite(value) for value in result.values()):
        return {"diverged": "an error is not finite"}
    return result


def make_estimator(settings: dict[str, Any], data: InstrumentalData, scratch: Path) -> Estimator:
    """The estimator that ``settings`` name, its nets behind standardised inputs."""
    method, options, seed = settings["method"], settings["options"], settings["seed"]
    if method == "constant":
        return ConstantOutcome()
    if method == "two-stage least squares":
        return TwoStageLeastSquares(degree=options["degree"], strengths=(options["strength"],) * 2)
    if method == "kernel IV":
        if "strength_1" in options:
            return KernelIV(strengths=(options["strength_1"], options["strength_2"]), seed=seed)
        return KernelIV(**options, seed=seed)
    extra = np.asarray(data.covariates)
    if method == "direct regression":
        net = standardised(demand_regression(seed=seed), np.hstack([data.treatment, extra]))
        epochs = max(1, round(options["epochs"] * settings["epochs_share"]))
        return DirectRegression(net, learning_rate=options["learning_rate"], epochs=epochs, seed=seed, progress=False)
    price, instrument, covariates = demand_nets(seed=seed)
    second = options["strength_2"]
    proximal = StageRules.proximal(0.1, second, 1e-3)
    return DeepFeatureIV(
        standardised(price, data.treatment),
        standardised(instrument, np.hstack([data.instrument, extra])),
        covariate_net=standardised(covariates, extra),
        rule=proximal if method == "DFIV proximal" else StageRules.ridge(1e-3, second),
        gradients="previous" if method == "DFIV proximal" else "through",
        iterations=settings["iterations"],
        batch_size=settings["batch_size"],
        optimizer="adam",
        learning_rate=options["learning_rate"],
        schedule="cosine",
        refit_strength=_REFIT_STRENGTH,
        seed=seed,
        progress=False,
        out=scratch,
        save_every=50,
        resume=True,
    )
