"""Weights and masks of single outputs: solved at once, and equal to a dense solve of each output alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.errors import JitterWarning, NotPositiveDefinite
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Every, Moments, Proximal, Ridge, Rule, Update, WarmUp
from sciml_cf.head import per_output as module
from sciml_cf.head.per_output import OutputMoments, added
from sciml_cf.head.rules import solved_state
from sciml_cf.head.rules.common.rule import updated

ROWS, FEATURES, OUTPUTS = 300, 12, 64


@dataclass(frozen=True)
class Own(Rule):
    """A rule of somebody's that looks at the Gram matrix itself."""

    strength: float = 0.3

    def update(self, state: dict[str, torch.Tensor], moments: Moments) -> Update:
        pull = self.strength * torch.eye(moments.num_features, dtype=torch.float64)
        return Update(state | {"head": torch.linalg.solve(moments.gram + pull, moments.cross + pull @ state["head"])})


@dataclass(frozen=True)
class Careless(Own):
    def solves_apart(self) -> bool:
        return True


@dataclass(frozen=True)
class Later(Proximal):
    """What a device does: nobody waits for the solve."""

    def update(self, state: dict[str, torch.Tensor], moments: Moments) -> Update:
        return solved_state(state, moments, self.strength, previous=state["head"], later=True)


