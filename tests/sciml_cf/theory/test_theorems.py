"""Each theorem where its premise holds, and where it is broken: the statement holds, and measurably fails."""

import numpy as np
import pytest
import torch
from scipy.linalg import null_space
from torch import nn

from sciml_cf.head import proximal, ridge
from sciml_cf.theory.flows import kernel_flow, rate_matrices
from sciml_cf.theory.function_space import (
    attained,
    least_residual,
    solved_gradient,
    solved_loss,
    steepest_curvature,
)
from sciml_cf.theory.gradients import backbone_gradients, gradient_distance
from sciml_cf.theory.wide import WideNet

RNG = np.random.default_rng(7)
DIRECTIONS = np.linalg.qr(RNG.normal(size=(6, 6)))[0].T
TARGETS = np.diag([2.0, 1.0]) @ DIRECTIONS[:2]
TIMES = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 80)])


def net_and_rows(outputs=2):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 6)).double()
    x, y = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, outputs, dtype=torch.float64)
    return net, x, y, torch.randn(6, outputs, dtype=torch.float64)


def test_theorem_1_gradient_at_a_held_ridge_head_is_the_whole_gradient():
    net, x, y, _ = net_and_rows()

    def solved(moments):
        return ridge(moments, strength=0.05)

    through, held = backbone_gradients(net, x, y, solved, strength=0.05)
    assert gradient_distance(through, held) < 1e-12
    parameters = list(net.parameters())
    moved, step = parameters[0], 1e-6  # and it is the slope of the solved loss
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            moved[0, 0] += sign * step
            phi, weights = net(x).T.numpy(), y.T.numpy()
            losses.append(solved_loss(phi, weights, penalty=40 * 0.05) / 40)
            moved[0, 0] -= sign * step
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(held[0].item(), rel=1e-6)


def test_theorem_1_fails_where_the_head_is_not_the_minimiser_of_the_same_loss():
    net, x, y, before = net_and_rows()
    heads = {
        "stronger in the solve": (lambda m: ridge(m, strength=0.5), 0.05),
        "loss without the penalty": (lambda m: ridge(m, strength=0.05), 0.0),
        "one gradient step": (lambda m: before - 0.1 * (m.gram @ before - m.cross), 0.0),
    }
    for head_of, strength in heads.values():
        assert gradient_distance(*backbone_gradients(net, x, y, head_of, strength=strength)) > 1e-3
    second = backbone_gradients(net, x, y, lambda m: ridge(m, strength=0.05), strength=0.05, second=True)
    assert gradient_distance(*second) > 1e-2  # no theorem for second derivatives


def test_theorem_2_holds_with_the_pull_in_the_loss_and_fails_without():
    net, x, y, before = net_and_rows()

    def solved(moments):
        return proximal(moments, before, strength=0.05)

    whole = backbone_gradients(net, x, y, solved, strength=0.05, previous=before)
    assert gradient_distance(*whole) < 1e-12
    through, held = backbone_gradients(net, x, y, solved, strength=0.0)
    assert gradient_distance(through, held) > 1e-2
    assert gradient_distance(whole[1], held) < 1e-12  # Eq. (16): held, the pull adds nothing


@pytest.mark.parametrize(
    ("features", "penalty", "loss", "curvature"),
    [
        (np.zeros((2, 6)), 0.1, 5.0, -2 * 4 / 0.1),  # -2 s_max(Y)^2 / beta
        (DIRECTIONS[2:4], 0.1, 5.0, -2 * 4 / 1.1),  # the same with beta + 1: the features have norm 1
        (DIRECTIONS[[0, 2]], 0.0, 1.0, -2 * 1),  # turning a useless feature into the missing one
    ],
)
def test_theorem_3_critical_points_that_are_no_minima(features, penalty, loss, curvature):
    assert np.abs(solved_gradient(features, TARGETS, penalty=penalty)).max() < 1e-12
    assert solved_loss(features, TARGETS, penalty=penalty) == pytest.approx(loss)
    lowest, direction = steepest_curvature(features, TARGETS, penalty=penalty)
    assert lowest == pytest.approx(curvature, rel=1e-5)
    assert solved_loss(features + 0.1 * direction, TARGETS, penalty=penalty) < loss - 1e-3


