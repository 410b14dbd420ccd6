"""Figures of the head's solves against dense numpy, and each fault made to happen, told once, and not when healthy."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.errors import (
    HeadWarning,
    InterpolatingHeadWarning,
    JitterWarning,
    OscillatingHeadWarning,
    StuckHeadWarning,
)
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Every, Moments, Proximal, Ridge, Rule, diagnose, solved_state
from sciml_cf.head.monitor import IN_A_ROW, WINDOW, Monitor
from sciml_cf.report import figures
from sciml_cf.training import loop
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.run_folder import read_history, write_history
from sciml_cf.training.tensorboard import ScalarWriter
from tests.problems import Points, Shifted, mlp, regression

PENALTIES = {"number": 0.3, "diagonal": torch.rand(7, dtype=torch.float64) + 0.1, "matrix": None, "none": 0.0}
PENALTIES["matrix"] = torch.diag(PENALTIES["diagonal"]) + 0.05
EPOCH_FIGURES = ("head_step", "gain", "rebound", "turn", "condition", "degrees_of_freedom", "feature_scale")


def dense_penalty(penalty):
    penalty = np.asarray(penalty)
    return penalty if penalty.ndim == 2 else np.diag(np.broadcast_to(penalty, 7))


# One solve.


@pytest.mark.parametrize("kind", PENALTIES)
def test_diagnose_equals_dense_numpy(kind):
    phi, y = regression()
    before, after = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    found = diagnose(Moments.from_batch(phi, y), before, after, penalty=PENALTIES[kind])
    a, b = phi.numpy(), y.numpy()
    gram, penalty = a.T @ a / 200, dense_penalty(PENALTIES[kind])
    least = np.linalg.lstsq(a, b, rcond=None)[0]
    assert found.condition == pytest.approx(np.linalg.cond(gram + penalty), rel=1e-10)
    assert found.degrees_of_freedom == pytest.approx(np.trace(gram @ np.linalg.inv(gram + penalty)), rel=1e-10)
    assert found.feature_scale == pytest.approx(np.sqrt(np.mean(a**2)), rel=1e-12)
    assert found.head_norm == pytest.approx(np.linalg.norm(after), rel=1e-12)
    larger = max(np.linalg.norm(before), np.linalg.norm(after))
    assert found.head_step == pytest.approx(np.linalg.norm(after - before) / larger, rel=1e-12)
    losses = [np.mean((a @ head - b) ** 2) for head in (before.numpy(), after.numpy(), least)]
    np.testing.assert_allclose([found.loss_before, found.loss_after, found.loss_reachable], losses, rtol=1e-8)
    assert found.gain == pytest.approx(1 - losses[1] / losses[0])
    assert found.gain_share == pytest.approx((losses[0] - losses[1]) / (losses[0] - losses[2]))
    assert (found.rows, found.features, found.jitter) == (200, 7, 0)


def test_degrees_of_freedom_fall_from_all_features_to_none_as_the_pull_grows():
    moments, zero = Moments.from_batch(*regression()), torch.zeros(7, 3, dtype=torch.float64)
    found = [diagnose(moments, zero, zero, penalty=s) for s in (0.0, 1e-3, 1.0, 1e3, 1e9)]
    degrees = [one.degrees_of_freedom for one in found]
    assert degrees == sorted(degrees, reverse=True)
    assert degrees[0] == pytest.approx(7, abs=1e-12) and degrees[-1] < 1e-7
    assert found[-1].condition == pytest.approx(1, abs=1e-8)
    # As a diagonal and as a matrix the same pull gives the same figures.
    for penalty in (torch.full((7,), 1e-3), 1e-3 * torch.eye(7, dtype=torch.float64)):
        same = diagnose(moments, zero, zero, penalty=penalty)
        assert same.degrees_of_freedom == pytest.approx(degrees[1], rel=1e-9)
        assert same.condition == pytest.approx(found[1].condition, rel=1e-9)


def test_rank_bounds_the_degrees_of_freedom_and_jitter_the_condition():
    phi, y = regression(rows=4)  # fewer rows than features
    moments, zero = Moments.from_batch(phi, y), torch.zeros(7, 3, dtype=torch.float64)
    assert diagnose(moments, zero, zero, penalty=1e-9).degrees_of_freedom == pytest.approx(4, rel=1e-6)
    shaken = diagnose(moments, zero, zero, penalty=0.0, jitter=1e-8)
    values = np.linalg.eigvalsh(moments.gram.numpy())
    shift = 1e-8 * np.trace(moments.gram.numpy()) / 7
    assert shaken.condition == pytest.approx((values[-1] + shift) / shift, rel=1e-5)
    assert diagnose(moments, zero, zero, penalty=0.0).condition > 1e12
    nothing = diagnose(moments, zero, zero, penalty=None)
    assert math.isnan(nothing.condition) and math.isnan(nothing.degrees_of_freedom)
    assert nothing.head_step == 0 and nothing.gain == 0


@pytest.mark.parametrize("name", ["before", "after"])
def test_heads_of_another_shape_are_refused(name):
    moments, zero = Moments.from_batch(*regression()), torch.zeros(7, 3, dtype=torch.float64)
    heads = {"before": zero, "after": zero, name: zero[:, :2]}
    with pytest.raises(ValueError, match=f"diagnose: `{name}` must be \\(7, 3\\).*got \\(7, 2\\)"):
        diagnose(moments, heads["before"], heads["after"], penalty=1.0)


# In a loop of one's own.


def batch(rows=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    return x, torch.sin(x @ torch.randn(3, 2, dtype=torch.float64, generator=generator))


def rows_of(model, x):
    features = model[:-1](x).detach()
    return torch.cat([features, features.new_ones(len(x), 1)], 1)


def test_a_loss_tells_of_its_last_solve():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1))
    with pytest.raises(RuntimeError, match="must have been solved; got no solve yet"):
        loss_of.head.diagnostics()
    loss_of(model(x), y)
    before = loss_of.head.state()["head"]
    loss = loss_of(model(2 * x), y)
    expected = diagnose(Moments.from_batch(rows_of(model, 2 * x), y), before, loss_of.head.state()["head"], penalty=0.1)
    found = loss_of.head.diagnostics()
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9), name
    assert found.loss_after == pytest.approx(loss.item(), rel=1e-9)
    for copied in (copy.deepcopy(loss_of), pickle.loads(pickle.dumps(loss_of))):
        with pytest.raises(RuntimeError, match="no solve yet"):
            copied.head.diagnostics()


def test_a_free_bias_is_one_of_the_rows_and_none_of_the_features():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1), penalise_bias=False)
    loss = loss_of(model(x), y)
    phi = model[:-1](x).detach()
    phi = phi - phi.mean(0)
    gram = (phi.T @ phi / 40).numpy()
    found = loss_of.head.diagnostics()
    assert found.degrees_of_freedom == pytest.approx(np.trace(gram @ np.linalg.inv(gram + 0.1 * np.eye(8))))
    assert (found.rows, found.features) == (39, 8)
    assert found.loss_after == pytest.approx(loss.item())
    assert found.loss_before == pytest.approx(y.var(0, correction=0).mean().item())


def test_rows_with_weights_are_not_counted():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1))
    loss = loss_of(model(x), y, torch.rand(40, dtype=torch.float64) + 0.1)
    assert math.isnan(loss_of.head.diagnostics().rows)
    assert loss_of.head.diagnostics().loss_after == pytest.approx(loss.item())


def test_recent_means_equal_those_of_every_solve_and_start_anew():
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1))
    for _ in range(2):
        changes, gains, rebounds, turns = [], [], [], []
        old = None
        for seed in range(6):
            x, y = batch(seed=seed)
            before = loss_of.head.state()["head"]
            loss_of(model(x), y)
            found, change = loss_of.head.diagnostics(), (loss_of.head.state()["head"] - before).numpy()
            changes.append(found.head_step)
            gains.append(found.gain)
            if old is not None:
                rebounds.append(math.log(found.loss_before / old[1]))
                turns.append((change * old[0]).sum() / np.linalg.norm(change) / np.linalg.norm(old[0]))
            old = change, found.loss_after
        recent = loss_of.head.recent()
        assert recent.solves == 6
        got = [recent.head_step, recent.gain, math.log(recent.rebound), recent.turn]
        np.testing.assert_allclose(got, [np.mean(part) for part in (changes, gains, rebounds, turns)], rtol=1e-9)
    empty = loss_of.head.recent()
    assert empty.solves == 0 and math.isnan(empty.gain) and math.isnan(empty.rebound)


def test_solves_made_for_evaluation_count_for_nothing_but_can_be_looked_at():
    (x, y), model = batch(), mlp()
    head = ClosedFormHead(model[-1], Proximal(0.1))
    model.eval()
    with torch.no_grad(), head.recording():
        head.update(y, prediction=model(x))
    assert head.recent().solves == 0
    assert head.diagnostics().rows == 40


@pytest.mark.parametrize("on", ["all", "last"])
def test_a_rule_that_waits_is_told_of_only_when_it_solves(on):
    model, head_steps = mlp(), 9
    head = ClosedFormHead(model[-1], Every(Proximal(0.1), 3, on=on))
    phi = []
    for seed in range(head_steps):
        x, y = batch(seed=seed)
        head.solve(Moments.from_batch(rows_of(model, x), y))
        phi.append(rows_of(model, x))
    assert head.recent().solves == 3
    used = torch.cat(phi[-3:]) if on == "all" else phi[-1]
    gram = (used.T @ used / len(used)).numpy()
    found = head.diagnostics()
    assert found.rows == len(used)
    assert found.degrees_of_freedom == pytest.approx(np.trace(gram @ np.linalg.inv(gram + 0.1 * np.eye(9))))


class Unknown(Rule):
    def update(self, state, moments):
        head = torch.linalg.solve(moments.gram + 0.1 * torch.eye(9), moments.cross + 0.1 * state["head"])
        return head, {**state, "head": head}


def test_a_rule_with_a_solve_of_its_own_still_has_its_losses():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], Unknown())
    for _ in range(WINDOW + 1):
        loss = loss_of(model(x), y)
    found = loss_of.head.diagnostics()
    assert math.isnan(found.condition) and found.loss_after == pytest.approx(loss.item())


# Faults, made to happen.


def noisy_batches(rule, *, rows, steps, features=24, noise=0.3, rate=1e-3, weights=None):
    """Warnings while a network learns a smooth target under noise."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, features), nn.Tanh(), nn.Linear(features, 1)).double()
    loss_of = ClosedFormLoss(model[-1], rule)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            x = torch.randn(rows, 4, dtype=torch.float64)
            y = torch.sin(x.sum(1, keepdim=True)) + noise * torch.randn(rows, 1, dtype=torch.float64)
            optimizer.zero_grad()
            loss_of(model(x), y, None if weights is None else torch.full((rows,), weights)).backward()
            optimizer.step()
    return caught


