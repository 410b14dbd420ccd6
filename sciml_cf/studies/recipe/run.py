"""The most accurate Burgers surrogate that we know how to train at 256 points, and the same trained by gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from data_gen import DatasetSpec
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import TrainingDiverged, check_count, check_positive
from sciml_cf.evaluate.stacking import stack
from sciml_cf.models import FNOConfig, build_from, describe
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import RunTrials, Trial, trial_runner
from sciml_cf.studies.harness.sample_errors import WORST, MeanOfModels, sample_errors, with_reflections
from sciml_cf.studies.harness.selection import SELECTION_SEED
from sciml_cf.studies.harness.training import DATA_FOLDER, make_data
from sciml_cf.studies.recipe.flags import Recipe
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.optimizers import check_optimizer
from sciml_cf.training.run_folder import load
from sciml_cf.training.symmetry import Reflected, Symmetrised

NAME = "recipe"
# What every training here has in common. Relative loss: samples differ thirtyfold in norm, and the measure is relative.
RECIPE: dict[str, Any] = {
    "schedule": "cosine",
    "warmup": 0,
    "algorithm": 2,
    "loss": "relative",
    "average": 0.98,
}
_RATES = {"adam": (1e-3, 2e-3, 3e-3), "soap": (2e-3, 3e-3, 6e-3)}  # SOAP at 1e-2 is unstable with two seeds of three
_BATCH_SIZES = {"adam": 8, "soap": 16}  # SOAP with batches of 8 is unstable at these rates
# The split of the closed-form paper, and that of the published figures: the first 1000 samples and the last 200.
SPLITS = ("paper", "published")


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        samples: samples of the datasets.
        stored_resolution: stored points, at which errors are measured.
        resolution: grid points to train at.
        width: of the Fourier neural operator.
        modes: of the Fourier neural operator.
        layers: of the Fourier neural operator.
        epochs: epochs of a reported training by Adam.
        soap_epochs: epochs of a reported training by SOAP.
        selection_epochs: epochs of a training that chooses a learning rate.
        seeds: of the reported trainings; the selection has its own, 0.
        cases: viscosity and split of each dataset.
        published: how many samples the published split takes, from the front and from the end.
        rates: learning rates to choose from, where they are not those of the optimizer.
        given: arguments of FitConfig for every training, beyond those of the recipe.
    """

    samples: int
    stored_resolution: int
    resolution: int
    width: int
    modes: int
    layers: int
    epochs: int
    soap_epochs: int
    selection_epochs: int
    seeds: tuple[int, ...]
    cases: tuple[tuple[float, str], ...]
    published: tuple[int, int]
    rates: tuple[float, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)

    def rates_of(self, optimizer: str) -> tuple[float, ...]:
        """The learning rates to choose from."""
        return self.rates or _RATES[optimizer]


PRESETS = {
    "full": Scale(
        samples=2048,
        stored_resolution=8192,
        resolution=256,
        width=64,
        modes=16,
        layers=4,
        epochs=150,
        soap_epochs=100,
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
        soap_epochs=40,
        selection_epochs=5,
        seeds=(1,),
        cases=((0.1, "paper"), (0.01, "paper")),
        published=(250, 50),
    ),
}


class Cell(NamedTuple):
    """What is trained: on which data, how its head is trained, and what moves its backbone."""

    viscosity: float
    split: str
    method: str
    optimizer: str

    @property
    def name(self) -> str:
        """As version 0.1 had it of Adam."""
        own = "" if self.optimizer == "adam" else f", {self.optimizer}"
        return f"{self.method}, viscosity {self.viscosity:g}, {self.split} split{own}"


