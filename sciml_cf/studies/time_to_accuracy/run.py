"""Seconds and steps until the validation error on the full grid first passes a threshold, for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_gen import DatasetSpec
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import TrainingDiverged, check_choice
from sciml_cf.metrics import mse
from sciml_cf.models import FNOConfig
from sciml_cf.studies.harness.extension import at_edge, beyond
from sciml_cf.studies.harness.folder import command_of, make_folder
from sciml_cf.studies.harness.grid import RunTrials, Trial, Workers, trial_runner
from sciml_cf.studies.harness.neuralop_trainer import default_fno, train_with_neuralop
from sciml_cf.studies.harness.results import RESULT_FILE, write_result
from sciml_cf.studies.harness.selection import SELECTION_SEED
from sciml_cf.studies.harness.training import DATA_FOLDER, apply, make_data, mean_over_samples
from sciml_cf.studies.time_to_accuracy.flags import TimeToAccuracy
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.optimizers import check_optimizer
from sciml_cf.training.symmetry import Reflected

NAME = "time-to-accuracy"
_BENCHMARK = "time"  # its name in result files
_DATA = "burgers"
_ADAM: dict[str, Any] = {"optimizer": "adam", "schedule": "cosine", "warmup": 0}
_SOAP: dict[str, Any] = {**_ADAM, "optimizer": "soap"}
# name: (what it is, arguments of FitConfig and of the training); "trainer" is neuraloperator's own.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "neuralop": (
        "neuraloperator's Trainer as shipped: its default FNO, AdamW, relative L2 loss, cosine",
        {"trainer": "neuralop", "optimizer": "adamw"},
    ),
    "l2": ("our FNO, Adam, cosine, mean squared error, every layer by gradients", {**_ADAM, "method": "l2"}),
    "proximal": ("the same with the head solved (Algorithm 2, strength 1e-2)", {**_ADAM, "method": "proximal"}),
    "best": (
        "the same again at its best: batches of 16, samples reflected at random",
        {**_ADAM, "method": "proximal", "batch_size": 16, "reflect": True},
    ),
    "neuralop-soap": ("neuraloperator's Trainer with SOAP", {"trainer": "neuralop", "optimizer": "soap"}),
    "l2-soap": ("l2 with SOAP", {**_SOAP, "method": "l2"}),
    "proximal-soap": ("proximal with SOAP", {**_SOAP, "method": "proximal"}),
    "best-soap": ("best with SOAP", {**_SOAP, "method": "proximal", "batch_size": 16, "reflect": True}),
}
_RATES = (1e-3, 3e-3, 1e-2)
_EXTENSIONS = 2  # rounds beyond the edges


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        samples: samples of the dataset, viscosity 0.1.
        stored_resolution: its stored points; thresholds are for the error on this full grid.
        resolution: grid points to train at.
        width: of both networks.
        modes: of both networks; neuraloperator's keeps half as many by its own count.
        batch_size: samples a step, where a method does not set its own.
        lengths: epochs of the schedules among which each method chooses.
        marks: validation errors to pass; each method is tuned for the middle one.
        seeds: of the reported runs; the selection has its own, 0.
        arms: which methods to run by default.
    """

    samples: int
    stored_resolution: int
    resolution: int
    width: int
    modes: int
    batch_size: int
    lengths: tuple[int, ...]
    marks: tuple[float, float, float]
    seeds: tuple[int, ...]
    arms: tuple[str, ...]


PRESETS = {
    "full": Scale(
        2048, 8192, 256, 64, 16, 32, (10, 20, 40), (1e-4, 1e-5, 3e-6), (1, 2, 3), ("neuralop", "l2", "proximal", "best")
    ),
    "small": Scale(512, 1024, 128, 32, 16, 32, (15, 30), (1e-3, 2e-4, 1e-4), (1,), ("neuralop", "l2", "proximal")),
}


