"""neuraloperator's unmodified Trainer as a baseline: its FNO, AdamW, the relative L2 loss, a cosine schedule."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


def default_fno(width: int, modes: int, *, seed: int) -> nn.Module:
    """neuraloperator's FNO in one dimension with its defaults: positional grid, channel MLP, four layers.

    ``modes`` are handed on as they are; neuraloperator keeps modes // 2 + 1 complex ones.
    """
    from neuralop.models import FNO

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FNO(n_modes=(modes,), in_channels=1, out_channels=1, hidden_channels=width)


def train_with_neuralop(
    model: nn.Module,
    train: Dataset[dict[str, Tensor]],
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    seed: int,
    after_epoch: Callable[[nn.Module, int], None],
) -> None:
    """Train with ``neuralop.Trainer``, unmodified; ``after_epoch(model, epoch)`` is called after each epoch.

    The Trainer's own evaluation is left out, so that its time holds training alone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neuralop import LpLoss, Trainer
        from neuralop.training import AdamW

        optimizer = AdamW(model.parameters(), lr=learning_rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
        loader = DataLoader(
            train, batch_size, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(seed)
        )
        watched: Any = _Watched(loader, lambda epoch: after_epoch(model, epoch))
        trainer = Trainer(model=model, n_epochs=epochs, eval_interval=epochs + 1)
        trainer.train(
            watched, {}, optimizer, scheduler, regularizer=None, training_loss=LpLoss(d=1, p=2), eval_losses={}
        )
        after_epoch(model, epochs)


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
