"""The theorems of the closed-form last layer in numbers: where they hold, where a proof breaks, where a premise does.

References:
    Closed-Form Last Layer Optimization (arXiv:2510.04606), Figure 1, Theorems 1 to 4 and appendices A and C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head import ClosedFormLoss, Kalman, Moments, Proximal, RandomWalk, Ridge, Rule, proximal, ridge
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.theory.flags import Theory
from sciml_cf.studies.theory.flows import (
    assumption_rows,
    convexity,
    critical_rows,
    flow_rows,
    penalty_rows,
    rounded,
    saddle_rows,
    wide_rows,
)
from sciml_cf.theory.filters import filter_rows
from sciml_cf.theory.gradients import backbone_gradients, gradient_distance
from sciml_cf.theory.landscape import TwoParameterNet
from sciml_cf.theory.one_step import STEPS, excess_left, steps_to_share, worst_share_left

NAME = "theory"
STRENGTH = 0.05
NETS = ({"rows": 64, "hidden": 16, "features": 8, "outputs": 1}, {"rows": 128, "hidden": 32, "features": 32,
        "outputs": 3}, {"rows": 20, "hidden": 24, "features": 40, "outputs": 2})  # fmt: skip
STARTS = ((2.5, 1.0), (-2.5, -2.0), (0.3, 2.5))  # of the paths: theta, and W for joint descent


@dataclass(frozen=True)
class Scale:
    """How large the study is.

    Args:
        draws: random problems of each row of a table.
        nets: of each size, for the equality of gradients.
        widths: of hidden layers under gradient flow.
        width_seeds: networks of each width.
        path_steps: of gradient descent in the landscape.
    """

    draws: int
    nets: int
    widths: tuple[int, ...]
    width_seeds: int
    path_steps: int


PRESETS = {
    "full": Scale(draws=100, nets=20, widths=(16, 64, 256, 1024), width_seeds=5, path_steps=400),
    "small": Scale(draws=4, nets=2, widths=(8, 32), width_seeds=2, path_steps=40),
}


def run(config: Theory, command: str = "") -> Path:
    """Measure everything; returns the result file."""
    check_choice(NAME, "preset", config.preset, tuple(PRESETS))
    make_folder(NAME, config.out)
    scale = PRESETS[config.preset]
    settings = {"preset": config.preset, "strength": STRENGTH, **asdict(scale)}
    figures = measure(scale, config.seed)
    return store_result(NAME, config, command, settings=settings, seeds=[config.seed], figures=figures)


def measure(scale: Scale, seed: int) -> dict[str, Any]:
    """All figures of the result file, plain values."""
    return {
        "landscape": [landscape(kind, scale.path_steps, seed) for kind in ("relu", "tanh")],
        "gradients": gradient_rows(scale.nets, seed),
        "critical": critical_rows(seed),
        "convexity": convexity(scale.draws, seed),
        "flows": flow_rows(scale.draws, seed),
        "saddle": saddle_rows(seed),
        "penalty": penalty_rows(max(2, scale.draws // 5), seed),
        "wide": wide_rows(scale.widths, scale.width_seeds, seed),
        "assumption": assumption_rows(scale.width_seeds, seed),
        "one step": one_step_rows(max(2, scale.draws // 5), seed),
        "kalman": kalman_rows(seed),
    }


def landscape(kind: Literal["relu", "tanh"], steps: int, seed: int) -> dict[str, Any]:
    """Loss on a grid, the curve W*(theta), and both kinds of paths."""
    generator = np.random.default_rng(seed + 26)
    x, y = generator.normal(size=(2, 3))
    net, rate = TwoParameterNet(x, y, 1e-2, kind), 0.03
    grid = np.linspace(-3, 3, 41)
    paths = []
    for theta, head in STARTS:
        joint = net.joint_path(theta, head, rate=rate, steps=steps)
        solved = net.solved_path(theta, rate=rate, steps=steps)
        kept = [*np.unique(np.geomspace(1, steps, 40).astype(int) - 1).tolist(), steps]
        paths.append(
            {
                "start": [theta, head],
                "joint": rounded(joint[kept]),
                "solved": rounded(solved[kept]),
                "joint_loss": rounded(net.loss(*joint.T)[kept]),
                "solved_loss": rounded(net.loss(*solved.T)[kept]),
                "steps": kept,
            }
        )
    fine = np.linspace(-3, 3, 121)
    return {
        "activation": kind,
        "x": rounded(x),
        "y": rounded(y),
        "strength": net.strength,
        "rate": rate,
        "grid": rounded(grid),
        "loss": rounded(net.loss(*np.meshgrid(grid, grid))),
        "curve": rounded(np.stack([fine, net.best_head(fine)], axis=1)),
        "least": float(net.loss(fine, net.best_head(fine)).min()),
        "paths": paths,
    }


def gradient_rows(nets: int, seed: int) -> list[dict[str, Any]]:
    """Relative distance between the gradient through the head and the one with the head held, by size and kind."""
    rows = []
    for size in NETS:
        found: dict[str, list[float]] = {}
        for index in range(nets):
            for kind, value in _gradient_distances(size, seed + index).items():
                found.setdefault(kind, []).append(value)
        rows += [
            {**size, "kind": kind, "holds": kind in _PREMISE_HOLDS, "worst": max(v), "least": min(v)}
            for kind, v in found.items()
        ]
    return rows


_LAMBDA_AS_STRENGTH = "Proximal, lambda taken for a strength"
_PREMISE_HOLDS = ("ridge", "proximal", "ridge, ClosedFormLoss", "proximal, ClosedFormLoss")


def _gradient_distances(size: dict[str, int], seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    hidden, features, outputs = size["hidden"], size["features"], size["outputs"]
    net = nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, features), nn.Tanh()).double()
    x = torch.randn(size["rows"], 3, generator=generator, dtype=torch.float64)
    y = torch.randn(size["rows"], outputs, generator=generator, dtype=torch.float64)
    before = torch.randn(features, outputs, generator=generator, dtype=torch.float64)

    def distance(head_of: Callable[[Moments], Tensor], strength: float, previous: Tensor | None, **more: Any) -> float:
        return gradient_distance(*backbone_gradients(net, x, y, head_of, strength=strength, previous=previous, **more))

    def one(factor: float) -> Callable[[Moments], Tensor]:
        return lambda moments: ridge(moments, strength=factor * STRENGTH)

    def pulled(moments: Moments) -> Tensor:
        return proximal(moments, before, strength=STRENGTH)

    def stepped(moments: Moments) -> Tensor:
        return before - 0.1 * (moments.gram @ before - moments.cross)

    found = {
        "ridge": distance(one(1), STRENGTH, None),
        "proximal": distance(pulled, STRENGTH, before),
    }
    rules: tuple[tuple[str, Rule, Callable[[Moments], Tensor], Tensor | None], ...] = (
        ("ridge", Ridge(STRENGTH), one(1), None),
        ("proximal", Proximal(STRENGTH), pulled, before),
    )
    for name, rule, head_of, previous in rules:
        through, _ = backbone_gradients(net, x, y, head_of, strength=STRENGTH, previous=previous)
        found[f"{name}, ClosedFormLoss"] = gradient_distance(through, _from_loss(net, x, y, rule, before))
    return {
        **found,
        "ridge, loss without its penalty": distance(one(1), 0.0, None),
        "proximal, loss without its penalty": distance(pulled, 0.0, before),
        "ridge ten times stronger in the solve": distance(one(10), STRENGTH, None),
        "head of one gradient step": distance(stepped, 0.0, None),
        "ridge, second derivatives": distance(one(1), STRENGTH, None, second=True),
    }


def _from_loss(net: nn.Module, x: Tensor, y: Tensor, rule: Rule, before: Tensor) -> Tensor:
    """The gradient that ClosedFormLoss gives the backbone, times the outputs that its mean is over."""
    layer = nn.Linear(*before.shape, bias=False).double()
    layer.weight.data = before.T.clone()
    loss_of = ClosedFormLoss(layer, rule, initial="keep")
    found = torch.autograd.grad(loss_of(layer(net(x)), y), list(net.parameters()))
    return before.shape[1] * torch.cat([part.reshape(-1) for part in found])


def one_step_rows(draws: int, seed: int) -> list[dict[str, Any]]:
    """What one step leaves of the head's excess loss, by the condition number of the Gram matrix."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for condition in (1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4, 1e6):
        left: dict[str, list[float]] = {step: [] for step in STEPS}
        needed = []
        for draw in range(draws):
            moments, best = _moments_of_condition(condition, generator)
            start = torch.zeros(moments.num_features, moments.num_outputs, dtype=torch.float64)
            for step in STEPS:
                left[step].append(excess_left(moments, start, step, best=best)[1])
            if condition <= 1e3 and draw < 3:
                needed.append(steps_to_share(moments, start, STEPS[2], best=best, share=1e-3, most=5000))
        rows.append(
            {
                "condition": condition,
                "left": {step: float(np.median(values)) for step, values in left.items()},
                "worst_descent": max(left["steepest descent"]),
                "bound": worst_share_left(condition),
                "steps": float(np.median(needed)) if needed else None,
            }
        )
    return rows


