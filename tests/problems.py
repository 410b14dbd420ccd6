"""Small problems with known answers, shared by the tests."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dstn, idctn, idstn
from scipy.linalg import hadamard
from scipy.signal import lsim
from torch import Tensor, nn
from torch.utils.data import Dataset


def regression(rows: int = 200, features: int = 7, outputs: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Well-conditioned features ``(rows, F)`` and noisy linear targets ``(rows, C)``, float64."""
    generator = torch.Generator().manual_seed(seed)
    phi = torch.randn(rows, features, dtype=torch.float64, generator=generator)
    weight = torch.randn(features, outputs, dtype=torch.float64, generator=generator)
    return phi, phi @ weight + 0.1 * torch.randn(rows, outputs, dtype=torch.float64, generator=generator)


def dependent(outputs: int = 3) -> tuple[Tensor, Tensor]:
    """Features (256, 14) of which seven repeat the others, and targets ``(256, C)``, float64.

    They are columns of a Hadamard matrix, so the Gram matrix is exact, and any Cholesky finds its eighth pivot zero.
    """
    half = torch.tensor(hadamard(256)[:, 1:8], dtype=torch.float64)
    return torch.cat([half, half], dim=1), regression(256, 7, outputs)[1]


def mlp(inputs: int = 3, width: int = 8, outputs: int = 2, *, seed: int = 0, bias: bool = True) -> nn.Sequential:
    """A float64 network whose last layer is the head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs, bias=bias)).double()


def poisson(samples: int, points: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth sources f and solutions u of -(u_xx + u_yy) = f, u = 0 on the walls of the unit square, on cells."""
    rng = np.random.default_rng(seed)
    k = np.arange(points)
    amplitude = points * (9 + np.pi**2 * (k[:, None] ** 2 + k**2)) ** -1.5
    f = idctn(rng.normal(size=(samples, points, points)) * amplitude, axes=(1, 2), norm="ortho")
    second = points**2 * (2 - 2 * np.cos(np.pi * np.arange(1, points + 1) / points))
    u = idstn(dstn(f, axes=(1, 2), norm="ortho") / (second[:, None] + second), axes=(1, 2), norm="ortho")
    return torch.tensor(f[:, None], dtype=torch.float32), torch.tensor(u[:, None], dtype=torch.float32)


def oscillator(samples: int, *, points: int = 128, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Forces f and displacements u of u'' + u' / 2 + 4 u = f from rest, on an interval with open ends."""
    rng = np.random.default_rng(seed)
    times, waves = np.linspace(0, 10, points), np.arange(8)
    phases = np.pi * waves[:, None] * times / 10
    a, b = rng.normal(size=(2, samples, 8)) / (1 + waves)
    f = a @ np.cos(phases) + b @ np.sin(phases)
    u = np.stack([lsim(([1.0], [1.0, 0.5, 4.0]), force, times)[1] for force in f])
    return torch.tensor(f[:, None], dtype=torch.float32), torch.tensor(u[:, None], dtype=torch.float32)


class Shifted(Dataset[dict[str, Tensor]]):
    """Smooth periodic fields x and targets y(s) = x(s - shift)^2: learnable in seconds by a small FNO."""

    def __init__(self, samples: int, *, points: int = 32, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        grid = 2 * np.pi * np.arange(points) / points
        amplitude = 0.5 * rng.normal(size=(samples, 2, 4)) / (1 + np.arange(4)) ** 2
        waves = np.stack([np.cos(np.outer(np.arange(1, 5), grid)), np.sin(np.outer(np.arange(1, 5), grid))])
        fields = np.einsum("sam,amp->sp", amplitude, waves)[:, None, :]
        self.x = torch.tensor(fields, dtype=torch.float32)
        self.y = torch.roll(self.x.square(), 3, dims=-1)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


class Points(Shifted):
    """Rows of three inputs and two smooth targets, float64."""

    def __init__(self, samples: int, *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.rand(samples, 3, dtype=torch.float64, generator=generator)
        self.y = torch.stack([torch.sin(4 * self.x[:, 0]) * self.x[:, 1], self.x[:, 2].square()], dim=1)
