"""The stages of deep-feature instrumental variables on one pair of batches, and the heads on all rows.

::

    stage 1    min mean |W^T (phi(z), 1) - psi(x)|^2
    stage 2    min mean |w^T ((W*^T (phi(z), 1), 1) x (xi(o), 1)) - y|^2

The heads W and w are solved in closed form; phi (in stage 1) and psi (in stage 2) move by gradients. W* is the first
head solved again as a function of psi, on the batch of stage 1: the only way by which psi enters the second loss, so
the gradient goes through that solve. The structural function is w^T ((psi(x), 1) x (xi(o), 1)), x the products of all
pairs; xi, the features of the covariates, may be missing.

References:
    Closed-Form Last Layer Optimization (arXiv:2510.04606), appendix D and Algorithm 3; the products with covariates

and the alternation of modes are those of DFIV (Xu et al., arXiv:2010.07154, section 3 and appendix A).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from sciml_cf.causal.nets import Batch, Nets
from sciml_cf.causal.settings import FUNCTION
from sciml_cf.causal.stage_rules import Gradients, StageHead, StageRules
from sciml_cf.head import Moments, ridge
from sciml_cf.head.algorithms import alternate

Optimizers = dict[str, torch.optim.Optimizer]


@dataclass
class StageHeads:
    """The heads of one training: W, its like inside stage 2, and w."""

    first: StageHead
    inner: StageHead
    second: StageHead

    @classmethod
    def start(cls, rules: StageRules, nets: Nets, batch: Batch) -> StageHeads:
        """Zero heads of the sizes that the nets' features of some rows ask for."""
        psi, phi, xi = nets.probe(batch)
        width = (psi + 1) * (1 if xi is None else xi + 1)
        sizes = {"first": (phi + 1, psi), "inner": (phi + 1, psi), "second": (width, batch.outcome.shape[1])}
        return cls(**{name: StageHead(getattr(rules, name), *size, nets.device) for name, size in sizes.items()})

    def begin(self) -> None:
        """A new pair of batches comes."""
        self.first.begin()
        self.inner.begin()
        self.second.begin()


class Losses(NamedTuple):
    """The last loss of each stage: mean squares over the rows of the batch, summed over features or outcomes."""

    first: float
    second: float


def with_constant(features: Tensor) -> Tensor:
    """(n, F + 1) float64: the features and a constant one, whose weight is a bias."""
    return torch.cat([features.double(), features.new_ones(len(features), 1, dtype=torch.float64)], dim=1)


def stage_two_features(treatment: Tensor, covariates: Tensor | None) -> Tensor:
    """(n, (F + 1) (E + 1)) float64: products of (psi, 1) with (xi, 1), or (psi, 1) without covariates."""
    psi = with_constant(treatment)
    if covariates is None:
        return psi
    return (psi[:, :, None] * with_constant(covariates)[:, None, :]).flatten(1)


