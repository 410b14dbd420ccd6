"""Every rule meets every shape of model, against dense least squares in numpy that shares no code with the package."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sciml_cf.errors import JitterWarning, NotPositiveDefinite
from sciml_cf.head import (
    Automatic,
    ClosedFormHead,
    ClosedFormLoss,
    Kalman,
    MovingAverage,
    PerFeature,
    Proximal,
    RandomWalk,
    Ridge,
    Rule,
    SampledGCV,
    Streaming,
    WarmUp,
)


@dataclass(frozen=True)
class Case:
    """A rule, how strongly it pulls each weight to the previous head or to zero, and what it makes of later batches."""

    make: Callable[[float], Rule]
    strength: float
    to_previous: bool
    scales: Callable = lambda squares: np.ones(len(squares))  # of the pull, from the features' mean squares
    later: Callable | None = None  # head from all batches so far, in rows; None: the last batch alone decides
    free_bias: bool = True

    @property
    def rule(self):
        return self.make(self.strength)


def pulled(phi, y, weights, pull, goal):
    """Head ``(F, C)`` by lstsq on the stacked system sqrt(w/sum w) (phi, y) over sqrt(pull) (I, goal)."""
    root = np.sqrt(weights / weights.sum())[:, None]
    stacked = (
        np.concatenate([root * phi, np.diag(np.sqrt(pull))]),
        np.concatenate([root * y, np.diag(pull**0.5) @ goal]),
    )
    return np.linalg.lstsq(*stacked, rcond=None)[0]


def pulls(phi, weights, case, free):
    """What multiplies each squared weight: in the features' own spread where the bias is free, and zero for it then."""
    share = (weights / weights.sum())[:, None]
    squares = (share * (phi - free * (share * phi).sum(0)) ** 2).sum(0)
    pull = case.strength * case.scales(squares[:-1] if free else squares)
    return np.append(pull, 0.0) if free else pull


def alone(batch, case, previous, free):
    phi, y, weights = batch
    goal = previous if case.to_previous else np.zeros_like(previous)
    return pulled(phi, y, weights, pulls(phi, weights, case, free), goal)


def faded(forgetting, *, keeps_targets):
    """Old rows at a faded weight, with their own targets or as the previous head has them; the prior likewise."""

    def later(batches, case, heads, free):
        previous, powers = heads[-1], forgetting ** np.arange(len(batches))[::-1]
        sizes = np.array([weights.sum() for _, _, weights in batches])
        prior = case.strength * (powers * sizes * [1, *[1 - forgetting] * (len(batches) - 1)]).sum()
        rows = [(phi, y if keeps_targets or last else phi @ previous) for last, (phi, y, _) in marked(batches)]
        phi, y = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        weights = np.concatenate([power * w for power, (_, _, w) in zip(powers, batches, strict=True)])
        goal = np.zeros_like(previous) if keeps_targets else previous
        return pulled(phi, y, weights, np.full(phi.shape[1], prior / weights.sum()), goal)

    return later


def marked(batches):
    return ((index == len(batches) - 1, batch) for index, batch in enumerate(batches))


def walked(batches, case, heads, free):
    """The textbook filter with a gain: covariance P, process noise I / (rows s), noise of a row of weight w: 1 / w."""
    previous = heads[-1]
    covariance = np.zeros((len(previous),) * 2)
    y = batches[-1][1]
    for phi, _, weights in batches:
        covariance = covariance + np.eye(len(previous)) / (weights.sum() * case.strength)
        gain = covariance @ phi.T @ np.linalg.inv(phi @ covariance @ phi.T + np.diag(1 / weights))
        covariance = covariance - gain @ phi @ covariance
    return previous + gain @ (y - phi @ previous)


def averaged(batches, case, heads, free):
    own = [alone(batch, case, heads[-1], free) for batch in batches]
    powers = 0.9 ** np.arange(len(batches))[::-1] * [weights.sum() for _, _, weights in batches]
    head = sum(power * head for power, head in zip(powers, own, strict=True)) / powers.sum()
    return with_own_bias(head, batches[-1]) if free else head


