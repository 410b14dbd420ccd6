"""The most accurate Burgers surrogate that we know how to train at 256 points, and the same trained by gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from data_gen import DatasetSpec
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import TrainingDiverged
from sciml_cf.metrics import mse, relative_l2
from sciml_cf.models import FNOConfig, build_from, describe
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import RunTrials, Trial, trial_runner
from sciml_cf.studies.harness.selection import SELECTION_SEED
from sciml_cf.studies.harness.training import DATA_FOLDER, apply, make_data, mean_over_samples
from sciml_cf.studies.recipe.flags import Recipe
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.symmetry import Reflected, Symmetrised

NAME = "recipe"
# What every training here has in common. Relative loss: samples differ thirtyfold in norm, and the measure is relative.
RECIPE: dict[str, Any] = {
    "optimizer": "adam",
    "schedule": "cosine",
    "warmup": 0,
    "algorithm": 2,
    "loss": "relative",
    "average": 0.98,
    "batch_size": 8,
}
_RATES = (1e-3, 2e-3, 3e-3)
# The split of the closed-form paper, and that of the published figures: the first 1000 samples and the last 200.
SPLITS = ("paper", "published")


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        samples, stored_resolution: of the datasets; errors are measured on their full grid.
        resolution: grid points to train at.
        width, modes, layers: of the Fourier neural operator.
        epochs, selection_epochs: of a reported training, and of one that chooses a learning rate.
        seeds: of the reported trainings; the selection has its own, 0.
        cases: viscosity and split of each dataset.
        published: how many samples the published split takes, from the front and from the end.
    """

    samples: int
    stored_resolution: int
    resolution: int
    width: int
    modes: int
    layers: int
    epochs: int
    selection_epochs: int
    seeds: tuple[int, ...]
    cases: tuple[tuple[float, str], ...]
    published: tuple[int, int]


PRESETS = {
    "full": Scale(
        samples=2048,
        stored_resolution=8192,
        resolution=256,
        width=64,
        modes=16,
        layers=4,
        epochs=150,
        selection_epochs=20,
        seeds=(1, 2, 3),
        cases=((0.1, "paper"), (0.1, "published"), (0.01, "paper")),
        published=(1000, 200),
    ),
    "small": Scale(
        samples=512,
        stored_resolution=1024,
        resolution=128,
        width=32,
        modes=16,
        layers=4,
        epochs=40,
        selection_epochs=5,
        seeds=(1,),
        cases=((0.1, "paper"), (0.01, "paper")),
        published=(250, 50),
    ),
}


Cell = tuple[float, str, str]  # viscosity, split, method


