"""The choice between samples of a file in memory and samples read when they are needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from data_gen.formats import Facts
from data_gen.grids.positions import coarser, stride_to
from data_gen.storage.memory import free_memory
from sciml_cf.datasets.choices import Lazy
from sciml_cf.datasets.open_file import OpenFile
from sciml_cf.datasets.splits import rows_of_split
from sciml_cf.errors import check_choice

_LOG = logging.getLogger(__name__)
_SHARE = 4  # the samples may take one part in so many of the free memory


def choose_lazy(
    function: str,
    lazy: Lazy | bool,
    path: Path,
    splits: Sequence[str],
    *,
    resolution: int | None = None,
    split_seed: int = 0,
    facts: Facts | None = None,
    format: str | None = None,
    quiet: bool = False,
) -> bool:
    """Whether to read samples when they are needed: as asked, or with "auto" by their size; one line says why.

    Args:
        function: who asks, for messages.
        lazy: "yes", "no" or "auto"; True and False mean the first two.
        path: see ``FieldDataset``.
        resolution: see ``FieldDataset``.
        split_seed: see ``FieldDataset``.
        facts: see ``FieldDataset``.
        format: see ``FieldDataset``.
        splits: whose samples would be held together.
        quiet: say nothing where they are held in memory.
    """
    if isinstance(lazy, bool):
        return lazy
    check_choice(function, "lazy", lazy, ("auto", "yes", "no"))
    if lazy != "auto":
        return lazy == "yes"
    needed, free = _bytes_of(path, splits, resolution, split_seed, facts, format), free_memory()
    chosen = free is not None and needed > free / _SHARE
    if quiet and not chosen:
        return False
    how = "are read from the file as they are needed" if chosen else "are held in memory"
    known = "" if free is None else f" of {_giga(free)} that are free"
    _LOG.info("%s: samples %s: they take %s%s (--lazy changes it)", function, how, _giga(needed), known)
    return chosen


def _bytes_of(
    path: Path, splits: Sequence[str], resolution: int | None, seed: int, facts: Facts | None, format: str | None
) -> int:
    """Memory that splits of a file take, in the default precision."""
    file = OpenFile(path, format=format, facts=facts)
    try:
        source, header = file.source, file.source.header
        stride = stride_to(header.shape, resolution or source.resolution, header.placements) or 1
        points = int(np.prod([coarser(axis, stride) for axis in header.shape]))
        samples = sum(len(rows_of_split(source, split, seed)) for split in splits)
    finally:
        file.close()
    numbers = samples * (len(header.inputs) + len(header.channels)) * points
    return numbers * torch.empty(0).element_size()


def _giga(count: int) -> str:
    return f"{count / 1e9:.2g} GB"
