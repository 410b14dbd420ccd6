"""The explicit softmax layer against naive Bayes, and as the start of a training."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.naive_bayes import MultinomialNB
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sciml_cf.layerwise import Cooccurrences, explicit_head, explicit_softmax, warm_start, warm_start_layers


def data(rows=200, features=7, classes=4, seed=0):
    """Features of L1 norm 3, and labels of unequal frequency that depend on them."""
    random = np.random.default_rng(seed)
    labels = random.choice(classes, rows, p=[0.4, 0.3, 0.2, 0.1])
    centres = random.dirichlet(np.ones(features), classes)
    return torch.tensor(3 * np.stack([random.dirichlet(9 * centres[label] + 0.1) for label in labels])), torch.tensor(
        labels
    )


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16), torch.tensor(y)


def split(digits, seed):
    order = torch.randperm(len(digits[0]), generator=torch.Generator().manual_seed(seed))
    cut = int(0.8 * len(order))
    return [part[some] for some in (order[:cut], order[cut:]) for part in digits]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", ["to_dense", "to_sparse", "to_sparse_csr"])
def test_it_is_multinomial_naive_bayes_on_rows_of_equal_norm(layout):
    x, labels = data()
    reference = MultinomialNB(alpha=1e-10).fit(x.numpy(), labels.numpy()).predict_log_proba(x.numpy())
    weights = explicit_softmax(getattr(x, layout)(), labels, smoothing=1e-12)
    assert np.abs((x @ weights).log_softmax(dim=1).numpy() - reference).max() < 1e-5


def test_the_power_is_the_mean_norm_or_the_number_that_is_given():
    x, labels = data()
    x = x * torch.linspace(0.5, 2, len(x), dtype=torch.float64)[:, None]
    mean = x.sum(dim=1).mean().item()
    assert torch.allclose(explicit_softmax(x, labels), explicit_softmax(x, labels, norm=mean), rtol=1e-12, atol=1e-12)
    one = explicit_softmax(x, labels, norm=1, smoothing=1e-13)
    counts = torch.stack([x[labels == label].sum(dim=0) for label in range(4)], dim=1)
    assert torch.allclose(one, counts.log(), atol=1e-9)
    five = explicit_softmax(x, labels, norm=5, smoothing=1e-13)
    assert torch.allclose(five, counts.log() - 0.8 * counts.sum(dim=0).log(), atol=1e-9)


def test_the_same_data_twice_change_no_probability():
    x, labels = data()
    once = explicit_softmax(x, labels)
    twice = explicit_softmax(torch.cat([x, x]), torch.cat([labels, labels]))
    assert ((x @ once).softmax(dim=1) - (x @ twice).softmax(dim=1)).abs().max() < 1e-12


def test_a_stream_equals_all_rows_at_once():
    x, labels = data()
    full = explicit_softmax(x, labels, num_classes=5)
    loader = DataLoader(TensorDataset(x, labels), batch_size=7)
    assert torch.allclose(explicit_softmax(loader, num_classes=5), full, rtol=1e-12, atol=1e-12)
    dicts = [{"x": x[:50], "y": labels[:50]}, {"x": x[50:], "y": labels[50:]}]
    assert torch.allclose(explicit_softmax(dicts, num_classes=5), full, rtol=1e-12, atol=1e-12)


def test_features_that_never_meet_a_class_give_finite_weights():
    x, labels = data()
    x[:, 2] = 0  # a feature that is never there
    x[labels == 1, 3] = 0  # and one that misses a class
    weights = explicit_softmax(x, labels, num_classes=6)  # and two classes that are never seen
    assert torch.isfinite(weights).all() and torch.isfinite((x @ weights).log_softmax(dim=1)).all()
    seen = (x @ weights).softmax(dim=1)[:, 4:]
    assert seen.max() < 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x - 0.1, y), "`features` must not be negative; got -"),
        (lambda x, y: ((x - 0.1).to_sparse(), y), "`features` must not be negative; got -"),
        (lambda x, y: (x / 0, y), "`features` must not be negative; got NaN or infinite ones"),
        (lambda x, y: (x[0], y), r"`features` must be floating \(rows, F\)"),
        (lambda x, y: (x[:0], y[:0]), "at least one row"),
        (lambda x, y: (x, y[1:]), r"`labels` must be \(200,\) integers; got \(199,\)"),
        (lambda x, y: (x, y.double()), r"integers; got \(200,\) torch.float64"),
        (lambda x, y: (x, y - 1), "`labels` must be from 0 to 2; got -1 to 2"),
        (lambda x, y: (x, None), r"`labels` must be \(rows,\) with Tensor"),
        (lambda x, y: ([(x, y)], None), "`num_classes` must be given"),
    ],
)
def test_bad_data_get_one_line(change, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        explicit_softmax(*change(*data()))
    assert "\n" not in str(error.value) and str(error.value).startswith("explicit_softmax: `")


def test_bad_settings_get_one_line():
    x, labels = data()
    with pytest.raises(ValueError, match="`norm` must be one of 'mean'; got 'max'"):
        explicit_softmax(x, labels, norm="max")
    with pytest.raises(ValueError, match="`norm` must be a finite number above 0; got 0"):
        explicit_softmax(x, labels, norm=0)
    with pytest.raises(ValueError, match="`smoothing` must be a finite number above 0; got 0"):
        explicit_softmax(x, labels, smoothing=0)
    with pytest.raises(ValueError, match="must hold a feature above 0"):
        explicit_softmax(0 * x, labels)
    found = [Cooccurrences.from_batch(x, labels, num_classes=size) for size in (4, 5)]
    with pytest.raises(ValueError, match=r"`other` must have counts \(7, 4\); got \(7, 5\)"):
        found[0] + found[1]
    assert found[0].norms.item() == pytest.approx(600) and found[0].rows == 200
    assert explicit_head(found[1]).shape == (7, 5)
    with pytest.raises(ValueError, match="`features` must hold at least one batch"):
        explicit_softmax([], num_classes=3)
    with pytest.raises(TypeError, match="must give batches .*; got a Tensor"):
        explicit_softmax([x], num_classes=3)


def test_digits_are_classified_without_a_gradient(digits):
    shares = []
    for seed in range(3):
        x, y, x_test, y_test = split(digits, seed)
        shares.append(((x_test @ explicit_softmax(x, y)).argmax(dim=1) == y_test).double().mean().item())
    assert np.mean(shares) >= 0.87, shares


# Warm starts


def test_a_warm_start_writes_the_explicit_weights_and_leaves_the_rest_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)).train()
    model[1].eval()
    x, labels = torch.randn(50, 5), torch.arange(50) % 3
    before = model[0].weight.clone()
    norm = warm_start(model, DataLoader(TensorDataset(x, labels), batch_size=16))
    with torch.no_grad():
        features = model[:2](x).double()
    assert norm == pytest.approx(features.sum(dim=1).mean().item(), rel=1e-6)
    assert torch.allclose(model[3].weight.double().T, explicit_softmax(features, labels), atol=1e-5)
    assert not model[3].bias.any() and torch.equal(model[0].weight, before)
    assert model.training and model[2].training and not model[1].training and not model[3]._forward_pre_hooks


def test_a_warm_start_of_a_convolution_counts_every_point():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 5, 3, padding=1), nn.Sigmoid(), nn.Conv1d(5, 3, 1))
    x, labels = torch.randn(8, 2, 16), torch.randint(3, (8, 16))
    warm_start(model, [(x, labels)])
    with torch.no_grad():
        rows = model[:2](x).movedim(1, -1).reshape(-1, 5).double()
    assert torch.allclose(model[2].weight[..., 0].double().T, explicit_softmax(rows, labels.flatten()), atol=1e-5)


def train_softmax(layer, x, y, x_test, y_test, epochs, seed):
    """Test accuracy before each epoch and after the last, of Adam at 0.01 in batches of 128."""
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    generator, curve = torch.Generator().manual_seed(seed), []
    for epoch in range(epochs + 1):
        with torch.no_grad():
            curve.append((layer(x_test).argmax(dim=1) == y_test).double().mean().item())
        for some in torch.randperm(len(x), generator=generator).split(128) if epoch < epochs else ():
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(x[some]), y[some]).backward()
            optimizer.step()
    return curve


def test_a_warm_start_is_ahead_of_an_epoch_of_training(digits):
    curves = {"warm": [], "cold": []}
    for seed in range(3):
        x, y, x_test, y_test = split(digits, seed)
        for start, found in curves.items():
            torch.manual_seed(seed)
            layer = nn.Linear(64, 10)
            if start == "warm":
                warm_start(nn.Sequential(layer), [(x.float(), y)])
            found.append(train_softmax(layer, x.float(), y, x_test.float(), y_test, 1, seed))
    assert np.mean([curve[0] for curve in curves["warm"]]) >= np.mean([curve[1] for curve in curves["cold"]]) + 0.05


def test_layers_are_solved_one_after_the_other(digits):
    x, y = digits[0][:600], digits[1][:600]
    model = nn.Sequential(nn.Linear(64, 10), nn.Softmax(dim=-1), nn.Linear(10, 10)).double()
    norms = warm_start_layers(model, [(x[:100], y[:100]), (x[100:], y[100:])])
    first = explicit_softmax(x, y)
    hidden = (x @ first).softmax(dim=1)
    assert torch.allclose(model[0].weight.T, first, atol=1e-10)
    assert torch.allclose(model[2].weight.T, explicit_softmax(hidden, y), atol=1e-8)
    assert norms == pytest.approx([x.sum(dim=1).mean().item(), 1.0])
    with torch.no_grad():
        shares = [(scores.argmax(dim=1) == y).double().mean().item() for scores in (hidden, model(x))]
    assert shares[1] > 0.85 and shares[1] > shares[0] - 0.02
    with pytest.raises(ValueError, match=r"one output a class each; got outputs \[5, 10\]"):
        warm_start_layers(nn.Sequential(nn.Linear(64, 5), nn.Linear(5, 10)), [(x, y)])


def test_a_model_that_cannot_be_warm_started_is_told_so():
    x, labels = torch.randn(20, 5), torch.arange(20) % 3
    with pytest.raises(ValueError, match="`features` must not be negative"):
        warm_start(nn.Linear(5, 3), [(x, labels)])
    twice = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="must call the layer once a forward pass; it was called 2 times"):
        warm_start(nn.Sequential(nn.Linear(5, 3), nn.ReLU(), twice, nn.ReLU(), twice), [(x, labels)])
    with pytest.raises(ValueError, match="`loader` must hold at least one batch"):
        warm_start(nn.Linear(5, 3), [])
    assert not twice._forward_pre_hooks