def mean_square(prediction: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted mean over rows of ``|prediction - target|^2``, summed over columns; the paper sums over rows."""
    errors = (prediction - target).square().sum(dim=1)
    return errors.mean() if weights is None else (weights * errors).sum() / weights.sum()


def expected_features(heads: StageHeads, nets: Nets, batch: Batch, phi: tuple[Tensor, Tensor]) -> Tensor:
    """E[psi(X) | z] ``(n2, F)`` on the rows of stage 2, a function of psi through the solve on those of stage 1.

    ::

        W*(psi) = argmin mean |W^T phi_1 - psi(x_1)|^2 + inner strength |W - W_1|^2      W*^T phi_2

    Args:
        heads: its first head is the W_1 that W* is held near; its inner one is solved.
        nets: the two nets.
        batch: rows of stage 1, whose treatments are used.
        phi: instrument features with their constant on the rows of stages 1 and 2, without a graph.
    """
    psi = nets.psi(batch).double()
    head = heads.inner.solve(Moments.in_graph(phi[0], psi, batch.weights), again=True)
    return phi[1] @ head


def stage_one(
    heads: StageHeads, nets: Nets, optimizers: Optimizers, batch: Batch, *, updates: int, gradients: Gradients
) -> float:
    """Fit the instrument's features to those of the treatment, which stay (lines 6 to 9); the last loss."""
    nets.train_only("instrument_net")
    with torch.no_grad():
        targets = nets.psi(batch).double()

    def features() -> Tensor:
        return with_constant(nets.phi(batch))

    rows = heads.first, features, targets, batch.weights
    return _stage(*rows, optimizers.get("instrument_net"), updates=updates, gradients=gradients)


def stage_covariates(
    heads: StageHeads,
    nets: Nets,
    optimizers: Optimizers,
    first: Batch,
    second: Batch,
    *,
    updates: int,
    gradients: Gradients,
) -> None:
    """Fit the features of the covariates to the outcome, with the expected treatment features as they are."""
    nets.train_only("covariate_net")
    with torch.no_grad():
        phi = _instrument_features(nets, first, second)
        heads.inner.start_from(heads.first.value)
        expected = expected_features(heads, nets, first, phi)

    def features() -> Tensor:
        return stage_two_features(expected, nets.xi(second))

    rows = heads.second, features, second.outcome, second.weights
    _stage(*rows, optimizers.get("covariate_net"), updates=updates, gradients=gradients)


def stage_two(
    heads: StageHeads,
    nets: Nets,
    optimizers: Optimizers,
    first: Batch,
    second: Batch,
    *,
    updates: int,
    gradients: Gradients,
) -> float:
    """Fit the treatment's features to the outcome through their expectation (lines 10 to 14); the last loss."""
    nets.train_only("treatment_net")
    with torch.no_grad():
        phi, xi = _instrument_features(nets, first, second), nets.xi(second)
    heads.inner.start_from(heads.first.value)

    def features() -> Tensor:
        return stage_two_features(expected_features(heads, nets, first, phi), xi)

    rows = heads.second, features, second.outcome, second.weights
    return _stage(*rows, optimizers.get("treatment_net"), updates=updates, gradients=gradients)


@torch.no_grad()
def refit(nets: Nets, first: Batch, second: Batch, *, strength: float) -> tuple[Tensor, Tensor]:
    """Both heads by ridge on all rows of their stage, with the nets as they are: (W, w).

    Args:
        nets: the two nets.
        first: rows of stage 1.
        second: rows of stage 2.
        strength: on mean squares, both stages (paper: 0.01).
    """
    nets.train_only(None)
    ones = (part.to(nets.device) for part in first.chunks())
    moments = (Moments.from_batch(with_constant(nets.phi(one)), nets.psi(one).double(), one.weights) for one in ones)
    head = ridge(reduce(add, moments), strength=strength)
    twos = (part.to(nets.device) for part in second.chunks())
    moments = (
        Moments.from_batch(
            stage_two_features(with_constant(nets.phi(two)) @ head, nets.xi(two)), two.outcome, two.weights
        )
        for two in twos
    )
    return head, ridge(reduce(add, moments), strength=strength)


def _instrument_features(nets: Nets, first: Batch, second: Batch) -> tuple[Tensor, Tensor]:
    return with_constant(nets.phi(first)), with_constant(nets.phi(second))


def _stage(
    head: StageHead,
    features: Callable[[], Tensor],
    targets: Tensor,
    weights: Tensor | None,
    optimizer: torch.optim.Optimizer | None,
    *,
    updates: int,
    gradients: Gradients,
) -> float:
    """Updates of one net and its head in turn; the last loss.

    Args:
        head: the head of the stage.
        features: of the net in its present state.
        targets: targets of the head.
        weights: weights of the rows, or None.
        optimizer: of the net; None if it has nothing to train.
        updates: number of updates.
        gradients: gradients that the net follows.
    """

    def loss_at(*, solved: bool) -> Tensor:
        phi = features()
        if optimizer is not None and not phi.requires_grad:
            raise ValueError(
                f"{FUNCTION}: the nets must give features with a gradient; got some without. Does a net detach its "
                "output, or compute it under no_grad?"
            )
        if solved and gradients == "through":
            start = head.base()["head"]
            value = head.solve(Moments.in_graph(phi, targets, weights))
            return mean_square(phi @ value, targets, weights) + head.penalty(value, start)
        if solved:
            head.solve(Moments.from_batch(phi, targets, weights))
        return mean_square(phi @ head.value, targets, weights)

    def solve() -> None:
        head.solve(Moments.from_batch(features(), targets, weights))

    solved = gradients != "previous"
    return alternate(loss_at, solve, descend=optimizer, updates=updates, solved=solved).item()