def kinds(caught):
    return [one.category for one in caught if issubclass(one.category, HeadWarning)]


LONG = 2 * IN_A_ROW * WINDOW  # twice the time it takes to be told


def test_too_weak_a_pull_at_small_batches_is_told_once_with_its_cure():
    caught = noisy_batches(Ridge(1e-6), rows=30, steps=LONG)
    assert kinds(caught).count(OscillatingHeadWarning) == 1
    text = next(str(one.message) for one in caught if one.category is OscillatingHeadWarning)
    assert "Raise `strength`" in text and "larger batches" in text and "Proximal" in text


@pytest.mark.parametrize(
    "cure", [{"rule": Proximal(1e-1), "rows": 30}, {"rule": Proximal(), "rows": 30}, {"rule": Ridge(1e-6), "rows": 600}]
)
def test_a_stronger_pull_or_a_larger_batch_cures_it(cure):
    assert kinds(noisy_batches(cure["rule"], rows=cure["rows"], steps=LONG)) == []


def test_too_strong_a_pull_is_told_once_with_its_cure():
    caught = noisy_batches(Proximal(1e5), rows=60, steps=LONG)
    assert kinds(caught) == [StuckHeadWarning]
    assert "Lower `strength`" in str(caught[0].message)
    assert kinds(noisy_batches(Ridge(1e5), rows=60, steps=LONG)) == [StuckHeadWarning]
    assert kinds(noisy_batches(Proximal(1.0), rows=60, steps=LONG)) == []


