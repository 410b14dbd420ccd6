"""Mean, deviation and range of channels, gathered a batch at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A deviation below this share of the largest value is rounding: the channel is constant.
_ROUNDING = 1e-13


class ChannelStatistics:
    """Mean, deviation and range of each channel over samples and grid points, streamed in float64.

    Batches are merged by the update of Chan, Golub and LeVeque (1983), which does not cancel where the mean is large
    compared with the deviation. Roots of sums of squares are kept, not the sums, so that no square overflows.

    Attributes:
        count: values of each channel seen; the sum of their weights where these are given.
        mean: ``(C,)`` float64, mean of each channel.
        low: ``(C,)`` float64, lowest value of each channel.
        high: ``(C,)`` float64, highest value of each channel.
    """

    def __init__(self) -> None:
        self.count = 0.0
        self.mean = self.low = self.high = torch.empty(0, dtype=torch.float64)
        self._root = self.mean  # of the sum of squared deviations

    def update(self, values: Tensor, weights: Tensor | None = None) -> None:
        """Take in a batch ``(B, C, *N)`` or ``(B, C)``, its samples with weights ``(B,)`` above 0."""
        rows = values.detach().cpu().double().movedim(1, 0).flatten(1)
        points = rows.shape[1] // len(values)
        each = (torch.ones(len(values)) if weights is None else weights.cpu()).double().repeat_interleave(points)
        count = each.sum().item()
        mean = rows @ (each / count)
        mean = mean + (rows - mean[:, None]) @ (each / count)  # what the first sum has rounded away
        deviations = (rows - mean[:, None]) * each.sqrt()
        root, low, high = _norm(deviations), rows.amin(1), rows.amax(1)
        if self.count:
            shift, total = mean - self.mean, self.count + count
            between = shift * math.sqrt(self.count * (count / total))
            root = torch.hypot(torch.hypot(self._root, root), between)
            mean = self.mean + shift * (count / total)
            low, high = torch.minimum(low, self.low), torch.maximum(high, self.high)
        self.count, self.mean, self._root, self.low, self.high = self.count + count, mean, root, low, high

    @property
    def std(self) -> Tensor:
        """``(C,)`` deviations; 0 for a channel whose values differ by rounding alone."""
        deviation = self._root / math.sqrt(self.count or 1)
        largest = torch.maximum(self.low.abs(), self.high.abs())
        return torch.where(deviation > _ROUNDING * largest, deviation, 0.0)


def _norm(rows: Tensor) -> Tensor:
    """Euclidean norm of each row, where squares would overflow or vanish too."""
    largest = rows.abs().amax(1, keepdim=True)
    unit = torch.where(largest > 0, largest, 1.0)
    return unit[:, 0] * (rows / unit).square().sum(1).sqrt()