def run(config: Recipe, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of it."""
    scale, workers = _scale(config), config.where()
    for number in config.cases:
        if not 1 <= number <= len(scale.cases):
            raise ValueError(f"{NAME}: `cases` must be numbers from 1 to {len(scale.cases)}; got {number}.")
    for optimizer in config.optimizers:
        check_optimizer(optimizer)
    make_folder(NAME, config.out)
    cases = [scale.cases[number - 1] for number in config.cases] or list(scale.cases)
    _make_data(config.out, scale, {viscosity for viscosity, _ in cases})
    asked = itertools.product(cases, config.methods, config.optimizers)
    cells: list[Cell] = workers.own([Cell(*case, method, optimizer) for case, method, optimizer in asked])
    run_all = trial_runner(NAME, config.out, train_recipe, workers)
    selection = _select(cells, scale, run_all)
    chosen = [min(log, key=lambda rate, log=log: log[rate]) for log in selection]
    runs = _report(cells, chosen, scale, run_all)
    together = _together(cells, chosen, runs, scale, trial_runner(NAME, config.out, together_trial, workers))
    if config.shard is not None:
        return None
    figures = {
        cell.name: {
            **cell._asdict(),
            "batch_size": scale.given.get("batch_size", _BATCH_SIZES[cell.optimizer]),
            "epochs": _epochs(scale, cell),
            "learning_rate": rate,
            "selection": {f"{tried:g}": error for tried, error in log.items()},
            "runs": own,
            "together": all_seeds,
        }
        for cell, rate, log, own, all_seeds in zip(cells, chosen, selection, runs, together, strict=True)
    }
    common = {**RECIPE, **scale.given, "reflections": True}
    settings = {"preset": config.preset, "recipe": common, "worst": WORST, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _scale(config: Recipe) -> Scale:
    """The scale of the preset with what the flags say."""
    scale = PRESETS[config.preset]
    for rate in config.rates:
        check_positive(NAME, "rates", rate)
    if config.batch_size is not None:
        check_count(NAME, "batch_size", config.batch_size)
    if config.strength is not None:
        check_positive(NAME, "strength", config.strength)
    asked = {"batch_size": config.batch_size, "strength": config.strength}
    given = {name: value for name, value in asked.items() if value is not None}
    scale = replace(scale, rates=config.rates, given=given)
    if config.epochs is None:
        return scale
    check_count(NAME, "epochs", config.epochs)
    return replace(scale, epochs=config.epochs, soap_epochs=config.epochs)


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
    """For each cell the relative L2 error on validation samples at each rate, infinite where the training diverged."""
    asked = [(cell, rate) for cell in cells for rate in scale.rates_of(cell.optimizer)]
    trials = [_trial(scale, cell, rate, scale.selection_epochs, SELECTION_SEED) for cell, rate in asked]
    scores = iter([found.get("validation_relative_l2", math.inf) for found in run_all(trials, "select")])
    return [{rate: next(scores) for rate in scale.rates_of(cell.optimizer)} for cell in cells]


def _report(cells: Sequence[Cell], rates: Sequence[float], scale: Scale, run_all: RunTrials) -> list[list[Any]]:
    """The reported trainings of each cell."""
    chosen = zip(cells, rates, strict=True)
    trials = [_trial(scale, cell, rate, _epochs(scale, cell), seed) for cell, rate in chosen for seed in scale.seeds]
    results = iter(run_all(trials, "report"))
    return [[{"seed": seed, **next(results)} for seed in scale.seeds] for _ in cells]


def _together(
    cells: Sequence[Cell], rates: Sequence[float], runs: Sequence[list[Any]], scale: Scale, run_all: RunTrials
) -> list[Any]:
    """For each cell the errors of the models of all seeds together; None where one diverged, or there is but one."""
    trials = {}
    for cell, rate, own in zip(cells, rates, runs, strict=True):
        members = [_trial(scale, cell, rate, _epochs(scale, cell), seed).name for seed in scale.seeds]
        if len(members) > 1 and not any("diverged" in run for run in own):
            name = f"{_words(cell)}{_in_words(scale)} together epochs={_epochs(scale, cell)}"
            trials[cell] = Trial(name, {**_data_settings(scale, cell), "members": members})
    results = dict(zip(trials, run_all(list(trials.values()), "together"), strict=True))
    return [results.get(cell) for cell in cells]


def _data(viscosity: float) -> str:
    return f"burgers {viscosity:g}"


def _epochs(scale: Scale, cell: Cell) -> int:
    return scale.epochs if cell.optimizer == "adam" else scale.soap_epochs


def _words(cell: Cell) -> str:
    """Of names of trials."""
    own = "" if cell.optimizer == "adam" else f" {cell.optimizer}"
    return f"{_data(cell.viscosity)} {cell.split} {cell.method}{own}"


def _data_settings(scale: Scale, cell: Cell) -> dict[str, Any]:
    return {
        "data": _data(cell.viscosity),
        "split": cell.split,
        "published": list(scale.published),
        "resolution": scale.resolution,
        "resolutions": [scale.resolution, scale.stored_resolution],
    }


def _trial(scale: Scale, cell: Cell, rate: float, epochs: int, seed: int) -> Trial:
    moved = {"optimizer": cell.optimizer, "batch_size": _BATCH_SIZES[cell.optimizer], "learning_rate": rate}
    given = {name: value for name, value in scale.given.items() if name != "strength" or cell.method != "l2"}
    settings = {
        **_data_settings(scale, cell),
        "model": describe(FNOConfig(width=scale.width, modes=scale.modes, layers=scale.layers)),
        "fit": {**RECIPE, **moved, **given, "method": cell.method, "epochs": epochs, "seed": seed},
    }
    return Trial(f"{_words(cell)}{_in_words(scale)} rate={rate:g} epochs={epochs} seed {seed}", settings)


def _in_words(scale: Scale) -> str:
    """Of names of trials: what the flags give."""
    return "".join(f" {name}={value:g}" for name, value in scale.given.items())


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
    tests = [_fields(parts_of(path, settings, resolution)[2]) for resolution in settings["resolutions"]]
    errors = [_errors(model, x, y) for x, y in tests]
    return {
        "best_validation_mse": history.best["validation_mse"],
        "validation_relative_l2": history.rows[-1]["validation_relative_l2"],
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


def together_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Errors of the mean of several trained models, and of one head over the features of all of them.

    Settings:
        members: names of the trials that trained them.
        data, split, published, resolution, resolutions: see ``train_recipe``.
    """
    torch.set_num_threads(1)
    path = scratch.parents[1] / DATA_FOLDER / f"{settings['data']}.h5"
    models = [load(scratch.with_name(name), which="last") for name in settings["members"]]
    train = _fields(parts_of(path, settings, settings["resolution"])[0])
    stacked = stack(models, with_reflections(*train))
    found: dict[str, Any] = {"mean": [], "one_head": []}
    for resolution in settings["resolutions"]:
        x, y = _fields(parts_of(path, settings, resolution)[2])
        for name, model in (("mean", MeanOfModels(models)), ("one_head", stacked)):
            found[name].append({"resolution": resolution, **_errors(model, x, y)})
    return found


def _fields(data: Dataset[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Inputs and targets (S, C, N) of all items."""
    items = [data[index] for index in range(len(data))]  # type: ignore[arg-type]
    x, y = (torch.stack([item[name] for item in items]) for name in ("x", "y"))
    return x, y


def _errors(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Over the samples, of the model alone and of the symmetrised one."""
    symmetrised = sample_errors(Symmetrised(model), x, y)
    return {**sample_errors(model, x, y), "relative_l2_symmetrised": symmetrised["relative_l2"]}
