"""One training of the suite, and the best linear map of a problem, from plain settings to plain numbers."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate import adapt
from sciml_cf.evaluate.linear_map import LinearMap, fit_linear_map
from sciml_cf.metrics import difference_h1, mse, relative_h1, relative_l2, vrmse
from sciml_cf.models import builder_for, takes
from sciml_cf.models.coordinates import positions
from sciml_cf.studies.harness.neuralop_trainer import default_fno, train_with_neuralop
from sciml_cf.studies.harness.training import DATA_FOLDER, apply, fit_trial, mean_over_samples
from sciml_cf.training.config import FitConfig
from sciml_cf.training.place import choose_place

Settings = dict[str, Any]


def suite_trial(settings: Settings, scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say; validation errors by epoch and processor seconds, test errors and training errors.

    Settings:
        data: of each part the file's name, or its path, and its split; "resolution" to train and test at, and "times"
            of input and target, or None.
        model: "builder", and its sizes.
        fit: arguments of FitConfig.
        test: whether to report; without it the trial only selects.
    """
    torch.set_num_threads(1)
    train, validation = (read_part(settings["data"], part, scratch) for part in ("train", "validation"))
    if settings["fit"]["method"].startswith("neuralop"):
        return _peer_trial(settings, train, validation, scratch)
    config = FitConfig(**{"accelerator": "cpu", **settings["fit"]})
    model = _build(settings["model"], train, seed=config.seed)
    clock = ProcessorSeconds()
    history = fit_trial(model, train, validation, config=config, out=scratch, measure=clock)
    if isinstance(history, str):
        return {"diverged": history}
    result: dict[str, Any] = {
        "best_validation_mse": history.best["validation_mse"],
        "validation_mse": [row["validation_mse"] for row in history.rows],
        "seconds": list(itertools.accumulate(row["processor_seconds"] for row in history.rows)),
    }
    if settings["test"]:
        test = read_part(settings["data"], "test", scratch)
        result |= {"test": errors_on(test, model), "training": errors_on(train, model)}
        fitted = adapt(model, train)  # the same weights, all but the head
        features, points = len(fitted.previous) - 1, train.x[0, 0].numel()
        result |= {
            "features": features,
            "samples_per_feature": len(train) / features,
            "rows_per_feature": config.batch_size * points / features,
            "explained": history.rows[-1].get("gain"),
            "fitted_after": errors_on(test, model),
        }
    return result


def _peer_trial(settings: Settings, train: FieldDataset, validation: FieldDataset, scratch: Path) -> dict[str, Any]:
    """The same of neuraloperator's Trainer with its own FNO, on fields normalized by the training samples'."""
    options, size = settings["fit"], settings["model"]
    moments = [torch.std_mean(fields) for fields in (train.x, train.y)]
    network = default_fno(
        size["width"], 2 * (size["modes"] - 1), seed=options["seed"], num_dims=train.x.ndim - 2,
        in_channels=train.x.shape[1], out_channels=train.y.shape[1],
    )  # fmt: skip
    model, clock = InUnits(network, moments), ProcessorSeconds()
    errors: list[float] = []
    seconds: list[float] = []

    def measure(_: nn.Module, epoch: int) -> None:
        seconds.append(clock(network, epoch)["processor_seconds"])
        errors.append(mean_over_samples(mse, apply(model, validation.x), validation.y))
        clock(network, epoch)  # the measurement does not count

    train_with_neuralop(
        network, NormalizedItems(train, moments), learning_rate=options["learning_rate"], epochs=options["epochs"],
        batch_size=options["batch_size"], seed=options["seed"], loss=options["method"].removeprefix("neuralop-"),
        periodic=train.wraps, after_epoch=measure,
    )  # fmt: skip
    if not math.isfinite(errors[-1]):
        return {"diverged": "the validation error is not finite"}
    result: dict[str, Any] = {
        "best_validation_mse": min(errors),
        "validation_mse": errors,
        "seconds": list(itertools.accumulate(seconds)),
    }
    if settings["test"]:
        test = read_part(settings["data"], "test", scratch)
        result |= {"test": errors_on(test, model), "training": errors_on(train, model)}
    return result


