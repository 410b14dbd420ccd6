"""Resolution transfer: models trained at several resolutions, each measured at many, and sources of errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from data_gen import DatasetSpec
from sciml_cf.errors import check_choice
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.models import builder_for, describe
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, combinations, trial_runner
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select_and_report
from sciml_cf.studies.harness.training import DATA_FOLDER, make_data, train_trial
from sciml_cf.studies.transfer.flags import MODELS, PROBLEMS, Transfer
from sciml_cf.studies.transfer.page import long_table
from sciml_cf.training.checkpoints import write_atomically
from sciml_cf.training.run_folder import load

NAME = "transfer"
_TABLE_FILE = "table.csv"
_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
_FIT: dict[str, Any] = {
    "method": "proximal", "algorithm": 2, "optimizer": "adam", "schedule": "cosine", "warmup": 0
}  # fmt: skip
_PLANAR = ("navier_stokes",)
_KEPT = (
    "mse", "relative_l2", "vrmse", "relative_h1", "max_error", "band_mse", "part_mse", "floor_mse", "consistency",
    "baseline_mse", "baseline_relative_l2",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large the problems of one number of dimensions are.

    Args:
        samples: samples of the dataset.
        stored: points along each axis of the full grid.
        train: resolutions to train at.
        select: the one at which learning rates are chosen.
        test: resolutions to measure at.
        width: of all models.
        modes: of all models but the convolutional network, which has none.
        layers: of all models; a UNO has one more.
        batch_size: of every training.
        epochs: of every training.
    """

    samples: int
    stored: int
    train: tuple[int, ...]
    select: int
    test: tuple[int, ...]
    width: int
    modes: int
    layers: int
    batch_size: int
    epochs: int


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        line: the problems of one dimension.
        plane: the problems of two dimensions.
        rungs: the selection's rounds.
        seeds: of the reported trainings; the selection has its own, 0.
    """

    line: Size
    plane: Size
    rungs: tuple[Rung, ...]
    seeds: tuple[int, ...]

    def size(self, problem: str) -> Size:
        """The size of a problem."""
        return self.plane if problem in _PLANAR else self.line


PRESETS = {
    "full": Scale(
        line=Size(
            samples=1024,
            stored=8192,
            train=(64, 128, 256, 512),
            select=128,
            test=(64, 128, 256, 512, 1024, 2048, 4096, 8192),
            width=64,
            modes=17,
            layers=4,
            batch_size=16,
            epochs=50,
        ),
        plane=Size(
            samples=1024,
            stored=128,
            train=(32, 64),
            select=32,
            test=(32, 64, 128),
            width=32,
            modes=9,
            layers=4,
            batch_size=16,
            epochs=50,
        ),
        rungs=(Rung(10, 1),),
        seeds=(1, 2, 3),
    ),
    "small": Scale(
        line=Size(
            samples=256,
            stored=1024,
            train=(64, 256),
            select=64,
            test=(64, 128, 256, 512, 1024),
            width=24,
            modes=17,
            layers=3,
            batch_size=16,
            epochs=20,
        ),
        plane=Size(
            samples=256,
            stored=64,
            train=(32,),
            select=32,
            test=(32, 64),
            width=16,
            modes=9,
            layers=3,
            batch_size=8,
            epochs=20,
        ),
        rungs=(Rung(5, 1),),
        seeds=(1, 2),
    ),
}


def run(config: Transfer, command: str = "") -> Path | None:
    """Run what is missing of the grid; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    _check(config, scale)
    make_folder(NAME, config.out)
    for problem in config.problems:
        size = scale.size(problem)
        spec = DatasetSpec(**PROBLEMS[problem], samples=size.samples, resolution=size.stored, dtype="float32")
        make_data(config.out, problem, spec)
    pairs = workers.own([(problem, model) for problem in config.problems for model in config.models])
    cells = {f"{problem} {model}": (problem, model) for problem, model in pairs}

    def candidate(cell: str, options: Any, epochs: int) -> Trial:
        select_at = scale.size(cells[cell][0]).select
        return _trial(scale, *cells[cell], select_at, options, SELECTION_SEED, until=epochs)

    def reports(cell: str, options: Any) -> list[tuple[dict[str, Any], Trial]]:
        trained = scale.size(cells[cell][0]).train
        return [
            ({"resolution": train, "seed": seed}, _trial(scale, *cells[cell], train, options, seed))
            for train in trained if not config.resolutions or train in config.resolutions
            for seed in scale.seeds
        ]  # fmt: skip

    tried = dict.fromkeys(cells, combinations(learning_rate=_RATES))
    run_all = trial_runner(NAME, config.out, transfer_trial, workers)
    found = select_and_report(tried, scale.rungs, candidate, reports, run_all)
    if config.shard is not None:
        return None
    figures = {cell: {"problem": problem, "model": model, **found[cell]} for cell, (problem, model) in cells.items()}
    settings = {"preset": config.preset, **asdict(scale)}
    path = store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)
    write_atomically(config.out / _TABLE_FILE, long_table(read_result(path)).csv())
    return path


