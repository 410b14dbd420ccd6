import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from sciml_cf.errors import JitterWarning, NotPositiveDefinite
from sciml_cf.head import Moments, Proximal, Ridge, proximal, ridge, strength_from_paper
from sciml_cf.head.solve import solve_head
from tests.problems import dependent, regression


def close(a, b, tolerance=1e-10):
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return (a - b).abs().max() <= tolerance * b.abs().max()


def test_ridge_without_strength_is_least_squares():
    phi, y = regression()
    expected = np.linalg.lstsq(phi.numpy(), y.numpy(), rcond=None)[0]
    assert close(ridge(Moments.from_batch(phi, y), strength=0.0), expected)


@pytest.mark.parametrize("beta", [1e-3, 1.0, 50.0])
def test_ridge_equals_scikit_learn_in_the_papers_units(beta):
    phi, y = regression(rows=150)
    expected = SklearnRidge(alpha=beta, fit_intercept=False, solver="cholesky").fit(phi.numpy(), y.numpy()).coef_.T
    strength = strength_from_paper(beta, rows=150)
    assert close(ridge(Moments.from_batch(phi, y), strength=strength), expected)


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 3.0])
def test_proximal_minimises_its_objective(strength):
    phi, y = regression()
    previous = torch.randn(7, 3, dtype=torch.float64)
    head = proximal(Moments.from_batch(phi, y), previous, strength=strength).requires_grad_()
    objective = (phi @ head - y).square().sum(1).mean() + strength * (head - previous).square().sum()
    (gradient,) = torch.autograd.grad(objective, head)
    assert gradient.abs().max() < 1e-11


def test_proximal_equals_ridge_on_stacked_rows():
    # An independent route: the pull to the previous head is F extra rows sqrt(rows s) e_j with targets W_0[j].
    phi, y = regression()
    previous, strength = torch.randn(7, 3, dtype=torch.float64), 0.37
    scale = (len(phi) * strength) ** 0.5
    stacked = np.vstack([phi, scale * np.eye(7)]), np.vstack([y, scale * previous])
    expected = np.linalg.lstsq(*stacked, rcond=None)[0]
    assert close(proximal(Moments.from_batch(phi, y), previous, strength=strength), expected)


def test_proximal_limits():
    phi, y = regression()
    moments, previous = Moments.from_batch(phi, y), torch.randn(7, 3, dtype=torch.float64)
    assert close(proximal(moments, previous, strength=1e12), previous)
    assert close(proximal(moments, previous, strength=1e-13), ridge(moments, strength=0.0))
    # A strength beyond the reach of float64 keeps the head to the last digit instead of cancelling.
    assert torch.equal(proximal(moments, previous, strength=1e300), previous)


def test_zero_previous_head_makes_proximal_ridge():
    phi, y = regression()
    moments = Moments.from_batch(phi, y)
    assert close(proximal(moments, torch.zeros(7, 3), strength=0.2), ridge(moments, strength=0.2))


def test_penalty_may_be_diagonal_or_full():
    phi, y = regression()
    moments, previous = Moments.from_batch(phi, y), torch.randn(7, 3, dtype=torch.float64)
    diagonal = torch.rand(7, dtype=torch.float64) + 0.1
    expected = torch.linalg.solve(moments.gram + torch.diag(diagonal), moments.cross + diagonal[:, None] * previous)
    for penalty in (diagonal, torch.diag(diagonal)):
        assert close(solve_head(moments, penalty=penalty, previous=previous).head, expected)


def test_strength_means_the_same_at_any_number_of_rows():
    phi, y = regression()
    once, tiled = Moments.from_batch(phi, y), Moments.from_batch(phi.repeat(4, 1), y.repeat(4, 1))
    assert close(ridge(once, strength=0.3), ridge(tiled, strength=0.3))


def test_dependent_features_warn_with_the_cure():
    phi, y = dependent()
    moments = Moments.from_batch(phi, y)
    with pytest.warns(JitterWarning, match="raise `strength`"):
        solution = solve_head(moments, penalty=0.0)
    assert 0 < solution.jitter <= 1e-8
    assert close(phi @ solution.head, phi[:, :7] @ ridge(Moments.from_batch(phi[:, :7], y), strength=0.0), 1e-4)


def test_indefinite_system_is_refused():
    phi, y = regression()
    with pytest.raises(NotPositiveDefinite, match="linearly dependent"):
        solve_head(Moments.from_batch(phi, y), penalty=-100.0)


@pytest.mark.parametrize("where", ["features", "targets"])
def test_nan_is_refused(where):
    phi, y = regression()
    (phi if where == "features" else y)[3, 1] = float("nan")
    with pytest.raises(NotPositiveDefinite, match="NaN|not finite"):
        proximal(Moments.from_batch(phi, y), torch.zeros(7, 3), strength=1e-2)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf"), "1", None])
def test_bad_strength_is_refused(strength):
    phi, y = regression()
    moments = Moments.from_batch(phi, y)
    for call in (
        lambda: ridge(moments, strength=strength),
        lambda: proximal(moments, torch.zeros(7, 3), strength=strength),
        lambda: Ridge(strength),
        lambda: Proximal(strength),
    ):
        with pytest.raises(ValueError, match="`strength` must be a finite number"):
            call()
    with pytest.raises(ValueError, match="above 0"):
        Proximal(0.0)


def test_previous_head_of_wrong_shape_is_refused():
    phi, y = regression()
    with pytest.raises(ValueError, match=r"`previous` must be \(7, 3\).*got \(3, 7\)"):
        proximal(Moments.from_batch(phi, y), torch.zeros(3, 7), strength=1e-2)
