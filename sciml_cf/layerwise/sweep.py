"""One sweep: every layer of a network solved once by least squares, from the last to the first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Literal

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.solve import solve_head
from sciml_cf.layerwise.structure import Layer

Targets = Literal["closest", "minnorm"]
# Pull added to the pseudo-inverse of a layer's weights, over their mean square: far below any direction that counts.
_PSEUDO_INVERSE_PULL = 1e-12


@dataclass(frozen=True)
class Part:
    """Rows of one batch of a sweep: inputs ``(n, F)`` and targets ``(n, C)``, and row weights ``(n,)`` or None."""

    x: Tensor
    y: Tensor
    weights: Tensor | None = None


@dataclass(frozen=True)
class LayerSolve:
    """One solve of a layer's weights.

    Attributes:
        layer: which, from 0.
        unexplained: mean squared error over mean square of its targets, both before the activation; NaN where those
            are all zero.
        condition: largest over smallest eigenvalue of the solved system; NaN where it was not asked for.
    """

    layer: int
    unexplained: float
    condition: float


@dataclass(frozen=True)
class SweepSettings:
    """How a sweep solves; see ``fit_least_squares``."""

    targets: Targets
    top: bool
    strength: float
    clip: float
    hidden_clip: float
    every: int = 1
    pull: float | None = None  # strength of a pull to the weights before, in place of one to zero
    conditions: bool = False


@dataclass
class Solves:
    """What was solved: the cost that a sweep promises.

    Attributes:
        weights: solves of a layer's weights, in their order.
        targets: solves of a layer's targets (a pseudo-inverse of the weights above it, shared by all rows).
        passes: how often the data were read.
    """

    weights: list[LayerSolve] = field(default_factory=list)
    targets: int = 0
    passes: int = 0


def sweep(
    layers: Sequence[Layer], heads: Sequence[Tensor], parts: Iterable[Part], settings: SweepSettings, solves: Solves
) -> list[Tensor]:
    """New heads of all layers; the ones given stay as they are.

    ::

        for l = L .. 1:   r = f_l^-1(D_l)                          D_L = y; D_l clipped into the values of f_l
                          min_W  mean |W^T X_{l-1} - r|^2 + strength |W|^2
                          D_{l-1} = X_{l-1} + (r - W^T X_{l-1}) W^+   (closest)   or   (r - b) W^+   (minnorm)

    X_l are the outputs of layer l with the heads given. Each solve reads the data once and keeps moments only; all but
    the top re-fit may do so on every k-th row of each part.
    Features and targets are computed in the precision of the rows, moments and solves in float64.

    Args:
        layers: of the network, from the first.
        heads: of the layers, in their order.
        parts: the rows, at least one; iterated over once a solve.
        settings: see fit_least_squares.
        solves: counts are added to it.

    References:
        arXiv:2401.06699, its backward sweep; ``closest``, the top re-fit and the pulls are this project's.
    """
    new, inverses = list(heads), {}
    around = _Around(heads, new, inverses)
    some = parts if settings.every == 1 else _Thinned(parts, settings.every)
    for index in reversed(range(len(layers))):
        new[index] = _solve(layers, index, around, some, settings, solves)
        if index:
            inverses[index] = pseudo_inverse(new[index], has_bias=layers[index].has_bias)
            solves.targets += 1
    if settings.top and len(layers) > 1:
        new[-1] = _solve(layers, len(layers) - 1, _Around(new, new, inverses), parts, settings, solves)
    return new


class _Thinned:
    """Every k-th row of each part; the same part again gives the same rows."""

    def __init__(self, parts: Iterable[Part], every: int) -> None:
        self.parts, self.every = parts, every
        self._last: tuple[Part, Part] | None = None

    def __iter__(self) -> Iterator[Part]:
        for part in self.parts:
            if self._last is None or self._last[0] is not part:
                weights = None if part.weights is None else part.weights[:: self.every]
                self._last = part, Part(part.x[:: self.every], part.y[:: self.every], weights)
            yield self._last[1]


class _Around:
    """Heads that make the features of a layer, heads that its targets come down through, and their pseudo-inverses."""

    def __init__(self, below: Sequence[Tensor], above: Sequence[Tensor], inverses: dict[int, Tensor]) -> None:
        self.below, self.above, self.inverses = below, above, inverses
        self._last: tuple[Part, list[Tensor]] | None = None

    def features(self, layers: Sequence[Layer], part: Part) -> list[Tensor]:
        """What enters each layer; kept for the next solve if that comes with the same part, as from one batch."""
        if self._last is None or self._last[0] is not part:
            self._last = part, forward(layers[:-1], self.below[: len(layers) - 1], part.x)
        return self._last[1]


def _solve(
    layers: Sequence[Layer],
    index: int,
    around: _Around,
    parts: Iterable[Part],
    settings: SweepSettings,
    solves: Solves,
) -> Tensor:
    moments = reduce(add, _moments(layers, index, around, parts, settings))
    penalty, previous = settings.strength, None
    if settings.pull is not None:
        penalty, previous = settings.pull, around.below[index]
    head = solve_head(moments, penalty=penalty, previous=previous).head
    condition = _condition(moments, penalty) if settings.conditions else math.nan
    solves.weights.append(LayerSolve(index, _unexplained(moments, head), condition))
    solves.passes += 1
    return head


def _moments(
    layers: Sequence[Layer], index: int, around: _Around, parts: Iterable[Part], settings: SweepSettings
) -> Iterator[Moments]:
    for part in parts:
        features = around.features(layers, part)
        pre = _pre(layers[-1], part.y, settings.clip)
        for upper in range(len(layers) - 1, index, -1):
            head, inverse = (value.to(part.x.dtype) for value in (around.above[upper], around.inverses[upper]))
            targets = _targets(settings.targets, features[upper], pre, layers[upper], head, inverse)
            pre = _pre(layers[upper - 1], targets, settings.hidden_clip)
        yield Moments.from_batch(features[index], pre, part.weights, constant=layers[index].has_bias)


def forward(layers: Sequence[Layer], heads: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """What enters each of the layers in turn, and last what the last one gives, in the precision of x."""
    outputs = [x]
    for layer, head in zip(layers, heads, strict=True):
        outputs.append(layer.activate(layer.apply(outputs[-1], head.to(x.dtype))))
    return outputs


def _pre(layer: Layer, targets: Tensor, clip: float) -> Tensor:
    """What the layer's linear map should give, for its activation to give the targets."""
    return layer.inverse.inverse(layer.inverse.clipped(targets, clip))


