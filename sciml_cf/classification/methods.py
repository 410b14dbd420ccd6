"""Methods of classification by name, and one training step of any of them: for loops, estimators and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head import (
    Automatic,
    ClosedFormLoss,
    CrossEntropy,
    Hybrid,
    Initial,
    Kalman,
    Objective,
    OneHot,
    PerFeature,
    Proximal,
    Ridge,
    Rule,
)
from sciml_cf.head.binding.layer import Layer

Method = Literal[
    "l2",
    "ridge",
    "proximal",
    "kalman",
    "per-feature",
    "automatic",
    "cross-entropy",
    "cross-entropy-closed-form",
    "hybrid",
]
# What a method descends and solves for, and the rule of its head; without a rule every layer is trained by gradients.
METHODS: dict[str, tuple[type[Objective], type[Rule] | None]] = {
    "l2": (OneHot, None),
    "ridge": (OneHot, Ridge),
    "proximal": (OneHot, Proximal),
    "kalman": (OneHot, Kalman),
    "per-feature": (OneHot, PerFeature),
    "automatic": (OneHot, Automatic),
    "cross-entropy": (CrossEntropy, None),
    "cross-entropy-closed-form": (CrossEntropy, Proximal),
    "hybrid": (Hybrid, Proximal),
}


def is_closed_form(method: str) -> bool:
    """Whether the method solves its head."""
    return METHODS[method][1] is not None


def has_probabilities(method: str) -> bool:
    """Whether the softmax of the model's outputs is what the method fits."""
    return METHODS[method][0] is CrossEntropy


def classification_loss(
    layer: Layer,
    method: Method,
    *,
    strength: float | None = None,
    forgetting: float | None = None,
    initial: Initial = "zeros",
    penalise_bias: bool = True,
    **objective: Any,
) -> ClosedFormLoss:
    """The loss of a method for a model's last linear layer: ``loss_of(prediction, labels, weights=None)``.

    Args:
        layer: see ClosedFormHead. Methods without a closed-form head leave it to the optimizer.
        method: one of METHODS.
        strength, forgetting: of the rule; by default its own. Refused by rules that have none, and without a rule.
        initial, penalise_bias: see ClosedFormHead.
        objective: settings of the objective: smoothing, class_weights, and curvature, iterations or scale.
    Raises:
        ValueError: unknown method, or a setting that it refuses.
        TypeError: a setting that its objective does not have.
    """
    check_choice("classification_loss", "method", method, tuple(METHODS))
    kind, rule = METHODS[method]
    given = {name: value for name, value in (("strength", strength), ("forgetting", forgetting)) if value is not None}
    known = {field.name for field in fields(rule)} if rule is not None else set()  # pyright: ignore[reportArgumentType]
    for name in given:
        if name not in known:
            raise ValueError(
                f"classification_loss: `{name}` must be left out with method {method!r}; got {given[name]!r}."
            )
    if rule is None:
        plain = ClosedFormLoss(layer, Proximal(), initial="keep", objective=kind(**objective))
        plain.head.detach()
        return plain
    made = kind(**objective)
    return ClosedFormLoss(layer, rule(**given), initial=initial, penalise_bias=penalise_bias, objective=made)


def train_step(
    model: nn.Module,
    loss_of: ClosedFormLoss,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    algorithm: Literal[1, 2] = 2,
) -> Tensor:
    """One step on a batch; the loss that the backbone descended, detached.

    Algorithm 2 solves the head and moves the backbone at the new one; Algorithm 1 moves the backbone at the head it
    has, then solves on new features (a second forward pass). Without a closed-form head they are one.

    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithms 1 and 2.
    """
    head = loss_of.head
    closed = head.status == "bound"
    if held := closed and algorithm == 1:
        head.frozen = True
    loss = loss_of(model(x), targets, weights)
    if held:
        head.frozen = False
    optimizer.zero_grad()
    if loss.requires_grad:
        loss.backward()
        optimizer.step()
    if held:
        with torch.no_grad():
            head.update(targets, prediction=model(x), weights=weights)
    return loss.detach()


Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None]


@contextmanager
def evaluating(model: nn.Module, loss_of: ClosedFormLoss, batches: Iterable[Batch] = ()) -> Iterator[None]:
    """Evaluation mode and no gradients, with the head solved on batches (x, targets, weights); goes back after it.

    Algorithm 2 leaves the head of the backbone before its last step; it is solved once more before it is evaluated
    (line 10 of the algorithm), on the batch that comes next.
    """
    training, state = model.training, loss_of.head.state()
    closed = loss_of.head.status == "bound"
    model.eval()
    try:
        with torch.no_grad():
            if closed:
                solve_on(model, loss_of, batches)
            yield
    finally:
        if closed:
            loss_of.head.restore(state)
        model.train(training)


def solve_on(model: nn.Module, loss_of: ClosedFormLoss, batches: Iterable[Batch]) -> None:
    """Solve the head on all batches together as the model sees them now, with no gradients.

    An objective that needs its rows at once is solved on each batch in turn.
    """
    head = loss_of.head
    at_once = head.objective.guarded or head.objective.iterations > 1
    gathered = False
    with torch.no_grad(), head.recording():
        for x, targets, *weights in batches:
            given = weights[0] if weights else None
            if at_once:
                head.update(targets, prediction=model(x), weights=given)
            else:
                head.accumulate(targets, prediction=model(x), weights=given)
                gathered = True
        if gathered:
            head.update()
