"""Algorithms 1 and 2 of the paper, step by step: a backbone that descends, and a head that is solved, in turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head.attach import ClosedFormHead
from sciml_cf.head.loss import ClosedFormLoss

# A batch: what the model takes, its targets, and weights or None.
Batch = tuple[Any, Tensor] | tuple[Any, Tensor, Tensor | None]
Forward = Callable[[Any], Tensor]
# What moves the backbone down a loss: an optimizer (zero_grad, backward, step), or a function that does these.
# None where nothing of it can move.
Descend = torch.optim.Optimizer | Callable[[Tensor], object] | None
Value = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Algorithm(ABC):
    """A training of a model whose last layer is solved in closed form: made once, stepped through, then finished.

    Example, in your own loop::

        algorithm = Algorithm2(model, ClosedFormLoss(model.readout, Proximal(strength=1e-2)))
        optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
        for x, y in batches:
            loss = algorithm.step(x, y, descend=optimizer)
        with algorithm.evaluating([(x, y)]):       # the head of the backbone as it now is; goes back after it
            error = (model(x_test) - y_test).square().mean()
        algorithm.finish([(x, y)])                 # the same for good, and the model has no trace of the head

    Args:
        model: in which the loss's layer is.
        loss_of: the loss; its head is the one to solve.
        forward: prediction from the inputs of a batch, by default ``model(x)``. For a model that returns more than
            its prediction, for instance ``lambda x: model(x)["y"]``.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithms 1 and 2.
    """

    def __init__(self, model: nn.Module, loss_of: ClosedFormLoss, *, forward: Forward | None = None) -> None:
        self.model, self.loss_of = model, loss_of
        self.forward: Forward = model if forward is None else forward

    @abstractmethod
    def step(self, x: Any, targets: Tensor, weights: Tensor | None = None, *, descend: Descend) -> Tensor:
        """One step on a batch, the model in training mode.

        Args:
            x: what ``forward`` takes.
            targets: see ``ClosedFormLoss``.
            weights: see ``ClosedFormLoss``.
            descend: an optimizer, or a function that moves the backbone down a loss.

        Returns:
            The loss that the backbone descended, detached.
        """

    def solve(self, batches: Iterable[Batch]) -> None:
        """Solve the head on all batches together, with the features of the present backbone, without gradients."""
        solve_on(self.model, self.loss_of, batches, forward=self.forward)

    @contextmanager
    def evaluating(self, batches: Iterable[Batch] = ()) -> Iterator[None]:
        """Evaluation mode without gradients, with the head solved on batches; training goes on from before it."""
        with evaluating(self.model, self.loss_of, batches, forward=self.forward):
            yield

    def finish(self, batches: Iterable[Batch] = ()) -> None:
        """Solve the head on batches for good (line 10 of Algorithm 2), and leave the model without a head's traces.

        The model is in evaluation mode then.
        """
        self.model.eval()
        if is_solved(self.loss_of):
            self.solve(batches)
        self.loss_of.head.detach()


class Algorithm1(Algorithm):
    """The backbone moves at the head of the step before; then the head is solved on new features.

    ::

        theta_t = theta_(t-1) - rate * grad of  mean |W_(t-1)^T phi(x; theta) - y|^2
        W_t     = rule(phi(x; theta_t), y)

    Two forward passes a step; after it the head belongs to the updated backbone.

    Args:
        model: see ``Algorithm``.
        loss_of: see ``Algorithm``.
        forward: see ``Algorithm``.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithm 1.
    """

    def step(self, x: Any, targets: Tensor, weights: Tensor | None = None, *, descend: Descend) -> Tensor:
        head = self.loss_of.head

        def value(*, solved: bool) -> Tensor:
            prediction = self.forward(x)
            head._prove(prediction)
            return self.loss_of.value(prediction, targets, weights)

        def solve() -> None:
            head.clear()  # the first pass was for the backbone
            head.update(targets, prediction=self.forward(x), weights=weights)

        return alternate(value, solve, descend=descend)


class Algorithm2(Algorithm):
    """The head is solved on the features at hand; then the backbone moves at the new head.

    ::

        W_t     = rule(phi(x; theta_(t-1)), y)
        theta_t = theta_(t-1) - rate * grad of  mean |W_t^T phi(x; theta) - y|^2

    One forward pass a step; after it the head belongs to the backbone before the step. Solve it once more before it is
    evaluated: ``evaluating`` and ``finish``.

    Args:
        model: see ``Algorithm``.
        loss_of: see ``Algorithm``.
        forward: see ``Algorithm``.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithm 2, Eq. (17).
    """

    def step(self, x: Any, targets: Tensor, weights: Tensor | None = None, *, descend: Descend) -> Tensor:
        loss = self.loss_of(self.forward(x), targets, weights)
        move(loss, descend)
        return loss.detach()


def make_algorithm(
    number: Literal[1, 2], model: nn.Module, loss_of: ClosedFormLoss, *, forward: Forward | None = None
) -> Algorithm:
    """Algorithm 1 or 2. With a head that is not solved (detached), both are plain gradient descent on its loss.

    Raises:
        ValueError: there is no such algorithm.
    """
    check_choice("make_algorithm", "number", number, (1, 2))
    kind = Algorithm1 if number == 1 and is_solved(loss_of) else Algorithm2
    return kind(model, loss_of, forward=forward)


class LossAt(Protocol):
    """A loss of the backbone at the head before this batch, or at the head solved for this very loss."""

    def __call__(self, *, solved: bool) -> Tensor: ...


def alternate(
    loss_at: LossAt, solve: Callable[[], object], *, descend: Descend, updates: int = 1, solved: bool = False
) -> Tensor:
    """Updates of a backbone on one batch, each but the first at the head solved for it; then the head for good.

    With one update at the head before the batch this is Algorithm 1; with ``solved`` it is Algorithm 2 and its line 10.

    Args:
        loss_at: the loss of an update.
        solve: solves the head on the features that the last update has left; called without gradients.
        descend: see ``Algorithm.step``.
        updates: how many.
        solved: whether the first of them is at the solved head, too.

    Returns:
        The loss of the last update, detached; zero if there is none.
    """
    loss = torch.zeros(())
    for update in range(updates):
        loss = loss_at(solved=solved or update > 0)
        move(loss, descend)
    with torch.no_grad():
        solve()
    return loss.detach()


def move(loss: Tensor, descend: Descend) -> None:
    """Move the backbone down a loss."""
    if descend is None:
        return
    if callable(descend):
        descend(loss)
        return
    descend.zero_grad()
    if loss.requires_grad:
        loss.backward()
        descend.step()


def is_solved(loss_of: ClosedFormLoss) -> bool:
    """Whether the loss solves its head: not if that was detached."""
    return loss_of.head.status == "bound"


def solve_on(
    model: nn.Module,
    loss_of: ClosedFormLoss | ClosedFormHead,
    batches: Iterable[Batch],
    *,
    forward: Forward | None = None,
) -> None:
    """Solve a head on all batches together as the model sees them now, without gradients, in any mode.

    An objective that needs its rows at once is solved on each batch in turn. Without batches the head is unchanged. In
    training mode the solve counts in the head's metrics, in evaluation mode it does not.

    Args:
        model: in which the head is.
        loss_of: the loss, or the head itself.
        batches: (x, targets) or (x, targets, weights).
        forward: see ``Algorithm``.
    """
    head = loss_of.head if isinstance(loss_of, ClosedFormLoss) else loss_of
    forward = model if forward is None else forward
    at_once = head.objective.guarded or head.objective.iterations > 1
    gathered = False
    with torch.no_grad(), nullcontext() if head.layer.training else head.recording():
        for x, targets, *weights in batches:
            given = weights[0] if weights else None
            if at_once:
                head.update(targets, prediction=forward(x), weights=given)
            else:
                head.accumulate(targets, prediction=forward(x), weights=given)
                gathered = True
        if gathered:
            head.update()


@contextmanager
def evaluating(
    model: nn.Module, loss_of: ClosedFormLoss, batches: Iterable[Batch] = (), *, forward: Forward | None = None
) -> Iterator[None]:
    """Evaluation mode and no gradients, with the head solved on batches; goes back after it.

    Algorithm 2 leaves the head of the backbone before its last step; it is solved once more before it is evaluated
    (line 10 of the algorithm), on the batch that comes next. A head that is not solved stays.

    Args:
        model: see ``solve_on``.
        loss_of: see ``solve_on``.
        batches: see ``solve_on``.
        forward: see ``solve_on``.
    """
    modes = {part: part.training for part in model.modules()}
    closed = is_solved(loss_of)
    state = loss_of.head.state()
    model.eval()
    try:
        with torch.no_grad():
            if closed:
                solve_on(model, loss_of, batches, forward=forward)
            yield
    finally:
        if closed:
            loss_of.head.restore(state)
        for part, training in modes.items():
            part.training = training
