"""The closed-form head as a training loss of neuraloperator's own Trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.head import ClosedFormLoss, Initial, Objective, Rule, SquaredError
from sciml_cf.head.binding.find import layer_of
from sciml_cf.head.choices import Loss
from sciml_cf.head.relative import check_loss, training_weights
from sciml_cf.model_outputs import which_entry


class NeuralopLoss(nn.Module):
    """ClosedFormLoss, called as ``neuralop.Trainer`` calls its losses: ``loss(prediction, x=..., y=...)``.

    In training it solves the head on the batch and returns the batch's mean squared error (Eq. 17), whose gradient
    does not depend on the batch size. In evaluation nothing is solved, and it returns the sum over samples of each
    sample's mean squared error: the Trainer divides by the number of samples, so that what it reports is the MSE.
    Weights come with the samples, as their entry ``"weights"``, which the data processor hands on: (B,) of samples,
    (B, *N) of points (a mask of missing values) or (B, C, *N) of each output, see ClosedFormLoss.

        training: mean over batch, outputs, points      evaluation: sum over batch of mean over outputs, points

    A DefaultDataProcessor normalises the targets in training, and de-normalises the prediction in evaluation only; so
    the head is solved on normalised targets, and evaluation is in the data's units. A processor that changes the
    prediction in training is refused on the first batch.

    Passed as ``regularizer`` as well, it adds nothing to the loss, but the Trainer's checkpoints then hold the rule's
    state, and load it back.

    Args:
        model: for instance a neuralop FNO; one of its layers is the head.
        rule: Proximal(...), Ridge(...), or another rule.
        head: the layer to solve, or its dotted name; by default the last linear layer of the model (FNO: the last
            layer of the projection).
        initial, penalise_bias, objective: see ClosedFormHead.
        loss: "mse", or "relative", which in training weighs each sample by 1 / |y|^2, as ``fit`` does; here y is as
            the data processor hands it on. Evaluation is the plain mean squared error with either.
    Raises:
        ValueError: the model has no such layer, or none that can be solved; the loss is unknown or not for the
            objective; with "relative" the targets of a sample are all zero.
        TypeError: the layer is not linear at each grid point.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (17).

    Example::

        loss = NeuralopLoss(model, Proximal(strength=1e-2))
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        Trainer(model=model, n_epochs=50).train(
            train_loader, {"test": test_loader}, optimizer, scheduler, regularizer=loss, training_loss=loss)
    """

    #: What the Trainer adds to the training loss when this object is its regularizer.
    loss = 0.0

    def __init__(
        self,
        model: nn.Module,
        rule: Rule,
        *,
        head: nn.Module | str | None = None,
        initial: Initial = "zeros",
        penalise_bias: bool = True,
        objective: Objective | None = None,
        loss: Loss = "mse",
    ) -> None:
        super().__init__()
        check_loss("NeuralopLoss", loss, objective)
        self._loss: Loss = loss  # not `loss`, which the Trainer reads
        layer = layer_of("NeuralopLoss", model, head)
        self.closed_form = ClosedFormLoss(
            layer, rule, initial=initial, penalise_bias=penalise_bias, objective=objective, model=model
        )

    def forward(self, prediction: Tensor, y: Tensor, weights: Tensor | None = None, **sample: Any) -> Tensor:
        """Scalar loss; see the class.

        Args:
            prediction: (B, C, *N), the model's output.
            y: targets, shaped like the prediction; labels (B, *N) for an objective of classes.
            weights: of samples, points or outputs.
            sample: the batch's other entries; not used.
        """
        if not isinstance(prediction, Tensor):
            raise which_entry("NeuralopLoss", "prediction", prediction)
        layer = self.closed_form.head.layer
        if next(self.buffers()).device != layer.weight.device:  # the Trainer moves the model, not its losses
            self.to(layer.weight.device)
        if prediction.shape != y.shape and isinstance(self.closed_form.head.objective, SquaredError):
            raise ValueError(
                f"NeuralopLoss: `y` must be shaped like the prediction {tuple(prediction.shape)}; got {tuple(y.shape)}."
            )
        if layer.training:
            return self.closed_form(prediction, y, training_weights("NeuralopLoss", y, weights, self._loss, layer))
        if weights is None:
            return self.closed_form(prediction, y) * len(y)
        if len(weights) != len(y):  # of points, the same for all samples
            weights = weights if weights.ndim > y.ndim - 2 else weights[None]
            weights = weights.expand(len(y), *weights.shape[1:])
        samples = zip(prediction.split(1), y.split(1), weights.split(1), strict=True)
        sums = [self.closed_form.sums(*sample) for sample in samples]
        return torch.stack([total / known if known > 0 else total for total, known in sums]).sum()

    def reset(self) -> None:
        """Nothing to do; the Trainer calls it on its regularizer before each batch."""
