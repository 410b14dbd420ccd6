"""The loss in loops that are no plain descent, each step against the same loop by hand with a dense solve."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from sciml_cf.errors import MovedHeadWarning
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Proximal, Ridge
from tests.dense import DenseLoop, close, dense_head, head_in
from tests.problems import mlp

STRENGTH = 0.05
RTOL = {torch.float64: 1e-9, torch.float32: 2e-4}


def batch(step, dtype=torch.float64, rows=40):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    return x.to(dtype), torch.stack([torch.sin(x.sum(1)), x[:, 0] * x[:, 1] + 0.3], dim=1).to(dtype)


def pair(dtype=torch.float64, *, proximal=True, model=None):
    """A model with its loss, and the same by hand."""
    model = mlp().to(dtype) if model is None else model
    dense = DenseLoop(model, STRENGTH, proximal=proximal)
    return model, ClosedFormLoss(model[-1], (Proximal if proximal else Ridge)(STRENGTH)), dense


def trainable(model):
    return [one for one in model.parameters() if one.requires_grad]


# Sharpness-aware minimization: two passes a step (Foret et al. 2021, Algorithm 1).


class SAM:
    """The base optimizer's step with the gradient at the weights that the first gradient leads to."""

    def __init__(self, parameters, base, radius=0.1):
        self.parameters, self.base, self.radius = parameters, base, radius

    def ascend(self):
        """To the worst weights near by."""
        norm = torch.stack([one.grad.norm() for one in self.parameters if one.grad is not None]).norm()
        self.before = [one.detach().clone() for one in self.parameters]
        with torch.no_grad():
            for one in self.parameters:
                if one.grad is not None:
                    one += self.radius * one.grad / norm
        self.base.zero_grad()

    def descend(self):
        """From the weights before, along the gradient there."""
        with torch.no_grad():
            for one, before in zip(self.parameters, self.before, strict=True):
                if one.grad is not None:
                    one.copy_(before)
        self.base.step()
        self.base.zero_grad()


def sam_by_hand(dense, x, y, *, held, radius=0.1, rate=0.3):
    start = [one.detach().clone() for one in dense.parameters()]
    for second in (False, True):
        loss = dense.loss(dense.body(x), y) if second and held else dense.solved_loss(x, y)
        gradient = torch.autograd.grad(loss, dense.parameters())
        size = torch.cat([one.flatten() for one in gradient]).norm()
        factor = -rate if second else radius / size
        with torch.no_grad():
            for one, before, slope in zip(dense.parameters(), start, gradient, strict=True):
                one.copy_(before + factor * slope)


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("given", ["filtered", "all"])
@pytest.mark.parametrize("held", [False, True], ids=["solved twice", "held"])
def test_sam_is_the_loop_by_hand(held, given, dtype):
    model, loss_of, dense = pair(dtype)
    parameters = trainable(model) if given == "filtered" else list(model.parameters())
    sam = SAM(parameters, torch.optim.SGD(parameters, lr=0.3))
    for step in range(5):
        x, y = batch(step, dtype)
        loss_of(model(x), y).backward()
        sam.ascend()
        loss_of.head.frozen = held
        loss_of(model(x), y).backward()
        loss_of.head.frozen = False
        sam.descend()
        sam_by_hand(dense, x, y, held=held)
        dense.check(model[-1], model, RTOL[dtype])


# L-BFGS: a closure that solves, called several times a step.


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("proximal", [False, True], ids=["ridge", "proximal held in a step"])
def test_lbfgs_with_the_head_solved_in_its_closure_is_the_loop_by_hand(proximal, search):
    model, loss_of, dense = pair(proximal=proximal)

    def optimizer(parameters):
        return torch.optim.LBFGS(parameters, lr=0.5, max_iter=6, history_size=4, line_search_fn=search)

    def step(descend, value, x, y):
        """Ridge solves at each evaluation, so that the loss is a function of the body; Proximal once a step."""
        evaluations = []

        def closure():
            descend.zero_grad()
            loss = value(x, y, held=proximal and bool(evaluations))
            loss.backward()
            evaluations.append(loss.item())
            return loss

        descend.step(closure)
        return evaluations

    def ours(x, y, *, held):
        return loss_of.value(model(x), y) if held else loss_of(model(x), y)

    def by_hand(x, y, *, held):
        return dense.loss(dense.body(x), y) if held else dense.solved_loss(x, y)

    optimizers, (x, y) = (optimizer(trainable(model)), optimizer(dense.parameters())), batch(0)
    history = []
    for _ in range(3):
        history.append([step(optimizers[0], ours, x, y), step(optimizers[1], by_hand, x, y)])
        assert len(history[-1][0]) == len(history[-1][1]) > 3
        dense.check(model[-1], model, 1e-7)
    assert history[-1][0][-1] < 0.9 * history[0][0][0]


def test_lbfgs_that_was_given_the_head_puts_it_back_and_is_told_of():
    model, loss_of, _ = pair(proximal=False)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=6, line_search_fn="strong_wolfe")
    x, y = batch(0)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        return loss

    with pytest.warns(MovedHeadWarning, match=r"\[p for p in model.parameters\(\) if p.requires_grad\]"):
        for _ in range(3):
            optimizer.step(closure)


