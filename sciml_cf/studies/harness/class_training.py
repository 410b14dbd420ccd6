"""One training of a classifier from plain settings to plain figures, the same for every method and optimizer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.classification.methods import classification_loss, evaluating, has_probabilities, solve_on, train_step
from sciml_cf.classification.metrics import accuracy, confusion_matrix, log_loss, reliability
from sciml_cf.errors import HeadWarning, NotPositiveDefinite
from sciml_cf.head import ClosedFormLoss
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

    Muon moves matrices; what is none is moved by AdamW beside it, at the same rate.
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
    """Train as ``settings`` say; accuracies at the marks on the part asked for, or since when it has diverged.

    Settings:
        task, method, algorithm, optimizer, batch_size, iterations, seed.
        bias: whether the head has one; by default it does.
        initial: of the head, as in ClosedFormHead, by default "zeros"; or "first batch": ridge on it at the strength.
        learning_rate, and what the method's rule and objective have: strength, forgetting, scale, iterations_a_step.
        part: "validation" to choose by, or "test".
        every: iterations between looks; the marks are looked at in any case.
        movement: whether the head's relative change at each step is told.
        calibration: whether reliability and confusion are told at the end.
    """
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadWarning)  # a grid goes to settings that no one would keep
        return _train(settings)


def _train(settings: dict[str, Any]) -> dict[str, Any]:
    task = load_task(settings["task"])
    torch.manual_seed(settings["seed"])
    model = task.model(bias=settings.get("bias", True))
    options: dict[str, Any] = {"iterations": settings["steps_a_batch"]} if settings.get("steps_a_batch") else {}
    options |= {"scale": settings["scale"]} if settings.get("scale") else {}
    given = {key: settings.get(key) for key in ("strength", "forgetting")}
    initial = settings.get("initial", "zeros")
    options["initial"] = "zeros" if initial == _FIRST_BATCH else initial
    loss_of = classification_loss(model[-1], settings["method"], **given, **options)  # pyright: ignore
    optimizer: Any = _Together(make_optimizer(model, settings["optimizer"], settings["learning_rate"]))
    batches = _Batches(task, settings["batch_size"], settings["seed"])
    if initial == _FIRST_BATCH:  # from a head of zeros a step of proximal is one of ridge
        solve_on(model, loss_of, [batches.ahead()])
    found: dict[str, list[float]] = {"iteration": [], "accuracy": []}
    moves: list[float] = []
    first, diverged = math.nan, None
    for iteration, (x, y) in enumerate(batches, 1):
        before = loss_of.head.layer.weight.detach().clone() if settings.get("movement") else None
        try:
            loss = train_step(model, loss_of, optimizer, x, y, algorithm=settings["algorithm"]).item()
        except NotPositiveDefinite:
            loss = math.nan
        first = loss if math.isnan(first) else first
        if not loss <= _WORSE * max(first, 1e-9):
            diverged = iteration
            break
        if before is not None:
            moves.append(_relative_change(before, loss_of.head.layer.weight.detach()))
        if iteration % settings["every"] == 0 or iteration in MARKS:
            found["iteration"].append(iteration)
            found["accuracy"].append(_accuracy(model, loss_of, task, settings, batches))
        if iteration == settings["iterations"]:
            break
    at_marks = [
        found["accuracy"][found["iteration"].index(mark)] if mark in found["iteration"] else 1 / task.classes
        for mark in MARKS
        if mark <= settings["iterations"]
    ]
    result: dict[str, Any] = {"best_validation_mse": 1 - sum(at_marks) / len(at_marks), **found}
    if diverged is not None:
        result["diverged"] = diverged
    elif settings.get("calibration"):
        result["calibration"] = _calibration(model, loss_of, task, settings, batches)
    if moves:
        result["movement"] = [float(f"{move:.3g}") for move in moves]
    return result


def _relative_change(before: Tensor, after: Tensor) -> float:
    """|W_t - W_{t-1}| / |W_t|."""
    return float((after - before).norm() / after.norm().clamp(min=1e-30))


def _evaluated(model: nn.Module, loss_of: ClosedFormLoss, settings: dict[str, Any], batches: _Batches) -> Any:
    ahead = [batches.ahead()] if settings["algorithm"] == 2 else []
    return evaluating(model, loss_of, ahead)


def _accuracy(
    model: nn.Module, loss_of: ClosedFormLoss, task: Task, settings: dict[str, Any], batches: _Batches
) -> float:
    x, y = task.parts[settings["part"]]
    with _evaluated(model, loss_of, settings, batches):
        return round(accuracy(model(x), y).mean().item(), 6)


def _calibration(
    model: nn.Module, loss_of: ClosedFormLoss, task: Task, settings: dict[str, Any], batches: _Batches
) -> dict[str, Any]:
    x, y = task.parts[settings["part"]]
    with _evaluated(model, loss_of, settings, batches):
        outputs = model(x).double()
    result: dict[str, Any] = {"confusion": confusion_matrix(outputs, y).tolist()}
    if has_probabilities(settings["method"]):
        probabilities = outputs.softmax(1)
        result["reliability"] = reliability(probabilities, y, bins=10).plain()
        result["log_loss"] = log_loss(probabilities, y).mean().item()
    return result
