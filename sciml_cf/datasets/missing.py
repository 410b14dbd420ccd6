"""Missing values of fields: zeros and a channel that says where for inputs, weights for targets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def with_mask(x: np.ndarray) -> np.ndarray:
    """Inputs ``(S, C, *N)`` with zeros where they are not finite, and a last channel, 1 where all are, else 0."""
    known = np.isfinite(x)
    return np.concatenate([np.where(known, x, 0), known.all(1, keepdims=True)], axis=1, dtype=x.dtype)


def known_values(y: np.ndarray) -> np.ndarray:
    """``(S, *N)``, where all channels of targets ``(S, C, *N)`` are finite."""
    return np.asarray(np.isfinite(y).all(1))


def target_means(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Mean of each channel over the finite values of targets ``(S, C, *N)``, given in blocks of samples:
    ``(1, C, 1, ...)``.
    """
    total: np.ndarray | float = 0.0
    count: np.ndarray | int = 0
    for y in blocks:
        known, axes = np.isfinite(y), (0, *range(2, y.ndim))
        count = count + known.sum(axes, keepdims=True)
        total = total + np.where(known, y, 0).sum(axes, keepdims=True, dtype=np.float64)
    return np.asarray(total / np.maximum(count, 1))


def filled(y: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Targets ``(S, C, *N)`` with a mean ``(1, C, 1, ...)`` where they are not finite."""
    return np.where(np.isfinite(y), y, mean).astype(y.dtype)
