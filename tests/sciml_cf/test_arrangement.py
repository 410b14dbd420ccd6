"""Arrangements of a head's numbers in a prediction: rows equal to a dense reference, whatever the shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf import FNOConfig, TFNOConfig, UNOConfig, adapt, posterior
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, CrossEntropy, Proximal, Ridge
from sciml_cf.head.binding.arrangement import Arrangements
from sciml_cf.head.binding.layer import read_head
from sciml_cf.head.posterior import apply_with_std
from tests.sciml_cf.test_adapt import Items

FEATURES, STRENGTH = 5, 0.03
# (samples, channels, *points): unequal, alike in all, one sample, one channel, one point along an axis.
PLANES = [(3, 2, 5, 7), (4, 4, 4, 4), (2, 1, 4, 32), (1, 3, 3, 2), (5, 2, 1, 2), (2, 2, 2, 2)]
BOXES = [(3, 3, 3, 3, 3), (2, 1, 4, 2, 3)]


class Pointwise(nn.Module):
    """phi = tanh(A x + a) and W^T phi + b at each point; a subclass says in which layout the head sees the points."""

    def __init__(self, shape):
        super().__init__()
        channels, self.shape = shape[1], shape[2:]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Linear(channels, FEATURES)
            self.head = self.make_head(channels)
        self.double()

    def make_head(self, channels):
        return nn.Linear(FEATURES, channels)

    def forward(self, x):
        return self.after(torch.tanh(self.body(x.movedim(1, -1))))  # (B, *N, F)


class Last(Pointwise):
    """A linear layer on ``(B, *N, F)``, a view with the channels second."""

    def after(self, phi):
        return self.head(phi).movedim(-1, 1)


class Copied(Last):
    def after(self, phi):
        return super().after(phi).contiguous()


class PointsFirst(Pointwise):
    """``(N, B, F)``, as recurrent networks and transformers have it."""

    def after(self, phi):
        output = self.head(phi.flatten(1, -2).transpose(0, 1))
        return output.permute(1, 2, 0).reshape(len(phi), -1, *self.shape)


class OneList(Pointwise):
    """(B N, F)."""

    def after(self, phi):
        return self.head(phi.flatten(0, -2)).reshape(*phi.shape[:-1], -1).movedim(-1, 1)


class Backwards(Pointwise):
    """The points in the opposite order."""

    def after(self, phi):
        return self.head(phi.flatten(1, -2).flip(1)).flip(1).movedim(-1, 1).reshape(len(phi), -1, *self.shape)


class Convolution(Pointwise):
    def make_head(self, channels):
        return {2: nn.Conv2d, 3: nn.Conv3d}[len(self.shape)](FEATURES, channels, 1)

    def after(self, phi):
        return self.head(phi.movedim(-1, 1))


class Swapped(Convolution):
    """A convolution on the points with their first and last axis swapped."""

    def after(self, phi):
        return self.head(phi.movedim(-1, 1).transpose(2, -1)).transpose(2, -1)


class Flattened(Pointwise):
    """The plane as one axis, as neuraloperator's projection has it."""

    def make_head(self, channels):
        return nn.Conv1d(FEATURES, channels, 1)

    def after(self, phi):
        return self.head(phi.movedim(-1, 1).flatten(2)).reshape(len(phi), -1, *self.shape)


MODELS = [Last, Copied, PointsFirst, OneList, Backwards, Convolution, Swapped, Flattened]


def problem(kind, shape, seed=1):
    """A model, inputs and targets, and the dense rows that belong to them: numpy, none of the package's code."""
    model, rng = kind(shape), np.random.default_rng(seed)
    x, y = rng.normal(size=(2, *shape))
    weight, bias = (value.detach().numpy() for value in (model.body.weight, model.body.bias))
    phi = np.tanh(np.moveaxis(x, 1, -1) @ weight.T + bias).reshape(-1, FEATURES)
    phi = np.hstack([phi, np.ones((len(phi), 1))])
    return model, Items(torch.tensor(x), torch.tensor(y)), phi, np.moveaxis(y, 1, -1).reshape(-1, shape[1])


def dense_ridge(phi, targets, strength):
    gram = phi.T @ phi / len(phi) + strength * np.eye(phi.shape[1])
    return np.linalg.solve(gram, phi.T @ targets / len(phi))


