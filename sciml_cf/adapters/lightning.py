"""The closed-form head for a LightningModule that someone else wrote, as a callback of Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head import ClosedFormHead, Initial, Objective, Rule, check_solved
from sciml_cf.head.algorithms import Batch, solve_on
from sciml_cf.head.binding.find import layer_of
from sciml_cf.head.choices import Loss
from sciml_cf.head.relative import check_loss, training_weights
from sciml_cf.model_outputs import Entry, check_entry, predicted

try:
    from lightning.pytorch import (  # pyright: ignore[reportMissingImports]  # an extra
        Callback,
        LightningModule,
        Trainer,
    )
except ImportError as error:
    raise ImportError(
        "sciml_cf.adapters.lightning: `lightning` must be installed; got none. Run: pip install 'sciml-cf[lightning]'."
    ) from error

Pair = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None]


def pair_of(batch: Any) -> Pair:
    """(x, y) of a batch ``{"x": x, "y": y, ...}`` or (x, y), and its "weights" if it has any."""
    if isinstance(batch, Mapping) and {"x", "y"} <= set(batch):
        return batch["x"], batch["y"], batch.get("weights")
    if isinstance(batch, Sequence) and len(batch) == 2:
        return batch[0], batch[1]
    raise TypeError(
        'ClosedFormCallback: `batch` must be {"x": ..., "y": ...} or (x, y); got '
        f"{type(batch).__name__}. Pass pair=..., a function from your batch to (x, y)."
    )


class ClosedFormCallback(Callback):
    """Keeps one linear layer of a LightningModule solved in closed form; the module itself is not changed.

    The module's ``training_step`` should return the mean squared error of ``module(x)``. Each step costs one forward
    pass without gradients in addition to the module's own; ClosedFormLoss inside the ``training_step`` saves it.

    The layer's parameters stop requiring gradients before the module configures its optimizers, so they are in none
    that asks for this, and no optimizer changes them. Validation and test data are never solved on. Under algorithm 2
    the head is solved once more on the last training batch before it is evaluated or saved, so that it matches the
    backbone; training then goes on from the head it had. Lightning's checkpoints hold that head, and the rule's state
    to go on with. With ``accumulate_grad_batches=k``, algorithm 1 solves once, on the moments of all k
    batches (exactly the step of a k times larger batch, and k batches are kept for it); algorithm 2 updates the head
    at each of the k. Under several processes the moments of all are summed.

    Args:
        rule: Proximal(...), Ridge(...), or another rule.
        head: the layer to solve: its dotted name in the module, or a function from the module to it; by default the
            module's last linear layer; with ``example_input_array``, a tensor, in the module, the last that runs on it.
        algorithm: 2 solves the head before each training step (arXiv:2510.04606, Eq. 17), 1 after it on re-computed
            features (Algorithm 1).
        initial: see ClosedFormHead.
        penalise_bias: see ClosedFormHead.
        objective: see ClosedFormHead.
        log: log the head's figures at the end of each epoch as ``head/condition`` and so on (docs/diagnostics.md).
        loss: "mse", or "relative", which weighs each sample by ``1 / |y|^2`` in the solve, as ``fit`` does; the
            module's own loss should weigh them alike.
        pair: (x, y) of a batch, y shaped like ``module(x)``, or (x, y, weights), see ClosedFormLoss; by default of
            ``{"x": x, "y": y}``, ``{"x": x, "y": y, "weights": weights}`` or (x, y).
        prediction: which entry of what ``module(x)`` returns is the prediction, where that is no tensor: a key, an
            index or a function.

    Raises:
        TypeError: the module returns no tensor, and no entry of it is named.
        ValueError: a setting is unknown, or the loss not for the objective; when training starts, also if the module
            has no such layer.

    Example:
        ::

            Trainer(callbacks=[ClosedFormCallback(Proximal(strength=1e-2), head="model.readout")]).fit(module, loader)
    """

    def __init__(
        self,
        rule: Rule,
        *,
        head: str | Callable[[LightningModule], nn.Module] | None = None,
        algorithm: Literal[1, 2] = 2,
        initial: Initial = "zeros",
        penalise_bias: bool = True,
        objective: Objective | None = None,
        loss: Loss = "mse",
        log: bool = False,
        pair: Callable[[Any], Pair] = pair_of,
        prediction: Entry | None = None,
    ) -> None:
        check_entry("ClosedFormCallback", prediction)
        check_choice("ClosedFormCallback", "algorithm", algorithm, (1, 2))
        check_loss("ClosedFormCallback", loss, objective)
        self._loss: Loss = loss
        self.rule, self.where, self.algorithm, self.pair = rule, head, algorithm, pair
        self.prediction = prediction
        self._logs = log  # not `log`: Lightning puts a method there
        self._options: dict[str, Any] = {"initial": initial, "penalise_bias": penalise_bias, "objective": objective}
        self.head: ClosedFormHead | None = None
        self._waiting: list[Pair] = []  # batches since the optimizer's last step, under algorithm 1
        self._steps = 0
        self._last: Pair | None = None
        self._trajectory: dict[str, Tensor] | None = None  # the state to go on with, while the head is ahead of it

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            where = self.where(pl_module) if callable(self.where) else self.where
            layer = layer_of("ClosedFormCallback", pl_module, where, example=pl_module.example_input_array)
            self.head = ClosedFormHead(layer, self.rule, model=pl_module, **self._options)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bound().to(pl_module.device)
        self._waiting, self._steps, self._last = [], trainer.global_step, None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.algorithm == 1:
            return
        if self._trajectory is not None:
            self._bound().restore(self._trajectory)
            self._trajectory = None
        self._last = self.pair(batch)
        self._solve(trainer, pl_module, [self._last])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.algorithm == 2:
            self._bound().clear()
            return
        self._waiting.append(self.pair(batch))
        if trainer.global_step == self._steps:  # gradients are still being accumulated
            return
        self._solve(trainer, pl_module, self._waiting)
        self._waiting, self._steps = [], trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._solve_ahead(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_solved(self._bound().state())
        if self._logs:
            pl_module.log_dict({f"head/{name}": value for name, value in self._bound().figures().items()})
        self._solve_ahead(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.head is not None and stage == "fit":
            self.head.detach()
            self.head = self._last = self._trajectory = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # neuralop's models add their constructor's arguments here, which neither torch nor Lightning then loads.
        checkpoint["state_dict"].pop("_metadata", None)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.head is None else dict(self._trajectory or self.head.state())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.head is not None and state_dict:
            device = self.head.layer.weight.device
            self.head.restore({name: value.to(device) for name, value in state_dict.items()})

    def _solve_ahead(self, trainer: Trainer, module: LightningModule) -> None:
        """Algorithm 2, line 10, on the last batch."""
        if self._last is None or self._trajectory is not None:
            return
        modes = {part: part.training for part in module.modules()}
        self._trajectory = self._bound().state()
        module.eval()
        self._solve(trainer, module, [self._last])
        for part, training in modes.items():
            part.training = training

    def _solve(self, trainer: Trainer, module: LightningModule, pairs: Sequence[Pair]) -> None:
        """Solve the head on all these batches together."""

        def forward(x: Any) -> Tensor:
            return predicted("ClosedFormCallback", module(x), self.prediction)

        with trainer.precision_plugin.forward_context():
            solve_on(module, self._bound(), map(self._weighted, pairs), forward=forward)

    def _weighted(self, pair: Pair) -> Batch:
        x, y, *weights = pair
        given = weights[0] if weights else None
        return x, y, training_weights("ClosedFormCallback", y, given, self._loss, self._bound().layer)

    def _bound(self) -> ClosedFormHead:
        if self.head is None:
            raise RuntimeError("ClosedFormCallback: `setup` must run before training; got none. Use Trainer.fit.")
        return self.head
