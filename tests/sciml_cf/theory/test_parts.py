"""The parts that the theorems are measured with: each beside an independent reference, and what they refuse."""

import math

import numpy as np
import pytest
import torch

from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head import Kalman, Moments, Proximal, RandomWalk, ridge
from sciml_cf.theory.filters import filter_rows
from sciml_cf.theory.flows import kernel_flow
from sciml_cf.theory.function_space import least_residual, solved_gradient, solved_head, solved_loss
from sciml_cf.theory.landscape import TwoParameterNet
from sciml_cf.theory.one_step import STEPS, excess_left, steps_to_share, worst_share_left
from sciml_cf.theory.wide import WideNet

RNG = np.random.default_rng(5)
PHI, Y = RNG.normal(size=(3, 9)), RNG.normal(size=(2, 9))


def test_solved_head_is_ridge_of_the_package():
    moments = Moments.from_batch(torch.from_numpy(PHI.T), torch.from_numpy(Y.T))
    expected = ridge(moments, strength=0.4 / 9).numpy().T
    np.testing.assert_allclose(solved_head(PHI, Y, penalty=0.4), expected, rtol=1e-12)
    left = np.eye(9) + PHI.T @ PHI / 0.4  # beta tr Y (Phi^T Phi + beta I)^-1 Y^T
    assert solved_loss(PHI, Y, penalty=0.4) == pytest.approx(np.trace(Y @ np.linalg.solve(left, Y.T)))


@pytest.mark.parametrize("penalty", [0.0, 0.4])
def test_solved_gradient_is_the_slope_of_the_solved_loss(penalty):
    move, step = RNG.normal(size=PHI.shape), 1e-6
    ends = [solved_loss(PHI + sign * step * move, Y, penalty=penalty) for sign in (1, -1)]
    slope = np.sum(solved_gradient(PHI, Y, penalty=penalty) * move)
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_solved_head_refuses():
    with pytest.raises(ValueError, match=r"`targets` must be \(o, n\) for features \(d, n\); got \(2, 8\)"):
        solved_head(PHI, Y[:, 1:])
    with pytest.raises(ValueError, match="`penalty` must be at least 0; got -1"):
        solved_head(PHI, Y, penalty=-1)
    with pytest.raises(NotPositiveDefinite, match="`features` must have linearly independent rows"):
        solved_head(np.zeros((2, 9)), Y)


def test_least_residual_is_that_of_the_best_features():
    values = np.linalg.svd(Y, compute_uv=False)
    assert least_residual(Y, 1) == pytest.approx(values[1] ** 2 / np.sum(values**2))
    assert least_residual(Y, 2) == pytest.approx(0, abs=1e-12)
    rest = Y - Y @ np.linalg.pinv(PHI) @ PHI
    assert least_residual(Y, 3, PHI) == pytest.approx(np.sum(rest**2) / np.sum(Y**2))


def test_kernel_flow_of_one_point_is_known():
    # d/dt phi = 2 beta phi y^2 / (phi^2 + beta)^2: its solution gives t as a function of phi
    flow = kernel_flow(np.ones((1, 1)), np.array([[2.0]]), np.eye(1), times=[0, 1, 5], penalty=0.5)

    def time(phi):
        return (phi**4 / 4 + 0.5 * phi**2 + 0.25 * math.log(phi)) / (2 * 0.5 * 4)

    for t, phi in zip(flow.times, flow.features[:, 0, 0], strict=True):
        assert time(phi) - time(1.0) == pytest.approx(t, abs=1e-7)


def test_kernel_flow_refuses():
    with pytest.raises(ValueError, match=r"`kernel` must be \(9, 9\) for side 'points'; got \(3, 3\)"):
        kernel_flow(PHI, Y, np.eye(3), times=[0, 1])
    with pytest.raises(ValueError, match="`side` must be one of 'points', 'features', 'both'; got 'left'"):
        kernel_flow(PHI, Y, np.eye(3), times=[0, 1], side="left")  # pyright: ignore


