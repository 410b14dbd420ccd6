"""Heads for class labels: cross-entropy through Boehning's quadratic, one-hot least squares, and the hybrid of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import cross_entropy

from sciml_cf.errors import HeadWarning, JitterWarning, NotPositiveDefinite
from sciml_cf.head import (
    Automatic,
    ClosedFormHead,
    ClosedFormLoss,
    CrossEntropy,
    Every,
    Hybrid,
    Kalman,
    Moments,
    MovingAverage,
    OneHot,
    PerFeature,
    Proximal,
    RandomWalk,
    Ridge,
    SampledGCV,
    Streaming,
    WarmUp,
    one_hot_targets,
)
from tests.problems import mlp

ROOT = Path(__file__).parents[2]
PER_CLASS = CrossEntropy(curvature="per-class")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def blobs(rows=90, features=4, classes=3, *, seed=0, spread=1.5):
    """Overlapping clouds, float64: no plane separates them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    centres = torch.randn(classes, features, generator=generator, dtype=torch.float64)
    return centres[labels] + spread * torch.randn(rows, features, generator=generator, dtype=torch.float64), labels


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def numpy_loss(head, phi, targets, weights=None):
    logits = phi @ head
    top = logits.max(1, keepdims=True)
    losses = (top + np.log(np.exp(logits - top).sum(1, keepdims=True)))[:, 0] - (targets * logits).sum(1)
    return np.average(losses, weights=weights)


def head_of(layer):
    weight = layer.weight.detach().double().numpy().T
    return weight if layer.bias is None else np.concatenate([weight, layer.bias.detach().double().numpy()[None]])


def with_constant(phi, bias=True):
    return np.concatenate([phi.numpy(), np.ones((len(phi), 1))], axis=1) if bias else phi.numpy()


# Labels.