@pytest.mark.parametrize("shape", PLANES + BOXES)
@pytest.mark.parametrize("kind", MODELS)
def test_error_bars_are_those_of_the_dense_rows(kind, shape):
    model, data, phi, targets = problem(kind, shape)
    known = posterior(model, data, data, batch_size=3)
    gram = phi.T @ phi / len(phi)
    np.testing.assert_allclose(known.gram.numpy(), gram, rtol=1e-10, atol=1e-12)
    mean = phi @ read_head(model.head).numpy()
    np.testing.assert_allclose(known.noise.numpy(), np.sqrt(((mean - targets) ** 2).mean(0)), rtol=1e-10)
    form = np.einsum("rf,rf->r", phi, np.linalg.solve(gram + 1e-6 * np.diag(gram).mean() * np.eye(len(gram)), phi.T).T)
    std = float(known.scale) * np.sqrt(form / len(gram))[:, None] * known.noise.numpy()
    predicted, found = apply_with_std(model, data.x, known, batch_size=2)
    for values, rows in ((predicted, mean), (found, std)):
        np.testing.assert_allclose(values.movedim(1, -1).reshape(rows.shape).numpy(), rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("shape", PLANES + BOXES)
@pytest.mark.parametrize("kind", MODELS)
def test_adaptation_is_the_dense_ridge(kind, shape, batch_size):
    model, data, phi, targets = problem(kind, shape)
    old = read_head(model.head).numpy()
    result = adapt(model, data, strength=STRENGTH, batch_size=batch_size)
    expected = old + dense_ridge(phi, targets - phi @ old, STRENGTH)
    np.testing.assert_allclose(result.head.numpy(), expected, rtol=1e-8, atol=1e-10)
    samples = [index % len(result.folds) for index in range(shape[0])]
    errors = ((targets - phi @ old) ** 2).reshape(shape[0], -1).mean(1)
    for index, fold in enumerate(result.folds):
        own = [error for error, owner in zip(errors, samples, strict=True) if owner == index]
        assert float(fold.target_square.mean()) == pytest.approx(np.mean(own), rel=1e-10)


@pytest.mark.parametrize("shape", PLANES + BOXES)
@pytest.mark.parametrize("kind", MODELS)
def test_training_solves_on_the_dense_rows_with_a_zero_head_and_after(kind, shape):
    """The zero head's output is constant: its values say nothing of where its numbers are."""
    model = kind(shape)
    loss_of = ClosedFormLoss(model.head, Ridge(strength=STRENGTH))
    for seed in (1, 2, 3):
        _, data, phi, targets = problem(kind, shape, seed=seed)
        loss = loss_of(model(data.x), data.y)
        expected = dense_ridge(phi, targets, STRENGTH)
        np.testing.assert_allclose(read_head(model.head).numpy(), expected, rtol=1e-9, atol=1e-11)
        assert loss.item() == pytest.approx(((phi @ expected - targets) ** 2).mean(), rel=1e-10)


@pytest.mark.parametrize("shape", PLANES + BOXES)
@pytest.mark.parametrize("kind", [Last, PointsFirst, OneList, Convolution, Swapped, Flattened])
def test_a_view_of_the_output_needs_no_graph(kind, shape):
    """Algorithm 1 from a zero head, without a graph from the first step on: the memory is the proof."""
    model = kind(shape)
    head = ClosedFormHead(model.head, Ridge(strength=STRENGTH))
    for seed in (1, 2):
        _, data, phi, targets = problem(kind, shape, seed=seed)
        with torch.no_grad():
            head.update(data.y, prediction=model(data.x))
        expected = dense_ridge(phi, targets, STRENGTH)
        np.testing.assert_allclose(read_head(model.head).numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", [Copied, Backwards])
def test_copies_are_found_again_without_a_graph_once_they_were_proven(kind):
    model, data, phi, targets = problem(kind, (4, 4, 4, 4))
    head = ClosedFormHead(model.head, Ridge(strength=STRENGTH), initial="keep")
    head._prove(model(data.x))
    head.clear()
    with torch.no_grad():
        head.update(data.y, prediction=model(data.x))
    np.testing.assert_allclose(read_head(model.head).numpy(), dense_ridge(phi, targets, STRENGTH), rtol=1e-9)


def test_values_that_fit_two_orders_are_refused_without_a_graph():
    model, data, *_ = problem(Copied, (3, 4, 2, 2))
    head = ClosedFormHead(model.head, Ridge(strength=STRENGTH))  # a zero head
    with torch.no_grad():
        head.update(data.y, prediction=model(data.x))  # (B, 4, 2, 2) of (B, 2, 2, 4): only one order has these sizes
    model, data, *_ = problem(Copied, (2, 2, 2, 2))
    head = ClosedFormHead(model.head, Ridge(strength=STRENGTH))
    with torch.no_grad(), pytest.raises(ValueError, match="whose values fit several orders of the axes"):
        head.update(data.y, prediction=model(data.x))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_records_no_graph_has_the_same_error_bars(kind, mode):
    model, data, phi, _ = problem(kind, (3, 2, 5, 7))
    found = []
    for forward in (model.forward, mode()(model.forward)):
        model.forward = forward
        try:
            found.append(posterior(model, data, data).state())
        except ValueError as error:  # without a graph or memory there are the values, which know moved channels only
            assert kind is Backwards and "must return its head's output" in str(error)
            return
    np.testing.assert_allclose(found[1]["gram"].numpy(), phi.T @ phi / len(phi), rtol=1e-10, atol=1e-12)
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [Last, Convolution, Flattened])
def test_labels_are_laid_out_at_other_shapes_as_training_showed(kind):
    model, data, *_ = problem(kind, (4, 4, 3, 3))
    loss_of = ClosedFormLoss(model.head, Proximal(strength=STRENGTH), objective=CrossEntropy())
    loss_of(model(data.x), data.y.argmax(1))
    other, more, *_ = problem(kind, (3, 4, 2, 5), seed=2)
    other.load_state_dict(model.state_dict())
    logits, labels = other(more.x), more.y.argmax(1)
    total, count = loss_of.eval().sums(logits, labels)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-10) and count.item() == 3 * 2 * 5


