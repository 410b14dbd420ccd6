"""Adaptation: against a dense ridge over all rows, in one pass, and no head moved without cause."""

import copy
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from sciml_cf import FNOConfig, adapt, adapted_posterior, posterior
from sciml_cf.head import find_head
from sciml_cf.head.binding.layer import read_head
from tests.problems import Points, Shifted, mlp


class Items(Dataset):
    """Fields and targets as given, counting how often each item is read."""

    def __init__(self, x, y):
        self.x, self.y, self.read = x, y, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.read.append(index)
        return {"x": self.x[index], "y": self.y[index]}


def convolutions(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 9, 5, padding=2), nn.Tanh(), nn.Conv1d(9, 2, 1, bias=bias)).double()


def dense_rows(model, x):
    """Feature rows of a convolutional model in numpy, computed without the package; the constant one last."""
    with torch.no_grad():
        features = model[:-1](x).numpy()
    rows = features.transpose(0, 2, 1).reshape(-1, features.shape[1])
    return np.hstack([rows, np.ones((len(rows), 1))]) if model[-1].bias is not None else rows


def fields(samples=11, points=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 1, points, dtype=torch.float64, generator=generator)
    return x, torch.cat([x.square(), x.roll(1, -1)], dim=1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_size", [4, 32])
def test_head_equals_the_dense_ridge_over_all_rows(bias, batch_size):
    model, (x, y) = convolutions(bias), fields()
    old = read_head(model[-1]).numpy()
    phi, targets = dense_rows(model, x), y.numpy().transpose(0, 2, 1).reshape(-1, 2)
    pull = np.sqrt(0.03 * len(phi)) * np.eye(phi.shape[1])
    stacked = np.vstack([phi, pull]), np.vstack([targets - phi @ old, np.zeros_like(old)])
    expected = old + np.linalg.lstsq(*stacked, rcond=None)[0]
    result = adapt(model, Items(x, y), strength=0.03, batch_size=batch_size)
    np.testing.assert_allclose(result.head.numpy(), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(read_head(model[-1]).numpy(), expected, rtol=1e-10, atol=1e-10)
    error = ((phi @ expected - targets) ** 2).mean()
    assert result.training_error(result.head) == pytest.approx(error, rel=1e-10)


def test_prior_pulls_in_the_metric_of_the_training_features():
    model, (x, y) = convolutions(), fields()
    known = posterior(model, Items(*fields(seed=1)), Items(*fields(seed=2)))
    phi, targets, old = dense_rows(model, x), y.numpy().transpose(0, 2, 1).reshape(-1, 2), known.head.numpy()
    gram = dense_rows(model, fields(seed=1)[0])
    values, vectors = np.linalg.eigh(gram.T @ gram)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    metric = root * len(root) / np.trace(root)
    change = np.linalg.solve(phi.T @ phi / len(phi) + 0.2 * metric, phi.T @ (targets - phi @ old) / len(phi))
    result = adapt(model, Items(x, y), strength=0.2, prior=known)
    np.testing.assert_allclose(result.head.numpy(), old + change, rtol=1e-9, atol=1e-10)


def test_each_sample_is_read_once_and_one_batch_of_features_is_alive():
    model, data = convolutions(), Items(*fields(samples=20))
    alive, most = [], []

    def watch(module, inputs, output):
        alive.append(weakref.ref(output))
        most.append(sum(one() is not None for one in alive))

    model[1].register_forward_hook(watch)
    adapt(model, data, batch_size=4)
    first = len(data.read) - 20  # looks at the first sample: what an item is, and which layer runs last
    assert data.read == [0] * first + list(range(20)) and first <= 2
    assert len(most) == 5 + 2  # two more passes see one sample: the search for the head, and the proof
    assert max(most) == 1


def test_batches_change_nothing():
    x, y = fields(samples=13)
    heads = [adapt(convolutions(), Items(x, y), batch_size=size, folds=5) for size in (1, 3, 64)]
    for other in heads[1:]:
        assert other.strength == heads[0].strength
        torch.testing.assert_close(other.head, heads[0].head, rtol=1e-9, atol=1e-11)
        for one, two in zip(other.candidates, heads[0].candidates, strict=True):
            assert one.error == pytest.approx(two.error, rel=1e-9)


def test_cross_validated_error_is_that_of_leaving_whole_samples_out():
    x, y = fields(samples=3)
    result = adapt(convolutions(), Items(x, y))  # fewer samples than folds: each is a fold
    assert len(result.folds) == 3
    errors = []
    for out in range(3):
        model, rest = convolutions(), [index for index in range(3) if index != out]
        adapt(model, Items(x[rest], y[rest]), strength=result.candidates[9].strength)
        with torch.no_grad():
            errors.append((model(x[[out]]) - y[[out]]).square().mean().item())
    assert result.candidates[9].error == pytest.approx(np.mean(errors), rel=1e-8)


def test_head_moves_to_where_the_data_call_for_it():
    teacher, model, x = convolutions(), convolutions(), fields(samples=6)[0]
    with torch.no_grad():
        teacher[-1].weight += 0.5
        y = teacher(x)
    result = adapt(model, Items(x, y))
    assert result.changed and result.error_after < 1e-4 * result.error_before
    unseen = fields(seed=5)[0]
    with torch.no_grad():
        assert (model(unseen) - teacher(unseen)).square().mean() < 1e-4 * result.error_before


@pytest.mark.parametrize("samples", [4, 16])
def test_a_head_that_is_right_stays_to_the_bit(samples):
    for seed in range(5):
        model, x = convolutions(), fields(samples=samples, seed=seed)[0]
        before = copy.deepcopy(model.state_dict())
        with torch.no_grad():
            y = model(x)
        y = y + 0.1 * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
        result = adapt(model, Items(x, y))
        assert not result.changed and result.degrees_of_freedom == 0
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_head_without_error_is_not_moved_beyond_rounding():
    model, x = convolutions(), fields()[0]
    with torch.no_grad():
        result = adapt(model, Items(x, model(x)))
    assert (result.head - result.previous).abs().max() < 1e-11


def test_model_is_left_in_its_modes_and_without_hooks():
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 2)).double()
    model[1].eval()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    first, second = (adapt(copy.deepcopy(model), Points(20), strength=0.1) for _ in range(2))
    assert torch.equal(first.head, second.head), "dropout is off"
    adapt(model, Points(20))
    assert model.training and not model[1].training and not model[3]._forward_hooks
    assert [parameter.requires_grad for parameter in model.parameters()] == flags


