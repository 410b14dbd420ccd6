"""Infinite data: training on the same samples in every epoch, on more, and on new ones, for as many steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data_gen import DatasetSpec
from sciml_cf.datasets import FieldDataset, StreamDataset
from sciml_cf.errors import check_choice
from sciml_cf.metrics import relative_l2
from sciml_cf.models import build_from
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, combinations, trial_runner
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select_and_report
from sciml_cf.studies.harness.sizes import ModelSize
from sciml_cf.studies.harness.training import (
    DATA_FOLDER,
    apply,
    errors_at,
    fit_trial,
    make_data,
    mean_over_samples,
)
from sciml_cf.studies.infinite_data.flags import ARMS, METHODS, InfiniteData
from sciml_cf.training.config import FitConfig

NAME = "infinite-data"
_FILE, _MORE = "burgers", "burgers-more"
_RATES = (1e-3, 3e-3, 1e-2)
_FIT: dict[str, Any] = {"algorithm": 2, "optimizer": "adam", "schedule": "cosine", "warmup": 0, "normalize": "none"}


@dataclass(frozen=True, kw_only=True)
class Scale(ModelSize):
    """How large the study is.

    Args:
        samples: of the file, which is split into training, validation and test.
        more: training samples of the second variant.
        stored: stored points of the samples; errors are measured there too.
        resolution: points to train at; errors are measured there too.
        width: see ``ModelSize``.
        modes: see ``ModelSize``.
        layers: see ``ModelSize``.
        batch_size: see ``ModelSize``.
        epochs: of the training on the file's samples; all make as many steps.
        share: of the epochs in a selection.
        seeds: of the reported trainings; the selection has its own.
    """

    samples: int
    more: int
    stored: int
    resolution: int
    epochs: int
    share: float
    seeds: tuple[int, ...]

    @property
    def description(self) -> dict[str, Any]:
        """Of the file's samples and the solver's, as ``DatasetSpec`` takes it."""
        burgers = {"equation": "burgers", "parameters": {"viscosity": 0.1}}
        return {**burgers, "samples": self.samples, "resolution": self.stored, "dtype": "float32"}


_FULL = Scale(
    samples=2048, more=4096, stored=8192, resolution=256, width=64, modes=16, layers=4, batch_size=32, epochs=100,
    share=0.2, seeds=(1, 2, 3),
)  # fmt: skip
_SMALL = Scale(
    samples=128, more=256, stored=512, resolution=128, width=12, modes=12, layers=2, batch_size=8, epochs=6,
    share=0.5, seeds=(1, 2),
)  # fmt: skip
PRESETS = {"full": _FULL, "small": _SMALL}


def run(config: InfiniteData, command: str = "") -> Path | None:
    """Run what is missing of the grid; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    for name, known in (("arms", ARMS), ("methods", METHODS)):
        for value in getattr(config, name):
            check_choice(NAME, name, value, known)
    make_folder(NAME, config.out)
    spec = DatasetSpec(**scale.description)
    make_data(config.out, _FILE, spec)
    if "more" in config.arms:
        make_data(config.out, _MORE, replace(spec, samples=scale.more, seed=spec.seed + 1))
    finite = len(FieldDataset(config.out / DATA_FOLDER / f"{_FILE}.h5", "train", resolution=scale.resolution))
    pairs = workers.own([(arm, method) for arm in config.arms for method in config.methods])
    cells = {f"{arm} {method}": (arm, method) for arm, method in pairs}

    def candidate(cell: str, options: Any, _: int) -> Trial:
        return _trial(scale, *cells[cell], options, SELECTION_SEED, finite)

    def reports(cell: str, options: Any) -> list[tuple[dict[str, Any], Trial]]:
        return [({"seed": seed}, _trial(scale, *cells[cell], options, seed, finite)) for seed in scale.seeds]

    tried = dict.fromkeys(cells, combinations(learning_rate=_RATES))
    run_all = trial_runner(NAME, config.out, infinite_data_trial, workers)
    found = select_and_report(tried, (Rung(1, 1),), candidate, reports, run_all)
    if config.shard is not None:
        return None
    figures: dict[str, Any] = {cell: {"arm": arm, "method": m, **found[cell]} for cell, (arm, m) in cells.items()}
    settings = {"preset": config.preset, **asdict(scale), "training_samples": finite, "rates": _RATES}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def infinite_data_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say; the validation errors by steps, and the errors on test and training samples.

    The keys of ``settings``:

    - arm: which samples to train on
    - spec: description of the file, as ``DatasetSpec`` takes it
    - resolution: points to train at
    - model: as a run folder stores it
    - fit: arguments of FitConfig; one epoch is one pass over the variant's samples
    - test: resolutions to test at; none for a trial that only selects
    """
    torch.set_num_threads(1)
    folder, read = scratch.parents[1] / DATA_FOLDER, {"resolution": settings["resolution"]}
    path = folder / f"{_FILE}.h5"
    seen = FieldDataset(path, "train", **read)
    validation = FieldDataset(path, "validation", **read)
    train = {
        "finite": lambda: seen,
        "more": lambda: FieldDataset(folder / f"{_MORE}.h5", "all", **read),
        "infinite": lambda: StreamDataset(DatasetSpec(**settings["spec"]), samples=len(seen), **read),
    }[settings["arm"]]()
    config = FitConfig(**{"accelerator": "cpu", **settings["fit"]})
    model = build_from(settings["model"], seed=config.seed)
    history = fit_trial(model, train, validation, config=config, out=scratch)
    if isinstance(history, str):
        return {"diverged": history}
    result: dict[str, Any] = {
        "best_validation_mse": history.best["validation_mse"],
        "steps": [row["steps"] for row in history.rows],
        "validation_mse": [row["validation_mse"] for row in history.rows],
        "seconds": sum(row["seconds"] for row in history.rows),
    }
    if settings["test"]:
        result["test"] = [errors_at(model, path, resolution) for resolution in settings["test"]]
        result["on_the_files_training_samples"] = mean_over_samples(relative_l2, apply(model, seen.x), seen.y)
    return result


def _trial(scale: Scale, arm: str, method: str, options: Mapping[str, Any], seed: int, finite: int) -> Trial:
    """One training: of a candidate, or to report."""
    selects = seed == SELECTION_SEED
    steps = scale.epochs * (scale.share if selects else 1.0) * (finite // scale.batch_size)
    a_pass = (scale.more if arm == "more" else finite) // scale.batch_size
    settings = {
        "arm": arm,
        "spec": scale.description,
        "resolution": scale.resolution,
        "model": scale.operator(1),
        "fit": {**_FIT, **options, "method": method, "batch_size": scale.batch_size, "seed": seed,
                "epochs": max(1, round(steps / a_pass))},
        "test": [] if selects else [scale.resolution, scale.stored],
    }  # fmt: skip
    name = f"{arm} {method} rate={options['learning_rate']:g} " + ("selection" if selects else f"seed {seed}")
    return Trial(name, settings)
