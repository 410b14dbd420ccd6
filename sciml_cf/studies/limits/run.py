"""Limits of the recipe: trainings that differ in one respect, and the use of their models afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from data_gen import DatasetSpec
from sciml_cf.datasets import FieldDataset, StreamDataset
from sciml_cf.errors import check_choice
from sciml_cf.evaluate import adapt
from sciml_cf.evaluate.stacking import stack
from sciml_cf.models import build_from
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, trial_runner
from sciml_cf.studies.harness.sample_errors import WORST, MeanOfModels, sample_errors, with_reflections
from sciml_cf.studies.harness.sizes import ModelSize
from sciml_cf.studies.harness.training import DATA_FOLDER, fit_trial, make_data
from sciml_cf.studies.limits.flags import COMBINED, ROUTES, Limits
from sciml_cf.training.config import FitConfig
from sciml_cf.training.optimizers import check_optimizer
from sciml_cf.training.run_folder import load
from sciml_cf.training.symmetry import Reflected, Shifted, Symmetrised

NAME = "limits"
_FILE, _MORE = "burgers", "burgers-more"
_FIT: dict[str, Any] = {
    "optimizer": "adam", "learning_rate": 3e-3, "schedule": "cosine", "warmup": 0, "algorithm": 2, "loss": "relative",
    "average": 0.98, "method": "proximal", "normalize": "none",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scale(ModelSize):
    """How large the study is.

    Args:
        samples: of the file, which is split into training, validation and test.
        more: training samples of the route with more of them.
        stored, resolution: points of the samples, and to train at; errors are measured at the stored ones.
        width, modes, layers, batch_size: see ``ModelSize``.
        epochs: of a training on the file's samples.
        seeds: of the trainings.
    """

    samples: int
    more: int
    stored: int
    resolution: int
    epochs: int
    seeds: tuple[int, ...]

    @property
    def spec(self) -> DatasetSpec:
        """Of the file's samples and the solver's."""
        viscosity = {"viscosity": 0.1}
        return DatasetSpec(parameters=viscosity, samples=self.samples, resolution=self.stored, dtype="float32")


_FULL = Scale(
    samples=2048, more=4096, stored=8192, resolution=256, width=64, modes=16, layers=4, batch_size=16, epochs=30,
    seeds=(1, 2, 3),
)  # fmt: skip
_SMALL = Scale(
    samples=128, more=192, stored=512, resolution=128, width=12, modes=12, layers=2, batch_size=8, epochs=6,
    seeds=(1, 2),
)  # fmt: skip
PRESETS = {"full": _FULL, "small": _SMALL}


def run(config: Limits, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    for route in config.routes:
        check_choice(NAME, "routes", route, tuple(ROUTES))
        check_optimizer(ROUTES[route].get("optimizer", "adam"))
    make_folder(NAME, config.out)
    make_data(config.out, _FILE, scale.spec)
    if any(ROUTES[route].get("data") == "more" for route in config.routes):
        make_data(config.out, _MORE, replace(scale.spec, samples=scale.more, seed=scale.spec.seed + 1))
    routes = workers.own(list(config.routes))
    finite = len(FieldDataset(config.out / DATA_FOLDER / f"{_FILE}.h5", "train", resolution=scale.resolution))
    trials = {(route, seed): _trial(scale, route, seed, finite) for route in routes for seed in scale.seeds}
    trained = trial_runner(NAME, config.out, limits_trial, workers)(list(trials.values()), "train")
    by_key = dict(zip(trials, trained, strict=True))
    runs = {route: [{"seed": seed, **by_key[route, seed]} for seed in scale.seeds] for route in routes}
    combined = _combined(scale, runs, trials)
    results = trial_runner(NAME, config.out, combination_trial, workers)(list(combined.values()), "combine")
    if config.shard is not None:
        return None
    combinations = dict(zip(combined, results, strict=True))
    figures = {
        route: {"changes": ROUTES[route], "runs": runs[route], "combined": combinations.get(route)} for route in routes
    }
    settings = {"preset": config.preset, "fit": _FIT, "worst": WORST, "training_samples": finite, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def limits_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say; the errors on test and on training samples, as trained and after what costs little.

    Settings:
        data: "file", "more" samples of another file, or "infinite".
        shifts: whether to shift the samples by parts of a grid cell.
        spec: settings of the file's samples, for "infinite".
        resolution, stored: points to train at, and to measure at.
        model: as a run folder stores it.
        fit: arguments of FitConfig.
    """
    torch.set_num_threads(1)
    folder, read = scratch.parents[1] / DATA_FOLDER, {"resolution": settings["resolution"]}
    path = folder / f"{_FILE}.h5"
    file, validation = (FieldDataset(path, part, **read) for part in ("train", "validation"))
    train: Any = file
    if settings["data"] == "more":
        train = FieldDataset(folder / f"{_MORE}.h5", "all", **read)
    elif settings["data"] == "infinite":
        train = StreamDataset(DatasetSpec(**settings["spec"]), samples=len(file), **read)
    config = FitConfig(**{"accelerator": "cpu", **settings["fit"]})
    model = build_from(settings["model"], seed=config.seed)
    described = {"model": settings["model"], "data": {"file": path.name, "resolution": settings["resolution"]}}
    begun = time.process_time()
    changed = _changed(train, settings)
    history = fit_trial(model, changed, validation, config=config, out=scratch, describe=described)
    seconds = time.process_time() - begun
    if isinstance(history, str):
        return {"diverged": history}
    test = FieldDataset(path, "test", resolution=settings["stored"])
    found = {
        "best_validation_mse": history.best["validation_mse"],
        "seconds": seconds,
        "epochs": len(history.rows),
        "training": sample_errors(model, file.x, file.y),
        "test": sample_errors(model, test.x, test.y),
        "symmetrised": sample_errors(Symmetrised(model), test.x, test.y),
    }
    if settings["data"] == "file":  # the head from all training samples, which the others do not hold
        adaptation = adapt(model, with_reflections(file.x, file.y))
        found["fitted_after"] = {"strength": adaptation.strength, **sample_errors(model, test.x, test.y)}
        found["fitted_after_training"] = sample_errors(model, file.x, file.y)
    return found


