"""Parameters as inputs: models with and without the viscosity as a channel, each tested at every viscosity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from data_gen import DatasetSpec
from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import check_choice
from sciml_cf.metrics import relative_l2
from sciml_cf.models import build_from
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, combinations, trial_runner
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select_and_report
from sciml_cf.studies.harness.sizes import ModelSize
from sciml_cf.studies.harness.training import DATA_FOLDER, apply, fit_trial, make_data, mean_over_samples
from sciml_cf.studies.parameters.flags import METHODS, Parameters
from sciml_cf.training.config import FitConfig

NAME = "parameters"
_SEEN = (0.01, 0.018, 0.032, 0.056, 0.1)
_BETWEEN = (0.024, 0.075)
_RATES = (1e-3, 3e-3, 1e-2)
_FIT: dict[str, Any] = {"algorithm": 2, "optimizer": "adam", "schedule": "cosine", "warmup": 0}
_TRAIN, _TEST = "train", "test"  # folders of the data; each has a file for each viscosity


@dataclass(frozen=True, kw_only=True)
class Scale(ModelSize):
    """How large the study is.

    Args:
        samples: samples for training and validation together, for each viscosity.
        test_samples: test samples for each viscosity.
        stored: points of the files.
        resolution: points to train and test at.
        width: see ``ModelSize``.
        modes: see ``ModelSize``.
        layers: see ``ModelSize``.
        batch_size: see ``ModelSize``.
        epochs: of every training on its own samples; of ``short`` a fifth, for as many steps as one model of its own.
        share: of the epochs in a selection.
        seeds: of the reported trainings; the selection has its own.
    """

    samples: int
    test_samples: int
    stored: int
    resolution: int
    epochs: int
    share: float
    seeds: tuple[int, ...]


_FULL = Scale(
    samples=256, test_samples=100, stored=1024, resolution=256, width=32, modes=16, layers=4, batch_size=16, epochs=40,
    share=1 / 3, seeds=(1, 2, 3),
)  # fmt: skip
_SMALL = Scale(
    samples=32, test_samples=16, stored=512, resolution=128, width=12, modes=12, layers=2, batch_size=8, epochs=6,
    share=0.5, seeds=(1, 2),
)  # fmt: skip
PRESETS = {"full": _FULL, "small": _SMALL}
#: Arms that are trained on the samples of all viscosities.
TOGETHER = ("told", "told, short", "not told")


def run(config: Parameters, command: str = "") -> Path | None:
    """Run what is missing of the grid; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    for method in config.methods:
        check_choice(NAME, "methods", method, METHODS)
    make_folder(NAME, config.out)
    for index, viscosity in enumerate((*_SEEN, *_BETWEEN)):
        common: dict[str, Any] = {"equation": "burgers", "parameters": {"viscosity": viscosity}, "dtype": "float32"}
        spec = DatasetSpec(samples=scale.test_samples, resolution=scale.stored, seed=100 + index, **common)
        make_data(config.out, f"{_TEST}/{viscosity:g}", spec)
        if viscosity in _SEEN:
            spec = DatasetSpec(samples=scale.samples, resolution=scale.stored, seed=index, **common)
            make_data(config.out, f"{_TRAIN}/{viscosity:g}", spec)
    arms = [*(f"own {viscosity:g}" for viscosity in _SEEN), *TOGETHER]
    cells = {
        f"{arm} {method}": (arm, method) for arm, method in workers.own([(a, m) for a in arms for m in config.methods])
    }

    def candidate(cell: str, options: Any, _: int) -> Trial:
        return _trial(scale, *cells[cell], options, SELECTION_SEED)

    def reports(cell: str, options: Any) -> list[tuple[dict[str, Any], Trial]]:
        return [({"seed": seed}, _trial(scale, *cells[cell], options, seed)) for seed in scale.seeds]

    tried = dict.fromkeys(cells, combinations(learning_rate=_RATES))
    run_all = trial_runner(NAME, config.out, parameters_trial, workers)
    found = select_and_report(tried, (Rung(1, 1),), candidate, reports, run_all)
    if config.shard is not None:
        return None
    figures: dict[str, Any] = {cell: {"arm": arm, "method": m, **found[cell]} for cell, (arm, m) in cells.items()}
    settings = {"preset": config.preset, **asdict(scale), "seen": _SEEN, "between": _BETWEEN, "rates": _RATES}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def parameters_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say; the validation error, and the test error at each viscosity.

    The keys of ``settings``:

    - data: a file or folder below that of the data
    - told: whether the viscosity is a channel of the input
    - resolution: points to train and test at
    - model: as a run folder stores it
    - fit: arguments of FitConfig
    - test: viscosities to test at; none for a trial that only selects
    """
    torch.set_num_threads(1)
    folder = scratch.parents[1] / DATA_FOLDER
    facts = Facts(condition=("viscosity",)) if settings["told"] else None
    read: dict[str, Any] = {"resolution": settings["resolution"], "facts": facts}
    parts = [FieldDataset(folder / settings["data"], part, **read) for part in ("train", "validation")]
    config = FitConfig(**{"accelerator": "cpu", **settings["fit"]})
    model = build_from(settings["model"], seed=config.seed)
    history = fit_trial(model, *parts, config=config, out=scratch)
    if isinstance(history, str):
        return {"diverged": history}
    result: dict[str, Any] = {
        "best_validation_mse": history.best["validation_mse"],
        "seconds": sum(row["seconds"] for row in history.rows),
        "steps": history.rows[-1]["steps"],
    }
    errors = {}
    for viscosity in settings["test"]:
        test = FieldDataset(folder / _TEST / f"{viscosity:g}.h5", "all", **read)
        errors[f"{viscosity:g}"] = mean_over_samples(relative_l2, apply(model, test.x), test.y)
    return {**result, "test": errors}


def _trial(scale: Scale, arm: str, method: str, options: Mapping[str, Any], seed: int) -> Trial:
    """One training: of a candidate, or to report."""
    selects, own = seed == SELECTION_SEED, arm.startswith("own")
    epochs = scale.epochs * (scale.share if selects else 1.0) / (len(_SEEN) if arm == "told, short" else 1)
    told = arm.startswith("told")
    settings = {
        "data": f"{_TRAIN}/{arm.split()[1]}.h5" if own else _TRAIN,
        "told": told,
        "resolution": scale.resolution,
        "model": scale.operator(1, in_channels=1 + told),
        "fit": {**_FIT, **options, "method": method, "batch_size": scale.batch_size, "seed": seed,
                "epochs": max(1, round(epochs))},
        "test": [] if selects else [*_SEEN, *_BETWEEN],
    }  # fmt: skip
    name = f"{arm} {method} rate={options['learning_rate']:g} " + ("selection" if selects else f"seed {seed}")
    return Trial(name.replace(",", ""), settings)
