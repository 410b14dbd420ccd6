"""The closed-form head as a training loss of neuraloperator's own Trainer."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from sciml_cf.head import ClosedFormLoss, Initial, Objective, Rule, SquaredError
from sciml_cf.head.binding.capture import Relay
from sciml_cf.head.binding.find import layer_of, layers_that_run
from sciml_cf.head.binding.layer import Layer
from sciml_cf.head.choices import Loss
from sciml_cf.head.relative import check_loss, training_weights
from sciml_cf.model_outputs import which_entry


class Guess:
    """A layer that was taken for a model's last one by order of registration, and what it was before.

    Args:
        layer: that is about to be bound.
        rule: rule of the loss.
        settings: other settings of the loss, which binds the right layer with the same.
    """

    def __init__(self, layer: Layer, rule: Rule, settings: dict[str, Any]) -> None:
        self.layer, self.rule, self.settings = layer, rule, settings
        self.loaded = False  # whether a state was loaded since
        self.hook: Any = None
        self._before = {name: value.clone() for name, value in layer.state_dict().items()}

    def give_back(self, loss: ClosedFormLoss) -> None:
        """Leave the layer as it was before the loss."""
        loss.head.detach()
        self.layer.load_state_dict(self._before)


class NeuralopLoss(nn.Module):
    """ClosedFormLoss, called as ``neuralop.Trainer`` calls its losses: ``loss(prediction, x=..., y=...)``.

    In training it solves the head on the batch and returns the batch's mean squared error (Eq. 17), whose gradient
    does not depend on the batch size. In evaluation nothing is solved, and it returns the sum over samples of each
    sample's mean squared error: the Trainer divides by the number of samples, so that what it reports is the MSE.
    Weights come with the samples, as their entry ``"weights"``, which the data processor hands on: ``(B,)`` of samples,
    ``(B, *N)`` of points (a mask of missing values) or ``(B, C, *N)`` of each output, see ClosedFormLoss.

    ::

        training: mean over batch, outputs, points      evaluation: sum over batch of mean over outputs, points

    A DefaultDataProcessor normalises the targets in training, and de-normalises the prediction in evaluation only; so
    the head is solved on normalised targets, and evaluation is in the data's units. A processor that changes the
    prediction in training is refused on the first batch.

    Passed as ``regularizer`` as well, it adds nothing to the loss, but the Trainer's checkpoints then hold the rule's
    state, and load it back.

    Args:
        model: for instance a neuralop FNO; one of its layers is the head.
        rule: Proximal(...), Ridge(...), or another rule.
        head: the layer to solve, or its dotted name; by default the last linear layer that runs (FNO: the last layer
            of the projection). Without an example that is the last one by order of registration, until the first
            forward pass of the model shows another one.
        example: inputs, which show at once which layer runs last.
        initial: see ClosedFormHead.
        penalise_bias: see ClosedFormHead.
        objective: see ClosedFormHead.
        loss: "mse", or "relative", which in training weighs each sample by ``1 / |y|^2``, as ``fit`` does; here y is as
            the data processor hands it on. Evaluation is the plain mean squared error with either.

    Raises:
        ValueError: the model has no such layer, or none that can be solved; the loss is unknown or not for the
            objective; with "relative" the targets of a sample are all zero.
        TypeError: the layer is not linear at each grid point.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (17).

    Example:
        ::

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
        example: Tensor | None = None,
        initial: Initial = "zeros",
        penalise_bias: bool = True,
        objective: Objective | None = None,
        loss: Loss = "mse",
    ) -> None:
        super().__init__()
        check_loss("NeuralopLoss", loss, objective)
        self._loss: Loss = loss  # not `loss`, which the Trainer reads
        layer = layer_of("NeuralopLoss", model, head, example=example)
        settings: dict[str, Any] = {"initial": initial, "penalise_bias": penalise_bias, "objective": objective}
        self._guess = None if head is not None or example is not None else Guess(layer, rule, settings)
        self.closed_form = ClosedFormLoss(layer, rule, model=model, **settings)
        if self._guess is not None:
            self._await_pass(model)

    def forward(self, prediction: Tensor, y: Tensor, weights: Tensor | None = None, **sample: Any) -> Tensor:
        """Scalar loss; see the class.

        Args:
            prediction: ``(B, C, *N)``, the model's output.
            y: targets, shaped like the prediction; labels ``(B, *N)`` for an objective of classes.
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

    def _await_pass(self, model: nn.Module) -> None:
        cast(Guess, self._guess).hook = model.register_forward_pre_hook(Relay(self._look), with_kwargs=True)

    def _look(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before the first forward pass: take the layer that runs last in it, if it is another one.

        Raises:
            ValueError: the layer that was taken for the last one runs before it: an optimizer that was made since does
                not have it; or a state was loaded into it.
        """
        guess, self._guess = self._guess, None
        if guess is None:
            return
        guess.hook.remove()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the pass that follows gives them
                ran = layers_that_run(model, arguments, named)
        except Exception:  # so will the pass that follows
            self._guess = guess
            self._await_pass(model)
            return
        if not ran or ran[-1] is guess.layer:
            return
        guess.give_back(self.closed_form)
        names = {module: name for name, module in model.named_modules()}
        if guess.loaded or any(layer is guess.layer for layer in ran):
            raise ValueError(
                f"NeuralopLoss: `head` must be named where the last linear layer that runs, {names[ran[-1]]!r}, is not "
                f"the last one by order of registration, {names[guess.layer]!r}. Pass head={names[ran[-1]]!r}, or "
                "example=x, and make the optimizer after it."
            )
        self.closed_form = ClosedFormLoss(ran[-1], guess.rule, model=model, **guess.settings)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        if self._guess is not None:
            self._guess.loaded = True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_guess": None}

    def reset(self) -> None:
        """Nothing to do; the Trainer calls it on its regularizer before each batch."""