def small_features(scale, *, bias=True, penalise_bias=True):
    """Warnings while a network learns whose features are multiplied by ``scale``, at the default strength."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(2, 16), nn.Tanh()).double(), nn.Linear(16, 1, bias=bias).double()
    loss_of = ClosedFormLoss(layers[1], Proximal(), penalise_bias=penalise_bias)
    optimizer = torch.optim.Adam(layers[0].parameters(), lr=1e-3)
    x = 2 * torch.rand(64, 2, dtype=torch.float64) - 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(IN_A_ROW * WINDOW):
            optimizer.zero_grad()
            loss_of(layers[1](scale * layers[0](x)), torch.sin(2 * x[:, :1]) * x[:, 1:] + 1).backward()
            optimizer.step()
    return kinds(caught)


@pytest.mark.parametrize("options", [{}, {"penalise_bias": False}, {"bias": False}])
def test_a_stuck_head_is_found_with_any_bias(options):
    assert small_features(1e-4, **options) == [StuckHeadWarning]
    assert small_features(1.0, **options) == []


def test_a_penalty_for_each_feature_is_judged_without_that_of_the_bias():
    (x, y), model = batch(rows=60), mlp()
    head = ClosedFormHead(model[-1], DiagonalPenalty())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(IN_A_ROW * WINDOW):
            head.solve(Moments.from_batch(rows_of(model, x), y))
    assert kinds(caught) == [StuckHeadWarning]


class DiagonalPenalty(Rule):
    """Proximal that holds all weights but the bias."""

    def update(self, state, moments):
        penalty = torch.full((moments.num_features,), 1e6, dtype=torch.float64)
        penalty[-1] = 1e-3
        return solved_state(state, moments, penalty, previous=state["head"])


def test_as_many_degrees_of_freedom_as_rows_are_told_once_with_their_cure():
    caught = noisy_batches(Proximal(1e-6), rows=12, steps=LONG)
    assert kinds(caught).count(InterpolatingHeadWarning) == 1
    text = next(str(one.message) for one in caught if one.category is InterpolatingHeadWarning)
    assert "batches of more rows than the layer has features" in text
    assert InterpolatingHeadWarning not in kinds(noisy_batches(Proximal(1e-6), rows=12, steps=LONG, weights=2.0))
    assert InterpolatingHeadWarning not in kinds(noisy_batches(Proximal(0.1), rows=12, steps=LONG))


def test_a_fault_that_comes_back_is_not_told_again():
    model = mlp()
    head = ClosedFormHead(model[-1], Ridge(1e-9))
    few, many = (Moments.from_batch(rows_of(model, batch(rows)[0]), batch(rows)[1]) for rows in (6, 60))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for moments in [few] * LONG + [many] * WINDOW + [few] * LONG:
            head.solve(moments)
    assert kinds(caught).count(InterpolatingHeadWarning) == 1


def test_a_head_on_a_straight_way_does_not_oscillate():
    # change, gain, log rebound, turn, and shares that tell of nothing
    for turn, told in ((0.5, []), (-0.5, [OscillatingHeadWarning])):
        monitor = Monitor()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(IN_A_ROW):
                monitor._warn([1.0, 0.9, math.log(100), turn, *[math.nan] * 4])
        assert kinds(caught) == told


def test_a_backbone_that_shakes_the_features_is_no_fault_of_the_head():
    x, model = batch(rows=60)[0], mlp()
    head = ClosedFormHead(model[-1], Proximal(1e-3))
    # The features come back a little turned each time: a large loss until the solve, and a head that hardly changes.
    phi = 30 * rows_of(model, x)
    turned = phi + 0.5 * torch.randn(phi.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    head.restore({**head.state(), "head": torch.linalg.lstsq(phi, phi[:, :2]).solution})
    for step in range(LONG):
        head.solve(Moments.from_batch(turned if step % 2 else phi, phi[:, :2]))  # warnings are errors here
    recent = head.recent()
    assert recent.rebound > 10 and recent.turn < 0


def test_nothing_is_told_before_enough_solves_showed_it():
    assert kinds(noisy_batches(Ridge(1e-6), rows=12, steps=IN_A_ROW * WINDOW - 1)) == []
    assert kinds(noisy_batches(Ridge(1e-6), rows=12, steps=IN_A_ROW * WINDOW)) != []


@pytest.mark.parametrize("rule", [Ridge(1e-3), Proximal(1e-2), Proximal(1e5)])
def test_a_head_that_has_settled_on_one_batch_is_not_stuck(rule):
    x, y = batch(rows=60)
    model = mlp()
    head = ClosedFormHead(model[-1], rule, initial="keep")
    moments = Moments.from_batch(rows_of(model, x), y)
    start = torch.linalg.solve(moments.gram, moments.cross) if rule.strength > 1 else torch.zeros(9, 2)
    head.restore({**head.state(), "head": start.double()})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", HeadWarning)
        for _ in range(LONG):
            head.solve(moments)
    assert told == []


def test_a_warning_comes_after_the_head_is_written():
    (x, y), model = batch(rows=6), mlp()
    head = ClosedFormHead(model[-1], Ridge(1e-9))
    moments = Moments.from_batch(rows_of(model, x), y)
    with pytest.raises(HeadWarning, match="degrees of freedom a row"):
        for _ in range(LONG):
            head.solve(moments)
    expected = Ridge(1e-9).update(head.state(), moments)[0]
    torch.testing.assert_close(model[-1].weight, expected[:-1].T, rtol=1e-6, atol=1e-6)
    assert issubclass(JitterWarning, HeadWarning)


def test_digits_at_default_strength_are_healthy_and_ridge_on_small_batches_is_not():
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), nn.functional.one_hot(torch.tensor(labels)).float()
    told = {}
    for rule in (Proximal(), Ridge()):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        loss_of = ClosedFormLoss(model[-1], rule)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1, 0.9, nesterov=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(200):
                chosen = torch.randint(0, 1797, (32,))
                optimizer.zero_grad()
                loss_of(model(x[chosen]), y[chosen]).backward()
                optimizer.step()
        told[type(rule)] = set(kinds(caught))
    assert told == {Proximal: set(), Ridge: {OscillatingHeadWarning, InterpolatingHeadWarning}}


# In fit.


def test_burgers_like_training_is_silent_and_its_history_shows_the_head(tmp_path):
    from sciml_cf.models import FNOConfig

    model = FNOConfig(width=8, modes=6, layers=2).build()
    config = FitConfig(epochs=12, batch_size=4, accelerator="cpu")
    history = fit(model, Shifted(60), Shifted(16, seed=1), config=config, out=tmp_path / "run", progress=False)
    for row, stored in zip(history.rows, read_history(tmp_path / "run"), strict=True):
        assert row == stored
        assert all(math.isfinite(row[name]) for name in EPOCH_FIGURES)
        assert 0 <= row["gain"] <= 1 <= row["condition"] and 0 < row["degrees_of_freedom"] < 17
    assert history.rows[-1]["head_step"] < history.rows[0]["head_step"]
    assert figures.head_panel(history.rows) is not None


def test_figures_of_an_epoch_are_taken_before_the_head_is_solved_for_evaluation(tmp_path, monkeypatch):
    order = []
    for owner, name in ((ClosedFormHead, "figures"), (loop, "solve_on")):
        method = getattr(owner, name)
        watched = lambda *a, name=name, method=method, **k: (order.append(name), method(*a, **k))[1]  # noqa: E731
        monkeypatch.setattr(owner, name, watched)
    config = FitConfig(epochs=2, batch_size=8, accelerator="cpu")
    fit(mlp(), Points(16), Points(8, seed=1), config=config, out=tmp_path / "run", progress=False)
    assert order == ["figures", "solve_on"] * 2


@pytest.mark.parametrize("algorithm", [1, 2])
def test_resumed_training_has_the_figures_of_an_uninterrupted_one(algorithm, tmp_path):
    class Stopping(Points):
        left = 40

        def __getitem__(self, index):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    def run(name, data, resume=False):
        config = FitConfig(epochs=4, batch_size=4, accelerator="cpu", algorithm=algorithm)
        model = mlp(seed=resume)
        return fit(model, data, Points(8, seed=1), config=config, out=tmp_path / name, progress=False, resume=resume)

    whole = run("whole", Points(16))
    with pytest.raises(KeyboardInterrupt):
        run("part", Stopping(16))
    resumed = run("part", Points(16), resume=True)
    for a, b in zip(whole.rows, resumed.rows, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_histories_without_the_figures_are_still_read_written_and_drawn(tmp_path):
    old = {"epoch": 1, "train_loss": 1.0, "validation_mse": 1.0, "seconds": 1.0}
    assert figures.head_panel([old]) is None
    new = {**old, "epoch": 2, **dict.fromkeys(EPOCH_FIGURES, 2.0), "condition": math.inf}
    write_history(tmp_path, [old, new])
    rows = read_history(tmp_path)
    assert math.isnan(rows[0]["gain"]) and rows[1]["gain"] == 2.0
    assert figures.head_panel(rows) is None  # no condition that can be drawn
    rows[1]["condition"] = 10.0
    axes = figures.head_panel(rows).axes
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [math.nan, 10.0])


def test_figures_that_are_missing_are_not_sent_to_tensorboard(monkeypatch):
    sent = []
    writer = ScalarWriter.__new__(ScalarWriter)
    monkeypatch.setattr(
        writer,
        "_writer",
        type("W", (), {"add_scalar": lambda _, *a: sent.append(a), "flush": lambda _: None})(),
        raising=False,
    )
    writer.write({"epoch": 3, "gain": 0.5, "turn": math.nan})
    assert sent == [("gain", 0.5, 3)]