def test_theorem_3_needs_targets_that_are_not_zero_and_a_head_that_is_solved():
    rng = np.random.default_rng(0)
    phi, nothing = rng.normal(size=(2, 6)), np.zeros((2, 6))
    assert solved_loss(phi, nothing, penalty=0.1) == pytest.approx(0, abs=1e-12)
    assert steepest_curvature(phi, nothing, penalty=0.1)[0] == pytest.approx(0, abs=1e-9)
    ends = [solved_loss(sign * phi, TARGETS, penalty=0.1) for sign in (1, 0, -1)]
    assert ends[0] == pytest.approx(ends[2]) and ends[1] > ends[0] + 0.1  # not convex along a segment
    lowest, _ = steepest_curvature(DIRECTIONS[:2], TARGETS)
    assert lowest > -1e-6 and solved_loss(DIRECTIONS[:2], TARGETS) < 1e-25  # a minimum has no descent
    lowest, _ = steepest_curvature(DIRECTIONS[[0, 2]], TARGETS[:1])
    assert lowest > -1e-6  # and neither has the same point where the second output is not asked for


def random_flow(seed, outputs, **more):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(8, 8))
    kernel = root @ root.T / 8 + 0.01 * np.eye(8)
    phi, y = rng.normal(size=(4, 8)), rng.normal(size=(outputs, 8))
    return kernel_flow(phi, y, more.pop("kernel", kernel), times=TIMES, **more), kernel


def test_theorem_4_one_output_rises_to_the_whole_of_it():
    for seed in range(3):
        flow, kernel = random_flow(seed, 1)
        assert flow.largest_fall().max() < 1e-8 and flow.residual()[-1] < 1e-8
        first, last = (phi @ np.linalg.inv(kernel) @ phi.T for phi in (flow.features[0], flow.features[-1]))
        np.testing.assert_allclose(first, last, rtol=1e-6, atol=1e-6 * np.abs(first).max())


def test_theorem_4_printed_argument_fails_for_several_outputs_and_the_theorem_does_not():
    flows = [random_flow(seed, 3) for seed in range(4)]
    falls = [flow.largest_fall().max() for flow, _ in flows]
    assert max(falls) > 1e-3  # an eigenvalue of Y* Y*^T falls
    assert all(flow.residual()[-1] < 1e-6 for flow, _ in flows)  # the residual goes to zero all the same
    for flow, kernel in flows:
        a, b = rate_matrices(flow.features[0], flow.targets, kernel)
        assert np.linalg.eigvalsh(a)[0] > -1e-10 and np.linalg.eigvalsh(b)[0] > -1e-10
        moved = flow.features[0] - 1e-7 * solved_gradient(flow.features[0], flow.targets) @ kernel
        before, after = (attained(phi, flow.targets)[0] for phi in (flow.features[0], moved))
        rate = (after @ after.T - before @ before.T) / 1e-7
        np.testing.assert_allclose(rate, 2 * (a @ b + b @ a), rtol=1e-3, atol=1e-3 * np.abs(rate).max())


def test_theorem_4_printed_side_of_the_kernel_has_the_same_form():
    rng = np.random.default_rng(1)
    phi, y, root = rng.normal(size=(4, 8)), rng.normal(size=(3, 8)), rng.normal(size=(4, 4))
    kernel = root @ root.T
    a, b = rate_matrices(phi, y, kernel, "features")
    moved = phi - 1e-7 * kernel @ solved_gradient(phi, y)
    before, after = (attained(one, y)[0] for one in (phi, moved))
    rate = (after @ after.T - before @ before.T) / 1e-7
    np.testing.assert_allclose(rate, 2 * (a @ b + b @ a), rtol=1e-3, atol=1e-3 * np.abs(rate).max())


