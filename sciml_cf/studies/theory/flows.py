"""The parts of the study of the theorems that are about functions: critical points, kernel flows, wide networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciml_cf.theory.flows import Flow, kernel_flow, rate_matrices
from sciml_cf.theory.function_space import (
    attained,
    least_residual,
    solved_gradient,
    solved_loss,
    steepest_curvature,
)
from sciml_cf.theory.wide import WideNet

FALL = 1e-6  # of an eigenvalue, over |Y|^2: what counts as a fall
LONG = np.concatenate([[0.0], np.geomspace(1e-4, 1e5, 300)])
SHORT = np.concatenate([[0.0], np.geomspace(1e-3, 20, 80)])


def rounded(values: np.ndarray) -> Any:
    """Nested lists with four digits, so that the result file stays small."""
    return np.vectorize(lambda value: float(f"{value:.4g}"))(values).tolist()


def critical_rows(seed: int) -> list[dict[str, Any]]:
    """Points without a gradient that are no minima, and one that is: gradient, curvature, and a descent."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0].T  # orthonormal rows
    targets = np.diag([2.0, 1.0]) @ directions[:2]  # |Y|^2 = 5
    cases = [
        ("all features zero", np.zeros((2, 6)), 0.1),
        ("features orthogonal to the outputs", directions[2:4], 0.1),
        ("features of one output of two", directions[[0, 2]], 0.0),
        ("features of both outputs: a minimum", directions[:2], 0.0),
        ("random features", rng.normal(size=(2, 6)), 0.1),
    ]
    rows = []
    for name, features, penalty in cases:
        curvature, direction = steepest_curvature(features, targets, penalty=penalty)
        start = solved_loss(features, targets, penalty=penalty)
        below = min(
            solved_loss(features + length * direction, targets, penalty=penalty) for length in (0.01, 0.1, 0.3, 1.0)
        )
        size = np.sum(targets**2)
        slope = np.linalg.norm(solved_gradient(features, targets, penalty=penalty))
        figures = {"loss": start / size, "gradient": slope / size, "curvature": curvature, "along": below / size}
        rows.append({"point": name, "penalty": penalty, **{key: float(value) for key, value in figures.items()}})
    return rows


def convexity(draws: int, seed: int) -> dict[str, Any]:
    """The solved loss along segments: through zero, along a random one, and how often the middle is above the mean."""
    rng, penalty = np.random.default_rng(seed), 0.1
    targets, ends = rng.normal(size=(2, 6)), rng.normal(size=(2, 2, 6))
    places = np.linspace(0, 1, 41)
    size = np.sum(targets**2)

    def along(first: np.ndarray, last: np.ndarray) -> np.ndarray:
        return np.array([solved_loss((1 - t) * first + t * last, targets, penalty=penalty) for t in places]) / size

    above, above_held = 0, 0
    for _ in range(draws):
        one, other, head = *rng.normal(size=(2, 2, 6)), rng.normal(size=(2, 2))
        middle = (one + other) / 2
        solved = [solved_loss(phi, targets, penalty=penalty) for phi in (one, middle, other)]
        held = [np.sum((targets - head @ phi) ** 2) for phi in (one, middle, other)]
        above += solved[1] > (solved[0] + solved[2]) / 2
        above_held += held[1] > (held[0] + held[2]) / 2
    return {
        "penalty": penalty,
        "places": rounded(places),
        "through zero": rounded(along(ends[0], -ends[0])),
        "random": rounded(along(ends[0], ends[1])),
        "draws": draws,
        "above": int(above),
        "above_held": int(above_held),
    }


