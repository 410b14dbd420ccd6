"""One training of a classifier from plain settings to plain figures, the same for every method and optimizer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.classification.methods import classification_loss, has_probabilities
from sciml_cf.classification.metrics import accuracy, confusion_matrix, log_loss, reliability
from sciml_cf.errors import HeadWarning, NotPositiveDefinite
from sciml_cf.head.algorithms import make_algorithm
from sciml_cf.studies.harness.class_data import Task, load_task

MARKS = (10, 25, 50, 100, 200)  # iterations at which accuracies are compared
_FIRST_BATCH = "first batch"
_WORSE = 100.0  # times the first loss: diverged


class _Batches:
    """Batches of a task's training samples, shuffled anew each epoch; an incomplete last one is left out."""

    def __init__(self, task: Task, size: int, seed: int) -> None:
        self.x, self.y = task.parts["train"]
        self.size = min(size, len(self.x))
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.empty(0, dtype=torch.int64)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield self.take(self.look())

    def look(self) -> Tensor:
        """Places of the next batch."""
        if len(self.order) < self.size:
            self.order = torch.randperm(len(self.x), generator=self.generator)
        return self.order[: self.size]

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        self.order = self.order[self.size :]
        return self.x[places], self.y[places]

    def ahead(self) -> tuple[Tensor, Tensor]:
        """The next batch, which stays the next."""
        places = self.look()
        return self.x[places], self.y[places]


def make_optimizer(model: nn.Module, name: str, rate: float) -> list[torch.optim.Optimizer]:
    """Optimizers of the parameters that want gradients: "sgd" with Nesterov momentum 0.9 (or "sgd 0.5" and so on).

    Muon moves matrices; other parameters are moved by AdamW, at the same rate.
    """
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name.startswith("sgd"):
        momentum = float(name.split()[1]) if " " in name else 0.9
        return [torch.optim.SGD(own, rate, momentum=momentum, nesterov=momentum > 0)]
    if name == "muon":
        matrices, others = [p for p in own if p.ndim == 2], [p for p in own if p.ndim != 2]
        return [torch.optim.Muon(matrices, rate, weight_decay=0.0), torch.optim.AdamW(others, rate)]  # pyright: ignore
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
    return [kinds[name](own, rate)]


class _Together:
    """Several optimizers as one."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers

    def zero_grad(self) -> None:
        for one in self.optimizers:
            one.zero_grad()

    def step(self) -> None:
        for one in self.optimizers:
            one.step()


def class_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say; accuracies at the milestones on the part asked for, or since when it has diverged.

    The keys of ``settings``:

    - task, method, algorithm, optimizer, batch_size, iterations, seed
    - bias: whether the head has one; by default it does
    - initial: of the head, as in ClosedFormHead, by default "zeros"; or "first batch": ridge on it at the strength
    - learning_rate, and settings of the method's rule and objective: strength, forgetting, scale, iterations_a_step
    - part: "validation" to choose by, or "test"
    - every: iterations between measurements; milestones are measured in any case
    - movement: whether the head's relative change at each step is reported
    - calibration: whether reliability and confusion are reported at the end
    """
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadWarning)  # a grid goes to settings that no one would keep
        return _train(settings)


class _Training:
    """A model with its loss, optimizer and batches, as the settings of ``class_trial`` say, before its first step."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings, self.task = settings, load_task(settings["task"])
        torch.manual_seed(settings["seed"])
        self.model = self.task.model(bias=settings.get("bias", True))
        initial = settings.get("initial", "zeros")
        options = {"initial": "zeros" if initial == _FIRST_BATCH else initial, **_options(settings)}
        self.loss_of = classification_loss(self.model[-1], settings["method"], **options)  # pyright: ignore
        self.optimizer: Any = _Together(make_optimizer(self.model, settings["optimizer"], settings["learning_rate"]))
        self.algorithm = make_algorithm(settings["algorithm"], self.model, self.loss_of)
        self.batches = _Batches(self.task, settings["batch_size"], settings["seed"])
        if initial == _FIRST_BATCH:  # from a head of zeros a step of proximal is one of ridge
            self.algorithm.solve([self.batches.ahead()])

    def run(self) -> dict[str, Any]:
        """All steps, or those until the training diverges."""
        found: dict[str, Any] = {"iteration": [], "accuracy": []}
        moves: list[float] = []
        first = math.nan
        for iteration, (x, y) in enumerate(self.batches, 1):
            before = self.loss_of.head.layer.weight.detach().clone() if self.settings.get("movement") else None
            loss = self.step(x, y)
            first = loss if math.isnan(first) else first
            if not loss <= _WORSE * max(first, 1e-9):
                found["diverged"] = iteration
                break
            if before is not None:
                moves.append(_relative_change(before, self.loss_of.head.layer.weight.detach()))
            if iteration % self.settings["every"] == 0 or iteration in MARKS:
                found["iteration"].append(iteration)
                found["accuracy"].append(self.accuracy())
            if iteration == self.settings["iterations"]:
                break
        return {**found, "movement": [float(f"{move:.3g}") for move in moves]} if moves else found

    def step(self, x: Tensor, y: Tensor) -> float:
        """The loss of one step, NaN where its head could not be solved."""
        try:
            return self.algorithm.step(x, y, descend=self.optimizer).item()
        except NotPositiveDefinite:
            return math.nan

    def accuracy(self) -> float:
        """On the part that the settings ask for."""
        x, y = self.task.parts[self.settings["part"]]
        with self._evaluated():
            return round(accuracy(self.model(x), y).mean().item(), 6)

    def calibration(self) -> dict[str, Any]:
        """Confusion on that part, and of probabilities their reliability and logarithmic loss."""
        x, y = self.task.parts[self.settings["part"]]
        with self._evaluated():
            outputs = self.model(x).double()
        result: dict[str, Any] = {"confusion": confusion_matrix(outputs, y).tolist()}
        if has_probabilities(self.settings["method"]):
            probabilities = outputs.softmax(1)
            result["reliability"] = reliability(probabilities, y, bins=10).plain()
            result["log_loss"] = log_loss(probabilities, y).mean().item()
        return result

    def _evaluated(self) -> Any:
        ahead = [self.batches.ahead()] if self.settings["algorithm"] == 2 else []
        return self.algorithm.evaluating(ahead)


def _train(settings: dict[str, Any]) -> dict[str, Any]:
    training = _Training(settings)
    found = training.run()
    chance = 1 / training.task.classes
    at_marks = [
        found["accuracy"][found["iteration"].index(mark)] if mark in found["iteration"] else chance
        for mark in MARKS
        if mark <= settings["iterations"]
    ]
    if "diverged" not in found and settings.get("calibration"):
        found["calibration"] = training.calibration()
    return {"best_validation_mse": 1 - sum(at_marks) / len(at_marks), **found}


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a method's rule and objective."""
    options = {key: settings.get(key) for key in ("strength", "forgetting")}
    if settings.get("steps_a_batch"):
        options["iterations"] = settings["steps_a_batch"]
    if settings.get("scale"):
        options["scale"] = settings["scale"]
    return options


def _relative_change(before: Tensor, after: Tensor) -> float:
    """``|W_t - W_{t-1}| / |W_t|``."""
    return float((after - before).norm() / after.norm().clamp(min=1e-30))
