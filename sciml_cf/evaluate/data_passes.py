"""Passes of a model over its data in shares: in one process, in those of torchrun, or by the workers of a runner."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.data import Dataset

from data_gen.executors.local import Runner, WorkerLost
from sciml_cf.datasets.items import first_inputs
from sciml_cf.errors import BenchmarkError
from sciml_cf.head.features import HeadView
from sciml_cf.head.processes import joined, own_share
from sciml_cf.model_outputs import Entry

#: Shares that workers are given; their number does not depend on that of the workers, nor do the results.
_SHARES = 16
#: (which of the shares, of how many)
Share = tuple[int, int]


@dataclass(frozen=True)
class DataPass:
    """A model and the data that it passes over.

    Args:
        function: who asks, for messages.
        model: as ``HeadView`` takes them.
        head: as ``HeadView`` takes them.
        prediction: as ``HeadView`` takes them.
        data: items ``{"x": (C, *N), "y": (C', *N)}``; workers get a copy, of a lazy dataset its path alone.
        batch_size: samples a forward pass.
        shared: all processes of torchrun pass over their share together.
        runner: of ``data_gen.executors``; its workers pass over the shares.
    """

    function: str
    model: nn.Module
    data: Dataset[dict[str, Tensor]]
    head: nn.Module | str | None
    prediction: Entry | None
    batch_size: int
    shared: bool = False
    runner: Runner | None = None

    @cached_property
    def view(self) -> HeadView:
        """The model, seen as features and a head; made once in each process."""
        return HeadView(
            self.function, self.model, self.head, example=first_inputs(self.data), prediction=self.prediction
        )

    def gather(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The results of ``work(pass, share, *arguments)`` for all shares, in their order, the same in all processes.

        Args:
            work: a function of a module, which calls ``HeadView.for_each_batch`` with its share.
            *arguments: further arguments of ``work``.

        Raises:
            BenchmarkError: a worker died.
        """
        if self.runner is None:
            return joined([work(self, own_share(self.shared), *arguments)], self.shared)
        batches = -(-len(cast(Sized, self.data)) // self.batch_size)
        count = max(1, min(_SHARES, batches))
        alone = replace(self, shared=False, runner=None)
        lanes = ([(work, alone, (place, count), arguments)] for place in range(count))
        try:
            found = dict(self.runner(_numbered, lanes))
        except WorkerLost as error:
            raise BenchmarkError(
                f"{self.function}: every worker must live until its share is done; {error}. Nothing was written: do "
                "the same again, perhaps with fewer workers."
            ) from None
        return [found[place] for place in range(count)]


def _numbered(
    work: Callable[..., Any], data_pass: DataPass, share: Share, arguments: tuple[Any, ...]
) -> tuple[int, Any]:
    return share[0], work(data_pass, share, *arguments)