def with_own_bias(head, batch):
    phi, y, weights = batch
    return np.append(head[:-1], np.average(y - phi[:, :-1] @ head[:-1], axis=0, weights=weights)[None], axis=0)


def one_scale(forgetting):
    """Mean squares of the features over faded batches, in place of those of the last."""

    def later(batches, case, heads, free):
        powers = forgetting ** np.arange(len(batches))[::-1] * [weights.sum() for _, _, weights in batches]
        each = [pulls(phi, weights, case, free) for phi, _, weights in batches]
        pull = sum(power * one for power, one in zip(powers, each, strict=True)) / powers.sum()
        return pulled(*batches[-1], pull, heads[-1])

    return later


def cooled(batches, case, heads, free):
    return alone(batches[-1], replace(case, strength=case.strength / 100), heads[-1], free)


def above_median(squares):
    return np.maximum(squares, np.sort(squares)[(len(squares) - 1) // 2])


STRENGTHS = (0.3, 1e-3, 1.0)


def chosen(batches, case, heads, free):
    """Every strength's own heads from the head before the first of two batches; that of the best foresight."""
    first, second = batches
    candidates = [replace(case, strength=strength) for strength in STRENGTHS]
    own = [alone(first, one, heads[0], free) for one in candidates]
    phi, y, weights = second
    foretold = [with_own_bias(head, second) if free else head for head in own]
    errors = [np.average(((phi @ head - y) ** 2).sum(1), weights=weights) for head in foretold]
    best = int(np.argmin(errors))
    return alone(second, candidates[best], own[best], free)


# Dense references by the names of rules, and of a wrapper. A rule without one still meets test_every_rule.py.
RULES = {
    "ridge": Case(Ridge, 1e-2, False),
    "proximal": Case(Proximal, 0.3, True),
    "kalman": Case(lambda s: Kalman(0.8, s), 0.3, True, later=faded(0.8, keeps_targets=False), free_bias=False),
    "random-walk": Case(RandomWalk, 0.3, True, later=walked, free_bias=False),
    "streaming": Case(lambda s: Streaming(0.8, s), 1e-2, False, later=faded(0.8, keeps_targets=True), free_bias=False),
    "per-feature": Case(lambda s: PerFeature(s, 0.8), 0.3, True, lambda d: d, one_scale(0.8)),
    "moving-average": Case(lambda s: MovingAverage(0.9, s), 1e-2, False, later=averaged),
    "warm-up": Case(lambda s: WarmUp(Proximal(s / 100), 1), 0.3, True, later=cooled),
    "sampled-gcv": Case(
        lambda s: SampledGCV(strengths=(s,)), 0.3, True, lambda d: np.full_like(d, d.mean()), free_bias=False
    ),
    "automatic": Case(lambda s: Automatic(0.9, (s, *STRENGTHS[1:])), 0.3, True, above_median, chosen),
}


def dense(batches, case, heads, *, free=False):
    """Head ``(F, C)`` after batches of (features with the constant, targets, weights), from the head before each."""
    if case.later is None or len(batches) == 1:
        return alone(batches[-1], case, heads[-1], free)
    return case.later(batches, case, heads, free)


def rows_of(phi, y, *, bias, weights=None):
    phi, y = np.asarray(phi, np.float64), np.asarray(y, np.float64)
    if bias:
        phi = np.concatenate([phi, np.ones((len(phi), 1))], axis=1)
    return phi, y, np.ones(len(phi)) if weights is None else np.asarray(weights, np.float64)


def head_of(layer):
    """The layer's weights ``(F, C)``, the bias last, read without the package."""
    weight = layer.weight.detach().double().flatten(1).T.numpy()
    return weight if layer.bias is None else np.concatenate([weight, layer.bias.detach().double().numpy()[None]])


class Net(nn.Module):
    """A body on the channel axis, then the head, then its output with the channels where ``last`` says."""

    def __init__(self, dims, outputs, bias, *, move=False, linear=False):
        super().__init__()
        kind = nn.Linear if linear else {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        extra = () if linear else (1,)
        torch.manual_seed(0)
        self.body, self.head = kind(3, 5, *extra), kind(5, outputs, *extra, bias=bias)
        self.linear, self.move = linear, move

    def features(self, x):
        return torch.tanh(self.body(x))

    def forward(self, x):
        output = self.head(self.features(x))
        if not self.move:
            return output
        return output.movedim(-1, 1) if self.linear else output.movedim(1, -1)

    def rows(self, values, *, moved=False):
        """Values in the layer's layout (or the prediction's) as ``(rows, channels)``."""
        last = self.linear != moved
        return (values if last else values.movedim(1, -1)).reshape(-1, values.shape[-1 if last else 1])


# name: (points, options of Net)
MODELS = {
    "linear": ((), {"dims": 0, "linear": True}),
    "tokens": ((6,), {"dims": 0, "linear": True}),
    "tokens_to_channels_first": ((6,), {"dims": 0, "linear": True, "move": True}),
    "conv1d": ((6,), {"dims": 1}),
    "conv1d_to_channels_last": ((6,), {"dims": 1, "move": True}),
    "conv2d": ((3, 4), {"dims": 2}),
    "conv2d_to_channels_last": ((3, 4), {"dims": 2, "move": True}),
    "conv3d": ((2, 3, 2), {"dims": 3}),
}
PRECISIONS = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


AXES = {
    "rule": tuple(RULES),
    "shape": tuple(MODELS),
    "bias": ("none", "penalised", "free"),
    "outputs": (1, 3),
    "around": (*PRECISIONS, "autocast", "float32 copy of autocast", "float64 copy"),  # the dtype, or what casts
    "scale": (1e-12, 1e-6, 1.0, 1e6, 1e12),  # of the targets
}


def covering(axes):
    """Cases that have each pair of values of any two axes at least once, and every rule with every shape."""
    names = list(axes)
    places = itertools.combinations(range(len(names)), 2)
    left = {(i, a, j, b) for i, j in places for a in axes[names[i]] for b in axes[names[j]]}

    def fresh(case):
        pairs = itertools.combinations(enumerate(case), 2)
        return [key for (i, a), (j, b) in pairs if (key := (i, a, j, b)) in left]

    cases, rng = [], np.random.default_rng(0)
    while left:
        i, a, j, b = min(left, key=str)
        tries = [tuple(values[rng.integers(len(values))] for values in axes.values()) for _ in range(30)]
        tries = [(*one[:i], a, *one[i + 1 : j], b, *one[j + 1 :]) for one in tries]
        case = max(tries, key=lambda one: len(fresh(one)))
        left.difference_update(fresh(case))
        cases.append(case)
    return cases


CASES = covering(AXES)


def test_the_cases_cover_every_pair():
    for (i, first), (j, second) in itertools.combinations(enumerate(AXES.values()), 2):
        assert {(case[i], case[j]) for case in CASES} == set(itertools.product(first, second))


@contextmanager
def cast(around):
    """The dtype of a model, and within, the casts around it."""
    low = isinstance(around, str) and "autocast" in around
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        yield


@pytest.mark.parametrize(tuple(AXES), CASES, ids=lambda value: str(value).replace(" ", "_"))
def test_every_rule_on_every_model_is_the_dense_solution(rule, shape, bias, outputs, around, scale):
    case, (points, options) = RULES[rule], MODELS[shape]
    dtype = around if isinstance(around, torch.dtype) else torch.float32
    scale = scale if dtype != torch.float16 else {1e-12: 1e-3, 1e12: 1e3}.get(scale, 1.0)  # its range is short
    model = Net(outputs=outputs, bias=bias != "none", **options).to(dtype)
    with torch.no_grad():
        model.head.weight *= scale
        if model.head.bias is not None:
            model.head.bias *= scale
    channels = (*points, 3) if model.linear else (3, *points)
    if bias == "free" and not case.free_bias:
        with pytest.raises(ValueError, match="`penalise_bias` must be True with a rule that remembers"):
            ClosedFormLoss(model.head, case.rule, penalise_bias=False)
        return
    loss_of = ClosedFormLoss(model.head, case.rule, penalise_bias=bias != "free", initial="keep")
    copy = {"float32 copy of autocast": torch.float32, "float64 copy": torch.float64}.get(around)
    batches, heads, rounding = [], [], PRECISIONS[dtype]
    for samples in (7, 4):  # from the model's own weights, then from a solved head on a smaller batch
        x = torch.randn((samples, *channels), dtype=torch.float64).to(dtype)
        heads.append(head_of(model.head))
        with cast(around):
            phi = model.rows(model.features(x).detach().double()).numpy()
            prediction = model(x)
        prediction = prediction if copy is None else prediction.to(copy)
        y = (scale * torch.randn(prediction.shape, dtype=torch.float64)).to(copy or dtype)
        loss = loss_of(prediction, y)
        targets = model.rows(y.double(), moved=model.move).numpy()
        batches.append(rows_of(phi, targets, bias=bias != "none"))
        expected = dense(batches, case, heads, free=bias == "free")
        np.testing.assert_allclose(head_of(model.head), expected, rtol=rounding, atol=rounding * scale)
        error = np.concatenate([phi, np.ones((len(phi), 1))], 1)[:, : len(expected)] @ expected - targets
        # Rounding of the layer's own output, which a small error is the difference to.
        assert loss.item() == pytest.approx((error**2).mean(), rel=10 * rounding, abs=8 * (rounding * scale) ** 2)


DECISIONS = {
    "its own": lambda model, x, size: model(x),
    "a residual": lambda model, x, size: model(x) + 0.1 * model(x).detach(),
    "an activation": lambda model, x, size: size * torch.tanh(model(x) / size),  # in the units of the targets
    "another batch": lambda model, x, size: [model(x), model(x.flip(0) + 1)][0].detach(),
    "a copy": lambda model, x, size: model(x).clone(),
    "channels moved": lambda model, x, size: model(x).movedim(1, -1),
    "a squeezed batch": lambda model, x, size: model(x)[:1],
}


@pytest.mark.parametrize("shape", ["conv1d", "linear", "conv2d_to_channels_last"])
@pytest.mark.parametrize("kind", DECISIONS)
def test_decisions_are_the_same_for_targets_of_any_size_in_float32(kind, shape):
    """What is taken and what is refused, the weights in units of the targets, and what the loss warns of."""
    decided = {}
    for size in (1e-18, 1.0, 1e18):
        points, options = MODELS[shape]
        model = Net(outputs=3, bias=True, **options)
        with torch.no_grad():
            model.head.weight *= size
            model.head.bias *= size
        x = torch.randn((7, *points, 3) if model.linear else (7, 3, *points))
        loss_of = ClosedFormLoss(model.head, Proximal(0.3), initial="keep")
        told = "taken"
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            for _ in range(3):
                prediction = DECISIONS[kind](model, x, size)
                targets = size * torch.sin(torch.arange(prediction.numel())).reshape(prediction.shape)
                try:
                    loss_of(prediction, targets)
                except (ValueError, RuntimeError) as error:
                    told = str(error).split(";")[0]
                    break
        decided[size] = told, [one.category for one in found], head_of(model.head) / size
    for size in (1e-18, 1e18):
        assert decided[size][:2] == decided[1.0][:2]
        np.testing.assert_allclose(decided[size][2], decided[1.0][2], rtol=1e-5, atol=1e-6)
    assert (decided[1.0][0] == "taken") == (kind in ("its own", "a copy", "channels moved"))


FREE = [name for name in RULES if RULES[name].free_bias]  # of the other rules the test above asks a refusal
FORMS = {
    "samples": ("conv1d", (7,), lambda w: w[:, None]),
    "samples_one": ("conv2d", (7, 1, 1), lambda w: w),
    "points": ("conv1d", (6,), lambda w: w[None, :]),
    "points_2d": ("conv2d", (3, 4), lambda w: w[None]),
    "both": ("tokens", (7, 6), lambda w: w),
    "channel_axis": ("conv1d", (7, 1, 6), lambda w: w[:, 0]),
    "moved": ("conv2d_to_channels_last", (7, 3, 4), lambda w: w),
    "vectors": ("linear", (7,), lambda w: w),
    "vectors_column": ("linear", (7, 1), lambda w: w[:, 0]),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("rule", "free"), [*((name, False) for name in RULES), *((name, True) for name in FREE)])
def test_weights_of_samples_and_points_are_those_of_the_dense_solution(rule, form, free, masked):
    case, (shape, sizes, spread) = RULES[rule], FORMS[form]
    points, options = MODELS[shape]
    model = Net(outputs=2, bias=True, **options).double()
    x = torch.randn((7, *points, 3) if model.linear else (7, 3, *points), dtype=torch.float64)
    loss_of = ClosedFormLoss(model.head, case.rule, penalise_bias=not free, initial="keep")
    previous = head_of(model.head)
    prediction = model(x)
    y = torch.randn(prediction.shape, dtype=torch.float64)
    weights = torch.rand(sizes, dtype=torch.float64)
    weights = weights > 0.4 if masked else weights
    rows = spread(weights).expand(7, *points).reshape(-1).double()
    if masked:  # what a mask hides may be anything
        y = torch.where(spread(weights).expand(7, *points).unsqueeze(1 if prediction.shape[1] == 2 else -1), y, np.nan)
    loss = loss_of(prediction, y, weights)
    phi, targets = model.rows(model.features(x).detach()).numpy(), model.rows(y, moved=model.move).numpy()
    keep = rows.numpy() > 0
    phi, targets, kept = phi[keep], targets[keep], rows.numpy()[keep]
    expected = dense([rows_of(phi, targets, bias=True, weights=kept)], case, [previous], free=free)
    np.testing.assert_allclose(head_of(model.head), expected, rtol=1e-9, atol=1e-9)
    error = ((np.concatenate([phi, np.ones((len(phi), 1))], 1) @ expected - targets) ** 2).mean(1)
    assert loss.item() == pytest.approx((kept * error).sum() / kept.sum(), rel=1e-9)
    model.eval()
    assert loss_of(model(x), y, weights).item() == pytest.approx(loss.item(), rel=1e-9)
    model.train()
    grads = torch.autograd.grad(loss, model.body.weight)
    assert torch.isfinite(grads[0]).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.zeros(7), "must not be zero everywhere"),
        (torch.ones(5), r"must be \(B, \*N\) = \(7, 6\), \(B,\) or \(\*N,\), without the channels; got \(5,\)"),
        (-torch.ones(7), "finite and not negative"),
        (torch.full((7,), np.nan), "finite and not negative"),
        (torch.ones(7, 3, 6), "without the channels"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    model = Net(1, 2, True).double()
    loss_of = ClosedFormLoss(model.head, Proximal())
    prediction = model(torch.randn(7, 3, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match=message):
        loss_of(prediction, torch.zeros(7, 2, 6), weights)
    assert not head_of(model.head).any()


def test_weights_that_could_be_of_samples_or_points_are_refused():
    model = Net(1, 2, True)
    loss_of = ClosedFormLoss(model.head, Proximal())
    with pytest.raises(ValueError, match="must say whether they belong to samples or points"):
        loss_of(model(torch.randn(6, 3, 6)), torch.zeros(6, 2, 6), torch.rand(6))


# Any numbers that may come.


@st.composite
def problems(draw):
    """Features and targets of any shape and scale, with columns that repeat, vanish or depend on each other."""
    rows, features, outputs = draw(st.integers(1, 12)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    phi = rng.normal(size=(rows, features)) * 10.0 ** draw(st.integers(-8, 8))
    for column in range(draw(st.integers(0, features - 1))):
        kind = draw(st.sampled_from(["same", "zero", "sum", "constant"]))
        others = {"same": phi[:, -1], "zero": 0.0, "sum": phi.sum(1), "constant": phi[0, -1]}
        phi[:, column] = others[kind]
    return phi, rng.normal(size=(rows, outputs)) * 10.0 ** draw(st.integers(-8, 8))


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problems(), st.booleans(), st.sampled_from(["none", "penalised", "free"]))
def test_any_problem_is_solved_as_well_as_by_the_dense_solution(rule, problem, half, bias):
    # Dependent features have many solutions, so the objectives are compared; the penalty's scale is that of the data.
    phi, y = problem
    if half:
        phi, y = np.clip(phi, -250, 250).astype(np.float16), np.clip(y, -6e4, 6e4).astype(np.float16)
    case, free = RULES[rule], bias == "free"
    if free and not case.free_bias:
        return
    constant = np.ones(phi.shape[1])
    if (case.scales(constant + np.arange(len(constant))) == 1).all():  # else the pull has the data's scale already
        case = replace(case, strength=float(case.strength * max(float((phi.astype(float) ** 2).mean()), 1e-30)))
    layer = nn.Linear(phi.shape[1], y.shape[1], bias=bias != "none").double()
    previous = head_of(layer)
    head = ClosedFormHead(layer, case.rule, initial="keep", penalise_bias=not free)
    head.name = "readout"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JitterWarning)
        layer(torch.tensor(phi).double())
        head.update(torch.tensor(y).double())
    batch = rows_of(phi, y, bias=bias != "none")
    expected, pull = dense([batch], case, [previous], free=free), pulls(batch[0], batch[2], case, free)

    def objective(weight):
        moved = weight - previous if case.to_previous else weight
        return ((batch[0] @ weight - y) ** 2).sum(1).mean() + (pull[:, None] * moved**2).sum()

    assert objective(head_of(layer)) <= objective(expected) * (1 + 1e-6) + 1e-12 * (y.astype(float) ** 2).mean() + 1e-25


@pytest.mark.parametrize("rule", FREE)
def test_one_sample_and_a_free_bias_keep_the_weights_and_fit_it(rule):
    layer = nn.Linear(4, 2).double()
    previous = head_of(layer)[:-1] if RULES[rule].to_previous else np.zeros((4, 2))
    head = ClosedFormHead(layer, RULES[rule].rule, initial="keep", penalise_bias=False)
    x, y = torch.randn(1, 4, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    layer(x)
    head.update(y)
    np.testing.assert_allclose(head_of(layer)[:-1], previous, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", FREE)
def test_a_free_bias_takes_a_shift_of_the_targets_alone(rule):
    shifted = []
    for shift in (0.0, 1e4):
        torch.manual_seed(1)
        layer = nn.Linear(4, 2).double()
        head = ClosedFormHead(layer, RULES[rule].rule, penalise_bias=False)
        layer(torch.randn(30, 4, dtype=torch.float64))
        head.update(torch.randn(30, 2, dtype=torch.float64) + shift)
        shifted.append(head_of(layer))
    np.testing.assert_allclose(shifted[1][:-1], shifted[0][:-1], atol=1e-9)
    np.testing.assert_allclose(shifted[1][-1] - shifted[0][-1], 1e4, rtol=1e-10)


def test_an_empty_batch_is_refused():
    model = Net(1, 2, True)
    with pytest.raises(ValueError, match=r"at least one row; got \(0, 2, 6\)"):
        ClosedFormLoss(model.head, Proximal())(model(torch.zeros(0, 3, 6)), torch.zeros(0, 2, 6))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("what", "index"), [("features", 0), ("targets", 1)])
def test_numbers_that_are_not_finite_are_traced_to_the_layer(what, index, free, rule):
    batch = [torch.randn(9, 3), torch.randn(9, 2)]
    batch[index][4, 1] = np.nan
    model = Net(0, 2, True, linear=True)
    free = free and RULES[rule].free_bias
    loss_of = ClosedFormLoss(model.head, RULES[rule].rule, name="decoder.readout", penalise_bias=not free)
    before = head_of(model.head)
    state = loss_of.head.state()
    with pytest.raises(NotPositiveDefinite, match=rf"The {what} .*layer 'decoder.readout' \(Linear 5 -> 2\)"):
        loss_of(model(batch[0]), batch[1])
    np.testing.assert_array_equal(head_of(model.head), before)
    assert all(torch.equal(value, state[name]) for name, value in loss_of.head.state().items())


def test_a_head_too_large_for_float16_is_refused():
    layer = nn.Linear(1, 1, bias=False).half()
    head = ClosedFormHead(layer, Ridge(strength=0.0))
    layer(torch.full((2, 1), 1e-2, dtype=torch.float16))
    with pytest.raises(NotPositiveDefinite, match=r"must be finite in torch.float16"):
        head.update(torch.full((2, 1), 6e4, dtype=torch.float16))