def test_both_sides_at_once_is_the_product_of_kernels():
    root = RNG.normal(size=(9, 9))
    kernel = root @ root.T / 9
    one = kernel_flow(PHI, Y, kernel, times=[0, 0.5])
    other = kernel_flow(PHI, Y, np.kron(np.eye(3), kernel), times=[0, 0.5], side="both")
    np.testing.assert_allclose(one.features[-1], other.features[-1], rtol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_wide_net_pulls_back_what_its_features_say(activation):
    net = WideNet(RNG.normal(size=(2, 5)), 3, 7, 1, activation)
    theta, move, gradient = net.draw(), RNG.normal(size=net.draw().size), RNG.normal(size=(3, 5))
    ends = [np.sum(gradient * net.features(theta + sign * 1e-6 * move)) for sign in (1, -1)]
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(net.pull_back(theta, gradient) @ move, rel=1e-6)
    step = net.pull_back(theta, gradient)
    slope = (net.features(theta + 1e-6 * step) - net.features(theta - 1e-6 * step)) / 2e-6
    np.testing.assert_allclose(net.kernel(theta) @ gradient.ravel(), slope.ravel(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="`activation` must be one of 'tanh', 'linear'; got 'relu'"):
        WideNet(np.ones((1, 1)), 1, 1, 0, "relu")  # pyright: ignore


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_landscape_curve_is_the_bottom_of_each_column(activation):
    net = TwoParameterNet(np.array([-1.0, 0.5, 2.0]), np.array([0.3, -1.0, 1.0]), 0.01, activation)
    heads = np.linspace(-4, 4, 80001)
    for theta in (-1.3, 0.7):
        assert heads[net.loss(np.full_like(heads, theta), heads).argmin()] == pytest.approx(
            float(net.best_head(theta)), abs=1e-4
        )
        ends = [[net.loss(theta + a, 0.8 + b) for a, b in ((s, 0), (0, s))] for s in (1e-6, -1e-6)]
        slopes = (np.array(ends[0]) - np.array(ends[1])) / 2e-6
        np.testing.assert_allclose(slopes, net.gradient(theta, 0.8), rtol=1e-5)
    path = net.solved_path(0.7, rate=0.05, steps=30)
    np.testing.assert_allclose(path[:, 1], net.best_head(path[:, 0]))
    assert np.all(np.diff(net.loss(*path.T)) <= 0)
    assert np.all(np.diff(net.loss(*net.joint_path(0.7, 0.8, rate=0.05, steps=30).T)) <= 0)
    with pytest.raises(ValueError, match="`activation` must be one of 'relu', 'tanh'; got 'sine'"):
        TwoParameterNet(np.ones(1), np.ones(1), 0.0, "sine")  # pyright: ignore


def moments_and_best(condition):
    torch.manual_seed(1)
    basis = torch.linalg.qr(torch.randn(40, 4, dtype=torch.float64)).Q * 40**0.5
    best = torch.randn(4, 1, dtype=torch.float64)
    phi = basis * torch.logspace(0, -math.log10(condition) / 2, 4, dtype=torch.float64)
    return Moments.from_batch(phi, phi @ best), best


def test_one_step_of_the_head_by_its_curvature():
    start = torch.zeros(4, 1, dtype=torch.float64)
    left = {}
    for condition in (1.0, 10.0, 1000.0):
        moments, best = moments_and_best(condition)
        left[condition] = {step: excess_left(moments, start, step, best=best)[1] for step in STEPS}
        assert left[condition]["closed form"] < 1e-18
        assert left[condition]["steepest descent"] <= worst_share_left(condition) + 1e-12
        assert left[condition]["steepest descent"] <= left[condition]["gradient, rate 1/L"] + 1e-12
    assert left[1.0]["steepest descent"] < 1e-20  # at once, where the curvature is the same in every direction
    moments, _ = moments_and_best(10.0)
    extremes = torch.tensor([[1.0], [0], [0], [10.0]], dtype=torch.float64)  # the start that is worst for descent
    own = Moments(moments.gram, moments.gram @ extremes, moments.target_square, moments.weight)
    assert excess_left(own, start, "steepest descent", best=extremes)[1] == pytest.approx(worst_share_left(10.0))
    assert steps_to_share(own, start, "steepest descent", best=extremes, share=1e-3) == math.ceil(
        math.log(1e-3) / math.log(worst_share_left(10.0))
    )
    with pytest.raises(ValueError, match="`step` must be one of"):
        excess_left(moments, start, "newton", best=start)


def test_filter_row_by_row_is_batch_ridge_and_collapsed_it_is_proximal():
    rng = np.random.default_rng(0)
    phi, y, noise, variance = rng.normal(size=(24, 4)), rng.normal(size=(24, 2)), 0.3, 0.7
    zero, eye = np.zeros((4, 2)), np.eye(8)
    mean, covariance = filter_rows(phi, y, zero, variance * eye, noise=noise)
    every = Moments.from_batch(torch.from_numpy(phi), torch.from_numpy(y))
    np.testing.assert_allclose(mean, ridge(every, strength=noise / variance / 24), rtol=1e-10)
    block = np.linalg.inv(phi.T @ phi / noise + np.eye(4) / variance)
    np.testing.assert_allclose(covariance, np.kron(np.eye(2), block), atol=1e-12)

    def heads(collapse):
        belief, known = zero, 0 * eye
        for part in (slice(0, 8), slice(8, 16), slice(16, 24)):
            belief, known = filter_rows(
                phi[part], y[part], belief, known * (not collapse) + variance * eye, noise=noise
            )
        return belief

    def by(rule):
        state, head = rule.init(4, 2), None
        for part in (slice(0, 8), slice(8, 16), slice(16, 24)):
            moments = Moments.from_batch(torch.from_numpy(phi[part]), torch.from_numpy(y[part]))
            head, state = rule.update(state, moments)
        return head.numpy()

    strength = noise / variance / 8
    np.testing.assert_allclose(by(Kalman(1.0, strength)), mean, rtol=1e-9)
    np.testing.assert_allclose(by(Proximal(strength)), heads(True), rtol=1e-10)
    np.testing.assert_allclose(by(RandomWalk(strength)), heads(False), rtol=1e-9)
    assert np.abs(by(Proximal(strength)) - heads(False)).max() > 1e-3  # the collapse is what makes it proximal
    assert np.abs(by(Proximal(noise / variance)) - heads(True)).max() > 1e-2  # and lambda is on sums