def transfer_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """``train_trial``, and then the evaluation of the trained model at the resolutions in ``settings["evaluate"]``."""
    result = train_trial(settings, scratch)
    if "diverged" in result or not settings["evaluate"]:
        return result
    started = time.perf_counter()
    model = load(scratch.with_name(settings["run"]), which="last")
    data = scratch.parents[1] / DATA_FOLDER / f"{settings['data']}.h5"
    errors = evaluate_transfer(model, data, resolutions=settings["evaluate"], fitted_baselines=False)
    result["evaluation"] = as_plain(errors)
    result["evaluation_seconds"] = time.perf_counter() - started
    return result


def as_plain(evaluation: xr.Dataset) -> dict[str, Any]:
    """The metrics of an evaluation as lists, with their coordinates; no field of any sample."""
    names = [name for name in _KEPT if name in evaluation]
    coordinates = dict.fromkeys(str(dim) for name in names for dim in evaluation[name].dims)
    plain = {name: evaluation[name].values.tolist() for name in (*coordinates, *names)}
    return {**plain, "reference": int(evaluation.attrs["reference_resolution"])}


def _check(config: Transfer, scale: Scale) -> None:
    for problem in config.problems:
        check_choice(NAME, "problems", problem, tuple(PROBLEMS))
    for model in config.models:
        check_choice(NAME, "models", model, MODELS)
    known = tuple(sorted({*scale.line.train, *scale.plane.train}))
    for resolution in config.resolutions:
        check_choice(NAME, "resolutions", resolution, known)


def _trial(
    scale: Scale,
    problem: str,
    model: str,
    resolution: int,
    options: Mapping[str, Any],
    seed: int,
    until: int | None = None,
) -> Trial:
    """One training: of a candidate (up to epoch ``until``), or to report."""
    size = scale.size(problem)
    name = f"{problem} {model} at {resolution} rate={options['learning_rate']:g} " + (
        "selection" if until else f"seed {seed}"
    )
    settings = {
        "data": problem,
        "resolution": resolution,
        "model": describe(
            builder_for(
                model,
                width=size.width,
                modes=None if model == "conv" else size.modes,
                layers=max(4, size.layers + 1) if model == "uno" else size.layers,
                num_dims=2 if problem in _PLANAR else 1,
            )
        ),
        "fit": {
            **_FIT,
            **options,
            "batch_size": size.batch_size,
            "epochs": scale.rungs[-1].epochs if until else size.epochs,
            "seed": seed,
        },
        "run": f"run {name}",
        "until": until,
        "curve": [],
        "test": [],
        "evaluate": [] if until else list(size.test),
    }
    return Trial(f"{name} epoch {until}" if until else name, settings)
