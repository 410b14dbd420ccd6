"""Parameters of each sample, group or file: one number where all agree, else a table by sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def parameters_and_table(
    each: Sequence[Mapping[str, float]], counts: Iterable[int] | None = None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The parameters that all parts of a dataset have in common, and the others by sample, NaN where one is missing.

    Args:
        each: parameters of each part.
        counts: samples of each part; one if None.
    """
    numbers = list(counts) if counts is not None else [1] * len(each)
    names = dict.fromkeys(name for part in each for name in part)
    same = {name: each[0][name] for name in names if all(part.get(name) == each[0].get(name) for part in each)}
    table = {
        name: np.repeat([float(part.get(name, np.nan)) for part in each], numbers) for name in names if name not in same
    }
    return same, table
