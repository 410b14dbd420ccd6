"""Blocks of samples that processes take in turn, so that any number of them measures the same."""

from __future__ import annotations

from typing import Any

from sciml_cf.training.distributed import gathered, process_rank


def own_blocks(count: int, size: int) -> list[slice]:
    """This process's blocks of ``count`` samples, at most ``size`` each: block i is that of process i mod their number.

    The blocks do not depend on the number of processes, nor do the results on each of them.
    """
    rank, world = process_rank()
    return [slice(start, min(start + size, count)) for start in range(0, count, size)][rank::world]


def in_turn(results: list[Any]) -> list[Any]:
    """The results of all blocks in their order, in every process, from those of each process's own blocks."""
    parts = gathered(results)
    return [part[place] for place in range(len(parts[0])) for part in parts if place < len(part)]
