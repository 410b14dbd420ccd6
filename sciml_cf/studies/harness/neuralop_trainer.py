"""neuraloperator's unmodified Trainer as a baseline: its FNO, AdamW or SOAP, relative L2 loss, cosine schedule."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sciml_cf.training.config import FitConfig
from sciml_cf.training.optimizers import named_optimizer
from sciml_cf.training.real_views import RealViews


def default_fno(
    width: int, modes: int, *, seed: int, num_dims: int = 1, in_channels: int = 1, out_channels: int = 1
) -> nn.Module:
    """neuraloperator's FNO with its defaults: positional grid, channel MLP, four layers.

    ``modes`` are handed on as they are; neuraloperator keeps modes // 2 + 1 complex ones.
    """
    from neuralop.models import FNO

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FNO(
            n_modes=(modes,) * num_dims, in_channels=in_channels, out_channels=out_channels, hidden_channels=width
        )


def train_with_neuralop(
    model: nn.Module,
    train: Dataset[dict[str, Tensor]],
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    seed: int,
    optimizer: str = "adamw",
    loss: str = "l2",
    periodic: bool = True,
    after_epoch: Callable[[nn.Module, int], None],
) -> None:
    """Train with ``neuralop.Trainer``, unmodified; ``after_epoch(model, epoch)`` is called after each epoch.

    The Trainer's own evaluation is left out, so that its time holds training alone.

    Args:
        model: complex parameters come to SOAP as real ones.
        train: items with x (C_in, ...) and y (C_out, ...).
        learning_rate: the peak rate.
        epochs: of the training and of the schedule.
        batch_size: samples a step.
        seed: of the order of the samples.
        optimizer: "adamw" is neuraloperator's own, "soap" that of pytorch-optimizer.
        loss: "l2" or "h1", relative.
        periodic: whether the derivatives of "h1" wrap around.
        after_epoch: called with the model and the epoch, from 1.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neuralop import Trainer

        moved = _optimizer(model, optimizer, learning_rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(moved, T_max=epochs)
        loader = DataLoader(
            train, batch_size, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(seed)
        )
        watched: Any = _Watched(loader, lambda epoch: after_epoch(model, epoch))
        trainer = Trainer(model=model, n_epochs=epochs, eval_interval=epochs + 1)
        training_loss = _loss(loss, train[0]["x"].ndim - 1, periodic=periodic)
        trainer.train(watched, {}, moved, scheduler, regularizer=None, training_loss=training_loss, eval_losses={})
        after_epoch(model, epochs)


def _optimizer(model: nn.Module, name: str, rate: float) -> torch.optim.Optimizer:
    if name == "adamw":
        from neuralop.training import AdamW

        return AdamW(model.parameters(), lr=rate)
    views = RealViews(list(model.parameters()))
    made = named_optimizer(views.parameters, FitConfig(optimizer="soap", learning_rate=rate))
    made.register_step_pre_hook(lambda *_: views.take_gradients())
    made.register_step_post_hook(lambda *_: views.drop_gradients())
    return made


def _loss(name: str, num_dims: int, *, periodic: bool) -> Any:
    from neuralop.losses import H1Loss, LpLoss

    if name == "l2":
        return LpLoss(d=num_dims, p=2)
    return H1Loss(d=num_dims, periodic_in_x=periodic, periodic_in_y=periodic, periodic_in_z=periodic)


class _Watched:
    """A loader that reports when the epoch before is over, which is when the next one begins."""

    def __init__(self, loader: DataLoader[Any], tell: Callable[[int], None]) -> None:
        self.loader, self.tell, self.epoch = loader, tell, 0
        self.dataset = loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if self.epoch:
            self.tell(self.epoch)
        self.epoch += 1
        return iter(self.loader)