def test_one_hot_targets_are_those_of_torch_and_smoothed_as_published():
    labels = torch.tensor([[0, 2], [1, 1]])
    torch.testing.assert_close(one_hot_targets(labels, 3), nn.functional.one_hot(labels, 3).float(), rtol=0, atol=0)
    smooth = one_hot_targets(labels, 3, smoothing=0.3, dtype=torch.float64)
    assert smooth[0, 1].tolist() == pytest.approx([0.1, 0.1, 0.8])
    torch.testing.assert_close(smooth.sum(-1), torch.ones(2, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("labels", "classes", "smoothing", "message"),
    [
        (torch.tensor([0, 3]), 3, 0.0, "`labels` must be from 0 to 2; got 0 to 3"),
        (torch.tensor([-100, 1]), 3, 0.0, "`labels` must be from 0 to 2; got -100 to 1. Give rows without a class"),
        (torch.tensor([0.0]), 3, 0.0, "`labels` must be integers; got torch.float32"),
        (torch.tensor([0]), 1, 0.0, "`num_classes` must be at least 2; got 1"),
        (torch.tensor([0]), 3, 1.0, "`smoothing` must be a number from 0 to below 1; got 1.0"),
    ],
)
def test_wrong_labels_are_refused(labels, classes, smoothing, message):
    with pytest.raises(ValueError, match=message):
        one_hot_targets(labels, classes, smoothing=smoothing)


# The step.


@pytest.mark.parametrize("few", [False, True], ids=["many rows", "few rows"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_step_is_the_formula_of_the_majoriser(bias, few):
    phi, labels = blobs(5 if few else 90, features=8 if few else 4)
    layer = nn.Linear(phi.shape[1], 3, bias=bias).double()
    before, strength, smoothing = head_of(layer), 0.03, 0.1
    loss_of = ClosedFormLoss(layer, Proximal(strength), initial="keep", objective=CrossEntropy(smoothing))
    loss = loss_of(layer(phi), labels)
    x, y = with_constant(phi, bias), (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    residuals = y - softmax(x @ before)
    system = x.T @ x / len(x) + 4 * strength * np.eye(x.shape[1])
    expected = before + 2 * np.linalg.solve(system, x.T @ residuals / len(x))
    np.testing.assert_allclose(head_of(layer), expected, rtol=1e-11, atol=1e-12)
    assert loss.item() == pytest.approx(numpy_loss(expected, x, y), rel=1e-12)
    assert loss.item() == pytest.approx(cross_entropy(layer(phi), labels, label_smoothing=smoothing).item(), rel=1e-12)


RULES = [
    Proximal(0.2), Ridge(0.05), Kalman(0.8, 0.1), RandomWalk(0.2), Streaming(0.8, 0.1), PerFeature(0.1),
    WarmUp(Proximal(0.1), 3), MovingAverage(0.9, 0.1), Automatic(0.9, (0.1, 1.0)), SampledGCV(),
    Every(Proximal(0.2), 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "free"),
    [(rule, free) for rule in RULES for free in (False, True) if not (free and rule.remembers())],
    ids=lambda value: value if isinstance(value, bool) else type(value).__name__,
)
def test_every_rule_meets_the_working_regression(rule, free):
    # Two batches: what a rule remembers, it remembers of rows (phi, f0 + 2 (y - p0)) / 2.
    layer, twin = (nn.Linear(4, 3).double() for _ in range(2))
    twin.load_state_dict(layer.state_dict())
    head = ClosedFormHead(layer, rule, initial="keep", penalise_bias=not free, objective=CrossEntropy())
    plain = ClosedFormHead(twin, rule, initial="keep", penalise_bias=not free)
    for seed in (0, 1):
        phi, labels = blobs(40, seed=seed)
        logits = layer(phi)
        head.update(labels)
        working = logits.detach() + 2 * (one_hot_targets(labels, 3) - logits.detach().softmax(1))
        ones = torch.ones(len(phi), 1, dtype=torch.float64)
        rows = torch.cat([phi, ones], 1) / 2
        moments = Moments.from_batch(rows, working / 2)
        plain.solve(moments)
        np.testing.assert_allclose(head_of(layer), head_of(twin), rtol=1e-10, atol=1e-10)


def test_a_step_per_class_is_newtons_for_two_classes():
    phi, labels = blobs(200, classes=2)
    layer = nn.Linear(4, 2, bias=False).double()
    layer.weight.data.copy_(torch.linspace(-0.1, 0.1, 8).reshape(2, 4))  # near zero, where the whole step is taken
    before, x = head_of(layer), phi.numpy()
    ClosedFormLoss(layer, Proximal(1e-13), initial="keep", objective=PER_CLASS)(layer(phi), labels)
    probability = softmax(x @ before)[:, 1]
    hessian = x.T @ (x * (probability * (1 - probability))[:, None])
    newton = np.linalg.solve(hessian, x.T @ (labels.numpy() - probability))
    change = head_of(layer) - before
    np.testing.assert_allclose(change[:, 1] - change[:, 0], newton, rtol=1e-8)


@st.composite
def problems(draw):
    rows, features, classes = draw(st.integers(2, 14)), draw(st.integers(1, 6)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    phi = rng.normal(size=(rows, features)) * 10.0 ** draw(st.integers(-3, 3))
    if draw(st.booleans()):
        phi[:, 0] = phi[:, -1]
    start = rng.normal(size=(classes, features)) * draw(st.sampled_from([0.0, 1.0, 10.0]))
    weights = rng.uniform(size=rows) * (rng.uniform(size=rows) < 0.8) if draw(st.booleans()) else None
    if weights is not None and not weights.any():
        weights[0] = 1.0
    bias = torch.tensor(rng.normal(size=classes))
    return torch.tensor(phi), torch.tensor(rng.integers(classes, size=rows)), torch.tensor(start), bias, weights


@pytest.mark.parametrize("curvature", ["bound", "per-class"])
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    problems(),
    st.sampled_from([0.0, 1e-9, 1e-4, 1e-2, 1.0, 1e4]),
    st.sampled_from([0.0, 0.1]),
    st.booleans(),
    st.sampled_from(["none", "penalised", "free"]),
    st.integers(1, 3),
)
def test_no_step_raises_the_loss_on_fixed_features(curvature, problem, strength, smoothing, balanced, bias, iterations):
    phi, labels, start, bias_start, weights = problem
    classes = len(start)
    own = tuple(np.arange(1.0, classes + 1)) if balanced else None
    objective = CrossEntropy(smoothing, own, curvature, iterations)
    layer = nn.Linear(phi.shape[1], classes, bias=bias != "none").double()
    layer.weight.data.copy_(start)
    if layer.bias is not None:
        layer.bias.data.copy_(bias_start)
    if strength == 0.0:  # Ridge without strength is the bare majoriser; per class only Proximal is allowed
        rule = Ridge(0.0) if curvature == "bound" else Proximal(1e-300)
    else:
        rule = Proximal(strength)
    loss_of = ClosedFormLoss(layer, rule, initial="keep", penalise_bias=bias != "free", objective=objective)
    targets = one_hot_targets(labels, classes, smoothing=smoothing, dtype=torch.float64).numpy()
    rows = np.ones(len(phi)) if weights is None else weights
    rows = rows if own is None else rows * np.array(own)[labels]
    x = with_constant(phi, bias != "none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JitterWarning)
        for _ in range(4):
            before = head_of(layer)
            given_weights = None if weights is None else torch.tensor(weights)
            try:
                loss_of(layer(phi), labels, given_weights)
            except NotPositiveDefinite:  # nothing holds weights whose features do not vary
                assert strength == 0.0
                return
            after = head_of(layer)
            pulled = after - before
            pulled = pulled[:-1] if bias == "free" else pulled
            old = numpy_loss(before, x, targets, rows)
            new = numpy_loss(after, x, targets, rows) + strength * (pulled**2).sum()
            assert new <= old * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(
    ("objective", "steps"), [(CrossEntropy(iterations=50), 40), (PER_CLASS, 60)], ids=["bound", "per-class"]
)
def test_the_fixed_point_is_scikit_learns_logistic_regression(objective, steps):
    phi, labels = blobs(300)
    phi = torch.cat([phi, torch.ones(300, 1, dtype=torch.float64)], 1)
    layer = nn.Linear(5, 3, bias=False).double()
    loss_of = ClosedFormLoss(layer, Proximal(1e-12), objective=objective)
    for _ in range(steps):
        loss_of(layer(phi), labels)
    theirs = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-14, max_iter=10_000, solver="newton-cg")
    logits = theirs.fit(phi, labels).decision_function(phi)
    ours = phi.numpy() @ head_of(layer)
    centred = [values - values.mean(1, keepdims=True) for values in (ours, logits)]
    np.testing.assert_allclose(*centred, atol=1e-6)


def test_smoothed_labels_have_a_finite_optimum_even_where_planes_separate():
    phi, labels = blobs(60, spread=0.05)
    layer = nn.Linear(4, 3).double()
    loss_of = ClosedFormLoss(layer, Proximal(1e-12), objective=CrossEntropy(0.1, None, "per-class"))
    for _ in range(80):
        last = loss_of(layer(phi), labels)
    gradient = torch.autograd.functional.jacobian(
        lambda weight: cross_entropy(phi @ weight.T + layer.bias, labels, label_smoothing=0.1), layer.weight
    )
    assert gradient.abs().max() < 1e-8
    assert 0 < layer(phi).softmax(1).max() < 1
    assert last.item() == pytest.approx(cross_entropy(layer(phi), labels, label_smoothing=0.1).item(), rel=1e-12)


# The loss.


@pytest.mark.parametrize(
    "objective", [OneHot(0.1), CrossEntropy(0.1), PER_CLASS, CrossEntropy(iterations=3), Hybrid(0.1)]
)
def test_the_gradient_is_that_of_the_loss_with_the_head_held(objective):
    model = mlp(3, 8, 4)
    x, labels = torch.randn(30, 3, dtype=torch.float64), torch.randint(4, (30,))
    loss = ClosedFormLoss(model[-1], Proximal(0.1), objective=objective)(model(x), labels)
    loss.backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert len(grads) == 2 and not model[-1].weight.requires_grad
    model.zero_grad()
    smoothing = objective.smoothing
    if isinstance(objective, OneHot):
        expected = (model(x) - one_hot_targets(labels, 4, smoothing=smoothing, dtype=x.dtype)).square().sum(1).mean()
    else:
        scale = objective.scale if isinstance(objective, Hybrid) else 1.0
        expected = cross_entropy(scale * model(x), labels, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    expected.backward()
    for got, want in zip(grads, [p.grad for p in model.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_one_hot_and_hybrid_heads_are_least_squares_on_one_hot_targets():
    phi, labels = blobs()
    targets = one_hot_targets(labels, 3, smoothing=0.1, dtype=torch.float64)
    for objective in (OneHot(0.1), Hybrid(0.1)):
        layer, twin = (nn.Linear(4, 3).double() for _ in range(2))
        ClosedFormLoss(layer, Ridge(0.1), objective=objective)(layer(phi), labels)
        ClosedFormLoss(twin, Ridge(0.1))(twin(phi), targets)
        np.testing.assert_allclose(head_of(layer), head_of(twin), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", [OneHot, CrossEntropy, Hybrid])
def test_a_class_weight_counts_the_rows_of_its_class_so_often(make):
    phi, labels = blobs(30)
    repeated = torch.cat([torch.arange(30), torch.nonzero(labels == 1).flatten()])
    weighted, doubled = (nn.Linear(4, 3).double() for _ in range(2))
    doubled.load_state_dict(weighted.state_dict())
    rule, objective = Proximal(0.1), make(class_weights=(1.0, 2.0, 1.0))
    one = ClosedFormLoss(weighted, rule, initial="keep", objective=objective)
    two = ClosedFormLoss(doubled, rule, initial="keep", objective=make())
    for _ in range(2):
        losses = one(weighted(phi), labels), two(doubled(phi[repeated]), labels[repeated])
        torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
        np.testing.assert_allclose(head_of(weighted), head_of(doubled), rtol=1e-10, atol=1e-12)
    for loss_of, layer, rows in ((one, weighted, slice(None)), (two, doubled, repeated)):
        layer.eval()
        torch.testing.assert_close(loss_of(layer(phi[rows]), labels[rows]), one(weighted.eval()(phi), labels))
    sample_weights = torch.rand(30, dtype=torch.float64)
    both = one(weighted(phi), labels, sample_weights)
    plain = ClosedFormLoss(weighted, rule, initial="keep", objective=make())
    own = sample_weights * torch.tensor([1.0, 2.0, 1.0]).double()[labels]
    torch.testing.assert_close(both, plain(weighted(phi), labels, own), rtol=1e-12, atol=0)
    if make is CrossEntropy:
        theirs = cross_entropy(weighted(phi), labels, torch.tensor([1.0, 2.0, 1.0]).double())
        torch.testing.assert_close(one(weighted(phi), labels), theirs)


def test_weights_of_half_precision_count_as_they_are():
    """Their sum would be infinite in half precision, and the loss and its gradient zero."""
    rows = 2**17
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(rows, 2, generator=generator), torch.randint(3, (rows,), generator=generator)
    found = []
    for dtype in (torch.float16, torch.float32):
        model = mlp(2, 4, 3).float()
        loss_of = ClosedFormLoss(model[-1], Proximal(1e-2), objective=CrossEntropy(class_weights=(1.0, 2.0, 3.0)))
        soft = torch.nn.functional.one_hot(labels, 3).to(dtype)
        loss = loss_of(model(x), soft, torch.ones(rows, dtype=dtype))
        loss.backward()
        loss_of.head.frozen = True
        plain = loss_of(model(x), soft, torch.ones(rows, dtype=dtype))
        found.append(torch.stack([loss.detach(), model[0].weight.grad.norm(), plain.detach()]))
    assert found[1].min() > 1e-4
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("strength", [10.0, 1000.0])
def test_a_free_bias_is_not_held_by_the_guard_of_a_step_per_class(strength):
    """However strong the pull is, the bias alone reaches the entropy of the classes' frequencies."""
    torch.manual_seed(0)
    x, labels = torch.randn(600, 4), torch.multinomial(torch.tensor([0.8, 0.15, 0.05]), 600, replacement=True)
    frequencies = labels.bincount(minlength=3) / len(labels)
    objective = CrossEntropy(curvature="per-class")
    loss_of = ClosedFormLoss(nn.Linear(4, 3), Proximal(strength), objective=objective, penalise_bias=False)
    for _ in range(30):
        loss = loss_of(loss_of.head.layer(x), labels)
    assert loss < -(frequencies @ frequencies.log()) + 1e-3


@pytest.mark.parametrize("objective", [None, OneHot(), CrossEntropy(0.1, (1.0, 2.0, 0.5))])
def test_sums_of_batches_give_the_loss_of_all_rows(objective):
    torch.manual_seed(0)
    loss_of = ClosedFormLoss(nn.Linear(4, 3).double(), Proximal(), initial="keep", objective=objective)
    x, weights = torch.randn(30, 4, dtype=torch.float64), torch.rand(30, dtype=torch.float64)
    targets = torch.randn(30, 3, dtype=torch.float64) if objective is None else torch.randint(3, (30,))
    loss_of.head.layer.eval()  # nothing is solved
    prediction = loss_of.head.layer(x)
    for w in (None, weights):
        whole = loss_of(prediction, targets, w)
        cuts = [slice(0, 7), slice(7, 30)]
        parts = [loss_of.sums(prediction[c], targets[c], None if w is None else w[c]) for c in cuts]
        total, share = (sum(one) for one in zip(*parts, strict=True))
        torch.testing.assert_close(total / share, whole, rtol=1e-12, atol=0)
    assert loss_of.sums(prediction, targets, 0 * weights) == (0, 0)


def test_a_class_of_weight_zero_and_a_masked_row_are_as_if_absent():
    phi, labels = blobs(40)
    keep = (labels != 2) & (torch.arange(40) % 5 > 0)
    layer, twin = (nn.Linear(4, 3).double() for _ in range(2))
    mask = torch.arange(40) % 5 > 0
    one = ClosedFormLoss(layer, Proximal(0.1), objective=CrossEntropy(class_weights=(1.0, 1.0, 0.0)))
    two = ClosedFormLoss(twin, Proximal(0.1), objective=CrossEntropy())
    torch.testing.assert_close(one(layer(phi), labels, mask), two(twin(phi[keep]), labels[keep]))
    np.testing.assert_allclose(head_of(layer), head_of(twin), rtol=1e-10, atol=1e-14)


class Pointwise(nn.Module):
    """Labels at each point: a 1x1 convolution, or a linear layer over channels that come last or are moved."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.head = (nn.Conv1d(4, 3, 1) if kind == "conv" else nn.Linear(4, 3)).double()

    def forward(self, x):  # (B, 4, N)
        if self.kind == "conv":
            return self.head(x)
        output = self.head(x.movedim(1, -1))
        return output.movedim(-1, 1) if self.kind == "moved" else output


@pytest.mark.parametrize("objective", [CrossEntropy(), PER_CLASS, OneHot(), Hybrid()])
@pytest.mark.parametrize("kind", ["conv", "tokens", "moved"])
def test_labels_of_points_are_rows_wherever_the_classes_lie(kind, objective):
    model, flat = Pointwise(kind), nn.Linear(4, 3).double()
    flat.weight.data = model.head.weight.detach().reshape(3, 4).clone()
    flat.bias.data = model.head.bias.detach().clone()
    phi, labels = blobs(42)
    x, points = phi.reshape(6, 7, 4).movedim(-1, 1), labels.reshape(6, 7)
    one = ClosedFormLoss(model.head, Proximal(0.1), initial="keep", objective=objective)
    two = ClosedFormLoss(flat, Proximal(0.1), initial="keep", objective=objective)
    weights = torch.rand(42, dtype=torch.float64)
    for given_weights in (None, weights):
        points_weights = None if given_weights is None else given_weights.reshape(6, 7)
        losses = one(model(x), points, points_weights), two(flat(phi), labels, given_weights)
        torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
        np.testing.assert_allclose(head_of_any(model.head), head_of(flat), rtol=1e-10, atol=1e-12)
        model.eval(), flat.eval()
        torch.testing.assert_close(one(model(x), points, points_weights), two(flat(phi), labels, given_weights))
        model.train(), flat.train()


def head_of_any(layer):
    weight = layer.weight.detach().flatten(1).T.numpy()
    return np.concatenate([weight, layer.bias.detach().numpy()[None]])


def test_a_loss_before_any_step_refuses_axes_that_nothing_has_shown():
    model = Pointwise("moved")
    loss_of = ClosedFormLoss(model.head, Proximal(), objective=CrossEntropy())
    model.eval()
    with pytest.raises(ValueError, match="must have its 3 outputs where the layer has them"):
        loss_of(model(torch.zeros(2, 4, 7, dtype=torch.float64)), torch.zeros(2, 7, dtype=torch.int64))


def test_probabilities_as_targets_are_soft_labels():
    phi, labels = blobs()
    soft = torch.rand(90, 3, dtype=torch.float64)
    soft /= soft.sum(1, keepdim=True)
    layer = nn.Linear(4, 3).double()
    loss = ClosedFormLoss(layer, Proximal(0.1), objective=CrossEntropy())(layer(phi), soft)
    torch.testing.assert_close(loss, cross_entropy(layer(phi), soft))
    hard = ClosedFormLoss(layer, Proximal(0.1), objective=CrossEntropy())
    one = hard(layer(phi), labels)
    state = hard.head.state()["head"]
    hard = ClosedFormLoss(layer, Proximal(0.1), objective=CrossEntropy())
    torch.testing.assert_close(hard(layer(phi), one_hot_targets(labels, 3, dtype=torch.float64)), one)
    torch.testing.assert_close(hard.head.state()["head"], state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_gives_the_head_of_its_own_features(dtype):
    phi, labels = blobs()
    layer, exact = nn.Linear(4, 3).to(dtype), nn.Linear(4, 3).double()
    low, high = (ClosedFormHead(one, Proximal(0.01), objective=CrossEntropy()) for one in (layer, exact))
    for _ in range(5):
        layer(phi.to(dtype)), exact(phi.to(dtype).double())
        low.update(labels), high.update(labels)
    torch.testing.assert_close(
        low.state()["head"], high.state()["head"], rtol=1e-5, atol=1e-5 if dtype is torch.float32 else 1e-2
    )


# Loops.


def test_moments_of_micro_batches_are_those_of_the_batch():
    phi, labels = blobs()
    heads = []
    for parts in (1, 3):
        layer = nn.Linear(4, 3).double()
        head = ClosedFormHead(layer, Proximal(0.1), objective=CrossEntropy())
        for _ in range(2):
            for x, y in zip(phi.chunk(parts), labels.chunk(parts), strict=True):
                head.accumulate(y, prediction=layer(x))
            head.update()
        heads.append(head_of(layer))
    np.testing.assert_allclose(*heads, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("objective", [PER_CLASS, CrossEntropy(iterations=2)])
def test_what_needs_the_rows_cannot_be_accumulated(objective):
    layer = nn.Linear(4, 3).double()
    head = ClosedFormHead(layer, Proximal(0.1), objective=objective)
    phi, labels = blobs()
    layer(phi)
    with pytest.raises(ValueError, match="`objective` must need one solve on moments; got CrossEntropy"):
        head.accumulate(labels)


def test_more_iterations_come_nearer_to_the_batchs_own_minimum():
    phi, labels = blobs()
    values = {}
    for iterations in (1, 5, 400):
        layer = nn.Linear(4, 3).double()
        loss_of = ClosedFormLoss(layer, Proximal(0.05), objective=CrossEntropy(iterations=iterations))
        values[iterations] = loss_of(layer(phi), labels).item() + 0.05 * (head_of(layer) ** 2).sum()
    assert values[1] > values[5] > values[400] - 1e-12
    head = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    x = torch.tensor(with_constant(phi))
    optimizer = torch.optim.LBFGS([head], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def value():
        optimizer.zero_grad()
        total = cross_entropy(x @ head, labels) + 0.05 * head.square().sum()
        total.backward()
        return total

    optimizer.step(value)
    assert values[400] == pytest.approx(value().item(), rel=1e-9)


def test_two_processes_take_the_steps_of_one(tmp_path):
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "tests.sciml_cf.objectives_worker", str(tmp_path / "out.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(found) == 6
    for shared, alone in found.values():
        np.testing.assert_allclose(shared["heads"], alone["heads"], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(shared["losses"], alone["losses"], rtol=1e-10)


def test_many_steps_warn_of_no_fault():
    # The figures behind the warnings compare quadratics, which differ from step to step.
    phi, labels = blobs(8, features=20)
    layer = nn.Linear(20, 3).double()
    loss_of = ClosedFormLoss(layer, Proximal(1e-3), objective=CrossEntropy())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", HeadWarning)
        for _ in range(200):
            loss_of(layer(phi), labels)
    assert told == []


# What is refused.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda layer: ClosedFormLoss(nn.Linear(4, 1), Proximal(), objective=CrossEntropy()),
            "an output for each class",
        ),
        (lambda layer: ClosedFormLoss(layer, Ridge(), objective=PER_CLASS), "`rule` must be Proximal with curvature"),
        (
            lambda layer: ClosedFormLoss(layer, Ridge(), objective=OneHot(class_weights=(1.0, 2.0))),
            "`class_weights` must be one for each of 3 classes; got 2",
        ),
        (lambda layer: OneHot(class_weights=(1.0, -1.0)), "`class_weights` must be finite, not negative"),
        (lambda layer: CrossEntropy(smoothing=1.5), "`smoothing` must be a number from 0 to below 1; got 1.5"),
        (lambda layer: CrossEntropy(curvature="newton"), "`curvature` must be one of 'bound', 'per-class'"),
        (lambda layer: CrossEntropy(iterations=0), "`iterations` must be"),
        (lambda layer: Hybrid(scale=0.0), "`scale` must be"),
    ],
)
def test_objectives_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            torch.zeros(5, dtype=torch.int64),
            r"must be labels \(B, \*N\) with .* with C = 3; got \(5,\) with \(90, 3\)",
        ),
        (torch.zeros(90), "must be integer labels, or probabilities shaped like the prediction"),
        (torch.full((90,), 3), "`labels` must be from 0 to 2; got 3 to 3"),
        (torch.ones(90, dtype=torch.bool), "`labels` must be integers; got torch.bool"),
    ],
)
def test_targets_that_are_no_labels_are_refused(labels, message):
    layer = nn.Linear(4, 3).double()
    loss_of = ClosedFormLoss(layer, Proximal(), objective=CrossEntropy())
    with pytest.raises(ValueError, match=message):
        loss_of(layer(blobs()[0]), labels)
    assert not head_of(layer).any()


def test_labels_that_fit_two_axes_are_refused():
    layer = nn.Linear(4, 3).double()
    with pytest.raises(ValueError, match="Both fit"):
        ClosedFormLoss(layer, Proximal(), objective=OneHot())(
            layer(torch.zeros(2, 3, 4).double()), torch.zeros(2, 3).long()
        )
