"""The memory of rules: a running mean of earlier batches that fades, merged by weight."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sciml_cf.errors import is_finite
from sciml_cf.head.solve import check_strength


def check_forgetting(rule: str, forgetting: object) -> None:
    """Raise ValueError unless ``forgetting`` is a number from 0 (each batch alone) to 1 (nothing is forgotten)."""
    if not is_finite(forgetting) or not 0 <= float(forgetting) <= 1:  # pyright: ignore[reportArgumentType]
        raise ValueError(
            f"{rule}: `forgetting` must be a number from 0 to 1; got {forgetting!r}. "
            "It multiplies the weight of what is remembered at each update: 0.9 keeps about ten batches."
        )


def checked_strengths(rule: str, strengths: Iterable[float]) -> tuple[float, ...]:
    """The candidates for a strength as a tuple; ValueError unless there is one and all are above zero."""
    found = tuple(strengths)
    if not found:
        raise ValueError(f"{rule}: `strengths` must name at least one; got (). Try (1e-2, 1e-3, 1e-1).")
    for strength in found:
        check_strength(rule, strength)
    return found


def check_memory(rule: str, strength: object, forgetting: object) -> None:
    """The checks of a rule's ``strength`` (above zero) and ``forgetting``."""
    check_strength(rule, strength)
    check_forgetting(rule, forgetting)


def nothing(*shape: int) -> Tensor:
    """Zeros of a state, float64."""
    return torch.zeros(shape, dtype=torch.float64)


def merged(old: Tensor, new: Tensor, faded: Tensor, weight: Tensor) -> Tensor:
    """Mean of what is remembered, of weight ``faded``, and of a batch of this weight.

    ::

        (faded old + weight new) / (faded + weight)

    A batch of half the weight counts half, and a mean stays a mean; a batch that weighs nothing changes nothing.
    """
    return torch.lerp(old, new, weight / (faded + weight).clamp_min(torch.finfo(torch.float64).tiny))


def renewed(prior: Tensor, remembered: Tensor, forgetting: float, weight: Tensor) -> Tensor:
    """Weight, in rows, of a prior whose share in each batch's own rows is forgotten and renewed.

    ::

        prior <- g prior + (1 - g) weight        from prior = weight at the first update

    With g = 1 the prior enters at the start alone; as g -> 0 it is that of the batch.
    """
    forgotten = forgetting * (remembered > 0).to(weight.dtype)
    return forgetting * prior + (1 - forgotten) * weight
