"""Problems whose answer is known, for the benchmark layerwise: teachers and the exclusive or."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.layerwise import draw_weights, fit_least_squares

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softminus": nn.LogSigmoid,
    "elu": nn.ELU,
    "leaky relu": nn.LeakyReLU,
}
# Widths of linear teachers, and of the networks that learn them.
LINEAR = ((5, 3), (5, 8, 3), (5, 8, 8, 3), (6, 9, 7, 5, 3), (8, 3, 3, 3, 3), (8, 4, 6, 3, 3))
_ROWS = 1000


def toy_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """One problem, so many times with other seeds."""
    torch.set_num_threads(1)
    name, count = settings["toy"], settings["count"]
    if name == "linear":
        return {"rows": [_linear(sizes, mode, count) for sizes in LINEAR for mode in ("closest", "minnorm")]}
    if name == "xor":
        return {"rows": [_xor(count)]}
    return {"rows": [_teacher(ACTIVATIONS[name], mode, count) for mode in ("closest", "minnorm")]}


def _linear(sizes: tuple[int, ...], mode: Any, count: int) -> dict[str, Any]:
    """The largest relative error of a linear teacher after one sweep."""
    worst = 0.0
    for seed in range(count):
        x, y = _taught(sizes, nn.Identity, seed)
        network = _drawn(sizes, nn.Identity, seed)
        fit_least_squares(network, x, y, targets=mode, strength=1e-11)
        worst = max(worst, _error(network, x, y))
    return {"widths": list(sizes), "targets": mode, "worst_error": worst}


def _xor(count: int) -> dict[str, Any]:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]], dtype=torch.float64)
    solved = 0
    for seed in range(count):
        network = _drawn((2, 4, 1), nn.Sigmoid, seed)
        fit_least_squares(network, x, y)
        with torch.no_grad():
            solved += torch.equal(network(x) > 0.5, y > 0.5)
    return {"solved": solved, "of": count}


def _teacher(activation: type[nn.Module], mode: Any, count: int) -> dict[str, Any]:
    """Mean squared error on unseen rows over that of random features with a solved last layer, geometric mean."""
    sizes, logs = (5, 20, 3), []
    for seed in range(count):
        x, y = _taught(sizes, activation, seed)
        networks = [_drawn(sizes, activation, seed) for _ in range(2)]
        fit_least_squares(networks[0], x[:_ROWS], y[:_ROWS], targets=mode)
        with torch.no_grad():
            features = networks[1][:-1](x[:_ROWS])
        fit_least_squares(nn.Sequential(networks[1][-1]), features, y[:_ROWS])
        errors = [_error(network, x[_ROWS:], y[_ROWS:]) ** 2 for network in networks]
        logs.append(math.log(errors[0] / errors[1]))
    ratios = torch.tensor(logs).exp()
    return {"targets": mode, "over_random_features": ratios.log().mean().exp().item(), "worst": ratios.max().item()}


def _taught(sizes: tuple[int, ...], activation: type[nn.Module], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(_ROWS + 500, sizes[0], dtype=torch.float64, generator=generator)
    with torch.no_grad():
        return x, _drawn(sizes, activation, 10_000 + seed)(x)


def _drawn(sizes: tuple[int, ...], activation: type[nn.Module], seed: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    network = nn.Sequential(*layers[:-1]).double()
    draw_weights(network, seed=seed)
    return network


@torch.no_grad()
def _error(network: nn.Module, x: Tensor, y: Tensor) -> float:
    return ((network(x) - y).norm() / y.norm()).item()
