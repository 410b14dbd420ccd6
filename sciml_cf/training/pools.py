"""Batches that are read ahead: worker processes read pools of samples, which this process cuts into batches."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sciml_cf.datasets.items import items_at, reads_in_blocks
from sciml_cf.errors import DatasetError
from sciml_cf.training.batches import epoch_batches, pooled_batches, shared_out

_POOL_BYTES, _MOST_BYTES = 2**22, 2**28  # of the samples of a pool: of small ones, and at most
_POOL_BATCHES = 16  # in a pool of large samples
_AHEAD = 2  # pools that each worker has been asked for
Items = dict[str, Tensor]
_Task = tuple[int, np.ndarray]  # epoch, numbers of the samples


class Pools:
    """The batches of a dataset: of one that says its blocks from shuffled pools of them, of any other each by itself.

    Args:
        data: its method ``batch(numbers)``, if it has one, gives many samples at once; its ``set_epoch(number)`` is
            called first.
        batch_size: samples a step, over all processes.
        rank: number of this process.
        world: number of processes.
        workers: processes that read; 0 reads in this one.
        ready: what is done to a batch before it is handed out.
    """

    def __init__(
        self,
        data: Dataset[Any],
        batch_size: int,
        *,
        rank: int,
        world: int,
        workers: int,
        ready: Callable[[Items], Items],
    ) -> None:
        self._reader, self._workers, self._ready = _Reader(data, workers), workers, ready
        self._data, self._size, self._share = data, batch_size, {"rank": rank, "world": world}
        self._tasks: list[_Task] = []
        self._loader: DataLoader[Any] | None = None
        self._started: tuple[tuple[int, int], list[Items], Iterator[Items]] | None = None

    def epoch(self, number: int, *, seed: int, ahead: int | None = None) -> Iterator[Items]:
        """The batches of an epoch, or the first ones of an epoch to come, which it then begins with.

        Args:
            number: of the epoch.
            seed: of the order.
            ahead: how many batches; None for all, once the epoch is there.
        """
        if self._started is None or self._started[0] != (number, seed):
            self._started = (number, seed), [], self._batches(number, seed)
        _, read, rest = self._started
        if ahead is not None:
            while len(read) < ahead and (batch := next(rest, None)) is not None:
                read.append(batch)
            yield from read[:ahead]
            return
        self._started = None
        while read:
            yield read.pop(0)
        yield from rest

    def in_order(self, size: int) -> Iterator[Items]:
        """This process's share of all samples, in order, so many at a time."""
        parts = shared_out(len(cast(Sized, self._data)), size, **self._share)
        return map(self._ready, self._read([(0, part) for part in parts]))

    def _batches(self, number: int, seed: int) -> Iterator[Items]:
        data = cast(Any, self._data)
        if reads_in_blocks(data):
            one = _bytes_of(data[0])
            pool = max(_POOL_BYTES // one, min(_POOL_BATCHES * self._size, _MOST_BYTES // one))
            pools = pooled_batches(data.blocks, len(data), self._size, pool=pool, seed=seed, **self._share)
        else:
            batches = epoch_batches(len(data), self._size, seed=seed, **self._share)
            pools = [np.array([batch]) for batch in batches]
        tasks = [(number, np.sort(batches.ravel())) for batches in pools]
        reading = self._read(tasks)
        for batches, (_, numbers) in zip(pools, tasks, strict=True):
            held = next(reading)
            for batch in np.searchsorted(numbers, batches):
                rows = torch.from_numpy(batch)
                yield self._ready({name: values[rows] for name, values in held.items()})
            del held  # before the next pool is read
        for _ in reading:
            pass

    def _read(self, tasks: Sequence[_Task]) -> Iterator[Items]:
        """What each task asks for, in order."""
        self._tasks[:] = tasks
        with workers_named():
            for found in self._loader_of():
                if isinstance(found, Exception):
                    raise found
                handed = [found]
                del found
                yield handed.pop()

    def _loader_of(self) -> DataLoader[Any]:
        """One loader for all epochs, whose processes stay."""
        if self._loader is None:
            several: dict[str, Any] = {}
            if self._workers:
                context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
                if context.get_start_method() == "forkserver":
                    context.set_forkserver_preload([__name__])
                several = {"multiprocessing_context": context, "persistent_workers": True, "prefetch_factor": _AHEAD}
            self._loader = DataLoader(
                self._reader,
                batch_size=None,
                sampler=cast(Any, _Tasks(self._tasks)),
                num_workers=self._workers,
                collate_fn=_as_it_is,
                worker_init_fn=_start_worker,
                generator=torch.Generator(),  # of its own: the numbers of the training stay as they are
                **several,
            )
        return self._loader


class _Tasks:
    """The tasks of the present epoch, as a sampler."""

    def __init__(self, tasks: list[_Task]) -> None:
        self._tasks = tasks

    def __iter__(self) -> Iterator[_Task]:
        return iter(list(self._tasks))

    def __len__(self) -> int:
        return len(self._tasks)


class _Reader(Dataset[Any]):
    """From a task to its samples as one batch; in a worker an error is returned, so that it stays one line."""

    def __init__(self, data: Dataset[Any], workers: int) -> None:
        self._data, self._returns_errors = data, workers > 0

    def __getitem__(self, task: _Task) -> Items | Exception:
        epoch, numbers = task
        try:
            set_epoch(self._data, epoch)
            return batch_of(self._data, numbers)
        except Exception as error:
            if self._returns_errors:
                return error
            raise


def set_epoch(data: Dataset[Any], number: int) -> None:
    """Tell a dataset that has other samples in each epoch which one it is: its method ``set_epoch``, if it has one."""
    told = getattr(data, "set_epoch", None)
    if told is not None:
        told(number)


def batch_of(data: Dataset[Any], numbers: np.ndarray) -> Items:
    """Samples of a dataset as one batch, in this order."""
    if hasattr(data, "batch"):
        return cast(Any, data).batch(numbers)
    items = items_at(data, numbers.tolist())
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


@contextmanager
def workers_named() -> Iterator[None]:
    """Inside, a worker process that died is one line that says how to go on.

    Raises:
        DatasetError: a worker died.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DatasetError(
            "fit: a process that reads the samples died (killed, or out of memory). The last checkpoint is kept; the "
            "same command with --resume goes on, with fewer --loader-workers if memory was short."
        ) from None


def _bytes_of(item: Items) -> int:
    return sum(values.numel() * values.element_size() for values in item.values())


def _as_it_is(found: Any) -> Any:
    return found


def _start_worker(_: int) -> None:
    """Leave Ctrl-C to the parent, and compute with one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
