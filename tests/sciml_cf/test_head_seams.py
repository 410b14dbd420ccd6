"""The head inside loops and tools that its authors did not write."""

from __future__ import annotations

import copy
import gc
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Moments, Proximal, Ridge, find_head, proximal
from sciml_cf.head.binding.layer import read_head
from tests.problems import mlp

RULE = Proximal(strength=0.1)


def batch(rows=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    return x, torch.sin(x @ torch.randn(3, 2, dtype=torch.float64, generator=generator))


def solved(features, y, previous, strength=0.1):
    """The proximal head of these features, from the formula."""
    phi = torch.cat([features, features.new_ones(len(features), 1)], dim=1).detach().double()
    system = phi.T @ phi / len(phi) + strength * torch.eye(phi.shape[1], dtype=torch.float64)
    return torch.linalg.solve(system, phi.T @ y.detach().double() / len(phi) + strength * previous)


def trained(model, loss_of, run=None, steps=4, each=None):
    """The model after some steps of Eq. (17)."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.3)
    for step in range(steps):
        x, y = batch(seed=step)
        optimizer.zero_grad()
        loss_of((run or model)(x), y).backward()
        optimizer.step()
        if each is not None:
            each()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def plainly_trained():
    model = mlp()
    return trained(model, ClosedFormLoss(model[-1], RULE))


# Gradient accumulation.


def test_accumulated_micro_batches_equal_the_large_batch_in_algorithm_1():
    ends = []
    for parts in (1, 4):
        model = mlp()
        head = ClosedFormHead(model[-1], RULE)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.3)
        for step in range(4):
            x, y = batch(seed=step)
            optimizer.zero_grad()
            for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
                ((model(a) - b).square().mean() / parts).backward()
            optimizer.step()
            with torch.no_grad():
                for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
                    head.accumulate(b, prediction=model(a))
            head.update()
        ends.append(torch.cat([p.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-10)


def test_accumulated_micro_batches_and_a_frozen_head_equal_the_large_batch_of_the_loss():
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], RULE)
    head, parts = loss_of.head, 4
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.3)
    for step in range(4):
        x, y = batch(seed=step)
        with torch.no_grad():
            for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
                head.accumulate(b, prediction=model(a))
        head.update()
        head.frozen = True
        optimizer.zero_grad()
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            (loss_of(model(a), b) / parts).backward()
        optimizer.step()
        head.frozen = False
    result = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(result, plainly_trained(), rtol=1e-10, atol=1e-10)


def test_a_micro_batch_that_is_masked_altogether_adds_nothing():
    (x, y), mask = batch(), torch.arange(40) < 20
    heads = []
    for order in ([0, 1], [1, 0], [0]):
        model = mlp()
        head = ClosedFormHead(model[-1], RULE)
        for part in order:
            rows = slice(20 * part, 20 * part + 20)
            model(x[rows])
            head.accumulate(y[rows], weights=mask[rows])
        head.update()
        heads.append(read_head(model[-1]))
    torch.testing.assert_close(heads[0], heads[2], rtol=0, atol=0)
    torch.testing.assert_close(heads[1], heads[2], rtol=0, atol=0)
    model(x)
    with pytest.raises(ValueError, match="must not be zero everywhere"):
        head.update(y, weights=torch.zeros(40))


# More than one pass.


def test_two_forward_passes_then_two_losses_use_each_its_own_features():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], RULE, initial="keep")
    expected = read_head(model[-1])
    first, second = model(x[:20]), model(x[20:])
    for prediction, rows in ((first, slice(0, 20)), (second, slice(20, 40))):
        loss_of(prediction, y[rows])
        expected = solved(model[:-1](x[rows]), y[rows], expected)
        torch.testing.assert_close(read_head(model[-1]), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("initial", ["zeros", "keep"])
def test_a_second_pass_under_the_same_loss_leaves_the_first_to_the_solve(initial):
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], RULE, initial=initial)
    previous = read_head(model[-1])
    clean, noisy = model(x), model(x + 0.1)
    loss = loss_of(clean, y) + (clean - noisy).square().mean()
    torch.testing.assert_close(read_head(model[-1]), solved(model[:-1](x), y, previous), rtol=1e-10, atol=1e-10)
    loss.backward()
    before = read_head(model[-1])
    loss_of(model(x), y)  # what the second pass left behind does not reach the next step
    torch.testing.assert_close(read_head(model[-1]), solved(model[:-1](x), y, before), rtol=1e-10, atol=1e-10)


def test_passes_do_not_pile_up():
    (x, y), model = batch(), mlp()
    head = ClosedFormHead(model[-1], RULE, initial="keep")
    for _ in range(3):  # Algorithm 1: the first pass of a step is older than the one that is solved on
        prediction = model(x)
        (prediction - y).square().mean().backward()
        with torch.no_grad():
            head.update(y, prediction=model(x))
        assert head._captures.passes == []
    predictions = [model(x) for _ in range(40)]
    assert len(head._captures.passes) == 40  # as long as somebody has the predictions
    with pytest.raises(ValueError, match="the model ran again since"):
        head.update(y, prediction=prediction)
    assert head._captures.passes == []
    predictions = [model(x).sum() for _ in range(40)]
    assert len(head._captures.passes) == 40  # or what follows from them
    del predictions
    (left,) = head._captures.passes  # the numbers of the last one, which an update without a prediction is about
    assert not left.features.requires_grad and not left.output.requires_grad
    head.clear()
    with torch.no_grad():
        model(x), model(x)
    assert len(head._captures.passes) == 1


@pytest.mark.parametrize("initial", ["zeros", "keep"])
def test_a_loss_on_joined_predictions_solves_on_all_their_features(initial):
    (x, y), model, whole = batch(), mlp(), mlp()
    loss_of = ClosedFormLoss(model[-1], RULE, initial=initial)
    loss = loss_of(torch.cat([model(x[:15]), model(x[15:])]), y)
    other = ClosedFormLoss(whole[-1], RULE, initial=initial)(whole(x), y)
    torch.testing.assert_close(read_head(model[-1]), read_head(whole[-1]), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss, other, rtol=1e-10, atol=0)
    with pytest.raises(ValueError, match="must belong to one pass through the layer"):
        loss_of(torch.cat([model(x[:15]), model(x[15:])]), y, torch.ones(40))


def test_passes_that_no_loss_took_are_refused_when_their_sum_is_predicted():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], RULE, initial="keep")
    with pytest.raises(ValueError, match="of the last of 2 passes through Linear 8 -> 2"):
        loss_of((model(x) + model(x + 1)) / 2, y)


def test_an_output_that_is_changed_in_place_is_refused():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return self.net(x).mul_(3.0)

    (x, y), model = batch(), InPlace()
    loss_of = ClosedFormLoss(model.net[-1], RULE, initial="keep")
    with pytest.raises(ValueError, match="Something after the head changes it"):
        loss_of(model(x), y)
    model(x)
    with pytest.raises(ValueError, match="changed in place"):
        loss_of.head.update(y)


# Precision, compilers, recomputation.


def test_autocast_features_are_bfloat16_and_the_solve_is_not():
    (x, y), model = batch(), mlp().float()
    x, y = x.float(), y.float()
    loss_of = ClosedFormLoss(model[-1], RULE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = model(x)
        features = loss_of.head._captures.passes[-1].features
        loss = loss_of(prediction, y)
    assert (prediction.dtype, features.dtype, loss.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    expected = solved(features, y, torch.zeros(9, 2, dtype=torch.float64))
    torch.testing.assert_close(read_head(model[-1]), expected, rtol=1e-6, atol=1e-7)
    phi = torch.cat([features, features.new_ones(len(features), 1)], dim=1).detach().double()
    assert loss.item() == pytest.approx((phi @ expected - y).square().mean().item(), rel=1e-5)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model[:-1].parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = model(x)
    assert torch.isfinite(loss_of(prediction, y))  # and outside of the block


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of every graph break inside the compiler
@pytest.mark.parametrize(
    ("backend", "order"), [("eager", "loss first"), ("aot_eager", "compiled first"), ("eager", "ran first")]
)
def test_a_compiled_model_trains_the_same(order, backend):
    torch._dynamo.reset()
    model = mlp()
    if order == "loss first":
        loss_of = ClosedFormLoss(model[-1], RULE)
    run = torch.compile(model, backend=backend)
    if order == "ran first":
        run(batch()[0])
    if order != "loss first":
        loss_of = ClosedFormLoss(model[-1], RULE)
    torch.testing.assert_close(trained(model, loss_of, run), plainly_trained(), rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiled_model_may_move_its_channels_after_the_head():
    class Moved(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return self.net(x).movedim(-1, 1).contiguous()

    torch._dynamo.reset()
    x, y = batch(rows=42)
    heads = []
    for run in (lambda model: model, lambda model: torch.compile(model, backend="aot_eager")):
        model = Moved()
        loss_of = ClosedFormLoss(model.net[-1], RULE)
        for _ in range(2):
            loss_of(run(model)(x.reshape(6, 7, 3)), y.reshape(6, 7, 2).movedim(-1, 1)).backward()
        heads.append(read_head(model.net[-1]))
    torch.testing.assert_close(*heads, rtol=1e-10, atol=1e-12)


class Checkpointed(nn.Module):
    """A network whose body, or all of it with the head, is computed once more in the backward pass."""

    def __init__(self, *, with_head, reentrant):
        super().__init__()
        self.net, self.with_head, self.reentrant = mlp(), with_head, reentrant

    def forward(self, x):
        x = x.clone().requires_grad_()
        if self.with_head:
            with set_checkpoint_early_stop(False):  # so that the head itself runs once more, too
                return checkpoint(self.net, x, use_reentrant=self.reentrant)
        return self.net[-1](checkpoint(self.net[:-1], x, use_reentrant=self.reentrant))


@pytest.mark.parametrize(("with_head", "reentrant"), [(False, False), (False, True), (True, False)])
def test_a_checkpointed_model_trains_the_same(with_head, reentrant):
    model = Checkpointed(with_head=with_head, reentrant=reentrant)
    loss_of = ClosedFormLoss(model.net[-1], RULE)
    kept: list[int] = []
    result = trained(model, loss_of, each=lambda: kept.append(len(loss_of.head._captures.passes)))
    torch.testing.assert_close(result, plainly_trained(), rtol=1e-10, atol=1e-10)
    assert kept == [0, 0, 0, 0]


def test_a_head_in_a_reentrant_checkpoint_is_refused():
    model = Checkpointed(with_head=True, reentrant=True)
    loss_of = ClosedFormLoss(model.net[-1], RULE, initial="keep")
    x, y = batch()
    with pytest.raises(RuntimeError, match="must carry a graph like the prediction"):
        loss_of(model(x), y)


def test_inference_mode_leaves_a_model_that_can_be_trained():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], RULE)
    with torch.inference_mode():
        loss_of.head.update(y, prediction=model(x))
    loss = loss_of(model(x), y) + model(x).square().mean()
    loss.backward()
    assert torch.isfinite(loss)


# Copies.


def test_an_average_of_weights_hears_nothing_and_changes_nothing():
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], RULE)
    average = AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    seen = []

    def each():
        average.update_parameters(model)
        average(batch(seed=9)[0])
        seen.append(len(loss_of.head._captures.passes))

    torch.testing.assert_close(trained(model, loss_of, each=each), plainly_trained(), rtol=0, atol=0)
    assert seen == [0, 0, 0, 0]
    assert (read_head(average.module[-1]) - read_head(model[-1])).abs().max() > 1e-3
    # The average can be given a head of its own.
    head = ClosedFormHead(average.module[-1], Ridge(strength=1e-3))
    x, y = batch()
    head.update(y, prediction=average(x))
    assert (average(x) - y).square().mean() < (model(x) - y).square().mean()


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_copy_of_model_and_loss_trains_on_its_own(way, order):
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], RULE)
    x, y = batch(seed=7)
    loss_of(model(x), y)
    model(x)  # a capture that must not travel
    pair = (model, loss_of)[::order]
    other, other_loss = (copy.deepcopy(pair) if way == "deepcopy" else pickle.loads(pickle.dumps(pair)))[::order]
    assert other_loss.head.layer is other[-1] and other[-1] is not model[-1]
    loss_of.head.clear()
    before = read_head(model[-1])
    end = trained(other, other_loss)
    assert torch.equal(read_head(model[-1]), before) and not loss_of.head._captures.passes
    torch.testing.assert_close(trained(model, loss_of), end, rtol=0, atol=0)


def test_a_copy_of_the_loss_alone_says_so():
    (x, y), model = batch(), mlp()
    loss_of = copy.deepcopy(ClosedFormLoss(model[-1], RULE))
    with pytest.raises(RuntimeError, match="copied or loaded without its model belongs to a layer of its own"):
        loss_of(model(x), y)


def test_a_model_is_saved_whole_without_its_head():
    model = mlp()
    loss_of = ClosedFormLoss(model[-1], RULE)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    other(batch()[0])
    assert torch.equal(read_head(other[-1]), read_head(model[-1])) and not loss_of.head._captures.passes


def test_a_layer_does_not_keep_a_forgotten_head_alive():
    model = mlp()
    head = ClosedFormHead(model[-1], RULE)
    hook = next(iter(model[-1]._forward_hooks.values()))
    del head
    gc.collect()
    model(batch()[0])
    assert hook.owner is None


# Several heads and losses.


class TwoReadouts(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 8), nn.Tanh())
        self.first, self.second = nn.Linear(8, 2), nn.Linear(8, 2)
        self.double()

    def forward(self, x):
        phi = self.body(x)
        return self.first(phi), self.second(phi.square())


def test_two_readouts_are_each_solved_exactly():
    (x, y), model = batch(), TwoReadouts()
    losses = ClosedFormLoss(model.first, RULE), ClosedFormLoss(model.second, Proximal(strength=0.5))
    first, second = model(x)
    total = losses[0](first, y) + losses[1](second, y.square())
    phi, zero = model.body(x), torch.zeros(9, 2, dtype=torch.float64)
    torch.testing.assert_close(read_head(model.first), solved(phi, y, zero), rtol=1e-10, atol=1e-12)
    expected = solved(phi.square(), y.square(), zero, strength=0.5)
    torch.testing.assert_close(read_head(model.second), expected, rtol=1e-10, atol=1e-12)
    again = model(x)
    plain = (again[0] - y).square().mean() + (again[1] - y.square()).square().mean()
    for a, b in zip(
        torch.autograd.grad(total, model.body.parameters()),
        torch.autograd.grad(plain, model.body.parameters()),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_new_head_on_the_same_layer_replaces_the_old_one():
    (x, y), model = batch(), mlp()
    old = ClosedFormLoss(model[-1], RULE)
    new = ClosedFormLoss(model[-1], RULE)
    new(model(x), y)
    with pytest.raises(RuntimeError, match="must have one head; got another one that was made after this"):
        old(model(x), y)
    old.head.detach()
    assert not model[-1].weight.requires_grad


def test_a_prediction_of_another_readout_is_refused():
    (x, y), model = batch(), TwoReadouts()
    loss_of = ClosedFormLoss(model.first, RULE, name="first")
    with pytest.raises(ValueError, match=r"the last pass through 'first' \(Linear 8 -> 2\)"):
        loss_of(model(x)[1], y)


# Held heads, odd calls, layers that cannot be one.


def test_a_frozen_head_is_a_plain_loss_and_solves_nothing():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], RULE)
    loss_of(model(x), y)
    before = read_head(model[-1])
    loss_of.head.frozen = True
    prediction = model(x + 1)
    loss = loss_of(prediction, y)
    assert loss.item() == pytest.approx((prediction - y).square().mean().item())
    assert torch.autograd.grad(loss, model[0].weight)[0].abs().max() > 0
    assert torch.equal(read_head(model[-1]), before)
    with pytest.raises(RuntimeError, match="must not be frozen"):
        loss_of.head.update(y)
    loss_of.head.frozen = False
    loss_of(model(x + 1), y)
    assert not torch.equal(read_head(model[-1]), before)


def test_a_detached_head_is_a_plain_loss_and_trained_again():
    (x, y), model = batch(), mlp()
    loss_of = ClosedFormLoss(model[-1], RULE, initial="keep")
    loss_of.head.detach()
    loss = loss_of(model(x), y)
    loss.backward()
    assert model[-1].weight.grad.abs().max() > 0
    assert loss.item() == pytest.approx((model(x) - y).square().mean().item())


def test_a_layer_may_be_called_by_keyword():
    class ByKeyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return self.net[-1](input=self.net[:-1](x))

    (x, y), model = batch(), ByKeyword()
    ClosedFormLoss(model.net[-1], RULE)(model(x), y)
    expected = solved(model.net[:-1](x), y, torch.zeros(9, 2, dtype=torch.float64))
    torch.testing.assert_close(read_head(model.net[-1]), expected, rtol=1e-10, atol=1e-12)


def old_weight_norm(layer):
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(layer)


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm, old_weight_norm])
def test_layers_that_compute_their_weight_are_refused(norm):
    with pytest.raises(ValueError, match="must hold its weight and bias as plain parameters"):
        ClosedFormHead(norm(nn.Linear(4, 2)), RULE)


def test_lazy_and_complex_layers_are_refused():
    with pytest.raises(ValueError, match="must have its shape; got a lazy LazyLinear"):
        ClosedFormHead(nn.LazyLinear(2), RULE)
    with pytest.raises(TypeError, match=r"must have real weights; got torch.complex64"):
        ClosedFormHead(nn.Linear(4, 2, dtype=torch.complex64), RULE)


def test_find_head_passes_over_a_layer_that_computes_its_weight():
    model = nn.Sequential(nn.Linear(4, 4), parametrizations.weight_norm(nn.Linear(4, 2)))
    assert find_head(model) is model[0]


def test_restored_state_keeps_a_free_bias():
    (x, y), model, other = batch(), mlp(), mlp()
    head = ClosedFormHead(model[-1], RULE, penalise_bias=False)
    copy_of = ClosedFormHead(other[-1], RULE, penalise_bias=False)
    model(x)
    head.update(y + 5.0)
    copy_of.load_state_dict(head.state_dict())
    assert torch.equal(read_head(other[-1]), read_head(model[-1]))
    assert proximal(Moments.from_batch(x, y), x.new_zeros(3, 2), strength=1.0).shape == (3, 2)


def test_a_first_batch_of_one_point_does_not_settle_where_the_channels_are():
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(torch.tanh(self.body(x))).transpose(1, 2)

    def data(points):
        x = torch.randn(64, points, 3)
        return x, x[:, :, :2].transpose(1, 2)

    losses = []
    for first in (1, 16):
        model = Transposed()
        loss_of = ClosedFormLoss(model.head, Proximal(1e-4), initial="keep")
        x, y = data(first)
        loss_of(model(x), y)
        for _ in range(3):
            x, y = data(16)
            found = loss_of(model(x), y)
            torch.testing.assert_close(found, nn.functional.mse_loss(model(x), y), rtol=1e-4, atol=1e-6)
        losses.append(found.item())
    assert max(losses) < 0.05


def test_a_head_offers_loops_what_they_need_and_no_more():
    methods = {"accumulate", "clear", "detach", "diagnostics", "figures", "recent", "recording", "restore", "solve"}
    offered = {name for name in dir(ClosedFormHead) if not name.startswith("_")} - set(dir(nn.Module))
    assert offered == methods | {"solved", "state", "update"}