def test_gcv_chooses_the_lowest_of_its_scores():
    result = adapt(mlp(), Points(60), choose="gcv")
    assert result.chosen.gcv == min(one.gcv for one in result.candidates)


def test_an_fno_adapts_at_another_resolution_than_its_own():
    model = FNOConfig(width=8, modes=8, layers=2).build()
    result = adapt(model, Shifted(8, points=64))
    assert result.changed and result.error_after < result.error_before
    assert result.head.shape == (find_head(model).in_channels + 1, 1)


def test_adapted_error_bars_cover_new_samples():
    model, (x, y) = convolutions(), fields(samples=40)
    noise = 0.1 * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    data = Items(x[:20], (y + noise)[:20])
    result = adapt(model, data)
    known = adapted_posterior(model, data, result)
    from sciml_cf.head.posterior import LEVEL_IN_STD, apply_with_std

    mean, std = apply_with_std(model, x[20:], known)
    assert 0.85 < ((mean - (y + noise)[20:]).abs() < LEVEL_IN_STD * std).double().mean() < 0.95


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = convolutions()

    def forward(self, x):
        return self.body(x) + x


class Twice(Residual):
    def forward(self, x):
        return self.body(x) + self.body(-x)


ONE = {"samples": 1}


@pytest.mark.parametrize(
    ("model", "settings", "change", "message"),
    [
        (convolutions, {"folds": 1}, {}, "`folds` must be an integer of at least 2; got 1"),
        (convolutions, {"choose": "loo"}, {}, "`choose` must be one of 'cross-validation', 'gcv'; got 'loo'"),
        (convolutions, {"strength": -1.0}, {}, "`strength` must be a finite number above 0; got -1.0"),
        (convolutions, {"batch_size": 0}, {}, "`batch_size`"),
        (convolutions, {"head": "5"}, {}, "`head` must be one of '2'; got '5'"),
        (convolutions, {}, {"samples": 1}, "`data` must hold at least 2 samples to choose a strength; got 1"),
        (convolutions, {}, {"samples": 0}, "`data` must hold at least one sample"),
        (convolutions, {}, {"x": torch.nan}, "`data` must hold finite numbers; got NaN or Inf in x of sample"),
        (convolutions, {}, {"y": torch.inf}, "`data` must hold finite numbers; got NaN or Inf in y of sample"),
        (
            convolutions,
            {},
            {"channels": 3},
            "`data` must have the channels and dimensions .* was trained with; got 3",
        ),
        (convolutions, {}, {"targets": 1}, r"targets shaped like the model's predictions \(2, 16\); got \(1, 16\)"),
        (Residual, {}, {}, "`model` must return its head's output"),
        (Twice, {}, {}, "`model` must run its head once in a forward pass; got 2 passes"),
    ],
)
def test_bad_input_is_refused_and_the_model_kept(model, settings, change, message):
    network, (x, y) = model(), fields(samples=change.get("samples", 5))
    before = copy.deepcopy(network.state_dict())
    x = x.repeat(1, change.get("channels", 1), 1)
    y = y[:, : change.get("targets", 2)].clone()
    if "x" in change:
        x[2, 0, 3] = change["x"]
    if "y" in change:
        y[2, 0, 3] = change["y"]
    with pytest.raises(ValueError, match=message):
        adapt(network, Items(x, y), **settings)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_one_sample_adapts_with_a_given_strength_but_has_no_error_bars():
    model, data = convolutions(), Items(*fields(samples=1))
    result = adapt(model, data, strength=0.1)
    assert result.changed and np.isnan(result.error_after) and result.error_before > 0
    with pytest.raises(ValueError, match="at least 2 samples to calibrate on"):
        adapted_posterior(model, data, result)


def test_prior_of_other_weights_is_refused():
    model = mlp()
    known = posterior(model, Points(20), Points(20, seed=1))
    adapt(model, Subset(Points(20), range(4)), strength=0.1, prior=known)
    with pytest.raises(ValueError, match="`prior` must be the posterior of this model's own head"):
        adapt(model, Points(4), prior=known)