def flow_rows(draws: int, seed: int) -> list[dict[str, Any]]:
    """Random kernel flows: does an eigenvalue of Y* Y*^T ever fall, and does the residual go to zero all the same?"""
    rows = []
    for outputs, side in ((1, "points"), (3, "points"), (3, "features")):
        found, worst = [], None
        for draw in range(draws):
            flow, kernel = _random_flow(np.random.default_rng([seed, draw]), outputs, side)
            a, b = rate_matrices(flow.features[0], flow.targets, kernel, side)
            fall = flow.largest_fall()
            one = {
                "indefinite": bool(np.linalg.eigvalsh(a @ b + b @ a)[0] < -1e-9 * np.linalg.norm(a @ b)),
                "fall": float(fall.max()),
                "fall_smallest": float(fall[0]),
                "residual": float(flow.residual()[-1]),
                "drift": _drift(flow, kernel, side),
            }
            found.append(one)
            if worst is None or one["fall"] > worst[0]:
                worst = (one["fall"], flow)
        rows.append(
            {
                "outputs": outputs,
                "side": side,
                "draws": draws,
                "indefinite": sum(one["indefinite"] for one in found),
                "falls": sum(one["fall"] > FALL for one in found),
                "smallest_falls": sum(one["fall_smallest"] > FALL for one in found),
                "worst_fall": max(one["fall"] for one in found),
                "worst_residual": max(one["residual"] for one in found),
                "drift": max(one["drift"] for one in found),
                "example": _example(worst[1]) if worst else None,
            }
        )
    return rows


def _random_flow(rng: np.random.Generator, outputs: int, side: Any, penalty: float = 0.0) -> tuple[Flow, np.ndarray]:
    features, targets = rng.normal(size=(4, 8)), rng.normal(size=(outputs, 8))
    size = 8 if side == "points" else 4
    root = rng.normal(size=(size, size))
    kernel = root @ root.T / size + 0.01 * np.eye(size)
    return kernel_flow(features, targets, kernel, times=LONG, side=side, penalty=penalty), kernel


def _drift(flow: Flow, kernel: np.ndarray, side: str) -> float:
    """How much what the flow conserves, Phi K^-1 Phi^T (or Phi Phi^T), changes from start to end."""
    ends = flow.features[0], flow.features[-1]
    first, last = (phi @ (np.linalg.solve(kernel, phi.T) if side == "points" else phi.T) for phi in ends)
    return float(np.abs(last - first).max() / np.abs(first).max())


def _example(flow: Flow) -> dict[str, Any]:
    kept = slice(1, None, 3)
    return {
        "times": rounded(flow.times[kept]),
        "eigenvalues": rounded(flow.eigenvalues()[kept]),
        "residual": rounded(flow.residual()[kept]),
    }


def saddle_rows(seed: int) -> list[dict[str, Any]]:
    """A start that leads to a saddle, and what a small change of it does: "almost surely" is needed."""
    targets = np.array([[2.0, 0, 0, 0], [0, 1.0, 0, 0]])
    start = np.array([[0.8, 0, 0.6, 0], [0, 0, 0, 1.0]])  # no feature has a part of the second output
    move = np.random.default_rng(seed).normal(size=start.shape)
    rows = []
    for size in (0.0, 1e-12, 1e-8, 1e-4):
        flow = kernel_flow(start + size * move, targets, np.eye(4), times=np.linspace(0, 200, 2001))
        residual = flow.residual()
        reached = np.flatnonzero(residual < 1e-6)
        rows.append(
            {
                "change": size,
                "residual": float(residual[-1]),
                "time": float(flow.times[reached[0]]) if len(reached) else None,
            }
        )
    return rows


def penalty_rows(draws: int, seed: int) -> list[dict[str, Any]]:
    """What a penalty above zero leaves: a residual at every time, features that grow, and no minimum."""
    rows = []
    early = int(np.searchsorted(LONG, 100.0))
    for penalty in (0.0, 1e-3, 1e-2, 1e-1, 1.0):
        found = []
        for draw in range(draws):
            flow, _ = _random_flow(np.random.default_rng([seed, draw]), 1, "points", penalty)
            residual, reached = flow.residual(), flow.eigenvalues()[:, 0]
            top = np.linalg.norm(flow.features[-1], ord=2) ** 2
            star, rest = attained(flow.features[0], flow.targets, penalty=penalty)
            found.append(
                {
                    "early": residual[early],
                    "late": residual[-1],
                    "bound": (penalty / (top + penalty)) ** 2,
                    "growth": np.linalg.norm(flow.features[-1]) / np.linalg.norm(flow.features[0]),
                    "fall": float((np.maximum.accumulate(reached) - reached).max() > FALL),
                    "overlap": np.abs(rest @ star.T).max() / np.sum(flow.targets**2),
                }
            )
        middle = {key: float(np.median([one[key] for one in found])) for key in found[0]}
        least = {"least_late": float(min(one["late"] for one in found))}
        held = {"bound_holds": bool(all(one["late"] >= one["bound"] * (1 - 1e-9) for one in found))}
        fell = {"fall": int(sum(one["fall"] for one in found)), "draws": draws}
        rows.append({"penalty": penalty, **middle, **least, **held, **fell})
    return rows


