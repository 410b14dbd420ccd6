"""The split of a data file into training, validation and test samples."""

from __future__ import annotations

import numpy as np

from data_gen.formats import Source
from sciml_cf.errors import DatasetError, check_count

# The paper splits 2048 samples into these parts; other sizes keep the proportions.
_TRAIN, _VALIDATION, _ALL = 1448, 200, 2048
SPLIT_SEED = 0


def split_indices(num_samples: int, *, seed: int = SPLIT_SEED) -> dict[str, np.ndarray]:
    """Disjoint sample indices of "train", "validation" and "test", each sorted, from one seeded permutation.

    The proportions are 1448 : 200 : 400, as in the closed-form paper (section 6).

    Args:
        num_samples: samples to split, at least 3.
        seed: of the permutation.

    Returns:
        Indices ``(S,)`` of each split, int64.

    Raises:
        ValueError: fewer than three samples.
    """
    check_count("split_indices", "num_samples", num_samples, minimum=3, hint="Each of the three parts needs one.")
    order = np.random.default_rng(seed).permutation(num_samples)
    validation = max(1, round(num_samples * _VALIDATION / _ALL))
    train = min(max(1, round(num_samples * _TRAIN / _ALL)), num_samples - validation - 1)
    parts = np.split(order, [train, train + validation])
    return {name: np.sort(part) for name, part in zip(("train", "validation", "test"), parts, strict=True)}


def rows_of_split(data: Source, split: str, seed: int) -> np.ndarray:
    """Row numbers of a split: those of the file's own, if it has one, else of a seeded permutation.

    The windows of a trajectory are in one part. A split without validation samples has them from its training samples,
    in the usual proportion. Training samples alone are no split.
    """
    if split == "all":
        return np.arange(data.num_samples)
    own = data.splits
    groups = data.groups
    if set(own) <= {"train"}:
        known, of_row = np.unique(groups, return_inverse=True)
        return np.flatnonzero(np.isin(of_row, split_indices(len(known), seed=seed)[split]))
    train = own.get("train", np.empty(0, dtype=np.int64))
    known = np.unique(groups[train])
    if "validation" not in own and len(known) > 1:
        count = min(len(known) - 1, max(1, round(len(known) * _VALIDATION / (_TRAIN + _VALIDATION))))
        held_out = np.isin(groups[train], np.random.default_rng(seed).permutation(known)[:count])
        own = {**own, "train": train[~held_out], "validation": train[held_out]}
    if split not in own:
        raise DatasetError(
            f"FieldDataset: {data.path} has a split of its own without samples for `split` {split!r}; it has "
            f"{', '.join(own)}. Add them, or give the folder of one part."
        )
    return own[split]