def run(config: TimeToAccuracy, command: str = "") -> Path:
    """Run what is missing; returns the result file."""
    scale = PRESETS[config.preset]
    arms = config.arms or scale.arms
    for arm in arms:
        check_choice(NAME, "arms", arm, tuple(ARMS))
        check_optimizer(ARMS[arm][1]["optimizer"])
    workers = Workers(config.workers)
    make_folder(NAME, config.out)
    spec = DatasetSpec(samples=scale.samples, resolution=scale.stored_resolution, dtype="float32")
    make_data(config.out, _DATA, spec)
    selection = _select(arms, scale, trial_runner(_BENCHMARK, config.out, time_trial, workers))
    chosen = {arm: _best(log)["settings"] for arm, log in selection.items()}
    runs = _report(chosen, scale, trial_runner(_BENCHMARK, config.out, time_trial, Workers(1)))
    figures = {
        arm: {"what": ARMS[arm][0], "chosen": chosen[arm], "selection": selection[arm], "runs": runs[arm]}
        for arm in arms
    }
    return write_result(
        config.out / RESULT_FILE,
        benchmark=_BENCHMARK,
        command=command or command_of(NAME, config),
        config={"preset": config.preset, **asdict(scale)},
        seeds=scale.seeds,
        figures=figures,
    )


def _select(arms: Sequence[str], scale: Scale, run_all: RunTrials) -> dict[str, list[dict[str, Any]]]:
    """For each method its candidates, with the steps to the middle threshold and the lowest error of each.

    Where the best rate or the best length is the lowest or the highest of those tried, the next ones are tried, up to
    twice, see ``_beyond``.
    """
    log: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    grid = [{"learning_rate": rate, "epochs": length} for length in scale.lengths for rate in _RATES]
    asked = [(arm, one) for arm in arms for one in grid]
    for number in range(1 + _EXTENSIONS):
        trials = [_trial(scale, arm, one, SELECTION_SEED, scale.resolution) for arm, one in asked]
        for (arm, one), result in zip(asked, run_all(trials, f"select, round {number + 1}"), strict=True):
            log[arm].append({"settings": one, **_score(result, scale)})
        asked = [(arm, one) for arm in arms for one in _beyond(log[arm], scale.lengths)]
    return log


def _best(log: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The settings that pass the middle threshold first, or else have the lowest error."""
    return min(log, key=lambda entry: (entry["steps"], entry["lowest"]))


def _beyond(log: Sequence[dict[str, Any]], lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Settings beyond the edges of what was tried, where the best ones lie there.

    A rate beyond is tried with every length, a length with the best rate.
    """
    tried, best = [entry["settings"] for entry in log], _best(log)["settings"]
    edges, found = at_edge(best, tried), []
    if "learning_rate" in edges and (rate := beyond("learning_rate", best, tried)) is not None:
        found += [{**rate, "epochs": length} for length in lengths]
    if "epochs" in edges and (length := beyond("epochs", best, tried)) is not None:
        found.append({**length, "epochs": max(1, round(length["epochs"]))})
    return [one for one in found if one not in tried]


def _report(chosen: Mapping[str, Any], scale: Scale, run_all: RunTrials) -> dict[str, list[dict[str, Any]]]:
    """The reported runs of each method, seed by seed and method by method."""
    order = [(seed, arm) for seed in scale.seeds for arm in chosen]
    results = run_all([_trial(scale, arm, chosen[arm], seed, scale.stored_resolution) for seed, arm in order], "report")
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in chosen}
    for (seed, arm), result in zip(order, results, strict=True):
        marks = {str(mark): first_below(result["rows"], mark) for mark in scale.marks}
        runs[arm].append({"seed": seed, **result, "marks": marks})
    return runs


def first_below(rows: Sequence[Mapping[str, float]], mark: float) -> dict[str, float] | None:
    """Steps and seconds of the first row whose error is at most the threshold; None if there is none."""
    for row in rows:
        if row["mse"] <= mark:
            return {name: row[name] for name in ("epoch", "steps", "seconds", "cpu_seconds")}
    return None