@pytest.mark.parametrize("config", [FNOConfig, TFNOConfig, UNOConfig])
@pytest.mark.parametrize("shape", [(3, 1, 8, 32), (8, 8, 8, 8), (3, 2, 8, 4, 8)])
def test_neuraloperator_in_the_plane_and_in_space(config, shape):
    settings = {} if config is UNOConfig else {"layers": 1}
    channels = {"in_channels": shape[1], "out_channels": shape[1], "num_dims": len(shape) - 2}
    model = config(width=4, modes=2, **channels, **settings).build()
    rng = np.random.default_rng(0)
    x, y = (torch.tensor(values, dtype=torch.float32) for values in rng.normal(size=(2, *shape)))
    layer, seen = model.projection.fcs[-1], []
    watch = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    with torch.no_grad():
        prediction = model.eval()(x)
    watch.remove()
    phi = seen[0].movedim(1, -1).reshape(-1, seen[0].shape[1]).double().numpy()
    phi = np.hstack([phi, np.ones((len(phi), 1))])
    old = read_head(layer).numpy()
    rows = prediction.movedim(1, -1).reshape(-1, shape[1]).numpy()
    np.testing.assert_allclose(phi @ old, rows, rtol=1e-3, atol=1e-5)  # the points are in one order
    targets = y.movedim(1, -1).reshape(-1, shape[1]).double().numpy()
    known = posterior(model, Items(x, y), Items(x, y), batch_size=2)
    np.testing.assert_allclose(known.gram.numpy(), phi.T @ phi / len(phi), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(known.noise.numpy(), np.sqrt(((rows - targets) ** 2).mean(0)), rtol=1e-4)
    result = adapt(model, Items(x, y), strength=STRENGTH, batch_size=2)
    expected = old + dense_ridge(phi, targets - phi @ old, STRENGTH)
    np.testing.assert_allclose(result.head.numpy(), expected, rtol=1e-3, atol=1e-5)


# What is not the head's output.

CHANGES = {
    "activation": torch.relu,
    "an odd activation": torch.tanh,
    "residual": lambda output: output + 1,
    "residual in place": lambda output: output.add_(1),
    "scale in place": lambda output: output.mul_(2),
    "mask": lambda output: output * (torch.arange(output.shape[-1]) > 0),
    "a number twice": lambda output: output[..., [0, *range(1, output.shape[-1] - 1), 0]],
    "neighbours": lambda output: (output + output.roll(1, -1)) / 2,
    "part": lambda output: output[..., 1:],
    "without a graph": lambda output: output.detach() + 1,
}


class Changed(Flattened):
    def __init__(self, shape, change):
        super().__init__(shape)
        self.change = change

    def after(self, phi):
        return self.change(super().after(phi))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("shape", [(3, 2, 5, 7), (4, 4, 4, 4)])
def test_a_changed_prediction_is_refused(change, shape):
    _, data, *_ = problem(Last, shape)
    y = data.y[..., 1:] if change == "part" else data.y
    with pytest.raises(ValueError, match="must return its head's output"):
        posterior(Changed(shape, CHANGES[change]), Items(data.x, y), Items(data.x, y))
    model = Changed(shape, CHANGES[change])
    loss_of = ClosedFormLoss(model.head, Ridge(strength=STRENGTH))
    with pytest.raises(ValueError, match="Something after the head changes it"):
        for _ in range(2):  # behind a zero head tanh is the identity, for one step
            loss_of(model(data.x), y)


def test_rows_that_enter_several_samples_are_refused():
    class Pairs(Pointwise):
        """One row gives two samples their numbers."""

        def make_head(self, channels):
            return nn.Linear(FEATURES, 2 * channels)

        def after(self, phi):
            output = self.head(phi[::2])  # (B / 2, *N, 2 C)
            return output.unflatten(-1, (2, -1)).movedim(-2, 1).flatten(0, 1).movedim(-1, 1)

    _, data, *_ = problem(Last, (4, 2, 3, 3))
    with pytest.raises(ValueError, match="must compute each sample from feature rows of its own"):
        posterior(Pairs((4, 2, 3, 3)), data, data)


def test_shapes_alone_prove_nothing():
    output = torch.arange(8.0).reshape(2, 2, 2).requires_grad_().clone()
    known = Arrangements()
    assert known.find(output.transpose(0, 1), output).places is not None
    assert known.find(output.view(2, 4), output).places is None
    assert known.find(output.detach().clone() + 1, output) is None
    assert known.find(output[:1].expand(2, 2, 2), output) is None
