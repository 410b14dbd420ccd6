"""The seam that fits any training loop: a loss that solves the head before it is returned."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from sciml_cf.head.attach import ClosedFormHead
from sciml_cf.head.batch_rows import Rows, targets_of
from sciml_cf.head.binding.capture import without_autocast
from sciml_cf.head.binding.layer import Layer, check_real, linear, num_outputs, to_rows
from sciml_cf.head.choices import Initial
from sciml_cf.head.moments import Moments
from sciml_cf.head.objectives import Objective, SquaredError, check_separable
from sciml_cf.head.processes import mean_of_processes, num_processes
from sciml_cf.head.rules import Rule
from sciml_cf.model_outputs import which_entry


class ClosedFormLoss(nn.Module):
    """The loss at the head that is solved for this very batch (one forward pass a step): mean squared error by default.

    Called in training mode with gradients on, it takes the features that the layer saw in this forward pass, solves
    the head on them, writes it into the layer, and returns the loss with the new head. The head counts as a constant
    in the backward pass: by Theorem 2 that is the whole gradient of the solved loss. In evaluation mode, or with
    gradients off, it is the plain loss and nothing is solved; a backward pass through that warns, once.

    ::

        W_t = rule(features, y),   loss = mean |W_t^T phi - y|^2     (mean over all rows and outputs)

    For classification only the objective differs: ``OneHot()`` is the squared error, ``CrossEntropy()`` is
    cross-entropy, and the targets are class labels.

    Args:
        layer: the model's last linear layer (nn.Linear or a 1x1 convolution).
        rule: Proximal(...), Ridge(...), or another rule.
        initial: see ClosedFormHead.
        penalise_bias: see ClosedFormHead.
        name: see ClosedFormHead.
        objective: see ClosedFormHead.
        model: see ClosedFormHead.
        solve_in_eval: solve in evaluation mode as well, wherever gradients are on: for models that are trained in
            evaluation mode, with their batch normalization or dropout off.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (17), Theorem 2.

    With gradient accumulation each micro-batch makes its own update. To solve once on all of them, exactly as on the
    large batch, gather the moments first and hold the head in the backward passes::

        with torch.no_grad():
            for x, y in micro_batches:
                loss_of.head.accumulate(y, prediction=model(x))
        loss_of.head.update()
        loss_of.head.frozen = True
        for x, y in micro_batches:
            (loss_of(model(x), y) / len(micro_batches)).backward()
        loss_of.head.frozen = False

    Other terms of the same prediction (a physics residual, a derivative, a later state) are those of the head before
    the solve, since they are made from the forward pass. To have them at the solved head, solve first and then
    run the model again; ``value`` is the loss at the present head::

        with torch.no_grad():
            loss_of.solve(model(x), y)
        u = model(x)
        (loss_of.value(u, y) + physics(u, x)).backward()

    With a frozen backbone the head is all that is learned: the loss then is a leaf that requires a gradient, so that
    ``backward`` does nothing, and no optimizer is needed.

    Several forward passes may come before their losses, taken in the same order; a prediction may also join or stack
    the outputs of several passes. Under activation checkpointing the head belongs outside of the checkpointed block
    if the prediction enters another loss as well: a recomputed head is already the new one.

    Example:
        ::

            loss_of = ClosedFormLoss(model.readout, Proximal(strength=1e-2))
            optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
            for x, y in batches:
                optimizer.zero_grad()
                loss_of(model(x), y).backward()
                optimizer.step()
    """

    def __init__(
        self,
        layer: Layer,
        rule: Rule,
        *,
        initial: Initial = "zeros",
        penalise_bias: bool = True,
        name: str | None = None,
        objective: Objective | None = None,
        solve_in_eval: bool = False,
        model: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.head = ClosedFormHead(
            layer, rule, initial=initial, penalise_bias=penalise_bias, name=name, objective=objective, model=model
        )
        self.head.solve_in_eval = solve_in_eval
        self._last: Callable[[], Tensor | None] | None = None  # the prediction that was solved on last, for a message

    def forward(self, prediction: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Scalar loss; see the class.

        ::

            loss = sum_r w_r mean_c (W_t^T phi_r - y_r)_c^2 / sum_r w_r

        Args:
            prediction: the model's output, ``(B, C, *N)`` or ``(B, *N, C)``: the layer's own output, at most with its
                numbers in other places (axes moved, patches joined, several passes stacked or concatenated).
            targets: shaped like the prediction, a tensor or an array; for an objective of classes integer labels
                ``(B, *N)``, or probabilities shaped like the prediction.
            weights: of samples ``(B,)``, of grid points ``(*N,)``, or of both ``(B, *N)`` up to axes of length one; a
                boolean mask counts as 0 and 1. A row of weight zero touches neither the solve nor the loss, even if its
                targets are NaN. None counts all rows once. Weights shaped like the prediction, ``(B, C, *N)``, are of
                each output: the loss is then sum w e^2 / sum w over all numbers, and each output is solved on rows of
                its own (squared error with Proximal or Ridge; of an output without rows Proximal keeps the head).

        Returns:
            () in the layer's precision, or float32 at least. It requires a gradient in training mode, even if nothing
            but the head is trained.

        Raises:
            TypeError: the prediction is no tensor, or the targets are no numbers.
            RuntimeError: the layer saw no forward pass in training mode since the last loss, or its features carry
                no graph though the prediction does.
            ValueError: shapes disagree, all weights are zero, or the prediction is changed after the layer.
            TypeError: something is complex; see torch.view_as_real.
            NotPositiveDefinite: the head could not be solved; the layer keeps its weights.

        Warns:
            UnsolvedHeadWarning: a backward pass reaches the loss of a step in which nothing was solved.
        """
        prediction, targets, weights = _tensors(prediction, targets, weights)
        return self._with_gradient(self._value(prediction, targets, weights))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_last": None}

    def _with_gradient(self, value: Tensor) -> Tensor:
        """The loss of a step; a leaf where nothing but the head is trained, so that backward has nothing to do."""
        stepping = self.head.layer.training and torch.is_grad_enabled()
        return value.detach().requires_grad_() if stepping and not value.requires_grad else value

    def _value(self, prediction: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The loss; solves the head where ``forward`` does."""
        head = self.head
        layer, objective = head.layer, head.objective
        targets = self._expanded(prediction, targets, weights)
        if head.frozen or head.status == "detached":
            return self._plain(prediction, targets, weights)
        if not head._solving:
            return head._watched(self._plain(prediction, targets, weights))
        if self._last is not None and self._last() is prediction and not head._has_passes:
            raise RuntimeError(
                "ClosedFormLoss: the loss must be called once on a prediction; got one that the head was solved on. "
                "Keep the value, or run the model again."
            )
        rows = head._take(targets, prediction=prediction, weights=weights, expanded=True)
        self.__dict__["_last"] = weakref.ref(prediction)
        if prediction.requires_grad and not rows.features.requires_grad:
            raise RuntimeError(
                "ClosedFormLoss: the features must carry a graph like the prediction; got none. Leave the head out of "
                "the checkpointed block, or use torch.utils.checkpoint(..., use_reentrant=False)."
            )
        solved = None if head._passes_over() else head._solve_rows(rows)
        with without_autocast(rows.features.device):
            output = linear(rows.features, layer)
            targets = rows.targets
            if not output.dtype == targets.dtype == torch.float32:
                precision = torch.promote_types(torch.promote_types(output.dtype, targets.dtype), torch.float32)
                output, targets = output.to(precision), targets.to(precision)
            if rows.weights is None:
                return objective.mean(output, targets)
            known = solved is not None and rows.weights.ndim == 1
            share = _share_of_merged(cast(Moments, solved)) if known else share_of(rows.weights)
            return _weighted_mean(self._errors(output, targets, rows.weights), rows.weights, share)

    def solve(self, prediction: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Solve the head on this batch and write it into the layer; the loss is not made, and nothing of it is kept.

        The model that is run after it has the solved head, in all terms of a loss. Gradients may be off. A prediction
        made of several passes (unrolled, stacked) needs a graph.

        Args, Raises: as ``forward``; RuntimeError also if the head is frozen.
        """
        prediction, targets, weights = _tensors(prediction, targets, weights)
        targets = self._expanded(prediction, targets, weights)
        rows = self.head._take(targets, prediction=prediction, weights=weights, expanded=True)
        if not self.head._passes_over():
            self.head._solve_rows(rows)

    def value(self, prediction: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss at the present head, with its graph; solves nothing, in training mode neither.

        Args, Returns, Raises: as ``forward``.
        """
        prediction, targets, weights = _tensors(prediction, targets, weights)
        return self._with_gradient(self._plain(prediction, self._expanded(prediction, targets, weights), weights))

    def sums(self, prediction: Tensor, targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sums over rows of weight * loss at the present head, and of the weights: () float64 each.

        Their ratio, summed over batches, is the loss of all their rows, in whatever batches they come.

        Args, Raises: as ``forward``; weights of zero everywhere give sums of zero.
        """
        prediction, targets, weights = _tensors(prediction, targets, weights)
        check_real("ClosedFormLoss.sums", prediction=prediction, targets=targets, weights=weights)
        objective = self.head.objective
        rows = self._plain_rows(prediction, objective.expand(targets, prediction, self.head.layer), weights)
        errors = self._errors(rows.features, rows.targets, rows.weights).flatten().to(torch.float64)
        shares = torch.ones_like(errors) if rows.weights is None else rows.weights.flatten().to(torch.float64)
        return shares @ errors, shares.sum()

    def _expanded(self, prediction: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Targets shaped like the prediction, checked with the rest."""
        check_real("ClosedFormLoss", prediction=prediction, targets=targets, weights=weights)
        targets = self.head.objective.expand(targets, prediction, self.head.layer)
        if prediction.shape != targets.shape:
            raise ValueError(
                f"ClosedFormLoss: `targets` must be shaped like the prediction {tuple(prediction.shape)}; "
                f"got {tuple(targets.shape)}."
            )
        return targets

    def _errors(self, output: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The errors that belong to the weights: of rows (...), or of each output ``(..., C)``."""
        if weights is not None and weights.ndim == 2:
            return (output - targets).square()
        return self.head.objective.errors(output, targets)

    def _plain(self, prediction: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The loss of a prediction at the present head."""
        objective = self.head.objective
        if weights is None and isinstance(objective, SquaredError):
            return objective.mean(prediction, targets)
        rows = self._plain_rows(prediction, targets, weights)
        if rows.weights is None:
            return objective.mean(rows.features, rows.targets)
        together = self.head._solving  # a step: every process makes it
        share = share_of(rows.weights) if together else rows.weights.sum(dtype=torch.float64)
        if len(rows.weights) == 0 and float(share) == 0.0:
            raise ValueError("ClosedFormLoss: `weights` must not be zero everywhere; got no row to average over.")
        return _weighted_mean(self._errors(rows.features, rows.targets, rows.weights), rows.weights, share)

    def _plain_rows(self, prediction: Tensor, targets: Tensor, weights: Tensor | None) -> Rows:
        """Rows of a prediction in the place of features, with their targets and weights."""
        output, layer, objective = self.head._in_layout(prediction), self.head.layer, self.head.objective
        if output.shape[-1 if isinstance(layer, nn.Linear) else 1] != num_outputs(layer):
            raise ValueError(
                f"ClosedFormLoss: the prediction must have its {num_outputs(layer)} outputs where the layer has them, "
                f"or where a step in training mode has shown them; got {tuple(prediction.shape)}. Move its axes."
            )
        rows = Rows(to_rows(output, layer), to_rows(self.head._in_layout(targets), layer), None)
        if weights is not None:
            rows = self.head._weigh(rows, weights, output, shape=prediction.shape, layout=self.head._in_layout)
        if rows.weights is not None and rows.weights.ndim == 2:
            check_separable(objective)
        return objective.weigh(rows)


def _tensors(prediction: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """The arguments of a loss as tensors on one device."""
    if not isinstance(prediction, Tensor):
        raise which_entry("ClosedFormLoss", "prediction", prediction)
    targets = targets_of("ClosedFormLoss", targets, prediction.device)
    if weights is not None:
        weights = targets_of("ClosedFormLoss", weights, prediction.device, argument="weights")
    return prediction, targets, weights


def share_of(weights: Tensor) -> Tensor:
    """() float64: what a process divides its weighted sum by, the mean over processes of their sums of weights."""
    return mean_of_processes(weights.sum(dtype=torch.float64))


def _share_of_merged(moments: Moments) -> Tensor:
    """The same from the moments of all processes, whose weight is the sum; so nothing is sent twice."""
    return moments.weight / num_processes()


def _weighted_mean(errors: Tensor, weights: Tensor, share: Tensor) -> Tensor:
    """Sum of the weighted errors ``(rows,)`` over ``share``; zero, with a graph, if there are no rows.

    In several processes the share is the mean of their sums of weights: then the mean of their losses is the loss of
    all rows together, and so is the gradient that distributed data parallel averages.
    """
    return (weights.to(errors.dtype) * errors).sum() / share.to(errors.dtype) if len(weights) else errors.sum()
