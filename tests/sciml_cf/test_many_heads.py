"""Several heads on one backbone: each is its own dense solve, and the backbone feels the sum."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.head import ClosedFormLoss, ClosedFormLosses, Every, Moments, Proximal, Ridge
from sciml_cf.head.binding.layer import read_head
from tests.sciml_cf.many_heads_worker import RULES, STEPS, TwoHeads, batch, weights_of

ROOT = Path(__file__).parents[2]


def losses_of(model, rule=RULES["a"], **settings):
    return ClosedFormLosses(dict(model.heads.items()), rule, **settings)


def batches(step=0, names="ab"):
    found = {name: batch(step, 0, name) for name in names}
    return {name: x for name, (x, _) in found.items()}, {name: y for name, (_, y) in found.items()}


def phi_of(model, x, bias):
    phi = model.body(x).detach().numpy()
    return np.hstack([phi, np.ones((len(phi), 1))]) if bias else phi


def dense(phi, y, previous, strength=0.1):
    system = phi.T @ phi / len(phi) + strength * np.eye(phi.shape[1])
    return np.linalg.solve(system, phi.T @ y.numpy() / len(phi) + strength * previous)


def test_each_head_is_its_own_dense_solve_and_the_loss_their_weighted_sum():
    model = TwoHeads()
    losses = losses_of(model, {"a": Proximal(0.1), "b": Ridge(0.3)}, shares={"b": 0.25})
    x, y = batches()
    value = losses(model(x), y)
    total = 0.0
    for name, strength, share in (("a", 0.1, 1.0), ("b", 0.3, 0.25)):
        phi = phi_of(model, x[name], bias=name == "a")
        head = dense(phi, y[name], np.zeros((phi.shape[1], y[name].shape[1])), strength)
        np.testing.assert_allclose(read_head(model.heads[name]), head, rtol=1e-10, atol=1e-12)
        total += share * np.mean((phi @ head - y[name].numpy()) ** 2)
    assert value.item() == pytest.approx(total, rel=1e-10)
    assert losses.diagnostics()["b"].features == 8 and losses.diagnostics()["a"].features == 9


def test_gradient_of_the_backbone_is_the_weighted_sum_of_the_heads_own():
    (x, y), shares = batches(), {"a": 2.0, "b": 0.5}
    model = TwoHeads()
    losses_of(model, shares=shares)(model(x), y).backward()
    expected = [torch.zeros_like(p) for p in model.body.parameters()]
    for name, share in shares.items():
        alone = TwoHeads()
        ClosedFormLoss(alone.heads[name], RULES["a"])(alone({name: x[name]})[name], y[name]).backward()
        expected = [sum_ + share * p.grad for sum_, p in zip(expected, alone.body.parameters(), strict=True)]
    for p, gradient in zip(model.body.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-10, atol=1e-12)
    assert all(p.grad is None for p in model.heads.parameters())


def test_a_head_without_a_batch_keeps_its_weights():
    model = TwoHeads()
    losses = losses_of(model)
    x, y = batches()
    losses(model(x), y)
    before = {name: read_head(layer) for name, layer in model.heads.items()}
    x, y = batches(1, "b")
    losses(model(x), y).backward()
    assert torch.equal(read_head(model.heads["a"]), before["a"])
    expected = dense(phi_of(model, x["b"], bias=False), y["b"], before["b"].numpy())
    np.testing.assert_allclose(read_head(model.heads["b"]), expected, rtol=1e-10, atol=1e-12)
    assert losses.heads["a"].recent().solves == 1 and losses.heads["b"].recent().solves == 2


def test_a_prediction_without_targets_is_dropped_and_not_kept_for_later():
    model = TwoHeads()
    losses = losses_of(model)
    for step in range(3):
        x, y = batches(step)
        losses(model(x), {"a": y["a"]}).backward()
        assert losses.heads["b"]._captures.passes == []
    assert list(losses.diagnostics()) == ["a"]


def test_each_tells_the_losses_apart_and_weights_go_to_their_head():
    (x, y), model = batches(), TwoHeads()
    losses = losses_of(model)
    mask = torch.arange(20) < 15
    each = losses.each(model(x), y, {"b": mask})
    alone = TwoHeads()
    single = ClosedFormLoss(alone.heads["b"], RULES["a"])
    assert each["b"].item() == pytest.approx(single(alone({"b": x["b"][:15]})["b"], y["b"][:15]).item(), rel=1e-12)
    assert list(each) == ["a", "b"]
    model.eval()
    expected = (model(x)["a"] - y["a"]).square().mean().item()
    assert losses.each(model(x), y)["a"].item() == pytest.approx(expected)


def test_a_saved_state_goes_on_as_if_nothing_had_been():
    def steps(model, losses, first, last):
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
        for step in range(first, last):
            x, y = batches(step)
            optimizer.zero_grad()
            losses(model(x), y).backward()
            optimizer.step()
            optimizer.state.clear()

    rules = {"a": Proximal(0.1), "b": Every(Proximal(0.1), 3)}
    model = TwoHeads()
    losses = losses_of(model, rules)
    steps(model, losses, 0, 4)
    saved = {name: value.clone() for name, value in losses.state_dict().items()}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert any("head_b" in name and "waiting" in name for name in saved)
    steps(model, losses, 4, 8)

    other = TwoHeads()
    resumed = losses_of(other, rules)
    other.load_state_dict(weights)
    resumed.load_state_dict(saved)
    steps(other, resumed, 4, 8)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_names_that_hide_methods_are_heads_like_others():
    layers = {"float": nn.Linear(4, 1), "train": nn.Linear(4, 1)}
    losses = ClosedFormLosses(layers, Proximal())
    assert losses["float"].head.layer is layers["float"]
    with pytest.raises(KeyError, match="must be one of float, train; got 'heat'"):
        losses["heat"]


@pytest.mark.parametrize(
    "layers, settings, message",
    [
        ({}, {}, "`layers` must be different layers"),
        ({"a": "same", "b": "same"}, {}, "`layers` must be different layers"),
        ({"a.b": "one"}, {}, "names without a dot; got 'a.b'"),
        ({"a": "one"}, {"rule": {"b": Proximal()}}, "`rule` must name each of \\['a'\\]; got \\['b'\\]"),
        ({"a": "one"}, {"shares": {"b": 1.0}}, "`shares` must name heads among \\['a'\\]; got \\['b'\\]"),
        ({"a": "one"}, {"shares": {"a": 0.0}}, "`shares` must be a finite number above 0; got 0.0"),
    ],
)
def test_what_cannot_be_heads_is_refused(layers, settings, message):
    made = {kind: nn.Linear(4, 1) for kind in set(layers.values())}
    with pytest.raises(ValueError, match=message):
        ClosedFormLosses({name: made[kind] for name, kind in layers.items()}, **{"rule": Proximal(), **settings})


def test_names_in_a_call_are_checked():
    (x, y), model = batches(), TwoHeads()
    losses = losses_of(model)
    predictions = model(x)
    with pytest.raises(ValueError, match="`predictions` must name one or more of a, b; got \\['c'\\]"):
        losses({"c": predictions["a"]}, {})
    with pytest.raises(ValueError, match="`targets` must name one or more of a, b; got \\[\\]"):
        losses(predictions, {})
    with pytest.raises(ValueError, match="`targets` must name one or more of a; got \\['a', 'b'\\]"):
        losses({"a": predictions["a"]}, y)
    with pytest.raises(ValueError, match="`weights` must name one or more of a; got \\['b'\\]"):
        losses(predictions, {"a": y["a"]}, {"b": torch.ones(20)})


def test_processes_merge_each_head_over_those_that_have_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.sciml_cf.many_heads_worker", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    model = TwoHeads()
    heads = {"a": np.zeros((9, 2)), "b": np.zeros((8, 1))}
    for step, present in enumerate(STEPS):
        for name in "ab":
            assert torch.equal(reports[0][step][name], reports[1][step][name]), (step, name)
            parts = [batch(step, rank, name) for rank in (0, 1) if name in present[rank]]
            waits = name == "b" and step % 2 == 0  # Every 2 steps; a step without rows anywhere counts too
            if parts and not waits:
                phi = np.vstack([phi_of(model, x, bias=name == "a") for x, _ in parts])
                given = [(weights_of(step, name, x), len(x)) for x, _ in parts]
                weights = torch.cat([torch.ones(size) if one is None else one for one, size in given])
                root = (weights / weights.mean()).sqrt()[:, None]
                y = torch.cat([y for _, y in parts])
                heads[name] = dense(root.numpy() * phi, root * y, heads[name])
            np.testing.assert_allclose(reports[0][step][name], heads[name], rtol=1e-9, atol=1e-11)


def test_moments_of_one_process_and_the_losses_agree():
    (x, y), model = batches(names="a"), TwoHeads()
    losses = losses_of(model)
    losses(model(x), y)
    moments = Moments.from_batch(model.body(x["a"]), y["a"], constant=True)
    expected, _ = Proximal(0.1).update(Proximal(0.1).init(9, 2), moments)
    torch.testing.assert_close(losses.heads["a"].state()["head"], expected, rtol=1e-12, atol=1e-14)