def _score(result: Mapping[str, Any], scale: Scale) -> dict[str, float]:
    """Steps to the middle threshold (infinite if it was not passed), and the lowest error."""
    passed = first_below(result["rows"], scale.marks[1])
    lowest = min((row["mse"] for row in result["rows"]), default=math.inf)
    return {"steps": passed["steps"] if passed else math.inf, "lowest": lowest}


def _trial(scale: Scale, arm: str, options: Mapping[str, Any], seed: int, measured_at: int) -> Trial:
    words = " ".join(f"{key}={value:g}" for key, value in options.items())
    settings = {
        "arm": arm,
        "data": _DATA,
        "resolution": scale.resolution,
        "measured_at": measured_at,
        "width": scale.width,
        "modes": scale.modes,
        "seed": seed,
        "training": {"batch_size": scale.batch_size, **ARMS[arm][1], **options},
    }
    return Trial(f"{arm} {words} seed {seed} at {measured_at}", settings)


def time_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """One training with its clock; rows of epoch, steps, seconds, cpu_seconds, mse."""
    torch.set_num_threads(1)
    path = scratch.parents[1] / DATA_FOLDER / f"{settings['data']}.h5"
    train = FieldDataset(path, "train", resolution=settings["resolution"])
    validation = FieldDataset(path, "validation", resolution=settings["resolution"])
    measured = FieldDataset(path, "validation", resolution=settings["measured_at"])
    options = dict(settings["training"])
    reflected, batch_size = options.pop("reflect", False), options["batch_size"]
    clock = Clock(measured, len(train) // batch_size)
    if options.pop("trainer", None) == "neuralop":
        model = default_fno(settings["width"], settings["modes"], seed=settings["seed"])
        clock.start()
        train_with_neuralop(model, train, seed=settings["seed"], after_epoch=clock.measure, **options)
        return {"rows": clock.rows}
    config = FitConfig(accelerator="cpu", normalize="none", seed=settings["seed"], **options)
    model = FNOConfig(width=settings["width"], modes=settings["modes"]).build(seed=config.seed)
    data = Reflected(train) if reflected else train
    clock.start()
    try:
        fit(model, data, validation, config=config, out=scratch, overwrite=True, measure=clock.row, progress=False)
    except TrainingDiverged as error:
        return {"rows": clock.rows, "diverged": str(error).split(" The checkpoint")[0]}
    return {"rows": clock.rows}


class Clock:
    """Wall and processor time of a training, stopped while its error is measured."""

    def __init__(self, data: FieldDataset, steps_per_epoch: int) -> None:
        self.data, self.steps_per_epoch = data, steps_per_epoch
        self.rows: list[dict[str, float]] = []
        self._spent = [0.0, 0.0]
        self._since = [0.0, 0.0]

    def start(self) -> None:
        """Let both clocks run."""
        self._since = [time.perf_counter(), time.process_time()]

    def measure(self, model: nn.Module, epoch: int) -> None:
        """Stop, add the row of this epoch, and go on."""
        now = [time.perf_counter(), time.process_time()]
        self._spent = [spent + end - begin for spent, end, begin in zip(self._spent, now, self._since, strict=True)]
        error = mean_over_samples(mse, apply(model, self.data.x), self.data.y)
        row = {"epoch": epoch, "steps": epoch * self.steps_per_epoch, "mse": error}
        self.rows.append({**row, "seconds": self._spent[0], "cpu_seconds": self._spent[1]})
        self.start()

    def row(self, model: nn.Module, epoch: int) -> Mapping[str, float]:
        """The same as a measure of ``fit``, which gets the error for its history."""
        self.measure(model, epoch)
        return {"measured_mse": self.rows[-1]["mse"]}
