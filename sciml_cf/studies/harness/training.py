"""One training of a study, from plain settings to plain figures; the same for every method."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from data_gen import DatasetSpec, generate, open_dataset
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import TrainingDiverged
from sciml_cf.evaluate.prediction import apply_in_batches
from sciml_cf.metrics import mse, relative_l2
from sciml_cf.models import build_from
from sciml_cf.studies.harness.grid import one_at_a_time
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import History, fit

DATA_FOLDER = "data"
_POINTS_PER_BATCH = 2**15  # of a forward pass in an evaluation: a few MB a layer, which stay in the cache


def make_data(out: Path, name: str, spec: DatasetSpec) -> None:
    """The study's dataset OUT/data/NAME.h5; an existing one of the same settings is used."""
    path = out / DATA_FOLDER / f"{name}.h5"
    with one_at_a_time(path.parent):
        if path.exists():
            with open_dataset(path) as stored:
                if stored.spec == spec:
                    return
        generate(spec, path, resume=True)


def train_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say, in the folder of the trials; its metrics, or why it diverged.

    The keys of ``settings``:

    - data: the dataset's name
    - resolution, sampling: grid points to train at
    - model: {"builder", "arguments"} as a run folder stores it
    - fit: arguments of FitConfig
    - run: name of the run folder, next to the scratch folder; later rungs of a selection go on in the same one
    - until: epochs of this rung, or None
    - curve: epochs at which the test error is measured, and "curve_samples" test samples for it
    - test: resolutions of the last measurement, over all test samples; none for a trial that only selects
    """
    torch.set_num_threads(1)
    path = scratch.parents[1] / DATA_FOLDER / f"{settings['data']}.h5"
    parts = {split: FieldDataset(path, split, resolution=settings["resolution"]) for split in ("train", "validation")}
    config = FitConfig(**{"accelerator": "cpu", "normalize": "none", **settings["fit"]})
    model = build_from(settings["model"], seed=config.seed)
    curve = TestCurve(path, settings) if settings["curve"] else None
    history = fit_trial(
        model,
        parts["train"],
        parts["validation"],
        config=config,
        out=scratch.with_name(settings["run"]),
        describe={"model": settings["model"], "data": {"file": path.name, "resolution": settings["resolution"]}},
        until=settings["until"],
        measure=curve,
    )
    if isinstance(history, str):
        return {"diverged": history}
    result: dict[str, Any] = {
        "best_validation_mse": history.best["validation_mse"],
        "last_validation_mse": history.rows[-1]["validation_mse"],
        "steps_per_epoch": history.rows[0]["steps"],
        "seconds": sum(row["seconds"] for row in history.rows),
    }
    if curve is not None:
        measured = [row for row in history.rows if not math.isnan(row["test_mse"])]
        result["curve"] = {key: [row[key] for row in measured] for key in ("epoch", "steps", "test_mse")}
    if settings["test"]:
        result["test"] = [errors_at(model, path, resolution) for resolution in settings["test"]]
    return result


def fit_trial(model: nn.Module, train: Dataset[Any], validation: FieldDataset, **options: Any) -> History | str:
    """``fit`` of one trial of a grid, resumed where it was interrupted and without a bar or lines of its own.

    Returns:
        The history, or in words why the training diverged.
    """
    units = logging.getLogger("sciml_cf.training.units")
    level = units.level
    units.setLevel(logging.WARNING)  # of each trial it would say how it normalizes
    try:
        return fit(model, train, validation, resume=True, progress=False, **options)
    except TrainingDiverged as error:
        return str(error).split(" The checkpoint")[0]
    finally:
        units.setLevel(level)


class TestCurve:
    """The test error at full resolution at some epochs of a training, NaN at the others."""

    __test__ = False  # no test of pytest's

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.epochs = frozenset(settings["curve"])
        test = FieldDataset(path, "test")
        self.x, self.y = (fields[: settings["curve_samples"]] for fields in (test.x, test.y))

    def __call__(self, model: nn.Module, epoch: int) -> Mapping[str, float]:
        if epoch not in self.epochs:
            return {"test_mse": math.nan}
        return {"test_mse": mean_over_samples(mse, apply(model, self.x), self.y)}


def errors_at(model: nn.Module, path: Path, resolution: int) -> dict[str, float]:
    """Native errors over all test samples at one resolution."""
    test = FieldDataset(path, "test", resolution=resolution)
    prediction = apply(model, test.x)
    return {
        "resolution": resolution,
        "mse": mean_over_samples(mse, prediction, test.y),
        "relative_l2": mean_over_samples(relative_l2, prediction, test.y),
    }


def apply(model: nn.Module, inputs: Tensor) -> Tensor:
    """The model's outputs, a few samples at a time."""
    return apply_in_batches(model, inputs, batch_size=max(1, _POINTS_PER_BATCH // inputs[0, 0].numel()))


def mean_over_samples(metric: Callable[[Tensor, Tensor], Tensor], prediction: Tensor, target: Tensor) -> float:
    """The mean of a metric ``(S,)`` over the samples, in float64."""
    return metric(prediction.double(), target.double()).mean().item()
