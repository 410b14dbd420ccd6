"""Circular convolution summed term by term: with positive terms, each value keeps its relative precision."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def circular_sums(weights: np.ndarray, kernel: np.ndarray, points: int) -> np.ndarray:
    """Sums of weights with a kernel of each row's own.

    ::

        s_x = sum_m w_m K(x / points - m / nodes)

    The windows of the kernel are views, so that no matrix is stored.

    Args:
        weights: (b, nodes).
        kernel: (b, common), K on the common multiple of both grids.
        points: places x; ``nodes`` is a multiple of it or a divisor.

    Returns:
        (b, points), float64.
    """
    nodes = weights.shape[-1]
    result = np.empty((len(weights), points))
    phases, stride = max(1, points // nodes), max(1, nodes // points)
    for row, (own, values) in enumerate(zip(weights, kernel, strict=True)):
        for phase in range(phases):  # the places that lie equally between two nodes
            reverse = np.roll(values[phase::phases][::-1], 1)
            windows = sliding_window_view(np.concatenate([reverse, reverse]), nodes)
            result[row, phase::phases] = np.einsum("m,xm->x", own, windows[nodes:0:-stride])
    return result