def test_theorem_4_fails_where_the_kernel_has_a_null_space():
    rng = np.random.default_rng(3)
    phi, y = rng.normal(size=(2, 8)), rng.normal(size=(1, 8))
    span = np.vstack([phi, rng.normal(size=(1, 8))])
    away = null_space(span)
    kernel = np.eye(8) - away @ away.T  # the features stay in three directions
    flow = kernel_flow(phi, y, kernel, times=TIMES)
    least = least_residual(y, 2, span)
    assert least > 0.05 and flow.residual()[-1] == pytest.approx(least, rel=1e-4)
    assert kernel_flow(phi, y, np.eye(8), times=TIMES).residual()[-1] < 1e-8


def test_theorem_4_fails_on_a_set_of_starts_of_measure_zero():
    y = np.array([[2.0, 0, 0, 0], [0, 1.0, 0, 0]])
    start = np.array([[0.8, 0, 0.6, 0], [0, 0, 0, 1.0]])
    moved = start + 1e-6 * np.random.default_rng(0).normal(size=(2, 4))
    stuck, free = (kernel_flow(one, y, np.eye(4), times=TIMES).residual()[-1] for one in (start, moved))
    assert stuck == pytest.approx(0.2, abs=1e-9) and free < 1e-8


def test_theorem_4_penalty_leaves_a_residual_and_no_minimum():
    flow, _ = random_flow(0, 1, penalty=0.1)
    size = np.linalg.norm(flow.features, ord=2, axis=(1, 2)) ** 2
    assert np.all(flow.residual() >= (0.1 / (size + 0.1)) ** 2) and flow.residual()[-1] > 1e-9
    assert np.linalg.norm(flow.features[-1]) > 1.5 * np.linalg.norm(flow.features[0])
    star, rest = attained(flow.features[0], flow.targets, penalty=0.1)
    assert np.abs(rest @ star.T).max() > 1e-3 * np.sum(flow.targets**2)  # Eq. (39) takes this for zero
    star, rest = attained(flow.features[0], flow.targets)
    assert np.abs(rest @ star.T).max() < 1e-12


def circle(points):
    angle = 2 * np.pi * (np.arange(points) + 0.3 * np.random.default_rng(0).uniform(size=points)) / points
    return 1.5 * np.stack([np.cos(angle), np.sin(angle)])


def test_theorem_4_wide_nets_reach_the_targets_and_narrow_their_distance_to_the_limit():
    y, times = np.random.default_rng(1).normal(size=(1, 6)), np.concatenate([[0.0], np.geomspace(1e-3, 20, 40)])
    change = {}
    for width in (8, 256):
        moves = []
        for seed in range(2):
            net = WideNet(circle(6), 3, width, seed)
            flow, end = net.flow(y, times=times, until=1e-6)
            assert flow.residual()[-1] < 1e-4 and flow.largest_fall().max() < 1e-8
            before, after = net.kernel(net.draw()), net.kernel(end)
            moves.append(np.linalg.norm(after - before) / np.linalg.norm(before))
        change[width] = np.median(moves)
    assert change[256] < 0.3 * change[8]


def test_theorem_4_fails_for_a_net_without_activation():
    y, times = np.random.default_rng(1).normal(size=(1, 6)), np.concatenate([[0.0], np.geomspace(1e-3, 20, 40)])
    x = circle(6)
    net = WideNet(x, 2, 32, 0, "linear")
    kernel = net.kernel(net.draw())
    assert np.linalg.matrix_rank(kernel, tol=1e-8 * np.linalg.norm(kernel)) <= 2 * 3
    least = least_residual(y, 2, np.vstack([x, np.ones(6)]))
    flow, _ = net.flow(y, times=times, until=least + 1e-5)
    assert least > 0.01 and least - 1e-9 < flow.residual()[-1] < least + 1e-3
