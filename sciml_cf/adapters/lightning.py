"""The closed-form head for a LightningModule that someone else wrote, as a callback of Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sciml_cf.adapters.common import layer_of, with_flat_points
from sciml_cf.errors import check_choice
from sciml_cf.head import ClosedFormHead, Rule

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

Pair = tuple[Tensor, Tensor]


def pair_of(batch: Any) -> Pair:
    """(x, y) of a batch {"x": x, "y": y, ...} or (x, y)."""
    if isinstance(batch, Mapping) and {"x", "y"} <= set(batch):
        return batch["x"], batch["y"]
    if isinstance(batch, Sequence) and len(batch) == 2:
        return batch[0], batch[1]
    raise TypeError(
        'ClosedFormCallback: `batch` must be {"x": ..., "y": ...} or (x, y); got '
        f"{type(batch).__name__}. Pass pair=..., a function from your batch to (x, y)."
    )


class ClosedFormCallback(Callback):
    """Keeps one linear layer of a LightningModule solved in closed form; the module itself stays as it is.

    The module's ``training_step`` should return the mean squared error of ``module(x)``. Each step costs one forward
    pass without gradients beside the module's own; ClosedFormLoss inside the ``training_step`` saves it.

    The layer's parameters stop requiring gradients before the module configures its optimizers, so they are in none
    that asks for this, and no optimizer changes them. Validation and testing solve nothing. The rule's state is in
    Lightning's checkpoints. With ``accumulate_grad_batches=k``, algorithm 1 solves once, on the moments of all k
    batches (exactly the step of a k times larger batch, and k batches are kept for it); algorithm 2 updates the head
    at each of the k. Under several processes the moments of all are summed.

    Args:
        rule: Proximal(...), Ridge(...), or another rule.
        head: the layer to solve: its dotted name in the module, or a function from the module to it; by default the
            module's last linear layer.
        algorithm: 2 solves the head before each training step (arXiv:2510.04606, Eq. 17), 1 after it on re-computed
            features (Algorithm 1).
        initial: "zeros" or "keep", see ClosedFormHead.
        pair: (x, y) of a batch, y shaped like ``module(x)``; by default of {"x": x, "y": y} or (x, y).
    Raises:
        ValueError: a setting is unknown; when training starts, also if the module has no such layer.

    Example::

        Trainer(callbacks=[ClosedFormCallback(Proximal(strength=1e-2), head="model.readout")]).fit(module, loader)
    """

    def __init__(
        self,
        rule: Rule,
        *,
        head: str | Callable[[LightningModule], nn.Module] | None = None,
        algorithm: Literal[1, 2] = 2,
        initial: Literal["zeros", "keep"] = "zeros",
        pair: Callable[[Any], Pair] = pair_of,
    ) -> None:
        check_choice("ClosedFormCallback", "algorithm", algorithm, (1, 2))
        self.rule, self.where, self.algorithm, self.pair = rule, head, algorithm, pair
        self.initial: Literal["zeros", "keep"] = initial
        self.head: ClosedFormHead | None = None
        self._waiting: list[Pair] = []  # batches since the optimizer's last step, under algorithm 1
        self._steps = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            where = self.where(pl_module) if callable(self.where) else self.where
            layer = layer_of("ClosedFormCallback", pl_module, where)
            self.head = ClosedFormHead(layer, self.rule, initial=self.initial)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bound().to(pl_module.device)
        self._waiting, self._steps = [], trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.algorithm == 2:
            self._accumulate(trainer, pl_module, self.pair(batch))
            self._bound().update()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.algorithm == 2:
            self._bound().clear()
            return
        self._waiting.append(self.pair(batch))
        if trainer.global_step == self._steps:  # gradients are still being accumulated
            return
        for pair in self._waiting:
            self._accumulate(trainer, pl_module, pair)
        self._bound().update()
        self._waiting, self._steps = [], trainer.global_step

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.head is not None and stage == "fit":
            self.head.detach()
            self.head = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # neuralop's models add their constructor's arguments here, which neither torch nor Lightning then loads.
        checkpoint["state_dict"].pop("_metadata", None)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.head is None else dict(self.head.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.head is not None and state_dict:
            self.head.load_state_dict(state_dict)

    def _accumulate(self, trainer: Trainer, module: LightningModule, pair: Pair) -> None:
        x, y = pair
        head = self._bound()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            prediction = module(x)
        if prediction.shape != y.shape:
            raise ValueError(
                f"ClosedFormCallback: `pair` must give y shaped like module(x), {tuple(prediction.shape)}; "
                f"got {tuple(y.shape)}."
            )
        head.accumulate(with_flat_points(y, head.layer), prediction=with_flat_points(prediction, head.layer))

    def _bound(self) -> ClosedFormHead:
        if self.head is None:
            raise RuntimeError("ClosedFormCallback: `setup` must run before training; got none. Use Trainer.fit.")
        return self.head
