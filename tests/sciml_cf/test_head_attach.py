import pytest
import torch
from torch import nn

from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Moments, Proximal, Ridge, find_head, proximal, ridge
from sciml_cf.head.binding.layer import read_head, write_head
from tests.problems import mlp, regression


def batch(rows=40, outputs=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    return x, torch.sin(x @ torch.randn(3, outputs, dtype=torch.float64, generator=generator))


def with_ones(features):
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


class Channels(nn.Module):
    """A pointwise network with a 1x1 convolution as head, whose output a subclass may change."""

    def __init__(self, outputs=2, dims=1):
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        torch.manual_seed(0)
        self.body, self.head = conv(3, 8, 1), conv(8, outputs, 1)
        self.double()

    def forward(self, x):
        return self.after(self.head(torch.tanh(self.body(x))), x)

    def after(self, output, x):
        return output


# The head in the layer.


@pytest.mark.parametrize("bias", [True, False])
def test_update_writes_the_closed_form_solution(bias):
    model = mlp(bias=bias)
    x, y = batch()
    head = ClosedFormHead(model[-1], Ridge(strength=1e-3))
    model(x)
    head.update(y)
    features = model[:-1](x)
    expected = ridge(Moments.from_batch(with_ones(features) if bias else features, y), strength=1e-3)
    torch.testing.assert_close(read_head(model[-1]), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolution_head_equals_linear_head_on_its_points(dims):
    model = Channels(dims=dims)
    x = torch.randn(5, 3, *[4] * dims, dtype=torch.float64)
    y = torch.randn(5, 2, *[4] * dims, dtype=torch.float64)
    head = ClosedFormHead(model.head, Ridge(strength=1e-3))
    model(x)
    head.update(y)
    features = torch.tanh(model.body(x)).movedim(1, -1).reshape(-1, 8)
    expected = ridge(Moments.from_batch(with_ones(features), y.movedim(1, -1).reshape(-1, 2)), strength=1e-3)
    torch.testing.assert_close(read_head(model.head), expected, rtol=1e-11, atol=1e-11)


def test_proximal_updates_follow_each_other():
    model = mlp()
    head = ClosedFormHead(model[-1], Proximal(strength=0.1))
    expected = torch.zeros(9, 2, dtype=torch.float64)
    for seed in range(3):
        x, y = batch(seed=seed)
        model(x)
        head.update(y)
        expected = proximal(Moments.from_batch(with_ones(model[:-1](x)), y), expected, strength=0.1)
    torch.testing.assert_close(read_head(model[-1]), expected, rtol=1e-12, atol=1e-12)


def test_accumulated_batches_equal_one_batch():
    x, y = batch()
    heads = []
    for parts in ((slice(0, 40),), (slice(0, 10), slice(10, 40))):
        model = mlp()
        head = ClosedFormHead(model[-1], Proximal(strength=0.1))
        for part in parts:
            model(x[part])
            head.accumulate(y[part])
        head.update()
        heads.append(read_head(model[-1]))
    torch.testing.assert_close(*heads, rtol=1e-12, atol=1e-12)


def test_weights_loaded_from_outside_win_over_the_remembered_head():
    model, (x, y) = mlp(), batch()
    head = ClosedFormHead(model[-1], Proximal(strength=1e6))
    loaded = torch.randn(9, 2, dtype=torch.float64)
    write_head(model[-1], loaded)
    model(x)
    head.update(y)
    torch.testing.assert_close(read_head(model[-1]), loaded, rtol=1e-4, atol=1e-4)


def test_initial_head_is_zero_or_kept():
    model = mlp()
    before = read_head(model[-1])
    ClosedFormHead(model[-1], Proximal(), initial="keep")
    assert torch.equal(read_head(model[-1]), before)
    ClosedFormHead(model[-1], Proximal())
    assert not read_head(model[-1]).any()


def test_head_is_in_the_models_state_but_in_no_optimizer():
    model = mlp()
    head = ClosedFormHead(model[-1], Proximal())
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"2.weight", "2.bias"}
    assert {"2.weight", "2.bias"} <= set(model.state_dict())
    assert set(head.state_dict()) == {"rule_head", "rule_jitter"}
    head.detach()
    assert all(p.requires_grad for p in model.parameters())


def test_state_dict_restores_rule_and_layer():
    x, y = batch()
    model, other = mlp(), mlp()
    head, copy = ClosedFormHead(model[-1], Proximal()), ClosedFormHead(other[-1], Proximal())
    model(x)
    head.update(y)
    copy.load_state_dict(head.state_dict())
    assert torch.equal(read_head(other[-1]), read_head(model[-1]))


def test_find_head_takes_the_last_linear_layer():
    model = Channels()
    assert find_head(model) is model.head
    with pytest.raises(ValueError, match="nn.Linear or a 1x1 convolution"):
        find_head(nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU()))


# The loss.


