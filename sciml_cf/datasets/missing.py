"""Missing values of fields: zeros and a channel that says where for inputs, weights for targets."""

from __future__ import annotations

import numpy as np


def with_mask(x: np.ndarray) -> np.ndarray:
    """Inputs (S, C, *N) with zeros where they are not finite, and a last channel that is 1 where all are, else 0."""
    known = np.isfinite(x)
    return np.concatenate([np.where(known, x, 0), known.all(1, keepdims=True)], axis=1, dtype=x.dtype)


def known_targets(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets (S, C, *N) with each channel's mean where they are not finite, and where all channels are: (S, *N)."""
    known = np.isfinite(y)
    axes = (0, *range(2, y.ndim))
    count = known.sum(axes, keepdims=True)
    mean = np.where(known, y, 0).sum(axes, keepdims=True, dtype=np.float64) / np.maximum(count, 1)
    return np.where(known, y, mean).astype(y.dtype), np.asarray(known.all(1))
