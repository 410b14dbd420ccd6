"""Layer-wise least squares against an implementation of its own, on problems whose answer is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sciml_cf import layerwise
from sciml_cf.layerwise import INVERSES, Exp, Inverse, draw_weights, fit_least_squares
from sciml_cf.layerwise import batch_rows as rows
from sciml_cf.layerwise.activations import RELU_PSEUDO_INVERSE
from sciml_cf.layerwise.structure import layers_of, read_heads
from sciml_cf.layerwise.sweep import forward
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit


def network(sizes, activation=nn.Identity, top=None, *, seed=0, bound=1.0):
    layers = [module for a, b in pairwise(sizes) for module in (nn.Linear(a, b), activation())][:-1]
    made = nn.Sequential(*layers, *([top()] if top else [])).double()
    draw_weights(made, seed=seed, bound=bound)
    return made


def normal(number, columns, seed=0):
    return torch.randn(number, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def relative_error(net, x, y):
    return ((net(x) - y).norm() / y.norm()).item()


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16), torch.tensor(y)


def split(data, seed):
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed))
    cut = int(0.8 * len(order))
    return [part[some] for some in (order[:cut], order[cut:]) for part in data]


@torch.no_grad()
def accuracy(net, x, labels):
    return (net(x).argmax(dim=1) == labels).double().mean().item()


# What the sweep computes


def sweep_neuron_by_neuron(net, x, y, mode, strength):
    """One sweep of a sigmoid network with a linear top in numpy, each neuron by a least squares problem of its own."""
    heads = [head.numpy() for head in read_heads(layers_of(net))]
    inputs = [x.numpy()]
    for head in heads[:-1]:
        inputs.append(1 / (1 + np.exp(-(inputs[-1] @ head[:-1] + head[-1]))))

    def solved(features, targets):
        phi = np.hstack([features, np.ones((len(features), 1))])
        stacked = np.vstack([phi / np.sqrt(len(phi)), np.sqrt(strength) * np.eye(phi.shape[1])])
        columns = []
        for neuron in range(targets.shape[1]):
            right = np.concatenate([targets[:, neuron] / np.sqrt(len(phi)), np.zeros(phi.shape[1])])
            columns.append(np.linalg.lstsq(stacked, right, rcond=None)[0])
        return np.stack(columns, axis=1)

    new, pre = list(heads), y.numpy()
    for index in reversed(range(len(heads))):
        new[index] = solved(inputs[index], pre)
        inverse = np.linalg.pinv(new[index][:-1])
        if mode == "closest":
            below = inputs[index] + (pre - inputs[index] @ new[index][:-1] - new[index][-1]) @ inverse
        else:
            below = (pre - new[index][-1]) @ inverse
        below = np.clip(below, 1e-3, 1 - 1e-3)
        pre = np.log(below / (1 - below))
    features = x.numpy()
    for head in new[:-1]:
        features = 1 / (1 + np.exp(-(features @ head[:-1] + head[-1])))
    return [*new[:-1], solved(features, y.numpy())]


@pytest.mark.parametrize("mode", ["closest", "minnorm"])
def test_one_solve_for_all_neurons_equals_a_problem_for_each(mode):
    x, net = normal(300, 4), network((4, 6, 5, 3), nn.Sigmoid)
    y = torch.sin(normal(4, 3, 1).T @ x.T).T
    expected = sweep_neuron_by_neuron(net, x, y, mode, 1e-4)
    fit_least_squares(net, x, y, targets=mode, strength=1e-4)
    for head, reference in zip(read_heads(layers_of(net)), expected, strict=True):
        assert np.abs(head.numpy() - reference).max() < 1e-8 * np.abs(reference).max()


@pytest.mark.parametrize("targets", ["closest", "minnorm"])
def test_every_third_row_below_the_top_refit_is_a_sweep_on_them_and_a_refit_on_all(targets):
    x, y = normal(300, 6), normal(300, 2, seed=1)
    net, own = network((6, 9, 8, 2), nn.Tanh), network((6, 9, 8, 2), nn.Tanh)
    report = fit_least_squares(net, x, y, targets=targets, every=3)
    fit_least_squares(own, x[::3], y[::3], targets=targets, top=False)
    with torch.no_grad():
        features = own[:-1](x)
    fit_least_squares(nn.Sequential(own[-1]), features, y)
    for found, expected in zip(net.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    whole = network((6, 9, 8, 2), nn.Tanh)
    fit_least_squares(whole, x, y, targets=targets)
    assert report.weight_solves == 4 and relative_error(whole, x, net(x)) > 1e-3  # all rows give another network


def test_every_reaches_batches_and_their_weights(digits):
    x, y = digits[0][:400], digits[1][:400]
    nets = [network((64, 20, 10), nn.Sigmoid) for _ in range(2)]
    loader = DataLoader(TensorDataset(x, y), batch_size=100)
    settings = {"every": 5, "iterations": 2, "strength": 1e-4}
    fit_least_squares(nets[0], x, y, **settings)
    fit_least_squares(nets[1], loader, **settings)
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_loader_in_batches_equals_all_rows_at_once():
    x, y = normal(300, 4), torch.sin(normal(300, 3, 1))
    nets = [network((4, 6, 5, 3), nn.Tanh) for _ in range(3)]
    whole = fit_least_squares(nets[0], x, y, strength=1e-4)
    parts = fit_least_squares(nets[1], DataLoader(TensorDataset(x, y), batch_size=7), strength=1e-4)
    fit_least_squares(nets[2], [{"x": x[:1], "y": y[:1]}, {"x": x[1:], "y": y[1:]}], strength=1e-4)
    assert (whole.weight_solves, whole.target_solves, whole.passes) == (4, 2, 4)
    assert (parts.weight_solves, parts.target_solves, parts.passes) == (4, 2, 4)
    for other in nets[1:]:
        for a, b in zip(*(read_heads(layers_of(net)) for net in (nets[0], other)), strict=True):
            assert (a - b).abs().max() < 1e-8 * a.abs().max()


def test_rows_of_tensors_come_in_batches_that_lose_none(monkeypatch):
    x, y = normal(301, 4), torch.sin(normal(301, 3, 1))
    nets = [network((4, 6, 3), nn.Tanh) for _ in range(2)]
    fit_least_squares(nets[0], x, y, strength=1e-4)
    monkeypatch.setattr(rows, "BATCH_ROWS", 50)  # 6 batches and a row
    fit_least_squares(nets[1], x, y, strength=1e-4)
    for a, b in zip(*(read_heads(layers_of(net)) for net in nets), strict=True):
        assert (a - b).abs().max() < 1e-8 * a.abs().max()


def test_only_moments_and_one_batch_are_held():
    """A data set that is made as it is read, of 400 batches; no tensor of all its rows ever exists."""
    passes = []

    class Stream:
        def __iter__(self):
            passes.append(0)
            for number in range(400):
                passes[-1] += 1
                x = normal(64, 4, number)
                yield x, x @ normal(4, 2, 7)

    net = network((4, 5, 2))
    report = fit_least_squares(net, Stream(), strength=1e-10)
    assert passes[-report.passes :] == [400] * 3 and len(passes) <= 4  # and a look at the first batch
    x = normal(50, 4, 1000)
    assert relative_error(net, x, x @ normal(4, 2, 7)) < 1e-7


@pytest.mark.parametrize("mode", ["closest", "minnorm"])
@pytest.mark.parametrize("sizes", [(5, 3), (5, 8, 3), (5, 8, 8, 3), (6, 9, 7, 5, 3), (8, 3, 3, 3, 3)])
def test_a_linear_teacher_is_recovered_in_one_sweep(sizes, mode):
    for seed in range(3):
        x, teacher = normal(400, sizes[0], seed), network(sizes, seed=100 + seed)
        with torch.no_grad():
            y = teacher(x)
        net = network(sizes, seed=seed)
        fit_least_squares(net, x, y, targets=mode, strength=1e-11)
        assert relative_error(net, x, y) < 1e-5
        unseen = normal(50, sizes[0], 50)
        with torch.no_grad():
            assert relative_error(net, unseen, teacher(unseen)) < 1e-5


def test_shortest_targets_recover_a_teacher_behind_a_narrow_layer_and_closest_ones_do_not():
    sizes = (8, 4, 6, 3, 3)
    x, teacher = normal(400, 8), network(sizes, seed=100)
    with torch.no_grad():
        y = teacher(x)
    errors = {}
    for mode in ("closest", "minnorm"):
        net = network(sizes)
        fit_least_squares(net, x, y, targets=mode, strength=1e-11)
        errors[mode] = relative_error(net, x, y)
    assert errors["minnorm"] < 1e-5 < 1e-4 < errors["closest"]


@pytest.mark.parametrize("top", [None, nn.Sigmoid])
def test_xor_is_solved_in_one_sweep(top):
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    solved = 0
    for seed in range(50):
        net = network((2, 4, 1), nn.Sigmoid, top, seed=seed).float()
        fit_least_squares(net, x, y)
        with torch.no_grad():
            solved += torch.equal(net(x) > 0.5, y > 0.5)
    assert solved >= 45


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Softplus, nn.LogSigmoid])
def test_a_nonlinear_teacher_is_fitted_about_as_well_as_by_random_features(activation):
    ratios = []
    for seed in range(3):
        x, teacher = normal(1500, 5, seed), network((5, 20, 3), activation, seed=100 + seed)
        with torch.no_grad():
            y = teacher(x)
        net = network((5, 20, 3), activation, seed=seed)
        with torch.no_grad():
            phi = torch.cat([net[:2](x), torch.ones(1500, 1, dtype=torch.float64)], dim=1)
        head = torch.linalg.lstsq(phi[:1000], y[:1000]).solution
        features = (phi[1000:] @ head - y[1000:]).square().mean()
        fit_least_squares(net, x[:1000], y[:1000])
        with torch.no_grad():
            ratios.append(((net(x[1000:]) - y[1000:]).square().mean() / features).item())
    assert np.mean(ratios) < 1.3


# Its cost


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("top", [True, False])
def test_the_number_of_solves_is_the_number_of_layers_whatever_the_data(depth, top):
    counts = set()
    for seed, number in ((0, 20), (1, 200), (2, 5000)):
        net = network((4, *[6] * (depth - 1), 3), nn.Sigmoid, seed=seed)
        report = fit_least_squares(net, normal(number, 4, seed), normal(number, 3, seed + 9), top=top, strength=1e-4)
        counts.add((report.weight_solves, report.target_solves, report.passes, report.sweeps))
    solves = depth + (top and depth > 1)
    assert counts == {(solves, depth - 1, solves, 1)}
    assert [solve.layer for solve in report.solves] == [*reversed(range(depth)), *([depth - 1] * (solves - depth))]


def test_what_is_reported_of_a_solve_is_its_error_and_its_condition():
    x, y, net = normal(100, 4), normal(100, 3, 1), network((4, 3))
    solve = fit_least_squares(net, x, y, strength=1e-3, conditions=True).solves[0]
    with torch.no_grad():
        assert math.isclose(solve.unexplained, ((net(x) - y).norm() / y.norm()).item() ** 2, rel_tol=1e-10)
    phi = torch.cat([x, torch.ones(100, 1, dtype=torch.float64)], dim=1)
    system = phi.T @ phi / 100 + 1e-3 * torch.eye(5)
    assert math.isclose(solve.condition, torch.linalg.cond(system).item(), rel_tol=1e-8)
    assert math.isnan(fit_least_squares(net, x, y).solves[0].condition)


# Activations


@pytest.mark.parametrize(
    "module",
    [nn.Sigmoid(), nn.Tanh(), nn.ELU(0.7), nn.LeakyReLU(0.2), nn.Softplus(), nn.Softplus(3.0), nn.LogSigmoid(), Exp(),
     nn.Identity()],
    ids=str,
)  # fmt: skip
def test_each_activation_is_undone_and_its_values_are_where_they_are_said_to_be(module):
    z = torch.linspace(-6, 6, 401, dtype=torch.float64)[:, None]
    inverse, values = INVERSES[type(module)](module), module(z)
    assert (inverse.inverse(values) - z).abs().max() < 1e-9
    assert values.min() > inverse.low and values.max() < inverse.high
    wide = torch.linspace(-300, 300, 11, dtype=torch.float64)[:, None]
    ends = module(wide)
    assert torch.isfinite(inverse.inverse(inverse.clipped(ends.clamp(max=1e100), 1e-3))).all()


def test_softmax_is_undone_up_to_a_constant_of_each_row():
    z = normal(20, 5)
    inverse = INVERSES[nn.Softmax](nn.Softmax(dim=-1))
    assert (inverse.inverse(z.softmax(dim=-1)) - (z - z.mean(dim=-1, keepdim=True))).abs().max() < 1e-12
    with pytest.raises(ValueError, match="`network` must have softmax over its features"):
        INVERSES[nn.Softmax](nn.Softmax(dim=0))


def test_the_pseudo_inverse_of_relu_gives_the_nearest_value_of_relu():
    y = torch.linspace(-2, 2, 9)
    assert torch.equal(torch.relu(RELU_PSEUDO_INVERSE.inverse(y)), y.clamp(min=0))


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh, nn.ELU, nn.Softplus, nn.LogSigmoid, Exp, nn.Softmax])
def test_targets_at_the_ends_of_the_range_give_finite_weights(activation):
    module = activation(dim=-1) if activation is nn.Softmax else activation()
    inverse = INVERSES[activation](module)
    ends = [end for end in (inverse.low, inverse.high) if math.isfinite(end)] or [0.0]
    x, y = normal(60, 4), torch.tensor([ends[0], ends[-1], ends[0]], dtype=torch.float64).repeat(60, 1)
    net = network((4, 6, 3), nn.Sigmoid, lambda: module)
    fit_least_squares(net, x, y)
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())
    labels = torch.arange(60) % 3
    fit_least_squares(net, x, labels)
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())


def test_an_activation_of_a_stranger_joins_by_one_entry(monkeypatch):
    class Cubic(nn.Module):
        def forward(self, z):
            return z**3 + z

    def undo(y):
        root = torch.sqrt(y**2 / 4 + 1 / 27)
        cbrt = [torch.sign(a) * a.abs() ** (1 / 3) for a in (y / 2 + root, y / 2 - root)]
        return cbrt[0] + cbrt[1]

    net = network((4, 6, 2), Cubic)
    with pytest.raises(ValueError, match=r"activations with a known inverse .*got Cubic.* at place 1"):
        fit_least_squares(net, normal(30, 4), normal(30, 2))
    monkeypatch.setitem(INVERSES, Cubic, lambda module: Inverse(undo))
    one = network((4, 2), top=Cubic)
    teacher = network((4, 2), top=Cubic, seed=5)
    with torch.no_grad():
        fit_least_squares(one, normal(200, 4), teacher(normal(200, 4)), strength=1e-12)
        assert relative_error(one, normal(20, 4, 3), teacher(normal(20, 4, 3))) < 1e-8


def test_relu_is_refused_or_passed_through_on_request():
    x = normal(200, 4)
    y, net = torch.sin(x[:, :2]), network((4, 30, 2), nn.ReLU)
    with pytest.raises(ValueError, match=r"got ReLU at place 1, which maps every z <= 0 to 0"):
        fit_least_squares(net, x, y)
    fit_least_squares(net, x, y, relu="pseudo-inverse")
    assert relative_error(net, x, y) < 0.5


# Labels


def test_digits_are_classified_in_one_sweep(digits):
    for width, least in ((100, 0.945), (500, 0.975)):
        shares = []
        for seed in range(3):
            x, y, x_test, y_test = split(digits, seed)
            net = network((64, width, 10), nn.Sigmoid, seed=seed).float()
            fit_least_squares(net, x.float(), y)
            shares.append(accuracy(net, x_test.float(), y_test))
        assert np.mean(shares) >= least, (width, shares)


def test_reweighting_raises_training_accuracy_and_costs_little_test_accuracy(digits):
    gains, costs = [], []
    for seed in range(5):
        x, y, x_test, y_test = split(digits, seed)
        nets = [network((64, 100, 10), nn.Sigmoid, seed=seed) for _ in range(2)]
        fit_least_squares(nets[0], x, y)
        report = fit_least_squares(nets[1], x, y, iterations=10)
        assert report.accuracy[0] == pytest.approx(accuracy(nets[0], x, y), abs=1e-12)
        assert max(report.accuracy) == pytest.approx(accuracy(nets[1], x, y), abs=1e-12)
        assert report.weight_solves == 3 * report.sweeps and report.passes == 4 * report.sweeps
        gains.append(accuracy(nets[1], x, y) - accuracy(nets[0], x, y))
        costs.append(accuracy(nets[0], x_test, y_test) - accuracy(nets[1], x_test, y_test))
    assert np.mean(gains) >= 0.01 and np.mean(costs) <= 0.005, (gains, costs)


@pytest.mark.parametrize("iterate", ["misclassified", "proximal"])
def test_the_other_iterations_never_end_below_the_first_sweep(iterate, digits):
    x, y = digits[0][:500], digits[1][:500]
    net = network((64, 30, 10), nn.Sigmoid)
    report = fit_least_squares(net, x, y, iterations=3, iterate=iterate)
    assert accuracy(net, x, y) == pytest.approx(max(report.accuracy), abs=1e-12)
    assert len(report.accuracy) == report.sweeps == 4 and report.kept == report.accuracy.index(max(report.accuracy))
    assert len(set(report.accuracy)) > 1  # the sweeps did something


def test_proximal_iterations_stay_at_the_weights_before_as_the_pull_grows(digits):
    x, y = digits[0][:300], digits[1][:300]
    nets = [network((64, 20, 10), nn.Sigmoid) for _ in range(2)]
    fit_least_squares(nets[0], x, y)
    report = fit_least_squares(nets[1], x, y, iterations=1, iterate="proximal", pull=1e12)
    assert report.accuracy[0] == report.accuracy[1] == pytest.approx(accuracy(nets[0], x, y), abs=1e-12)


@pytest.mark.parametrize("iterate", ["reweight", "misclassified", "proximal"])
def test_iterations_over_a_loader_equal_those_over_all_rows(iterate, digits):
    """Also where a batch has no misclassified row."""
    x, y = digits[0][:300], digits[1][:300]
    reports = []
    for data in ((x, y), (DataLoader(TensorDataset(x, y), batch_size=5),)):
        net = network((64, 20, 10), nn.Sigmoid)
        reports.append(fit_least_squares(net, *data, iterations=2, iterate=iterate, strength=1e-3))
    assert reports[0].accuracy == pytest.approx(reports[1].accuracy, abs=1e-12)


def test_iterations_stop_when_all_is_classified_right():
    x = torch.cat([normal(20, 2) + 8, normal(20, 2) - 8])
    report = fit_least_squares(network((2, 5, 2), nn.Tanh), x, torch.arange(40) // 20, iterations=9)
    assert report.accuracy == (1.0,) and report.sweeps == 1


# The network


def test_gradient_training_goes_on_from_it(digits, tmp_path):
    class Items(torch.utils.data.Dataset):
        def __init__(self, x, labels):
            self.x, self.y = x.float(), nn.functional.one_hot(labels, 10).float()

        def __len__(self):
            return len(self.x)

        def __getitem__(self, index):
            return {"x": self.x[index], "y": self.y[index]}

    x, y, x_test, y_test = split(digits, 0)
    losses = {}
    for start in ("cold", "warm"):
        net = network((64, 60, 10), nn.Sigmoid).float()
        if start == "warm":
            fit_least_squares(net, x.float(), y)
        config = FitConfig(method="l2", epochs=2, batch_size=64, learning_rate=1e-3, accelerator="cpu")
        history = fit(net, Items(x, y), Items(x_test, y_test), config=config, out=tmp_path / start, progress=False)
        losses[start] = [row["validation_mse"] for row in history.rows]
    assert losses["warm"][0] < 0.5 * losses["cold"][0] and losses["warm"][-1] < losses["cold"][-1]


def test_a_network_that_could_not_be_solved_is_left_as_it_was():
    net = network((4, 6, 2), Exp)
    before = [parameter.clone() for parameter in net.parameters()]
    with pytest.raises((ArithmeticError, ValueError)):
        fit_least_squares(net, 1e200 * normal(20, 4), normal(20, 2))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))


def test_layers_keep_their_precision_and_may_lack_a_bias():
    x = normal(200, 4)
    net = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 6, bias=False), nn.Identity()), nn.Linear(6, 2))
    fit_least_squares(net, x.reshape(200, 2, 2), x @ normal(4, 2), strength=1e-10)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert relative_error(net, x.float().reshape(200, 2, 2), x @ normal(4, 2)) < 1e-5
    layers = layers_of(net)
    assert torch.allclose(
        forward(layers, read_heads(layers), x)[-1].float(), net(x.float().reshape(200, 2, 2)), atol=1e-5
    )


def test_drawn_weights_are_uniform_and_the_seeds_own():
    net, twin = nn.Linear(100, 100), nn.Linear(100, 100)
    draw_weights(net, seed=3, bound=2.0)
    draw_weights(twin, seed=3, bound=2.0)
    assert torch.equal(net.weight, twin.weight) and net.weight.abs().max() <= 2
    assert abs(net.weight.std().item() - 2 / 3**0.5) < 0.02
    draw_weights(twin, seed=4, bound=2.0)
    assert not torch.equal(net.weight, twin.weight)


SIGMOID = (4, 6, 2), nn.Sigmoid


@pytest.mark.parametrize(
    ("net", "arguments", "settings", "message"),
    [
        (nn.Linear(4, 2), (normal(5, 4), normal(5, 2)), {}, "`network` must be an nn.Sequential .*; got Linear"),
        (nn.Sequential(nn.Sigmoid()), (normal(5, 4), normal(5, 2)), {}, "one nn.Linear before each activation; got"),
        (nn.Sequential(nn.Flatten()), (normal(5, 4), normal(5, 2)), {}, "must hold at least one nn.Linear"),
        (nn.Sequential(nn.LazyLinear(3)), (normal(5, 4), normal(5, 3)), {}, "must hold plain nn.Linear weights"),
        (nn.Sequential(nn.Linear(4, 2), nn.LeakyReLU(0.0)), (normal(5, 4), normal(5, 2)), {}, "negative_slope above 0"),
        (None, (normal(5, 3), normal(5, 2)), {}, r"`x` must be \(rows, 4\); got \(5, 3\)"),
        (None, (normal(5, 4), normal(5, 3)), {}, r"`y` must be \(5, 2\), or \(5,\) integer labels; got \(5, 3\)"),
        (None, (normal(5, 4), normal(4, 2)), {}, "`y` must have a row for each of 5 of `x`; got 4"),
        (None, (normal(5, 4), torch.tensor([0, 1, 2, 0, 1])), {}, r"labels from 0 to 1, .* of 0 to 2"),
        (None, (normal(5, 4) / 0, normal(5, 2)), {}, "`x` must be finite"),
        (None, (normal(5, 4),), {}, "`y` must be given with Tensor \\(5, 4\\) as `x`; got None"),
        (None, (iter([]), normal(5, 2)), {}, "`y` must be left out with a list_iterator"),
        (None, ([],), {}, "`x` must hold at least one row"),
        (None, (iter([]),), {}, "must be a loader that can be read several times; got list_iterator"),
        (None, ([normal(5, 4)],), {}, "a loader of batches .* got a batch that is a Tensor"),
        (None, (normal(5, 4), normal(5, 2)), {"targets": "far"}, "`targets` must be one of 'closest', 'minnorm'"),
        (None, (normal(5, 4), normal(5, 2)), {"iterations": 3}, "`iterations` must be 0 for targets that are numbers"),
        (None, (normal(5, 4), normal(5, 2)), {"strength": -1.0}, "`strength` must be a finite number of at least 0"),
        (None, (normal(5, 4), normal(5, 2)), {"clip": 0.5}, "`clip` must be below 0.5"),
        (None, (normal(5, 4), normal(5, 2)), {"relu": "yes"}, "`relu` must be one of 'refuse', 'pseudo-inverse'"),
        (None, (normal(5, 4), normal(5, 2)), {"every": 0}, "`every` must be an integer of at least 1; got 0"),
        (None, (normal(5, 4), normal(5, 2)), {"every": 2, "top": False}, "`every` must be 1 without the top re-fit"),
        (network(*SIGMOID, nn.Sigmoid), (normal(5, 4), 9 + normal(5, 2)), {}, "within the values of the last acti"),
    ],
)  # fmt: skip
def test_bad_arguments_get_one_line(net, arguments, settings, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        fit_least_squares(network(*SIGMOID) if net is None else net, *arguments, **settings)
    assert "\n" not in str(error.value) and str(error.value).startswith("fit_least_squares: `")


def test_a_shuffling_loader_is_refused_for_iterations():
    loader = DataLoader(TensorDataset(normal(8, 4), torch.arange(8) % 2), batch_size=4, shuffle=True)
    with pytest.raises(ValueError, match="`x` must give its rows in the same order each time"):
        fit_least_squares(network(*SIGMOID), loader, iterations=2)


def test_one_layer_twice_is_refused():
    shared = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="one nn.Linear is there twice"):
        fit_least_squares(nn.Sequential(shared, nn.Tanh(), shared), normal(5, 4), normal(5, 4))


def test_every_public_name_says_what_it_is():
    assert all(getattr(layerwise, name).__doc__ for name in layerwise.__all__ if name != "INVERSES")
