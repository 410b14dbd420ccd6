"""The samples of a training: items of one form, how many a step takes, and those that cannot be trained on."""

from __future__ import annotations

import logging
from collections.abc import Sized
from typing import Any, cast

from torch import Tensor
from torch.utils.data import Dataset

from sciml_cf.datasets.items import as_items, find_not_finite, not_finite

_LOG = logging.getLogger(__name__)
Samples = Dataset[dict[str, Tensor]]


def samples_of(train: Dataset[Any], validation: Dataset[Any]) -> tuple[Samples, Samples]:
    """Both as datasets of items ``{"x": tensor, "y": tensor}``.

    Raises:
        TypeError: they have other items.
        ValueError: one is empty; it is named.
    """
    made = []
    for name, data in (("train", train), ("validation", validation)):
        items = as_items("fit", name, data)
        if not len(cast(Sized, items)):
            raise ValueError(f"fit: `{name}` must hold at least one sample; got an empty dataset.")
        made.append(items)
    return made[0], made[1]


_MUCH, _LITTLE = 0.1, 0.03  # shares of samples that an epoch leaves out


def samples_a_step(wanted: int, num_samples: int, world: int) -> int:
    """Samples of a batch over all processes: as many as are wanted, or all that there are, which a warning says.

    Raises:
        ValueError: they cannot be shared equally between ``world`` processes.
    """
    if wanted > num_samples:
        _LOG.warning(
            "fit: `batch_size` should be at most the number of training samples, %d; got %d. Every step takes all %d.",
            num_samples, wanted, num_samples,
        )  # fmt: skip
    size = min(wanted, num_samples)
    left = num_samples % size
    if left > _MUCH * num_samples:
        fitting = next(n for n in range(size, 0, -1) if num_samples % n <= _LITTLE * num_samples)
        _LOG.info(
            "fit: each epoch leaves out %d of %d samples, those of an incomplete batch. A batch size of %d uses %s.",
            left, num_samples, fitting, "all" if num_samples % fitting == 0 else "nearly all",
        )  # fmt: skip
    if size % world:
        raise ValueError(
            f"fit: `batch_size` must be a multiple of the number of processes, {world}; got {size} "
            f"(of {num_samples} samples)."
        )
    return size


def bad_sample(train: Samples, validation: Samples) -> ValueError | None:
    """The error that names the first sample with NaN or infinity, in either dataset; None if there is none.

    For a training whose loss is no longer finite: the learning rate is to blame only if the data are not.
    """
    for name, data in (("train", train), ("validation", validation)):
        found = find_not_finite(data)
        if found is not None:
            return not_finite("fit", name, *found)
    return None
