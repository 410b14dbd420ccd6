"""The nets of the instrumental-variable studies."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

TreatmentNet = Literal["small", "paper"]
# Widths of the net on images: a small reading, which serves the study, and that of the paper's experiment.
HEART_WIDTHS: dict[TreatmentNet, tuple[int, ...]] = {"small": (256, 128, 64, 32), "paper": (1024, 512, 128, 32)}


def heart_nets(size: TreatmentNet, *, seed: int) -> tuple[nn.Module, nn.Module]:
    """Nets for images of hearts ``(n, 64, 64)`` and for their three instruments, to 32 features each.

    Layers have spectral norm 1 and ReLUs between them; the images' features end with batch norm and tanh, the
    instruments' with batch norm and ReLU.

    References:
        Xu et al. (arXiv:2010.07154), appendix; Closed-Form Last Layer Optimization (arXiv:2510.04606), appendix E.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = [nn.Flatten(), *_layers(64 * 64, HEART_WIDTHS[size]), nn.BatchNorm1d(32), nn.Tanh()]
        first, middle, last = _layers(3, (256, 128)), _layers(128, (128,)), _layers(128, (32,))
        rest = [*first, nn.ReLU(), nn.BatchNorm1d(128), *middle, nn.ReLU(), nn.BatchNorm1d(128), *last]
        return nn.Sequential(*images), nn.Sequential(*rest, nn.BatchNorm1d(32), nn.ReLU())


def heart_regression(size: TreatmentNet, *, seed: int) -> nn.Module:
    """The net for images with a linear layer to the outcome, for direct regression."""
    images, _ = heart_nets(size, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(images, nn.Linear(32, 1))


def demand_nets(*, seed: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Nets for the price, for cost, time and group side by side, and for time and group.

    References:
        Xu et al. (arXiv:2010.07154), the program published with it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        price = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))
        instrument = nn.Sequential(
            nn.Linear(3, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32), nn.BatchNorm1d(32)
        )
        covariates = nn.Sequential(
            nn.Linear(2, 128),
            nn.ReLU(),
            nn.Linear(128, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Linear(32, 16),
            nn.ReLU(),
        )
        return price, instrument, covariates


def demand_regression(*, seed: int) -> nn.Module:
    """A net from price, time and group to the outcome, for direct regression."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(3, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)
        )


def standardised(net: nn.Module, rows: Any) -> nn.Module:
    """The net behind a fixed map that brings the columns of these rows (n, k) to mean 0 and deviation 1."""
    table = torch.as_tensor(np.asarray(rows), dtype=torch.float32)
    return nn.Sequential(_Affine(table.mean(dim=0), table.std(dim=0)), net)


class _Affine(nn.Module):
    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.deviation


def _layers(inputs: int, widths: tuple[int, ...]) -> list[nn.Module]:
    """Linear layers of spectral norm 1 with ReLUs between them."""
    found: list[nn.Module] = []
    for width in widths:
        if found:
            found.append(nn.ReLU())
        found.append(spectral_norm(nn.Linear(inputs, width)))
        inputs = width
    return found
