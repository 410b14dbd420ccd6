"""The head in training loops that leave the trodden path: it works, or says in one line why it does not."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.utils.data import Dataset

from sciml_cf.adapters.neuralop import NeuralopLoss
from sciml_cf.errors import HeadWarning, MovedHeadWarning, UnsolvedHeadWarning
from sciml_cf.evaluate import adapt
from sciml_cf.head import (
    Automatic,
    ClosedFormHead,
    ClosedFormLoss,
    ClosedFormLosses,
    CrossEntropy,
    Kalman,
    Proximal,
    RandomWalk,
    Ridge,
    Streaming,
)
from sciml_cf.training import FitConfig, fit

RIDGE = Ridge(strength=1e-3)


def net(outputs=2, width=8, inputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))


def batch(rows=40, outputs=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, generator=generator), torch.randn(rows, outputs, generator=generator)


def with_ones(phi):
    phi = phi.detach().double().numpy().reshape(-1, phi.shape[-1])
    return np.hstack([phi, np.ones((len(phi), 1))])


def dense(phi, y, strength=1e-3):
    y = y.detach().double().numpy().reshape(len(phi), -1)
    return np.linalg.solve(phi.T @ phi / len(phi) + strength * np.eye(phi.shape[1]), phi.T @ y / len(phi))


def head_of(layer):
    return np.vstack([layer.weight.detach().double().T.numpy(), layer.bias.detach().double().numpy()[None]])


class After(nn.Module):
    """A network with something after its head."""

    def __init__(self, after, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.gate = nn.Linear(3, 8), nn.Linear(8, outputs), nn.Parameter(torch.zeros(1))
        self.after = after

    def forward(self, x):
        return self.after(self, self.head(torch.tanh(self.body(x))), x)


# Nothing is solved.


@pytest.mark.parametrize("which", ["model", "layer"])
def test_a_backward_pass_in_eval_mode_warns_once(which):
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    (model if which == "model" else model[-1]).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = loss_of(model(x), y)  # evaluation, with gradients or without, says nothing
        with torch.no_grad():
            loss_of(model(x), y)
    with pytest.warns(UnsolvedHeadWarning, match=r"Call model\.train\(\) before the step"):
        loss.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_of(model(x), y).backward()
    assert not head_of(model[-1]).any() and issubclass(UnsolvedHeadWarning, HeadWarning)


@pytest.mark.parametrize("how", ["frozen", "detached", "value", "solve_in_eval"])
def test_what_is_on_purpose_is_silent_in_eval_mode(how):
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE, solve_in_eval=how == "solve_in_eval", initial="keep")
    model.eval()
    if how == "frozen":
        loss_of.head.frozen = True
    if how == "detached":
        loss_of.head.detach()
    (loss_of.value if how == "value" else loss_of)(model(x), y).backward()


def test_solve_in_eval_solves_where_gradients_are_on():
    (x, y), model = batch(), net()
    loss_of = ClosedFormLosses({"a": model[-1]}, RIDGE, solve_in_eval=True)
    model.eval()
    with torch.no_grad():
        loss_of({"a": model(x)}, {"a": y})
    assert not head_of(model[-1]).any()
    loss_of({"a": model(x)}, {"a": y}).backward()
    np.testing.assert_allclose(head_of(model[-1]), dense(with_ones(model[:-1](x)), y), rtol=1e-4, atol=1e-6)


def test_a_layer_that_was_replaced_in_the_model_is_found():
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    loss_of(model(x), y)
    model[-1] = nn.Linear(8, 2)
    with pytest.raises(RuntimeError, match="Was the layer replaced in the model"):
        loss_of(model(x), y)


# Proofs at any scale.

SCALES = [1e-18, 1e-9, 1e-6, 1.0, 1e6, 1e18]


@pytest.mark.parametrize("scale", SCALES)
def test_the_pass_of_another_batch_is_told_from_its_own_at_any_scale(scale):
    (x, y), (other, _), model = batch(), batch(seed=2), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    for _ in range(2):
        loss_of(model(x), scale * y)
    expected = dense(with_ones(model[:-1](x)), scale * y)
    prediction, _ = model(x), model(other)
    loss_of(prediction, scale * y)
    np.testing.assert_allclose(head_of(model[-1]), expected, rtol=1e-3, atol=1e-5 * scale)
    with torch.no_grad():  # the same by values alone
        prediction = model(x)
        model(other)
    with pytest.raises(ValueError, match="differs from the output"):
        loss_of.head.update(scale * y, prediction=prediction.clone())


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("scale", SCALES)
def test_a_residual_is_refused_and_a_copy_taken_at_any_scale(scale, graph):
    x, y = batch(outputs=3)
    for after, fits in ((lambda own, out, x: out + scale * x, False), (lambda own, out, x: out.clone(), True)):
        model = After(after)
        head = ClosedFormHead(model.head, RIDGE)
        with torch.set_grad_enabled(graph):
            if not fits:
                with pytest.raises(ValueError, match="Something after the head changes it"):
                    head.update(scale * y, prediction=model(x))
                continue
            for _ in range(2):
                head.update(scale * y, prediction=model(x))
        expected = dense(with_ones(torch.tanh(model.body(x))), scale * y)
        np.testing.assert_allclose(head_of(model.head), expected, rtol=1e-3, atol=1e-5 * scale)


class Fields(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.y[index]}


@pytest.mark.parametrize("scale", SCALES)
def test_adapt_refuses_a_residual_at_any_scale(scale):
    x, y = batch(outputs=3)
    model = After(lambda own, out, x: out + x)
    with torch.no_grad():
        model.head.weight *= scale
        model.head.bias *= scale
        model.body.weight /= scale
    with pytest.raises(ValueError, match="must return its head's output"):
        adapt(model, Fields(scale * x, scale * y))


@pytest.mark.parametrize("initial", ["zeros", "keep"])
def test_a_gate_that_is_zero_still_is_refused_at_the_first_step(initial):
    x, y = batch(outputs=3)
    model = After(lambda own, out, x: out + own.gate * x)
    with pytest.raises(ValueError, match="Something after the head changes it"):
        ClosedFormLoss(model.head, RIDGE, initial=initial)(model(x), y)


def test_an_unused_parameter_that_is_added_times_zero_is_no_gate():
    x, y = batch(outputs=3)
    model = After(lambda own, out, x: out + 0.0 * own.gate.sum())
    loss_of = ClosedFormLoss(model.head, RIDGE)
    for _ in range(2):
        loss_of(model(x), y).backward()
    np.testing.assert_allclose(head_of(model.head), dense(with_ones(torch.tanh(model.body(x))), y), rtol=1e-4)


# Casts.


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16, None])
@pytest.mark.parametrize("cast", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("moved", [False, True])
def test_a_cast_of_the_prediction_is_the_prediction(autocast, cast, moved):
    x, y = batch(outputs=3)
    model = After(lambda own, out, x: (out.movedim(-1, 1) if moved else out).to(cast))
    x, y = x.reshape(8, 5, 3), y.reshape(8, 5, 3)
    loss_of = ClosedFormLoss(model.head, RIDGE)
    for _ in range(3):
        with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
            features, prediction = torch.tanh(model.body(x)), model(x)
        loss = loss_of(prediction, (y.movedim(-1, 1) if moved else y).to(cast))
        loss.backward()
        np.testing.assert_allclose(head_of(model.head), dense(with_ones(features), y.to(cast)), rtol=1e-4, atol=1e-5)
    assert loss.dtype == torch.promote_types(cast, torch.float32)


@pytest.mark.parametrize("change", ["half", "bfloat16", "double", "to_half"])
def test_a_module_around_the_loss_is_cast_and_the_memory_of_the_rule_is_not(change):
    (x, y), model = batch(), net()
    whole = nn.ModuleDict({"net": model, "loss": ClosedFormLoss(model[-1], Kalman(0.8, 1e-3))})
    whole["loss"](model(x), y)
    before = {name: value.clone() for name, value in whole["loss"].head.state().items()}
    whole = whole.to(torch.float16) if change == "to_half" else getattr(whole, change)()
    for name, value in whole["loss"].head.state().items():
        assert value.dtype == torch.float64 and torch.equal(value, before[name])
    dtype = model[-1].weight.dtype
    loss = whole["loss"](model(x.to(dtype)), y.to(dtype))
    loss.backward()
    assert torch.isfinite(loss) and whole["loss"].head.state()["head"].dtype == torch.float64
    empty = whole.to("meta")["loss"].head.state()["head"]
    assert empty.device.type == "meta" and empty.dtype == torch.float64


# The layer changes.


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
        pytest.param(weight_norm, marks=pytest.mark.filterwarnings("ignore::FutureWarning")),
        lambda layer: layer.register_parameter("lora_A", nn.Parameter(torch.zeros(1, 8))),
        lambda layer: layer.add_module("adapter", nn.Linear(8, 2)),
        lambda layer: setattr(layer, "bias", None),
        lambda layer: layer.__dict__.update(nn.Linear(8, 5).__dict__),
    ],
)
def test_what_is_put_on_the_layer_later_is_found_at_the_next_step(change):
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    loss_of(model(x), y)
    change(model[-1])
    with pytest.raises(ValueError, match="must stay as it was bound"):
        loss_of(model(x)[:, :2], y)


def test_a_removed_change_leaves_the_layer_usable():
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    prune.l1_unstructured(model[-1], "weight", 0.5)
    prune.remove(model[-1], "weight")
    loss_of(model(x), y)
    np.testing.assert_allclose(head_of(model[-1]), dense(with_ones(model[:-1](x)), y), rtol=1e-4, atol=1e-6)


def test_a_layer_with_other_parameters_is_refused():
    layer = nn.Linear(8, 2)
    layer.register_parameter("lora_A", nn.Parameter(torch.zeros(1, 8)))
    with pytest.raises(ValueError, match="no parameters but weight and bias; got a Linear with lora_A"):
        ClosedFormLoss(layer, RIDGE)


def test_an_adapter_around_the_layer_is_refused_though_it_adds_nothing_yet():
    class Adapter(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer, self.down, self.up = layer, nn.Linear(8, 1, bias=False), nn.Linear(1, 2, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, phi):
            return self.layer(phi) + self.up(self.down(phi))

    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    loss_of(model(x), y)
    model[-1] = Adapter(model[-1])
    with pytest.raises(ValueError, match="Something after the head changes it"):
        loss_of(model(x), y)


class Tied(nn.Module):
    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.body, self.head = nn.Linear(8, 8), nn.Conv1d(1, 8, 1), nn.Linear(8, 8)
        if how == "weight":
            self.head.weight = self.first.weight
        if how == "bias":
            self.head.bias = self.first.bias
        if how == "memory":
            self.head.weight = nn.Parameter(self.first.weight.data)
        if how == "embedding":
            self.first = nn.Embedding(8, 8)
            self.head.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.tanh(x))


@pytest.mark.parametrize("how", ["weight", "bias", "memory", "embedding"])
@pytest.mark.parametrize("known", [True, False])
def test_tied_parameters_are_refused_before_anything_is_written(how, known):
    if how == "memory" and not known:
        return  # views of one memory are found in the model only
    model = Tied(how)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"must have parameters of its own; got one that .* shares \(tied weights\)"):
        ClosedFormLoss(model.head, RIDGE, model=model if known else None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("known", [True, False])
def test_a_tie_that_is_made_later_is_found_at_the_next_step(known):
    model = Tied("not")
    loss_of = ClosedFormLoss(model.head, RIDGE, model=model if known else None)
    x = torch.randn(20, 8)
    optimizer = torch.optim.Adam(model.parameters())  # holds the parameters, too, and is no tie
    loss_of(model(x), x)
    model.first.weight = model.head.weight
    with pytest.raises(ValueError, match=r"'first' \(Linear\) shares" if known else "another Linear shares"):
        loss_of(model(x), x)
    assert optimizer


def test_fit_and_the_adapters_refuse_tied_parameters(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1)
            self.head.weight = nn.Parameter(self.first.weight.data)

        def forward(self, x):
            return self.head(torch.tanh(self.first(x)))

    data = Fields(torch.randn(6, 4, 5), torch.randn(6, 4, 5))
    config = FitConfig(epochs=1, batch_size=3, accelerator="cpu")
    for use in (
        lambda: fit(Net(), data, data, config=config, out=tmp_path / "run", progress=False),
        lambda: NeuralopLoss(Net(), RIDGE),
        lambda: adapt(Net(), data),
    ):
        with pytest.raises(ValueError, match="tied weights"):
            use()


def test_a_model_that_does_not_have_the_layer_is_refused():
    with pytest.raises(ValueError, match="`model` must contain layer"):
        ClosedFormLoss(net()[-1], RIDGE, model=net())


class Twice(nn.Module):
    def __init__(self, *, joined):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.joined = nn.Linear(3, 3), nn.Linear(3, 3), joined

    def forward(self, x):
        first = self.head(torch.tanh(self.body(x)))
        second = self.head(torch.tanh(first))
        return torch.stack([first, second], 1) if self.joined else second


@pytest.mark.parametrize("graph", [True, False])
def test_a_layer_that_runs_twice_in_a_forward_pass_is_refused(graph):
    x, y = batch(outputs=3)
    for model in (Twice(joined=False), nn.Sequential(*[body := nn.Linear(3, 3), nn.Tanh()] * 2, body)):
        head = ClosedFormHead(model.head if isinstance(model, Twice) else body, RIDGE, initial="keep")
        with torch.set_grad_enabled(graph), pytest.raises(ValueError, match="must be used once in a forward pass"):
            head.update(y, prediction=model(x))


# Complex numbers.


def test_complex_numbers_are_refused_before_anything_is_written(tmp_path):
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    twisted = torch.complex(y, y)
    for use in (
        lambda: loss_of(model(x), twisted),
        lambda: loss_of(model(x), twisted, torch.ones(40)),
        lambda: loss_of(torch.complex(model(x), model(x)), twisted),
        lambda: loss_of(model(x), y, torch.ones(40, dtype=torch.complex64)),
        lambda: loss_of.solve(model(x), twisted),
        lambda: loss_of.value(model(x), twisted),
        lambda: loss_of.sums(model(x), twisted),
        lambda: loss_of.head.update(twisted, prediction=model(x)),
        lambda: loss_of.head.accumulate(twisted, prediction=model(x)),
    ):
        with pytest.raises(TypeError, match=r"must be real; got torch\.complex64.*torch\.view_as_real\(targets\)"):
            use()
    assert not head_of(model[-1]).any()
    fields = nn.Sequential(nn.Conv1d(1, 4, 1), nn.Tanh(), nn.Conv1d(4, 1, 1))
    before = fields[-1].weight.clone()
    data = Fields(torch.randn(6, 1, 5), torch.randn(6, 1, 5, dtype=torch.complex64))
    config = FitConfig(epochs=1, batch_size=3, accelerator="cpu", initial_head="keep")
    plain = FitConfig(epochs=1, batch_size=3, accelerator="cpu", initial_head="keep", normalize="none")
    for use in (
        lambda: adapt(fields, data),
        lambda: fit(fields, data, data, config=config, out=tmp_path / "run", progress=False),
        lambda: fit(fields, data, data, config=plain, out=tmp_path / "plain", progress=False),
        lambda: NeuralopLoss(fields, RIDGE, initial="keep")(fields(data.x), data.y),
    ):
        with pytest.raises((TypeError, ValueError), match=r"torch\.view_as_real"):
            use()
    assert torch.equal(fields[-1].weight, before)


# Several passes.


@pytest.mark.parametrize("join", ["stack", "cat"])
def test_unrolled_states_of_one_loss_are_solved_together_at_every_step(join):
    model, rule = net(outputs=3), Ridge(1e-3)
    loss_of = ClosedFormLoss(model[-1], rule)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    start, y = torch.randn(20, 3), torch.randn(20, 4, 3)
    for _ in range(3):
        state, states, features = start, [], []
        for _ in range(4):
            features.append(model[:-1](state))
            state = model(state)
            states.append(state)
        with torch.no_grad():
            model(torch.randn(5, 3))  # a pass without gradients in between changes nothing
        joined = torch.stack(states, 1) if join == "stack" else torch.cat(states)
        targets = y if join == "stack" else y.transpose(0, 1).flatten(0, 1)
        phi = with_ones(torch.cat(features))
        expected = dense(phi, y.transpose(0, 1).flatten(0, 1))
        loss = loss_of(joined, targets)
        np.testing.assert_allclose(head_of(model[-1]), expected, rtol=1e-3, atol=1e-5)
        error = phi @ expected - y.transpose(0, 1).flatten(0, 1).numpy()
        assert loss.item() == pytest.approx((error**2).mean(), rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_many_unrolled_states_are_no_limit():
    model = net(outputs=3)
    loss_of = ClosedFormLoss(model[-1], RIDGE, initial="keep")
    state, states = torch.randn(5, 3), []
    for _ in range(50):
        state = model(state)
        states.append(state)
    assert torch.isfinite(loss_of(torch.stack(states), torch.randn(50, 5, 3)))
    model = Twice(joined=True)
    ClosedFormLoss(model.head, RIDGE, initial="keep")(model(torch.randn(5, 3)), torch.randn(5, 2, 3))


def test_the_last_of_unrolled_states_may_be_the_prediction():
    model = net(outputs=3)
    loss_of = ClosedFormLoss(model[-1], RIDGE, initial="keep")
    first = model(torch.randn(20, 3))
    y, phi = torch.randn(20, 3), with_ones(model[:-1](first))
    loss_of(model(first), y).backward()
    np.testing.assert_allclose(head_of(model[-1]), dense(phi, y), rtol=1e-3, atol=1e-5)


def test_a_pass_without_gradients_does_not_stand_in_for_a_zero_head():
    (x, y), (other, _), model = batch(), batch(seed=2), After(lambda own, out, x: out.clone(), outputs=2)
    loss_of = ClosedFormLoss(model.head, RIDGE)
    prediction = model(x)
    with torch.no_grad():
        model(other)
    loss_of(prediction, y)
    np.testing.assert_allclose(
        head_of(model.head), dense(with_ones(torch.tanh(model.body(x))), y), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("backward", [True, False])
def test_passes_that_no_loss_takes_keep_no_graph(backward):
    (x, _), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], RIDGE)
    nodes = []
    for _ in range(5):
        output = model(x)
        marks = output.grad_fn.metadata
        nodes.append(weakref.ref(next(iter(next(iter(marks.values())).values()))))
        if backward:
            output.square().mean().backward()
        del output, marks
    gc.collect()
    assert all(node() is None for node in nodes)
    assert all(not one.features.requires_grad for one in loss_of.head._captures.passes)


def test_solving_first_gives_all_terms_the_solved_head():
    x, y = batch()
    model, other = net().double(), net().double()
    x, y = x.double().requires_grad_(), y.double()
    loss_of, plain = ClosedFormLoss(model[-1], RIDGE), ClosedFormLoss(other[-1], RIDGE)
    with torch.no_grad():
        assert loss_of.solve(model(x), y) is None
    u = model(x)
    loss = loss_of.value(u, y)
    expected = plain(other(x), y)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for ours, theirs in zip(  # Theorem 2: the head is a constant
        torch.autograd.grad(loss, model[:-1].parameters(), retain_graph=True),
        torch.autograd.grad(expected, other[:-1].parameters()),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    (slope,) = torch.autograd.grad(u.sum(), x)
    weight = torch.tensor(head_of(model[-1])[:-1].sum(1))
    features = model[:-1](x)
    torch.testing.assert_close(slope, ((1 - features**2) * weight) @ model[0].weight, rtol=1e-10, atol=1e-12)


# The optimizer.


OPTIMIZERS = {
    "adam": lambda own: torch.optim.Adam(own, lr=1e-2),
    "fused": lambda own: torch.optim.Adam(own, lr=1e-2, fused=True),
    "large steps": lambda own: torch.optim.SGD(own, lr=10.0),
    "tiny steps": lambda own: torch.optim.AdamW(own, lr=1e-6),
    "lbfgs": lambda own: torch.optim.LBFGS(own, lr=1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("how", ["unfrozen", "stale gradients", "by hand"])
def test_an_optimizer_that_moves_the_head_is_named_once(how, name):
    (x, y), model = batch(), net()
    if how == "stale gradients":
        model(x).sum().backward()
    optimizer = OPTIMIZERS[name](model.parameters())
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1))
    if how != "stale gradients":
        model.requires_grad_(True)

    def value():
        loss = model(x).square().mean()
        if how != "stale gradients":
            optimizer.zero_grad()
        loss.backward()
        return loss

    with pytest.warns(MovedHeadWarning, match=r"\[p for p in model\.parameters\(\) if p\.requires_grad\]") as found:
        for _ in range(4):
            if how == "by hand":
                value()
                with torch.no_grad():
                    for one in model.parameters():
                        one -= 1e-2 * one.grad
            else:
                optimizer.step(value)
            loss_of.head.clear()
            loss_of(model(x), y)
    assert len(found) == 1


def loaded(model, how):
    """Weights that are near those that the model has, put into it on purpose."""
    near = {name: value + 1e-3 * torch.randn_like(value) for name, value in model.state_dict().items()}
    other = {name: torch.randn_like(value) for name, value in near.items()}
    if how == "load_state_dict":
        model.load_state_dict(other)
    elif how == "load_state_dict of near weights":
        model.load_state_dict(near)
    else:
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_((near if how == "copy_ of near weights" else other)[name])


LOADS = ["load_state_dict", "load_state_dict of near weights", "copy_", "copy_ of near weights"]


@pytest.mark.parametrize("state", ["frozen", "unfrozen", "with a gradient"])
@pytest.mark.parametrize("how", LOADS)
@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_weights_that_are_loaded_on_purpose_are_no_move(how, state, name):
    torch.manual_seed(1)
    (x, y), model = batch(), net()
    if state == "with a gradient":
        model(x).sum().backward()
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1))
    every = state == "frozen"  # an optimizer may have all parameters, if the head has no gradient
    optimizer = OPTIMIZERS[name](model.parameters() if every else model[:-1].parameters())

    def value():
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(value)
    if state == "unfrozen":
        model.requires_grad_(True)
    loaded(model, how)
    loss_of(model(x), y)  # warnings are errors here


def test_a_move_and_a_load_after_it_are_told_apart():
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1))
    model(x).square().mean().backward()
    model[-1].weight.grad = torch.zeros_like(model[-1].weight)  # it is given to the optimizer, which leaves it alone
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    optimizer.step()
    loss_of.head.clear()
    loss_of(model(x), y)
    model[-1].weight.grad = None
    loaded(model, "copy_")
    loss_of(model(x), y)
    copied, head = copy.deepcopy((model, loss_of))  # a copy watches its own layer
    copied.requires_grad_(True)
    head(copied(x), y)
    other = torch.optim.SGD(copied.parameters(), lr=1e-2)
    copied(x).square().mean().backward()
    other.step()
    head.head.clear()
    with pytest.warns(MovedHeadWarning):
        head(copied(x), y)
    loss_of(model(x), y)


# Weights of single outputs.


def dense_outputs(phi, y, w, strength, previous, *, free=False):
    """Head by lstsq for each output on its own rows, and sum w e^2 / sum w over all numbers."""
    pull = np.full(phi.shape[1], strength)
    pull[-1] *= not free
    columns, error = [], 0.0
    for c in range(y.shape[1]):
        root = np.sqrt(w[:, c] / w[:, c].sum())
        used = root > 0
        stacked = np.vstack([root[used, None] * phi[used], np.diag(np.sqrt(pull))])
        goal = np.concatenate([root[used] * y[used, c], np.sqrt(pull) * previous[:, c]])
        columns.append(np.linalg.lstsq(stacked, goal, rcond=None)[0])
        error += (w[used, c] * (phi[used] @ columns[-1] - y[used, c]) ** 2).sum()
    return np.stack(columns, 1), error / w.sum()


class Points(nn.Module):
    def __init__(self, *, linear, moved):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.moved = linear, moved
        self.body = nn.Linear(3, 5)
        self.head = nn.Linear(5, 4) if linear else nn.Conv1d(5, 4, 1)
        self.double()

    def forward(self, x):
        phi = torch.tanh(self.body(x))
        output = self.head(phi if self.linear else phi.movedim(-1, 1))
        return output if not self.moved else output.movedim(-1, 1) if self.linear else output.movedim(1, -1)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("rule", [Ridge(1e-2), Proximal(0.3)], ids=["ridge", "proximal"])
@pytest.mark.parametrize(("linear", "moved"), [(True, False), (True, True), (False, False), (False, True)])
def test_weights_of_outputs_are_the_dense_solution_of_each(linear, moved, rule, free, masked):
    model = Points(linear=linear, moved=moved)
    second = linear == moved  # where the prediction has its channels
    loss_of = ClosedFormLoss(model.head, rule, initial="keep", penalise_bias=not free)
    for samples in (7, 5):
        x = torch.randn(samples, 6, 3, dtype=torch.float64)
        y, w = torch.randn(2, samples, 6, 4, dtype=torch.float64)
        w = w > 0 if masked else w.abs()
        wanted = torch.where(w > 0, y, torch.nan) if masked else y
        place = (lambda values: values.movedim(-1, 1)) if second else (lambda values: values)
        previous = np.vstack([model.head.weight.detach().flatten(1).T.numpy(), model.head.bias.detach().numpy()[None]])
        phi, rows = with_ones(torch.tanh(model.body(x))), (y.reshape(-1, 4).numpy(), w.reshape(-1, 4).double().numpy())
        goal = previous if isinstance(rule, Proximal) else 0 * previous
        expected, error = dense_outputs(phi, *rows, rule.strength, goal, free=free)
        loss = loss_of(model(x), place(wanted), place(w))
        loss.backward()
        found = np.vstack([model.head.weight.detach().flatten(1).T.numpy(), model.head.bias.detach().numpy()[None]])
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
        assert loss.item() == pytest.approx(error, rel=1e-9)
        model.eval()
        total, count = loss_of.sums(model(x), place(wanted), place(w))
        assert (total / count).item() == pytest.approx(error, rel=1e-9)
        assert loss_of(model(x), place(wanted), place(w)).item() == pytest.approx(error, rel=1e-9)
        model.train()


def test_weights_of_outputs_accumulate_and_broadcast():
    x, y = torch.randn(40, 3), torch.randn(40, 2)
    w = torch.rand(40, 2).round()
    w[:20, 0] = 0  # no row of the first output in the first part
    models = [net() for _ in range(3)]
    heads = [ClosedFormHead(model[-1], RIDGE) for model in models]
    heads[0].update(y, prediction=models[0](x), weights=w)
    for part in (slice(0, 20), slice(20, 40)):
        heads[1].accumulate(y[part], prediction=models[1](x[part]), weights=w[part])
    heads[1].update()
    np.testing.assert_allclose(head_of(models[1][-1]), head_of(models[0][-1]), rtol=1e-4, atol=1e-6)
    whole = head_of(models[0][-1])
    heads[0].update(y, prediction=models[0](x), weights=torch.tensor([[1.0, 3.0]]))  # of outputs alone
    heads[2].update(y, prediction=models[2](x))
    np.testing.assert_allclose(head_of(models[0][-1]), head_of(models[2][-1]), rtol=1e-4, atol=1e-6)
    assert np.abs(whole - head_of(models[2][-1])).max() > 1e-2


def test_an_output_without_rows_keeps_its_proximal_head():
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], Proximal(0.1), initial="keep")
    before, w = head_of(model[-1]), torch.ones(40, 2)
    w[:, 0] = 0
    loss = loss_of(model(x), torch.where(w > 0, y, torch.nan), w)
    np.testing.assert_allclose(head_of(model[-1])[:, 0], before[:, 0], rtol=1e-6)
    assert torch.isfinite(loss) and np.abs(head_of(model[-1])[:, 1] - before[:, 1]).max() > 1e-2
    with pytest.raises(ValueError, match="must not be zero everywhere"):
        loss_of(model(x), y, torch.zeros(40, 2))


@pytest.mark.parametrize("rule", [Kalman(0.8, 0.3), RandomWalk(0.3), Streaming(0.8, 0.3), Automatic()])
def test_rules_with_a_memory_refuse_weights_of_outputs(rule):
    (x, y), model = batch(), net()
    loss_of = ClosedFormLoss(model[-1], rule, initial="keep")
    before = head_of(model[-1])
    with pytest.raises(ValueError, match="whose memory all outputs share; got some for each output"):
        loss_of(model(x), y, torch.rand(40, 2))
    assert np.array_equal(head_of(model[-1]), before)
    classes = ClosedFormLoss(net()[-1], Proximal(), objective=CrossEntropy())
    model.eval()
    with pytest.raises(ValueError, match="which only SquaredError takes"):
        classes.value(model(x), torch.randint(2, (40,)), torch.rand(40, 2))