def _targets(mode: Targets, features: Tensor, pre: Tensor, layer: Layer, head: Tensor, inverse: Tensor) -> Tensor:
    """What the layer's features should be, for its linear map to give ``pre``."""
    if mode == "closest":
        return torch.addmm(features, pre - layer.apply(features, head), inverse)
    return (pre - head[-1] if layer.has_bias else pre) @ inverse


def pseudo_inverse(head: Tensor, *, has_bias: bool) -> Tensor:
    """The pseudo-inverse ``(C, F)`` of a head's weights ``(F, C)``, the bias left out, by the same solve as the
    weights.

    ``min_D |W^T D - I|^2 + tiny |D|^2``, so that D is the shortest one where there are several.
    """
    weights = head[:-1] if has_bias else head
    eye = torch.eye(weights.shape[1], dtype=weights.dtype, device=weights.device)
    moments = Moments.from_batch(weights.T, eye)
    pull = max(_PSEUDO_INVERSE_PULL * moments.squares.mean().item(), torch.finfo(torch.float64).tiny)
    return solve_head(moments, penalty=pull).head.T


def _unexplained(moments: Moments, head: Tensor) -> float:
    error = (head * (moments.gram @ head)).sum() - 2 * (head * moments.cross).sum() + moments.target_square.sum()
    return (error / moments.target_square.sum()).item()


def _condition(moments: Moments, penalty: float) -> float:
    values = torch.linalg.eigvalsh(moments.gram) + penalty
    return (values[-1] / values[0].clamp(min=torch.finfo(torch.float64).tiny)).item()
