"""The data feed of a training: the items of each batch, shuffled by the seed and shared out over processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sciml_cf.datasets.items import reads_in_blocks
from sciml_cf.errors import check_count
from sciml_cf.training.augmentation import Augmentation
from sciml_cf.training.batches import epoch_batches, mix_seed, sequential_batches
from sciml_cf.training.choices import Augment
from sciml_cf.training.distributed import Fabric
from sciml_cf.training.pools import Pools, set_epoch
from sciml_cf.training.samples import Samples, samples_a_step, samples_of

_ORDER = 0  # purpose of a seed
_HELD_OUT = 32  # samples of a forward pass in validation, at least
Items = dict[str, Tensor]


class Feed:
    """The samples of a training and of its validation, and this process's share of each batch.

    Samples in memory are shuffled one by one. A dataset that is read in blocks (its attribute ``blocks``) is shuffled
    by blocks and within pools of them, see ``pooled_batches``. Either order is a function of the seed and the epoch. A
    dataset with a method ``set_epoch(number)`` is called with each epoch before its samples are taken.

    Args:
        fabric: of the training.
        train: see ``fit``.
        validation: see ``fit``.
        batch_size: samples a step, over all processes, as asked for.
        seed: of the order.
        workers: processes that read ahead; 0 reads in this one.
        augment: see FitConfig.

    Attributes:
        train: training data as a dataset of items ``{"x": tensor, "y": tensor}``.
        validation: validation data, likewise.
        num_samples: of the training.
        batch_size: samples a step, over all processes.

    Raises:
        TypeError, ValueError: see ``samples_of`` and ``samples_a_step``.
    """

    def __init__(
        self,
        fabric: Fabric,
        train: Dataset[Any],
        validation: Dataset[Any],
        *,
        batch_size: int,
        seed: int,
        workers: int = 0,
        augment: Augment = "none",
    ) -> None:
        check_count("fit", "loader_workers", workers, minimum=0)
        self._fabric, self._seed = fabric, seed
        self.train, self.validation = samples_of(train, validation)
        self.num_samples = len(cast(Sized, self.train))
        self.batch_size = samples_a_step(batch_size, self.num_samples, fabric.world_size)
        self._augmentation = Augmentation.of(augment, self.train)
        self._pools = self._pools_of(self.train, workers)
        apart = reads_in_blocks(self.validation) or not reads_in_blocks(self.train)
        self._held_out = self._pools_of(self.validation, min(workers, 1) if apart else 0)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return self.num_samples // self.batch_size

    @property
    def num_held_out(self) -> int:
        """Samples of the validation."""
        return len(cast(Sized, self.validation))

    def epoch(self, number: int, *, ahead: int | None = None) -> Iterator[Items]:
        """This process's share of the batches of an epoch, counted from 0; with ``ahead`` of its first ones alone."""
        return map(self._augmentation.batch, self._as_stored(number, ahead))

    def _as_stored(self, number: int, ahead: int | None) -> Iterator[Items]:
        seed = mix_seed(self._seed, number, _ORDER)
        if self._pools is not None:
            return self._pools.epoch(number, seed=seed, ahead=ahead)
        set_epoch(self.train, number)
        share = {"rank": self._fabric.global_rank, "world": self._fabric.world_size}
        batches = epoch_batches(self.num_samples, self.batch_size, seed=seed, **share)
        return islice(iter(self._loader(self.train, batches)), ahead)

    def held_out(self) -> Iterable[Items]:
        """This process's share of the validation samples."""
        rank, world = self._fabric.global_rank, self._fabric.world_size
        size = max(self.batch_size // world, _HELD_OUT)
        if self._held_out is not None:
            return self._held_out.in_order(size)
        return self._loader(self.validation, sequential_batches(self.num_held_out, size, rank=rank, world=world))

    def _pools_of(self, data: Samples, workers: int) -> Pools | None:
        """Pools of a dataset that is read in blocks, or by worker processes."""
        if not workers and not reads_in_blocks(data):
            return None
        rank, world = self._fabric.global_rank, self._fabric.world_size
        ready = self._fabric.to_device
        return Pools(data, self.batch_size, rank=rank, world=world, workers=workers, ready=ready)

    def _loader(self, data: Samples, batches: list[list[int]]) -> Iterable[Items]:
        loader = DataLoader(data, batch_sampler=batches)
        return cast(Iterable[Items], self._fabric.setup_dataloaders(loader, use_distributed_sampler=False))