def run(config: Recipe, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    for number in config.cases:
        if not 1 <= number <= len(scale.cases):
            raise ValueError(f"{NAME}: `cases` must be numbers from 1 to {len(scale.cases)}; got {number}.")
    make_folder(NAME, config.out)
    cases = [scale.cases[number - 1] for number in config.cases] or list(scale.cases)
    _make_data(config.out, scale, {viscosity for viscosity, _ in cases})
    cells: list[Cell] = workers.own([(nu, split, method) for nu, split in cases for method in config.methods])
    run_all = trial_runner(NAME, config.out, train_recipe, workers)
    selection = _select(cells, scale, run_all)
    chosen = [min(_RATES, key=lambda rate, log=log: log[rate]) for log in selection]
    runs = _report(cells, chosen, scale, run_all)
    if config.shard is not None:
        return None
    figures = {
        f"{method}, viscosity {viscosity:g}, {split} split": {
            "viscosity": viscosity,
            "split": split,
            "method": method,
            "learning_rate": rate,
            "selection": {f"{tried:g}": error for tried, error in log.items()},
            "runs": own,
        }
        for (viscosity, split, method), rate, log, own in zip(cells, chosen, selection, runs, strict=True)
    }
    settings = {"preset": config.preset, "recipe": {**RECIPE, "reflections": True}, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _make_data(out: Path, scale: Scale, viscosities: set[float]) -> None:
    for viscosity in viscosities:
        spec = DatasetSpec(
            parameters={"viscosity": viscosity},
            samples=scale.samples,
            resolution=scale.stored_resolution,
            dtype="float32",
        )
        make_data(out, _data(viscosity), spec)


def _select(cells: Sequence[Cell], scale: Scale, run_all: RunTrials) -> list[dict[float, float]]:
    """For each cell the validation error at each learning rate, infinite where the training diverged."""
    trials = [_trial(scale, *cell, rate, scale.selection_epochs, SELECTION_SEED) for cell in cells for rate in _RATES]
    scores = iter([found.get("best_validation_mse", math.inf) for found in run_all(trials, "select")])
    return [{rate: next(scores) for rate in _RATES} for _ in cells]


def _report(cells: Sequence[Cell], rates: Sequence[float], scale: Scale, run_all: RunTrials) -> list[list[Any]]:
    """The reported trainings of each cell."""
    chosen = zip(cells, rates, strict=True)
    trials = [_trial(scale, *cell, rate, scale.epochs, seed) for cell, rate in chosen for seed in scale.seeds]
    results = iter(run_all(trials, "report"))
    return [[{"seed": seed, **next(results)} for seed in scale.seeds] for _ in cells]


def _data(viscosity: float) -> str:
    return f"burgers {viscosity:g}"


def _trial(scale: Scale, viscosity: float, split: str, method: str, rate: float, epochs: int, seed: int) -> Trial:
    settings = {
        "data": _data(viscosity),
        "split": split,
        "published": list(scale.published),
        "resolution": scale.resolution,
        "resolutions": [scale.resolution, scale.stored_resolution],
        "model": describe(FNOConfig(width=scale.width, modes=scale.modes, layers=scale.layers)),
        "fit": {**RECIPE, "method": method, "learning_rate": rate, "epochs": epochs, "seed": seed},
    }
    return Trial(f"{_data(viscosity)} {split} {method} rate={rate:g} epochs={epochs} seed {seed}", settings)


def train_recipe(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """One training, and its errors over the test samples."""
    torch.set_num_threads(1)
    path = scratch.parents[1] / DATA_FOLDER / f"{settings['data']}.h5"
    train, validation, _ = parts_of(path, settings, settings["resolution"])
    config = FitConfig(**{"accelerator": "cpu", "normalize": "none", **settings["fit"]})
    model = build_from(settings["model"], seed=config.seed)
    try:
        history = fit(
            model,
            Reflected(train),
            validation,
            config=config,
            out=scratch,
            describe={"model": settings["model"], "data": {"file": path.name, "resolution": settings["resolution"]}},
            resume=True,
            progress=False,
        )
    except TrainingDiverged as error:
        return {"diverged": str(error).split(" The checkpoint")[0]}
    errors = [_errors(model, parts_of(path, settings, resolution)[2]) for resolution in settings["resolutions"]]
    return {
        "best_validation_mse": history.best["validation_mse"],
        "last_train_loss": history.rows[-1]["train_loss"],
        "seconds": sum(row["seconds"] for row in history.rows),
        "test": [{"resolution": n, **e} for n, e in zip(settings["resolutions"], errors, strict=True)],
    }


def parts_of(path: Path, settings: dict[str, Any], resolution: int) -> tuple[Dataset[dict[str, Tensor]], ...]:
    """Training, validation and test samples; the published split tests on its last ones, and those between validate."""
    if settings["split"] == "paper":
        return tuple(FieldDataset(path, part, resolution=resolution) for part in ("train", "validation", "test"))
    every = FieldDataset(path, "all", resolution=resolution)
    first, last = settings["published"]
    return (
        Subset(every, range(first)),
        Subset(every, range(first, min(first + last, len(every) - last))),
        Subset(every, range(len(every) - last, len(every))),
    )


def _errors(model: nn.Module, test: Dataset[dict[str, Tensor]]) -> dict[str, float]:
    """Over the test samples, of the model alone and of the symmetrised one."""
    items = [test[index] for index in range(len(test))]  # type: ignore[arg-type]
    x, y = (torch.stack([item[name] for item in items]) for name in ("x", "y"))
    prediction = apply(model, x)
    symmetrised = apply(Symmetrised(model), x)
    relative = relative_l2(prediction.double(), y.double())
    return {
        "mse": mean_over_samples(mse, prediction, y),
        "relative_l2": relative.mean().item(),
        "relative_l2_median": relative.median().item(),
        "relative_l2_max": relative.max().item(),
        "relative_l2_symmetrised": mean_over_samples(relative_l2, symmetrised, y),
    }