class NormalizedItems(Dataset[dict[str, Tensor]]):
    """The items of a dataset, less the mean of all inputs or targets and over their standard deviation.

    Args:
        data: with fields x and y.
        moments: standard deviation and mean of x, and of y.
    """

    def __init__(self, data: FieldDataset, moments: Sequence[tuple[Tensor, Tensor]]) -> None:
        fields = zip((data.x, data.y), moments, strict=True)
        self._x, self._y = ((one - mean) / std for one, (std, mean) in fields)

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self._x[index], "y": self._y[index]}


class InUnits(nn.Module):
    """A network on normalized fields as a model on fields in their units, see ``NormalizedItems``."""

    def __init__(self, network: nn.Module, moments: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.network, self._moments = network, moments

    def forward(self, x: Tensor) -> Tensor:
        (std, mean), (deviation, shift) = self._moments
        return self.network((x - mean) / std) * deviation + shift


def linear_trial(settings: Settings, scratch: Path) -> dict[str, Any]:
    """The best linear map from the training samples, see ``fit_linear_map``; its rank and its errors on test samples.

    Settings:
        data: as for ``suite_trial``.
    """
    torch.set_num_threads(1)
    train, test = (read_part(settings["data"], part, scratch) for part in ("train", "test"))
    fit = fit_linear_map(train.x, train.y)
    return {"rank": fit.rank, "test": errors_on(test, fit)}


class ProcessorSeconds:
    """For ``fit``'s ``measure``: the processor time since the last epoch, so that a resumed run adds up too."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def __call__(self, model: nn.Module, epoch: int) -> Mapping[str, float]:
        now, last = time.process_time(), self._last
        self._last = now
        return {"processor_seconds": now - last}


def read_part(data: Settings, part: str, scratch: Path) -> FieldDataset:
    """The samples for training, validation or test; files by name lie in the study's folder of data."""
    file, split = data[part]
    times = dict(zip(("input_time", "target_time"), data["times"], strict=True)) if data["times"] else {}
    folder = scratch.parents[1] / DATA_FOLDER  # of a whole path nothing of it is left
    return FieldDataset(folder / file, split, resolution=data["resolution"], **times)


def errors_on(test: FieldDataset, predictor: nn.Module | LinearMap) -> dict[str, float]:
    """Means over the test samples of the relative L2, VRMSE and relative H1 errors."""
    if isinstance(predictor, nn.Module):
        with positions(predictor, test.positions):
            prediction = apply(predictor, test.x)
    else:
        prediction = predictor(test.x)
    target = test.y
    spacing = [float(abs(axis[-1] - axis[0])) / (len(axis) - 1) for axis in test.coordinates]

    def of_derivatives(prediction: Tensor, target: Tensor) -> Tensor:
        if test.wraps:
            return relative_h1(prediction, target, extent=test.extents)
        return difference_h1(prediction, target, spacing=spacing)

    metrics = {"relative_l2": relative_l2, "vrmse": vrmse, "relative_h1": of_derivatives}
    return {name: mean_over_samples(metric, prediction, target) for name, metric in metrics.items()}


def _build(description: Settings, train: FieldDataset, *, seed: int) -> nn.Module:
    """The model for these samples, given the place and the boundary as ``sciml-cf train`` does."""
    name = description["builder"]
    given = {key: value for key, value in description.items() if key != "builder"}
    given |= {"in_channels": train.x.shape[1], "out_channels": train.y.shape[1], "num_dims": train.x.ndim - 2}
    given |= {**choose_place(train, "auto", "auto").arguments, **(train.ends if takes(name, "boundary") else {})}
    if takes(name, "sensors"):
        given["sensors"] = train.resolution
    return builder_for(name, **given).build(seed=seed)