def solved_objective(model, x, y, previous, strength, penalised):
    """The proximal objective with the solve inside the graph, scaled like the loss (a mean over outputs too)."""
    features = with_ones(model[:-1](x))
    gram, cross = features.T @ features / len(x), features.T @ y / len(x)
    system = gram + strength * torch.eye(9, dtype=torch.float64)
    head = torch.linalg.solve(system, cross + strength * previous)
    loss = (features @ head - y).square().sum(1).mean()
    return (loss + strength * (head - previous).square().sum() * penalised) / y.shape[1]


@pytest.mark.parametrize("rule", [Proximal(strength=0.05), Ridge(strength=0.05)])
def test_gradient_equals_autograd_through_the_solve(rule):
    # Theorems 1 and 2: equal with the penalty in the objective, and clearly different without it.
    x, y = batch()
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], rule, initial="keep")
    previous = read_head(model[-1]) if isinstance(rule, Proximal) else torch.zeros(9, 2, dtype=torch.float64)
    backbone = list(model[:-1].parameters())
    through = torch.autograd.grad(solved_objective(model, x, y, previous, 0.05, True), backbone)
    without = torch.autograd.grad(solved_objective(model, x, y, previous, 0.05, False), backbone)
    ours = torch.autograd.grad(loss_of(model(x), y), backbone)
    for a, b, c in zip(ours, through, without, strict=True):
        assert (a - b).abs().max() <= 1e-8 * b.abs().max()
        assert (a - c).abs().max() > 1e-3 * b.abs().max()


def test_loss_is_that_of_the_new_head():
    x, y = batch()
    model = mlp()
    loss = ClosedFormLoss(model[-1], Proximal(strength=0.05))(model(x), y)
    assert loss.item() == pytest.approx((model(x) - y).square().mean().item(), rel=1e-12)


def test_evaluation_solves_nothing():
    x, y = batch()
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], Proximal(), initial="keep")
    before = read_head(model[-1])
    model.eval()
    assert loss_of(model(x), y).item() == pytest.approx((model(x) - y).square().mean().item())
    model.train()
    with torch.no_grad():
        loss_of(model(x), y)
    assert torch.equal(read_head(model[-1]), before)


def test_backward_through_a_prediction_made_before_the_solve_is_right():
    x, y = batch()
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], Proximal(strength=0.05), initial="keep")
    backbone = list(model[:-1].parameters())
    expected = torch.autograd.grad(model(x).pow(3).mean(), backbone)
    prediction = model(x)
    other = prediction.pow(3).mean()
    loss_of(prediction, y)
    for a, b in zip(torch.autograd.grad(other, backbone), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_first_algorithm_1_step_from_zero_leaves_the_backbone():
    x, y = batch()
    model = mlp()
    head = ClosedFormHead(model[-1], Proximal(strength=1e-2))
    before = [p.clone() for p in model[:-1].parameters()]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for step in range(2):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            head.update(y, prediction=model(x))
        moved = [not torch.equal(a, b) for a, b in zip(model[:-1].parameters(), before, strict=True)]
        assert all(moved) if step else not any(moved)


def test_features_are_released_after_use():
    x, y = batch()
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], Proximal())
    loss_of(model(x), y)
    with pytest.raises(RuntimeError, match="forward pass in training mode"):
        loss_of.head.update(y)


# Layouts, and what comes after the head.


class Transposed(Channels):
    def after(self, output, x):
        return output.movedim(1, -1).contiguous()


class Squeezed(Channels):
    def after(self, output, x):
        return output.squeeze(1)


class Residual(Channels):
    def after(self, output, x):
        return output + x[:, :2]


class Masked(Channels):
    def after(self, output, x):
        return output * (x[:, :2] > 0)


class Denormalised(Channels):
    def after(self, output, x):
        return 3.0 * output


class Activated(Channels):
    def after(self, output, x):
        return torch.tanh(output)


@pytest.mark.parametrize("initial", ["zeros", "keep"])
@pytest.mark.parametrize("points", [6, 2])  # two points as well as two channels: shapes alone cannot tell the axes
def test_channels_may_be_moved_after_the_head(initial, points):
    x, y = torch.randn(5, 3, points, dtype=torch.float64), torch.randn(5, 2, points, dtype=torch.float64)
    heads = []
    for model, targets in ((Channels(), y), (Transposed(), y.movedim(1, -1))):
        loss_of = ClosedFormLoss(model.head, Proximal(), initial=initial)
        loss_of(model(x), targets)
        heads.append(read_head(model.head))
    torch.testing.assert_close(*heads, rtol=1e-12, atol=1e-12)


