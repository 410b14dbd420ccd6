"""Errors of one model, or of several together, over the samples of a set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from sciml_cf.metrics import mse, relative_l2
from sciml_cf.studies.harness.training import apply
from sciml_cf.training.symmetry import reflect

WORST = 0.01  # of the samples, whose mean error is reported too


def sample_errors(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Errors of a model over samples (S, C, N).

    Returns:
        mean, median and largest relative L2 error, the mean over the worst samples, and the mean squared error.
    """
    prediction = apply(model, x)
    relative = relative_l2(prediction.double(), y.double()).sort().values
    worst = max(1, round(WORST * len(relative)))
    return {
        "relative_l2": relative.mean().item(),
        "relative_l2_median": relative.median().item(),
        "relative_l2_worst": relative[-worst:].mean().item(),
        "relative_l2_max": relative[-1].item(),
        "mse": mse(prediction.double(), y.double()).mean().item(),
    }


class MeanOfModels(nn.Module):
    """The mean of the predictions of several models, each (B, C, *N) -> (B, C', *N)."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        """The mean prediction."""
        return torch.stack([member(x) for member in self.members]).mean(0)


def with_reflections(x: Tensor, y: Tensor) -> TensorDataset:
    """Samples (S, C, N) and their reflections, one after the other."""
    return TensorDataset(*(torch.cat([fields, reflect(fields)]) for fields in (x, y)))
