"""Scores of strengths on moments, against refits on dense rows; and when a head is left alone."""

import math

import numpy as np
import pytest
import torch

from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head import Moments
from sciml_cf.head.strength import (
    UNCHANGED,
    choose_strength,
    degrees_of_freedom,
    fold_errors,
    generalised_errors,
    pull_metric,
    strength_grid,
)
from tests.problems import regression

STRENGTHS = (1e-6, 1e-2, 0.3, 20.0, UNCHANGED)


def problem(folds=4, rows=23, features=6, outputs=2):
    """Folds of unequal size as dense rows, their moments, and a metric that is not the identity."""
    phi, y = regression(folds * rows, features, outputs)
    parts = [slice(place * rows, (place + 1) * rows + (5 if place == folds - 1 else 0)) for place in range(folds)]
    parts[0] = slice(4, rows)
    dense = [(phi[part].numpy(), y[part].numpy()) for part in parts]
    root = torch.randn(features, features, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    moments = [Moments.from_batch(torch.from_numpy(a), torch.from_numpy(b)) for a, b in dense]
    return dense, moments, root @ root.T + 0.1 * torch.eye(features, dtype=torch.float64)


def refit(phi, y, strength, metric):
    """Least squares on rows stacked with the pull, by an independent routine."""
    if strength == UNCHANGED:
        return np.zeros((phi.shape[1], y.shape[1]))
    pull = np.sqrt(strength * len(phi)) * np.linalg.cholesky(metric).T
    return np.linalg.lstsq(np.vstack([phi, pull]), np.vstack([y, np.zeros((len(pull), y.shape[1]))]), rcond=None)[0]


@pytest.mark.parametrize("with_metric", [False, True])
def test_fold_errors_are_those_of_refits_on_dense_rows(with_metric):
    dense, moments, metric = problem()
    found = fold_errors(moments, STRENGTHS, metric=metric if with_metric else None)
    pull = metric.numpy() if with_metric else np.eye(6)
    for place, (phi, y) in enumerate(dense):
        others = [part for index, part in enumerate(dense) if index != place]
        rest = [np.vstack(column) for column in zip(*others, strict=True)]
        for row, strength in enumerate(STRENGTHS):
            error = ((phi @ refit(*rest, strength, pull) - y) ** 2).mean()
            assert found[row, place].item() == pytest.approx(error, rel=1e-8)


@pytest.mark.parametrize("with_metric", [False, True])
def test_generalised_errors_are_those_of_the_dense_hat_matrix(with_metric):
    (phi, y), *_ = problem(rows=60)[0]
    metric = problem()[2] if with_metric else None
    moments = Moments.from_batch(torch.from_numpy(phi), torch.from_numpy(y))
    found = generalised_errors(moments, STRENGTHS, metric=metric)
    freedom = degrees_of_freedom(moments.gram, STRENGTHS, metric=metric)
    pull = np.eye(6) if metric is None else metric.numpy()
    for row, strength in enumerate(STRENGTHS[:-1]):
        hat = phi @ np.linalg.solve(phi.T @ phi + len(phi) * strength * pull, phi.T)
        score = ((y - hat @ y) ** 2).mean() / (1 - np.trace(hat) / len(phi)) ** 2
        assert found[row].item() == pytest.approx(score, rel=1e-8)
        assert freedom[row].item() == pytest.approx(np.trace(hat), rel=1e-8)
    assert found[-1].item() == pytest.approx((y**2).mean()) and freedom[-1] == 0


def test_generalised_error_is_infinite_without_rows_to_spare():
    phi, y = regression(6, 6, 1)
    found = generalised_errors(Moments.from_batch(phi, y), (0.0, 1.0))
    assert math.isinf(found[0]) and math.isfinite(found[1])


def test_pull_metric_is_the_root_and_keeps_the_mean_diagonal():
    phi, _ = regression(100, 5)
    gram = phi.T @ phi
    metric = pull_metric(gram)
    assert metric.diagonal().mean().item() == pytest.approx(1)
    square = metric @ metric
    torch.testing.assert_close(square / square.trace(), gram / gram.trace(), rtol=1e-10, atol=1e-12)


def test_strengths_follow_the_scale_of_the_features():
    grid = strength_grid(torch.eye(3, dtype=torch.float64))
    assert grid == tuple(sorted(grid)) and grid[-1] == UNCHANGED
    assert grid[0] == pytest.approx(1e-8) and grid[-2] == pytest.approx(1e2)
    assert strength_grid(4 * torch.eye(3, dtype=torch.float64))[5] == pytest.approx(4 * grid[5])


WEIGHTS = torch.ones(4, dtype=torch.float64)


def table(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_a_clear_gain_moves_the_head_to_the_strongest_pull_within_one_standard_error():
    errors = table([0.10, 0.12, 0.11, 0.13], [0.10, 0.13, 0.11, 0.121], [0.3, 0.3, 0.3, 0.3], [1.0, 1.2, 1.1, 1.3])
    assert errors.mean(1).argmin() == 0 and choose_strength(table(*(errors + 1e-4).tolist()), WEIGHTS) == 1


def test_a_gain_that_one_sample_makes_does_not_move_the_head():
    errors = table([1.1, 1.1, 1.0, 3.0], [1.0, 1.0, 1.0, 9.0])  # lower on the mean, by one fold
    assert errors.mean(1).argmin() == 0 and choose_strength(errors, WEIGHTS) == 1


def test_a_head_without_error_is_left_alone():
    assert choose_strength(torch.zeros(3, 4, dtype=torch.float64), WEIGHTS) == 2


def test_bad_folds_are_refused():
    _, moments, _ = problem()
    with pytest.raises(ValueError, match="`folds` must be at least 2; got 1"):
        fold_errors(moments[:1], STRENGTHS)
    with pytest.raises(NotPositiveDefinite, match="`metric` must be positive definite"):
        fold_errors(moments, STRENGTHS, metric=-torch.eye(6, dtype=torch.float64))
    bad = Moments(moments[0].gram * math.nan, moments[0].cross, moments[0].target_square, moments[0].weight)
    with pytest.raises(NotPositiveDefinite, match="must be finite"):
        fold_errors([bad, *moments], STRENGTHS)