def rows(weights: str = "masks", outputs: int = OUTPUTS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, targets and weights: a mask for each output, five masks among all, weights, or a mask for all."""
    generator = torch.Generator().manual_seed(3)
    options: Any = {"generator": generator, "dtype": torch.float64}
    phi, y = torch.randn(ROWS, FEATURES, **options), torch.randn(ROWS, outputs, **options)
    w = torch.rand(ROWS, 5 if weights == "five masks" else 1 if weights == "one mask" else outputs, **options)
    w = w if weights == "weights" else (w > 0.4).double()
    w = w[:, torch.randint(w.shape[1], (outputs,), generator=generator)] if w.shape[1] < outputs else w
    return phi, y, w


def with_ones(phi: torch.Tensor) -> np.ndarray:
    return np.append(phi.numpy(), np.ones((len(phi), 1)), 1)


def dense(phi: np.ndarray, y: np.ndarray, w: np.ndarray, strength: float, previous: np.ndarray, *, free: bool = False):
    """``(F, C)``: normal equations of each output alone."""
    columns = []
    for c in range(y.shape[1]):
        share = w[:, c] / w[:, c].sum()
        pull = strength * np.eye(phi.shape[1])
        pull[-1, -1] *= not free
        system = phi.T @ (share[:, None] * phi) + pull
        columns.append(np.linalg.solve(system, phi.T @ (share * y[:, c]) + pull @ previous[:, c]))
    return np.stack(columns, 1)


def head_of(layer: nn.Linear) -> np.ndarray:
    return np.append(layer.weight.detach().numpy().T, layer.bias.detach().numpy()[None], 0)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("weights", ["masks", "five masks", "one mask", "weights"])
@pytest.mark.parametrize("rule", [Proximal(0.3), Ridge(1e-2), Later(0.3), Own(), WarmUp(Proximal(0.3), 1, 1.0)])
def test_heads_of_64_outputs_are_the_dense_solution_of_each(rule: Any, weights: str, free: bool) -> None:
    (phi, y, w), layer = rows(weights), nn.Linear(FEATURES, OUTPUTS).double()
    before = head_of(layer)
    loss_of = ClosedFormLoss(layer, rule, initial="keep", penalise_bias=not free)
    loss = loss_of(layer(phi), torch.where(w > 0, y, torch.nan), w)
    goal = 0 * before if isinstance(rule, Ridge) else before
    strength = getattr(rule, "rule", rule).strength
    expected = dense(with_ones(phi), y.numpy(), w.numpy(), strength, goal, free=free)
    np.testing.assert_allclose(head_of(layer), expected, rtol=1e-10, atol=1e-10)
    error = (w.numpy() * (with_ones(phi) @ expected - y.numpy()) ** 2).sum() / w.sum().item()
    assert loss.item() == pytest.approx(error, rel=1e-10)


def test_equal_gram_matrices_are_formed_and_factorised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    factorised = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda s: sizes.append(tuple(s.shape)) or factorised(s))
    for weights, count in (("masks", 64), ("five masks", 5), ("one mask", 1)):
        moments = OutputMoments.of_rows(*rows(weights), constant=True)
        assert moments.grams.shape == (count, FEATURES + 1, FEATURES + 1)
        sizes.clear()
        updated(Proximal(), Proximal().init(FEATURES + 1, OUTPUTS), moments)
        assert sizes == [(count, FEATURES + 1, FEATURES + 1)]


def test_rows_in_blocks_are_the_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = OutputMoments.of_rows(*rows("weights"), constant=True)
    monkeypatch.setattr(module, "_AT_ONCE", 64 * 13 * 37)
    parts = OutputMoments.of_rows(*rows("weights"), constant=True)
    for name in ("grams", "cross", "target_square", "weights", "counts"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("second", ["masks", "five masks", "none"])
@pytest.mark.parametrize("first", ["five masks", "none", "no row of some"])
def test_batches_whose_outputs_are_grouped_otherwise_add_up(first: str, second: str) -> None:
    def part(kind: str, which: slice) -> tuple[Moments, torch.Tensor]:
        phi, y, w = rows("masks" if kind in ("none", "no row of some") else kind)
        if kind == "none":
            return Moments.from_batch(phi[which], y[which], constant=True), torch.ones_like(w[which])
        w = w.clone()
        w[:, :7] *= kind != "no row of some"
        return OutputMoments.of_rows(phi[which], y[which], w[which], constant=True), w[which]

    (one, w1), (two, w2) = part(first, slice(0, 100)), part(second, slice(100, ROWS))
    found = OutputMoments.of(added(one, two, weighted=True))
    phi, y, _ = rows()
    head = found.solve(0.1).head.numpy()
    expected = dense(with_ones(phi), y.numpy(), torch.cat([w1, w2]).numpy(), 0.1, np.zeros((13, OUTPUTS)))
    np.testing.assert_allclose(head, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [Proximal(0.3), Own()])
@pytest.mark.parametrize("free", [False, True])
def test_an_output_without_rows_keeps_its_head_and_bias(rule: Rule, free: bool) -> None:
    (phi, y, w), layer = rows("five masks"), nn.Linear(FEATURES, OUTPUTS).double()
    w[:, ::2] = 0
    before = head_of(layer)
    ClosedFormLoss(layer, rule, initial="keep", penalise_bias=not free)(layer(phi), torch.where(w > 0, y, torch.nan), w)
    np.testing.assert_allclose(head_of(layer)[:, ::2], before[:, ::2], rtol=1e-12)
    expected = dense(with_ones(phi), y.numpy()[:, 1::2], w.numpy()[:, 1::2], 0.3, before[:, 1::2], free=free)
    np.testing.assert_allclose(head_of(layer)[:, 1::2], expected, rtol=1e-10, atol=1e-10)


def test_only_the_system_that_needs_it_gets_jitter() -> None:
    phi, y, w = rows("masks", outputs=3)
    phi[w[:, 1] == 0, 1] = 0  # a pivot of exactly zero for all but the second output, whatever the rounding
    w[:, 0] *= 1 - w[:, 1]
    w[:, 2] = w[:, 0]
    moments = OutputMoments.of_rows(phi, y, w, constant=True)
    assert len(moments.grams) == 2
    with pytest.warns(JitterWarning, match=r"needed a diagonal shift"):
        found = moments.solve(0.0)
    kept = w[:, 1].numpy() > 0
    alone = np.linalg.lstsq(with_ones(phi)[kept], y.numpy()[kept, 1], rcond=None)[0]
    np.testing.assert_allclose(found.head[:, 1].numpy(), alone, rtol=1e-9, atol=1e-10)  # to the last digits
    later = moments.solve_later(0.0, None, keep=torch.zeros(13, 3, dtype=torch.float64))
    assert later.jitter.item() == found.jitter > 0
    torch.testing.assert_close(later.head[:, 1], found.head[:, 1])


def test_a_failed_solve_changes_no_output() -> None:
    (phi, y, w), layer = rows("five masks"), nn.Linear(FEATURES, OUTPUTS).double()
    loss_of = ClosedFormLoss(layer, Proximal(0.3), initial="keep")
    before = head_of(layer)
    y[0, 5], w[0, 5] = torch.inf, 1.0
    with pytest.raises(NotPositiveDefinite, match="must be finite"):
        loss_of(layer(phi), y, w)
    assert np.array_equal(head_of(layer), before)
    moments = OutputMoments.of_rows(phi, y, w, constant=True)
    keep = torch.from_numpy(before)
    later = moments.solve_later(0.3, keep, keep=keep)
    assert later.jitter.isnan() and torch.equal(later.head, keep)


def test_a_rule_that_only_solves_must_not_look_at_one_gram_matrix() -> None:
    (phi, y, w), layer = rows(), nn.Linear(FEATURES, OUTPUTS).double()
    loss_of = ClosedFormLoss(layer, Careless())
    with pytest.raises(TypeError, match="Let `solves_apart` return False"):
        loss_of(layer(phi), y, w)


def test_targets_far_from_zero_have_an_offset_for_each_output() -> None:
    (phi, y, w), layer = rows(), nn.Linear(FEATURES, OUTPUTS).double()
    loss_of = ClosedFormLoss(layer, Ridge(1e-2))
    far = y + 1e4 * torch.arange(1, OUTPUTS + 1)
    loss_of(layer(phi), torch.where(w > 0, far, torch.nan), w)
    offset = ((w * far).sum(0) / w.sum(0)).numpy()
    expected = dense(with_ones(phi), far.numpy() - offset, w.numpy(), 1e-2, np.zeros((13, OUTPUTS)))
    expected[-1] += offset
    np.testing.assert_allclose(head_of(layer), expected, rtol=1e-7, atol=1e-8)


def test_every_second_step_and_the_metrics_of_training() -> None:
    (phi, y, w), layer = rows(), nn.Linear(FEATURES, OUTPUTS).double()
    head = ClosedFormHead(layer, Every(Proximal(0.3), 2, on="last"), initial="keep")
    before = head_of(layer)
    losses = []
    for step in range(4):
        moments = head.update(y, prediction=layer(phi), weights=w)
        assert np.array_equal(head_of(layer), before) == (step == 0)
        errors = w * (layer(phi) - y).square()
        losses.append((errors.sum(0) / w.sum(0)).mean().item())
        head.clear()
    assert moments.gram.shape == (13, 13)
    metrics = head.recent()
    assert metrics.solves == 2
    phi = torch.from_numpy(with_ones(phi))
    start = w * (phi @ torch.from_numpy(before) - y).square()  # the first solve begins at the layer's own weights
    gains = [1 - losses[1] / (start.sum(0) / w.sum(0)).mean().item(), 1 - losses[3] / losses[1]]
    assert metrics.gain == pytest.approx(np.mean(gains), rel=1e-8)
    first = errors.sum(0) / w.sum(0)
    assert head.diagnostics().loss_after == pytest.approx(first[0].item(), rel=1e-8)