def combination_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Errors of several trained models together, on test samples.

    Settings:
        members: names of the trials that trained them.
        resolution, stored: points of the training samples, and to measure at.
        solved: whether to solve one head over the features of all.
    """
    torch.set_num_threads(1)
    path = scratch.parents[1] / DATA_FOLDER / f"{_FILE}.h5"
    models = [load(scratch.with_name(name), which="last") for name in settings["members"]]
    test = FieldDataset(path, "test", resolution=settings["stored"])
    found: dict[str, Any] = {"mean": sample_errors(MeanOfModels(models), test.x, test.y)}
    begun = time.process_time()
    train = FieldDataset(path, "train", resolution=settings["resolution"])
    stacked = stack(models, with_reflections(train.x, train.y))
    found["seconds_of_the_solve"] = time.process_time() - begun
    found["one_head"] = sample_errors(stacked, test.x, test.y)
    found["one_head_symmetrised"] = sample_errors(Symmetrised(stacked), test.x, test.y)
    return found


def _changed(data: Dataset[Any], settings: Mapping[str, Any]) -> Dataset[Any]:
    """The training samples with random reflections, and shifts where they are asked for; new ones need neither."""
    if settings["data"] == "infinite":
        return data
    return Reflected(Shifted(data)) if settings["shifts"] else Reflected(data)


def _combined(
    scale: Scale, runs: Mapping[str, list[dict[str, Any]]], trials: Mapping[tuple[str, int], Trial]
) -> dict[str, Trial]:
    """The combinations of the models of all seeds, where none diverged."""
    combined = {}
    for route, own in runs.items():
        if route in COMBINED and not any("diverged" in one for one in own):
            members = [trials[route, seed].name for seed in scale.seeds]
            settings = {"members": members, "resolution": scale.resolution, "stored": scale.stored}
            combined[route] = Trial(f"{_file_name(route)} combined", settings)
    return combined


def _trial(scale: Scale, route: str, seed: int, finite: int) -> Trial:
    """One training of a route."""
    changes = dict(ROUTES[route])
    data, factor = changes.pop("data", "file"), changes.pop("epochs", 1.0)
    shifts = changes.pop("shifts", False)
    samples = scale.more if data == "more" else finite
    settings = {
        "data": data,
        "shifts": shifts,
        "spec": {"parameters": dict(scale.spec.parameters), "samples": scale.samples, "resolution": scale.stored,
                 "dtype": "float32"},
        "resolution": scale.resolution,
        "stored": scale.stored,
        "model": scale.operator(1),
        "fit": {**_FIT, **changes, "batch_size": scale.batch_size, "seed": seed,
                "epochs": max(1, round(factor * scale.epochs * finite / samples))},
    }  # fmt: skip
    return Trial(f"{_file_name(route)} seed {seed}", settings)


def _file_name(route: str) -> str:
    return route.replace(",", "")