def test_single_channel_may_be_squeezed():
    x, y = torch.randn(5, 3, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    model = Squeezed(outputs=1)
    loss = ClosedFormLoss(model.head, Proximal(strength=1e-3))(model(x), y)
    assert loss.item() == pytest.approx((model(x) - y).square().mean().item(), rel=1e-12)


@pytest.mark.parametrize("initial", ["zeros", "keep"])
@pytest.mark.parametrize("kind", [Residual, Masked, Denormalised, Activated])
def test_a_changed_output_is_refused(kind, initial):
    model = kind()
    x, y = torch.randn(5, 3, 6, dtype=torch.float64), torch.randn(5, 2, 6, dtype=torch.float64)
    loss_of = ClosedFormLoss(model.head, Proximal(), initial=initial)
    if kind is Activated and initial == "zeros":  # at zero, tanh is the identity to first order; the next step tells
        loss_of(model(x), y)
    with pytest.raises(ValueError, match="Something after the head changes it"):
        loss_of(model(x), y)


def test_a_changed_output_is_refused_without_a_graph_as_soon_as_it_shows():
    model = Denormalised()
    x, y = torch.randn(5, 3, 6, dtype=torch.float64), torch.randn(5, 2, 6, dtype=torch.float64)
    head = ClosedFormHead(model.head, Proximal())
    with torch.no_grad():
        head.update(y, prediction=model(x))  # three times zero is zero
        with pytest.raises(ValueError, match="Something after the head changes it"):
            head.update(y, prediction=model(x))


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_prediction_without_a_graph_that_is_not_of_the_last_forward_pass_is_refused(steps):
    x, y = batch()
    model = mlp()
    head = ClosedFormHead(model[-1], Proximal(), initial="keep")
    with torch.no_grad():
        for _ in range(steps):
            head.update(y, prediction=model(x))
        prediction = model(x)
        model(x + 1)
    with pytest.raises(ValueError, match="the model ran again since"):
        head.update(y, prediction=prediction)


# Bad input.


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (nn.ReLU(), TypeError, "must be nn.Linear or a 1x1"),
        (nn.Conv1d(4, 2, 3), ValueError, "kernel size 1"),
        (nn.Conv1d(4, 2, 1, stride=2), ValueError, "stride 1"),
        (nn.Conv1d(4, 2, 1, padding=1), ValueError, "no padding"),
        (nn.Conv1d(4, 2, 1, groups=2), ValueError, "one group"),
    ],
)
def test_layers_that_mix_points_are_refused(layer, error, message):
    with pytest.raises(error, match=message):
        ClosedFormHead(layer, Proximal())


def test_wrong_rule_and_wrong_initial_are_refused():
    with pytest.raises(TypeError, match="`rule` must be a Rule"):
        ClosedFormHead(nn.Linear(2, 1), "proximal")
    with pytest.raises(ValueError, match="`initial` must be one of"):
        ClosedFormHead(nn.Linear(2, 1), Proximal(), initial="ones")


def test_wrong_targets_are_refused():
    model, (x, y) = mlp(), batch()
    loss_of = ClosedFormLoss(model[-1], Proximal())
    with pytest.raises(ValueError, match=r"`targets` must be shaped like the prediction \(40, 2\)"):
        loss_of(model(x), y[:, :1])
    model(x)
    with pytest.raises(ValueError, match=r"`targets` must be shaped like the layer's output"):
        loss_of.head.update(y[:, :1])


def test_nan_features_keep_the_head_as_it_was():
    model, (x, y) = mlp(), batch()
    loss_of = ClosedFormLoss(model[-1], Proximal())
    loss_of(model(x), y)
    before = read_head(model[-1])
    x[0] = float("nan")
    with pytest.raises(NotPositiveDefinite):
        loss_of(model(x), y)
    assert torch.equal(read_head(model[-1]), before)


def test_regression_problem_is_well_posed():
    phi, _ = regression()
    assert torch.linalg.cond(phi) < 3


def test_a_state_stays_what_it_was_when_another_is_loaded():
    x, y = regression(20, 7, 3)
    layer = nn.Linear(7, 3).double()
    head = ClosedFormHead(layer, Proximal(0.1))
    head.update(y, prediction=layer(x))
    state, kept = head.state(), {name: value.clone() for name, value in head.state().items()}
    weight = layer.weight.clone()
    other = {name: torch.zeros_like(value) for name, value in head.state_dict().items()}
    head.load_state_dict(other)
    assert not layer.weight.any() and not head.state()["head"].any()
    for name, value in kept.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0)
    head.restore(state)
    torch.testing.assert_close(layer.weight, weight, rtol=0, atol=0)
    nn.ModuleDict({"head": head}).load_state_dict({f"head.{name}": value for name, value in other.items()})
    torch.testing.assert_close(state["head"], kept["head"], rtol=0, atol=0)


@pytest.mark.parametrize("rows", [12, 4], ids=["more rows than features", "fewer"])
@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_whose_sign_is_not_yet_applied_are_numbers(rows, weighted):
    signal = torch.fft.fft(torch.randn(rows, 5, dtype=torch.float64)).conj()
    lazy, plain = signal.imag, signal.imag.resolve_neg()
    assert lazy.is_neg() and not plain.is_neg()
    weights = torch.rand(rows, dtype=torch.float64) if weighted else None
    found = []
    for values in (lazy, plain):
        layer = nn.Linear(5, 2).double()
        loss_of = ClosedFormLoss(layer, Proximal(0.1))
        loss = loss_of(layer(values), values[:, :2], weights)
        found.append((loss.detach(), layer.weight.detach().clone()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
