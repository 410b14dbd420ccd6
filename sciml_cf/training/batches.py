"""The samples of each batch: a function of the seed and the epoch alone, shared out over processes."""

from __future__ import annotations

import math

import numpy as np
import torch

_PARTS = (8, 4, 2, 1)  # of a pool, as many as divide a batch
_PART = 64  # samples of a part at least, where there are several


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


def pooled_batches(
    starts: np.ndarray, num_samples: int, size: int, *, pool: int, seed: int, rank: int = 0, world: int = 1
) -> list[np.ndarray]:
    """One epoch's batches of samples that lie in blocks, of each a process's share: (batches, size) for each pool.

    The blocks are put in random order. So many of their samples as a pool holds are read together, in equal parts; each
    part is shuffled, and a batch takes its samples from all parts of its pool in turn. Where the number of processes
    divides that of the parts, a process reads those parts alone that its share of the batches comes from. What is left
    over from whole batches is left out: other samples in each epoch.

    Args:
        starts: (blocks,), numbers of the samples with which the blocks start, the first of them 0.
        num_samples: in all.
        size: samples of a batch, over all processes.
        pool: samples of a pool; rounded down to whole batches, and where a pool has room for them to whole blocks of
            one length.
        seed: of the order, which depends on nothing else.
        rank: number of this process.
        world: number of processes.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(starts), generator=generator).numpy()
    lengths = np.diff(starts, append=num_samples)[order]
    behind = np.cumsum(lengths)
    samples = np.arange(num_samples) + np.repeat(starts[order] - (behind - lengths), lengths)
    used = num_samples - num_samples % size
    whole = math.lcm(size, _parts_of(size, pool) * int(lengths.max()))  # in which no block is cut
    unit = whole if whole <= pool else size
    pool = max(1, pool // unit) * unit
    pools = []
    for start in range(0, used, pool):
        held = samples[start : min(start + pool, used)]
        parts = _parts_of(size, len(held))
        mixed = [part[torch.randperm(len(part), generator=generator).numpy()] for part in np.split(held, parts)]
        batches = np.stack(mixed).reshape(parts, -1, size // parts).transpose(1, 2, 0).reshape(-1, size)
        pools.append(batches[:, rank::world])
    return pools


def _parts_of(size: int, pool: int) -> int:
    """In how many parts a pool is read."""
    return next(count for count in _PARTS if size % count == 0 and (count == 1 or pool // count >= _PART))


def shared_out(num_samples: int, size: int, *, rank: int = 0, world: int = 1) -> list[np.ndarray]:
    """One process's share of all samples in a row, in order, at most ``size`` at a time."""
    share = np.arange(num_samples * rank // world, num_samples * (rank + 1) // world)
    return [share[start : start + size] for start in range(0, len(share), size)]