def _moments_of_condition(condition: float, generator: torch.Generator) -> tuple[Moments, Tensor]:
    """128 rows of sixteen features whose Gram matrix has this condition number, and the head behind their targets."""
    rows, width = 128, 16
    draw = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q
    basis = torch.linalg.qr(draw).Q * rows**0.5
    root = torch.logspace(0, -np.log10(condition) / 2, width, dtype=torch.float64)
    share = torch.randn(width, 1, generator=generator, dtype=torch.float64)  # every direction explains as much
    return Moments.from_batch((basis * root) @ turn.T, basis @ share), turn @ (share / root[:, None])


def kalman_rows(seed: int) -> list[dict[str, Any]]:
    """Largest difference of heads between the filter of a textbook and the rules, relative to the largest entry."""
    rng = np.random.default_rng(seed)
    features, outputs, size, batches = 6, 2, 8, 5
    phi, y = rng.normal(size=(batches * size, features)), rng.normal(size=(batches * size, outputs))
    noise, variance = 0.3, 0.7
    parts = [slice(k * size, (k + 1) * size) for k in range(batches)]
    eye, zero = np.eye(features * outputs), np.zeros((features, outputs))

    def by_rule(rule: Rule) -> np.ndarray:
        state = rule.init(features, outputs)
        for part in parts:
            moments = Moments.from_batch(torch.from_numpy(phi[part]), torch.from_numpy(y[part]))
            state = rule.update(state, moments).state
        return state["head"].numpy()

    def by_filter(collapse: bool) -> np.ndarray:
        mean, covariance = zero, 0 * eye
        for part in parts:
            known = (0 if collapse else 1) * covariance
            mean, covariance = filter_rows(phi[part], y[part], mean, known + variance * eye, noise=noise)
        return mean

    whole = filter_rows(phi, y, zero, variance * eye, noise=noise)[0]
    every = Moments.from_batch(torch.from_numpy(phi), torch.from_numpy(y))
    ratio = noise / variance  # the paper's lambda, on sums
    pairs = [
        ("one row at a time", "ridge on all rows", True, whole, ridge(every, strength=ratio / len(phi)).numpy()),
        ("one row at a time", "Kalman, nothing forgotten", True, whole, by_rule(Kalman(1.0, ratio / size))),
        ("covariance collapsed", "Proximal", True, by_filter(True), by_rule(Proximal(ratio / size))),
        ("random walk", "RandomWalk", True, by_filter(False), by_rule(RandomWalk(ratio / size))),
        ("random walk", "Proximal", False, by_filter(False), by_rule(Proximal(ratio / size))),
        ("covariance collapsed", _LAMBDA_AS_STRENGTH, False, by_filter(True), by_rule(Proximal(ratio))),
    ]  # fmt: skip
    return [
        {"filter": one, "rule": other, "holds": holds, "distance": float(np.abs(a - b).max() / np.abs(a).max())}
        for one, other, holds, a, b in pairs
    ]
