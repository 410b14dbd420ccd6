"""Baselines of instrumental-variable methods: a constant, and regression that ignores the hidden cause."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from data_gen.terminal.quiet import progress_bar
from sciml_cf.causal.checks import as_given, check_fitted, check_inputs, check_observations
from sciml_cf.causal.estimator import Estimator
from sciml_cf.causal.tables import counted, deviations, means
from sciml_cf.errors import TrainingDiverged, check_count, check_positive
from sciml_cf.head.algorithms import move

_FIT = "DirectRegression.fit"
_PREDICTED_ROWS = 4096  # rows of a forward pass without gradients


class ConstantOutcome(Estimator):
    """The mean outcome whatever the treatment: what an estimate without any use would say.

    Attributes:
        mean_: (q,) float64, the weighted mean of the outcomes.
    """

    def fit(
        self, *, treatment: Any, instrument: Any, outcome: Any, covariates: Any = None, sample_weight: Any = None
    ) -> Self:
        """Take the mean of the outcomes ``(n,)`` or ``(n, q)``, weighted by ``sample_weight`` ``(n,)``; the rest is
        checked only.

        Raises:
            ValueError: an argument is unusable.
        """
        given = {"treatment": treatment, "instrument": instrument, "outcome": outcome, "covariates": covariates}
        data = check_observations("ConstantOutcome.fit", **given, sample_weight=sample_weight)
        self.mean_ = means(data.outcome.to(torch.float64), data.weights)
        self.shapes_ = data.shapes
        return self

    def predict(self, treatment: Any, covariates: Any = None) -> Any:
        """The mean, ``(n,)`` or ``(n, q)`` as the outcome was.

        Raises:
            ValueError: not fitted, or other shapes than in ``fit``.
        """
        check_fitted("ConstantOutcome.predict", self, "mean_")
        x, _ = check_inputs("ConstantOutcome.predict", self.shapes_, treatment, covariates)
        return as_given(self.mean_.to(x.device).repeat(len(x), 1), self.shapes_, treatment)


class DirectRegression(Estimator):
    """A net trained to predict the outcome from treatment and covariates, as if nothing hidden moved both.

    ::

        min over the net  mean_i w_i |net(x_i, o_i) - y_i|^2

    The instrument is not used. What is learned is E[Y | X], which is f(X) and E[e | X] together. The net is copied and
    the copy trained, on the device where it lies, by Adam on shuffled batches of nearly equal size.

    Args:
        net: maps treatments ``(n, ...)`` to outcomes ``(n, q)``; with covariates both side by side (n, k + m), or as
            two arguments if one of them is no table.
        epochs: passes over the data.
        batch_size: most rows of a batch; None takes all.
        learning_rate: of Adam.
        weight_decay: factor of an l2 term of the loss.
        scale_outcome: train on outcomes less their mean, over their deviation; predictions are in the outcome's units.
        seed: of the order of the batches and of dropout; the net comes with its own weights.
        progress: show a progress bar on standard error.

    Attributes:
        net_: the trained net.
        history_: one row an epoch: epoch and loss, the mean over its batches in squared units of the outcome.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        epochs: int = 100,
        batch_size: int | None = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        scale_outcome: bool = True,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        self.net = net
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.scale_outcome = scale_outcome
        self.seed = seed
        self.progress = progress

    def fit(
        self, *, treatment: Any, instrument: Any, outcome: Any, covariates: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train on observations, one a row.

        Args:
            treatment: ``(n, ...)``, as the net takes it; ``(n,)`` enters as ``(n, 1)``.
            covariates: ``(n, ...)``, likewise.
            instrument: checked, and not used.
            outcome: ``(n,)`` or ``(n, q)``.
            sample_weight: ``(n,)``, at least 0.

        Raises:
            ValueError: an argument or a parameter is unusable, or the net does not give ``(n, q)``.
            TrainingDiverged: the loss left the finite range.
        """
        self._check()
        given = {"treatment": treatment, "instrument": instrument, "outcome": outcome, "covariates": covariates}
        data, weights = counted(check_observations(_FIT, **given, sample_weight=sample_weight))
        outcomes = data.outcome.to(torch.float64)
        center, scale = outcomes.new_zeros(outcomes.shape[1]), outcomes.new_ones(outcomes.shape[1])
        if self.scale_outcome:
            center, scale = means(outcomes, weights), deviations(outcomes, weights)
        net = deepcopy(self.net)
        inputs, (device, dtype) = _inputs(data.treatment, data.covariates), _place(net)
        inputs = tuple(part.to(device, dtype) for part in inputs)
        targets = ((outcomes - center) / scale).to(device, dtype)
        shares = None if weights is None else (weights / weights.mean()).to(device, dtype)
        self.history_ = self._train(net, inputs, targets, shares, float(scale.square().mean()))
        self.net_, self.shapes_, self.center_, self.scale_ = net.eval(), data.shapes, center, scale
        return self

    def predict(self, treatment: Any, covariates: Any = None) -> Any:
        """The net's outcome at treatments and covariates, ``(n,)`` or ``(n, q)`` as the outcome was, in float64.

        Raises:
            ValueError: not fitted, or other shapes than in ``fit``.
        """
        where = "DirectRegression.predict"
        check_fitted(where, self, "net_")
        x, extra = check_inputs(where, self.shapes_, treatment, covariates)
        device, dtype = _place(self.net_)
        parts = zip(*(part.split(_PREDICTED_ROWS) for part in _inputs(x, extra)), strict=True)
        self.net_.eval()
        with torch.no_grad():
            found = [self.net_(*(part.to(device, dtype) for part in row)).to(x.device, torch.float64) for row in parts]
        values = torch.cat(found) * self.scale_.to(x.device) + self.center_.to(x.device)
        return as_given(values, self.shapes_, treatment)

    def _train(
        self, net: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor, shares: Tensor | None, unit: float
    ) -> list[dict[str, float]]:
        optimizer = torch.optim.Adam(net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        order = torch.Generator().manual_seed(self.seed)
        rows, count = len(targets), -(-len(targets) // (self.batch_size or len(targets)))
        history: list[dict[str, float]] = []
        devices = [targets.device] if targets.device.type == "cuda" else []
        net.train()
        bar = progress_bar(shown=self.progress, total=self.epochs, unit="epoch")
        with torch.random.fork_rng(devices), bar:
            torch.manual_seed(self.seed)
            for epoch in range(1, self.epochs + 1):
                total = 0.0
                for part in torch.randperm(rows, generator=order).tensor_split(count):
                    part = part.to(targets.device)
                    weight = None if shares is None else shares[part]
                    loss = _loss(net, [value[part] for value in inputs], targets[part], weight)
                    move(loss, optimizer)
                    total += float(loss.detach()) * len(part) / rows
                if not math.isfinite(total):
                    raise TrainingDiverged(
                        f"{_FIT}: the loss left the finite range in epoch {epoch}. Take a lower `learning_rate` than "
                        f"{self.learning_rate:g}."
                    )
                history.append({"epoch": epoch, "loss": total * unit})
                bar.update()
        return history

    def _check(self) -> None:
        if not isinstance(self.net, nn.Module) or not any(True for _ in self.net.parameters()):
            kind = type(self.net).__name__
            raise ValueError(f"{_FIT}: `net` must be a torch module with parameters to train; got {kind}.")
        check_count(_FIT, "epochs", self.epochs)
        if self.batch_size is not None:
            check_count(_FIT, "batch_size", self.batch_size)
        check_positive(_FIT, "learning_rate", self.learning_rate)
        if self.weight_decay != 0:
            check_positive(_FIT, "weight_decay", self.weight_decay, "Or 0 for none.")
        check_count(_FIT, "seed", self.seed, minimum=0)


def _loss(net: nn.Module, inputs: list[Tensor], targets: Tensor, weight: Tensor | None) -> Tensor:
    found = net(*inputs)
    if not isinstance(found, Tensor) or found.shape != targets.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        wanted = tuple(targets.shape)
        raise ValueError(f"{_FIT}: `net` must give outcomes of shape {wanted} for these rows; got {shape}.")
    if not found.requires_grad:
        raise ValueError(
            f"{_FIT}: `net` must give outcomes with a gradient; got some without. Does it detach them, or compute them "
            "under no_grad?"
        )
    squares = (found - targets).square().mean(dim=1)
    return (squares if weight is None else weight * squares).mean()


def _inputs(treatment: Tensor, covariates: Tensor | None) -> tuple[Tensor, ...]:
    """What the net is called with: numbers as tables, tables side by side."""
    parts = [treatment] if covariates is None else [treatment, covariates]
    parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    if len(parts) == 2 and all(part.ndim == 2 for part in parts):
        wide = torch.promote_types(parts[0].dtype, parts[1].dtype)
        return (torch.cat([part.to(wide) for part in parts], dim=1),)
    return tuple(parts)


def _place(net: nn.Module) -> tuple[torch.device, torch.dtype]:
    first = next(net.parameters())
    return first.device, first.dtype