# Averages of weights.


def normalized():
    """A network with batch normalization before its head."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)).double()


def averages(kind):
    """A model for averages, and how a running average of arrays takes the next ones, the n-th."""
    if kind == "swa":
        return AveragedModel, lambda mean, new, count: mean + (new - mean) / (count + 1)
    return (
        lambda model: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7)),
        lambda mean, new, count: new if count == 0 else 0.7 * mean + 0.3 * new,
    )


@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_an_average_of_weights_is_the_average_by_hand_and_its_head_can_be_solved(kind):
    model, loss_of, dense = pair(model=normalized())
    make, average = averages(kind)
    averaged, optimizer = make(model), torch.optim.SGD(trainable(model), lr=0.3)
    by_hand, mean = torch.optim.SGD(dense.parameters(), lr=0.3), None
    for step in range(6):
        x, y = batch(step)
        for descend, loss in ((optimizer, loss_of(model(x), y)), (by_hand, dense.solved_loss(x, y))):
            descend.zero_grad()
            loss.backward()
            descend.step()
        dense.check(model[-1], model, 1e-9)
        averaged.update_parameters(model)
        new = [dense.head.copy(), *[one.detach().numpy().copy() for one in dense.parameters()]]
        mean = new if mean is None else [average(old, one, step) for old, one in zip(mean, new, strict=True)]
    mine = averaged.module
    close(head_in(mine[-1]), mean[0], 1e-9)
    for found, expected in zip(mine[:-1].parameters(), mean[1:], strict=True):
        close(found, expected, 1e-9)

    # Batch statistics of the average, then the head that belongs to its features: all batches at once.
    batches = [batch(step) for step in range(6)]
    update_bn([x for x, _ in batches], averaged)
    hidden = [mine[0](x).detach() for x, _ in batches]
    close(mine[1].running_mean, torch.stack([one.mean(0) for one in hidden]).mean(0), 1e-9)
    close(mine[1].running_var, torch.stack([one.var(0) for one in hidden]).mean(0), 1e-9)
    averaged.eval()
    head = ClosedFormHead(mine[-1], Ridge(STRENGTH))
    with torch.no_grad(), head.recording():
        for x, y in batches:
            head.accumulate(y, prediction=averaged(x))
        head.update()
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    found = head_in(mine[-1])
    close(found, dense_head(mine[:-1](x), y, STRENGTH, 0 * found), 1e-9)
    dense.check(model[-1], model, 1e-9)  # the model itself is as it was


def test_update_bn_of_the_model_itself_solves_nothing_and_the_next_step_is_right():
    model, loss_of, dense = pair(model=normalized())
    for step in range(3):
        x, y = batch(step)
        loss_of(model(x), y)
        dense.solve(x, y)
        update_bn([batch(step)[0] for step in range(10, 13)], model)
        dense.check(model[-1], model, 1e-9)


@pytest.mark.parametrize("far", [False, True], ids=["a few per cent", "far"])
def test_training_goes_on_from_an_average_that_was_loaded(far):
    """The loaded head is the previous one of the next solve; to load is no step of an optimizer, however small."""
    model, loss_of, dense = pair()
    other = copy.deepcopy(model)
    for step in range(2):
        loss_of(model(batch(step)[0]), batch(step)[1])
        dense.solve(*batch(step))
    factor = 3.0 if far else 1.01
    loaded = {name: factor * value.detach() for name, value in model.state_dict().items()}
    model.load_state_dict(loaded)
    other.load_state_dict(loaded)
    dense.body, dense.head = other[:-1], factor * dense.head
    for step in range(2, 4):
        loss_of(model(batch(step)[0]), batch(step)[1])
        dense.solve(*batch(step))
        dense.check(model[-1], model, 1e-9)


# Scaled gradients.


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_grad_scaler_changes_no_step_and_skips_those_that_overflow(dtype):
    """The last two are autocast of a float32 model."""
    autocast = dtype in (torch.bfloat16, torch.float16)
    own = torch.float32 if autocast else dtype
    model, loss_of, dense = pair(own)
    start = 2.0**127  # the largest power of two that a scale can be
    scaler = torch.amp.GradScaler("cpu", init_scale=start, growth_interval=1000, backoff_factor=2.0**-60)
    optimizer, by_hand = torch.optim.SGD(trainable(model), lr=0.003), torch.optim.SGD(dense.parameters(), lr=0.003)
    skipped = 0
    for step in range(6):
        x, y = batch(step, own)
        y = 10 * y
        scale = scaler.get_scale()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype if autocast else torch.bfloat16, enabled=autocast):
            prediction = model(x)
        scaler.scale(loss_of(prediction, y)).backward()
        scaler.step(optimizer)
        scaler.update()
        by_hand.zero_grad()
        with torch.autocast("cpu", dtype=dtype if autocast else torch.bfloat16, enabled=autocast):
            phi = dense.solve(x, y)
        dense.loss(phi, y).backward()
        if scaler.get_scale() < scale:  # the backbone waits, its head is solved
            skipped += 1
        else:
            by_hand.step()
        dense.check(model[-1], model, 2e-3 if autocast else RTOL[own])
    assert skipped == 0 if own == torch.float64 else 1 <= skipped < 4
