"""The closed-form head as a training loss of neuraloperator's own Trainer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sciml_cf.head import ClosedFormLoss, Initial, Rule
from sciml_cf.head.binding.find import layer_of
from sciml_cf.model_outputs import which_entry


class NeuralopLoss(nn.Module):
    """ClosedFormLoss, called as ``neuralop.Trainer`` calls its losses: ``loss(prediction, x=..., y=...)``.

    In training it solves the head on the batch and returns the batch's mean squared error (Eq. 17), whose gradient
    does not depend on the batch size. In evaluation nothing is solved, and it returns the sum over samples of each
    sample's mean squared error: the Trainer divides by the number of samples, so that what it reports is the MSE.

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
        initial, penalise_bias: see ClosedFormHead.
    Raises:
        ValueError: the model has no such layer, or none that can be solved.
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
    ) -> None:
        super().__init__()
        layer = layer_of("NeuralopLoss", model, head)
        self.closed_form = ClosedFormLoss(layer, rule, initial=initial, penalise_bias=penalise_bias, model=model)

    def forward(self, prediction: Tensor, y: Tensor, **sample: Any) -> Tensor:
        """Scalar loss; see the class.

        Args:
            prediction: (B, C, *N), the model's output.
            y: targets, shaped like the prediction.
            sample: the batch's other entries; not used.
        """
        if not isinstance(prediction, Tensor):
            raise which_entry("NeuralopLoss", "prediction", prediction)
        layer = self.closed_form.head.layer
        if next(self.buffers()).device != layer.weight.device:  # the Trainer moves the model, not its losses
            self.to(layer.weight.device)
        if prediction.shape != y.shape:
            raise ValueError(
                f"NeuralopLoss: `y` must be shaped like the prediction {tuple(prediction.shape)}; got {tuple(y.shape)}."
            )
        value = self.closed_form(prediction, y)
        return value if layer.training else value * len(y)

    def reset(self) -> None:
        """Nothing to do; the Trainer calls it on its regularizer before each batch."""
