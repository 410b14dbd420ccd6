"""Which samples make up which batch: a function of the seed and the epoch alone, shared out over processes."""

from __future__ import annotations

import numpy as np
import torch


def epoch_batches(num_samples: int, size: int, *, seed: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    """One epoch's batches of ``size`` shuffled samples, and of each the share of one of ``world`` processes.

    An incomplete last batch is left out. The shares of all processes together are the batches of one.
    """
    order = torch.randperm(num_samples, generator=torch.Generator().manual_seed(seed)).tolist()
    return [order[start : start + size][rank::world] for start in range(0, num_samples - size + 1, size)]


def sequential_batches(num_samples: int, size: int, *, rank: int = 0, world: int = 1) -> list[list[int]]:
    """One process's share of all samples, in order, at most ``size`` at a time."""
    share = range(num_samples)[rank::world]
    return [list(share[start : start + size]) for start in range(0, len(share), size)]


def mix_seed(*words: int) -> int:
    """One 63-bit seed from several non-negative integers, so that streams of different purpose are apart."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
