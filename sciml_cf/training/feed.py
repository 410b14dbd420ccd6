"""What a training reads: the items of each batch, shuffled by the seed and shared out over processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sciml_cf.training.batches import epoch_batches, mix_seed, sequential_batches
from sciml_cf.training.distributed import Fabric
from sciml_cf.training.samples import Samples, samples_a_step, samples_of

_ORDER = 0  # purpose of a seed
_HELD_OUT = 32  # samples of a forward pass in validation, at least
Items = dict[str, Tensor]


class Feed:
    """The samples of a training and of its validation, and this process's share of each batch.

    Args:
        fabric: of the training.
        train, validation: see ``fit``.
        batch_size: samples a step, over all processes, as asked for.
        seed: of the order.
    Attributes:
        train, validation: both as datasets of items {"x": tensor, "y": tensor}.
        num_samples: of the training.
        batch_size: samples a step, over all processes.
    Raises:
        TypeError, ValueError: see ``samples_of`` and ``samples_a_step``.
    """

    def __init__(
        self, fabric: Fabric, train: Dataset[Any], validation: Dataset[Any], *, batch_size: int, seed: int
    ) -> None:
        self._fabric, self._seed = fabric, seed
        self.train, self.validation = samples_of(train, validation)
        self.num_samples = len(cast(Sized, self.train))
        self.batch_size = samples_a_step(batch_size, self.num_samples, fabric.world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return self.num_samples // self.batch_size

    @property
    def num_held_out(self) -> int:
        """Samples of the validation."""
        return len(cast(Sized, self.validation))

    def epoch(self, number: int) -> Iterator[Items]:
        """This process's share of the batches of an epoch, counted from 0."""
        seed = mix_seed(self._seed, number, _ORDER)
        share = {"rank": self._fabric.global_rank, "world": self._fabric.world_size}
        return iter(self._loader(self.train, epoch_batches(self.num_samples, self.batch_size, seed=seed, **share)))

    def held_out(self) -> Iterable[Items]:
        """This process's share of the validation samples."""
        rank, world = self._fabric.global_rank, self._fabric.world_size
        size = max(self.batch_size // world, _HELD_OUT)
        return self._loader(self.validation, sequential_batches(self.num_held_out, size, rank=rank, world=world))

    def _loader(self, data: Samples, batches: list[list[int]]) -> Iterable[Items]:
        loader = DataLoader(data, batch_sampler=batches)
        return cast(Iterable[Items], self._fabric.setup_dataloaders(loader, use_distributed_sampler=False))