def _circle(rng: np.random.Generator, points: int) -> np.ndarray:
    """Points near-evenly on a circle: their kernel is positive definite, and not too badly conditioned."""
    angle = 2 * np.pi * (np.arange(points) + 0.3 * rng.uniform(size=points)) / points
    return 1.5 * np.stack([np.cos(angle), np.sin(angle)])


def wide_rows(widths: tuple[int, ...], seeds: int, seed: int) -> list[dict[str, Any]]:
    """Gradient flow of networks by their width, and the flow with the kernel frozen at its start."""
    rows = []
    for outputs in (1, 2):
        for width in widths:
            found = [_wide(np.random.default_rng([seed, index]), outputs, width, index) for index in range(seeds)]
            middle = {key: float(np.median([one[key] for one in found])) for key in found[0]}
            rows.append(
                {
                    "outputs": outputs,
                    "width": width,
                    "seeds": seeds,
                    **middle,
                    "worst_residual": max(one["residual"] for one in found),
                    "worst_fall": max(one["fall"] for one in found),
                    "falls": sum(one["fall"] > FALL for one in found),
                }
            )
    return rows


def _wide(rng: np.random.Generator, outputs: int, width: int, seed: int) -> dict[str, float]:
    points, features = 6, 3
    net = WideNet(_circle(rng, points), features, width, seed)
    targets = rng.normal(size=(outputs, points))
    flow, end = net.flow(targets, times=SHORT, until=1e-8)
    before, after = net.kernel(net.draw()), net.kernel(end)
    frozen = kernel_flow(flow.features[0], targets, before, times=flow.times, side="both")
    apart = np.linalg.norm(flow.features - frozen.features, axis=(1, 2)).max()
    blocks = before.reshape(features, points, features, points)
    shared = np.einsum("ikil->kl", blocks) / features  # what is left if all features share one kernel of the points
    ideal = np.kron(np.eye(features), shared)
    return {
        "residual": float(flow.residual()[-1]),
        "kernel_change": float(np.linalg.norm(after - before) / np.linalg.norm(before)),
        "apart": float(apart / np.linalg.norm(flow.features[0])),
        "not_shared": float(np.linalg.norm(before - ideal) / np.linalg.norm(before)),
        "fall": float(flow.largest_fall().max()),
    }


def assumption_rows(seeds: int, seed: int) -> list[dict[str, Any]]:
    """Where an assumption fails: the residual that is reached and the least that the features can leave."""
    found: dict[str, list[tuple[float, float]]] = {}
    width = 64
    for index in range(seeds):
        rng = np.random.default_rng([seed, index])
        x, targets = _circle(rng, 6), rng.normal(size=(3, 6))
        twins = x.copy()
        twins[:, 1] = twins[:, 0]
        same = np.delete(np.eye(6), 1, axis=0)
        same[0, 1] = 1.0  # functions that agree on the first two points
        line = np.vstack([x, np.ones(6)])
        cases = (
            ("nothing: tanh, distinct points", WideNet(x, 2, width, index), targets[:1], None),
            ("no activation: a kernel of rank three", WideNet(x, 2, width, index, "linear"), targets[:1], line),
            ("two points equal, their targets not", WideNet(twins, 2, width, index), targets[:1], same),
            ("two features for three outputs", WideNet(x, 2, width, index), targets, None),
        )
        for name, net, own, within in cases:
            least = least_residual(own, net.num_features, within)
            flow, _ = net.flow(own, times=SHORT, until=least + 1e-6)
            found.setdefault(name, []).append((float(flow.residual()[-1]), least))
    return [
        {
            "fails": name,
            "seeds": seeds,
            "reached": float(np.median([one for one, _ in pairs])),
            "least": float(np.median([two for _, two in pairs])),
            "worst_excess": max(one - two for one, two in pairs),
        }
        for name, pairs in found.items()
    ]
