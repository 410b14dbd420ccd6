"""Fewer rows than features: the system of the rows gives the head of the system of the features."""

import numpy as np
import pytest
import torch

from sciml_cf.errors import JitterWarning, NotPositiveDefinite
from sciml_cf.head import Automatic, ClosedFormLoss, Moments, MovingAverage, PerFeature, Proximal, Ridge, WarmUp, ridge
from sciml_cf.head.moments import RowMoments
from sciml_cf.head.solve import solve_head
from tests.problems import mlp, regression


def wide(rows=9, features=40, outputs=3):
    phi, y = regression(rows=rows, features=features, outputs=outputs)
    return phi, y, torch.randn(features, outputs, dtype=torch.float64)


def products(moments):
    """The same moments, their rows forgotten."""
    return Moments(moments.gram, moments.cross, moments.target_square, moments.weight)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


PENALTIES = {"strong": 1e6, "usual": 1e-2, "weak": 1e-4, "number": torch.tensor(0.3).double(), "diagonal": None}


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_both_systems_have_the_same_solution(penalty, zero, weighted, constant):
    phi, y, previous = wide()
    value = PENALTIES[penalty]
    value = torch.rand(40, dtype=torch.float64) + 0.1 if value is None else value
    if constant:
        phi = phi[:, :-1]
    weights = torch.rand(9, dtype=torch.float64) if weighted else None
    few = Moments.from_batch(phi, y, weights, constant=constant)
    assert isinstance(few, RowMoments)
    start = None if zero else previous
    ours, theirs = (solve_head(some, penalty=value, previous=start).head for some in (few, products(few)))
    assert relative(ours, theirs) < 1e-10


@pytest.mark.parametrize("strength", [1e-12, 1e-6, 1e-2])
def test_a_weak_penalty_loses_no_digits(strength):
    phi, y, _ = wide()
    stacked = np.vstack([phi / 3, np.sqrt(strength) * np.eye(40)]), np.vstack([y / 3, np.zeros((40, 3))])
    expected = torch.tensor(np.linalg.lstsq(*stacked, rcond=None)[0])
    assert relative(ridge(Moments.from_batch(phi, y), strength=strength), expected) < 1e-10


def test_features_that_are_small_beside_a_constant_are_not_lost():
    phi, y, _ = wide()
    phi = torch.cat([1e-7 * phi, torch.ones(9, 1, dtype=torch.float64)], 1)
    head = ridge(Moments.from_batch(phi, y), strength=1e-18)
    assert (phi @ head - y).abs().max() < 1e-3


def test_moments_of_few_rows_are_those_of_products():
    phi, y, _ = wide()
    weights = torch.rand(9, dtype=torch.float64)
    few = Moments.from_batch(phi, y, weights)
    share = (weights / weights.sum())[:, None]
    for ours, expected in (
        (few.gram, phi.T @ (share * phi)),
        (few.cross, phi.T @ (share * y)),
        (few.squares, (share * phi**2).sum(0)),
        (few.target_square, (share * y**2).sum(0)),
        (few.weight, weights.sum()),
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-14)
    assert (few.num_features, few.num_outputs) == (40, 3)


def test_rows_are_kept_while_they_are_few():
    phi, y, previous = wide(rows=45)
    parts = [Moments.from_batch(phi[a:b], y[a:b]) for a, b in ((0, 9), (9, 20), (20, 45))]
    merged = parts[0] + parts[1]
    assert isinstance(merged, RowMoments)
    assert type(merged + parts[2]) is Moments
    for some, count in ((merged, 20), (merged + parts[2], 45), (products(parts[2]) + merged, 45)):
        rows = slice(0, count)
        for name in ("gram", "cross", "target_square", "weight"):
            expected = getattr(products(Moments.from_batch(phi[rows], y[rows])), name)
            torch.testing.assert_close(getattr(some, name), expected, rtol=1e-12, atol=1e-13)
    expected = solve_head(products(Moments.from_batch(phi[:20], y[:20])), penalty=0.1, previous=previous).head
    assert relative(solve_head(merged, penalty=0.1, previous=previous).head, expected) < 1e-10


def test_no_matrix_of_the_features_is_formed(monkeypatch):
    phi, y, previous = wide()
    monkeypatch.setattr("sciml_cf.head.moments.sums_of_products", None)
    for rule in (Ridge(), Proximal(), PerFeature(), Automatic(), MovingAverage(), WarmUp(Proximal(), 2)):
        model = mlp(inputs=3, width=40, outputs=3)
        loss_of = ClosedFormLoss(model[-1], rule)
        for _ in range(2):
            loss_of(model(torch.randn(9, 3, dtype=torch.float64)), y).backward()
        assert model[-1].weight.any()
    solve_head(Moments.from_batch(phi, y), penalty=0.1, previous=previous)


def test_without_a_penalty_the_features_are_dependent():
    phi, y, _ = wide()
    with pytest.warns(JitterWarning, match="raise `strength`"):
        ridge(Moments.from_batch(phi, y), strength=0.0)
    diagonal = torch.ones(40, dtype=torch.float64)
    diagonal[3] = 0.0  # cannot be divided by, but leaves the system of the features definite
    few = Moments.from_batch(phi, y)
    assert relative(solve_head(few, penalty=diagonal).head, solve_head(products(few), penalty=diagonal).head) < 1e-10
    with pytest.raises(NotPositiveDefinite, match="linearly dependent"):
        solve_head(few, penalty=-100.0)


@pytest.mark.parametrize("where", ["features", "targets"])
def test_nan_is_refused_at_once_or_later(where):
    phi, y, previous = wide()
    (phi if where == "features" else y)[3, 1] = torch.nan
    few = Moments.from_batch(phi, y)
    with pytest.raises(NotPositiveDefinite, match="not finite"):
        solve_head(few, penalty=1e-2, previous=previous)
    head, jitter = few.solve_later(1e-2, previous, keep=previous)
    assert torch.equal(head, previous)
    assert torch.isnan(jitter)


def test_a_solve_that_is_not_waited_for_is_the_same_solve():
    phi, y, previous = wide()
    few = Moments.from_batch(phi, y)
    head, jitter = few.solve_later(1e-2, previous, keep=previous)
    assert torch.equal(head, solve_head(few, penalty=1e-2, previous=previous).head)
    assert jitter == 0
    assert jitter.dtype == torch.float64
