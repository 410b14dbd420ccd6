"""Measures that keep the head cheap, with unchanged results: streaming, waiting for a device, solving now and then."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sciml_cf.errors import JitterWarning, NotPositiveDefinite
from sciml_cf.head import ClosedFormHead, Moments, Proximal, Ridge, Rule, proximal, ridge
from sciml_cf.head.binding.layer import read_head
from sciml_cf.head.gram import sums_of_products
from sciml_cf.head.rules import Every, check_solved
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import number_in
from sciml_cf.head.small import losses_of
from sciml_cf.head.solve import solve_head
from tests.problems import dependent, mlp, regression


def parts_of(count, rows=20):
    phi, y = regression(rows=count * rows)
    return [Moments.from_batch(phi[i : i + rows], y[i : i + rows]) for i in range(0, count * rows, rows)]


# Moments, streamed.


@pytest.mark.parametrize("width", [5, 33, 70])
@pytest.mark.parametrize("constant", [False, True])
def test_blocks_of_the_symmetric_product_equal_the_dense_product(width, constant):
    phi, y = regression(rows=3000, features=width)
    weights = torch.rand(3000, dtype=torch.float64) + 0.1
    moments = Moments.from_batch(phi, y, weights, constant=constant)
    dense = torch.cat([phi, torch.ones(3000, 1)], 1) if constant else phi
    share = (weights / weights.sum())[:, None]
    torch.testing.assert_close(moments.gram, dense.T @ (share * dense), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(moments.cross, dense.T @ (share * y), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(moments.target_square, (share * y.square()).sum(0), rtol=1e-12, atol=1e-13)
    assert moments.num_features == width + constant


def test_size_of_the_chunks_changes_rounding_alone_and_runs_are_bit_equal():
    phi, y = regression(rows=6001, features=40)
    whole, squares = sums_of_products(phi, y, None, True)
    assert torch.equal(whole, sums_of_products(phi, y, None, True)[0])
    for chunk in (257, 1000, 6001):
        other, own_squares = sums_of_products(phi, y, None, True, chunk)
        assert (other - whole).abs().max() <= 1e-13 * whole.abs().max(), chunk  # of sums of 6001 numbers
        torch.testing.assert_close(own_squares, squares, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(6, 50), (3, 40, 70), (2, 5, 30, 30)])
def test_channels_of_a_convolution_need_no_copy(shape):
    batch, *points = shape
    fields = torch.randn(batch, 9, *points)
    targets, weights = torch.randn(batch, 2, *points), torch.rand(shape)
    strided = Moments.from_batch(fields.movedim(1, -1), targets.movedim(1, -1), weights, constant=True)
    rows = fields.movedim(1, -1).reshape(-1, 9), targets.movedim(1, -1).reshape(-1, 2)
    plain = Moments.from_batch(torch.cat([rows[0], torch.ones(len(rows[0]), 1)], 1), rows[1], weights.reshape(-1))
    for name in ("gram", "cross", "target_square", "weight"):
        torch.testing.assert_close(getattr(strided, name), getattr(plain, name), rtol=1e-13, atol=1e-14)


class Largest(TorchDispatchMode):
    """The largest float64 storage that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            self.numbers = max(self.numbers, result.untyped_storage().nbytes() // 8)
        return result


@pytest.mark.parametrize("convolution", [False, True])
def test_a_million_rows_are_never_one_matrix_in_float64(convolution):
    features = torch.ones(16, 8, 2**16).movedim(1, -1) if convolution else torch.ones(2**20, 8)
    with Largest() as seen:
        moments = Moments.from_batch(features, features[..., :1], constant=True)
    assert 0 < seen.numbers <= 2048 * 10
    assert torch.equal(moments.gram, torch.ones(9, 9, dtype=torch.float64))
    assert moments.weight == 2**20


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`targets` must be \(4, 6, C\).*got \(24, 1\)"):
        Moments.from_batch(torch.zeros(4, 6, 3), torch.zeros(24, 1))


# Small ones, past torch.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("rows", "width"), [(40, 7), (128, 70), (333, 50), (1000, 60)]
)  # in 1, 3, 4 parts, and torch's
def test_moments_past_torch_are_those_of_torch(monkeypatch, dtype, constant, rows, width):
    phi, y = (part.to(dtype) for part in regression(rows=rows, features=width))
    small = Moments.from_batch(phi, y, constant=constant)
    monkeypatch.setattr("sciml_cf.head.moments.small_means", lambda *given: None)
    plain = Moments.from_batch(phi, y, constant=constant)
    for name in ("gram", "cross", "target_square", "weight"):
        torch.testing.assert_close(getattr(small, name), getattr(plain, name), rtol=1e-12, atol=1e-13)
    assert torch.equal(small.gram, small.gram.T)
    assert not small.gram.requires_grad


@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("penalty", ["number", "diagonal", "matrix"])
def test_solves_past_torch_are_those_of_torch(monkeypatch, penalty, previous):
    moments, head = Moments.from_batch(*regression()), torch.randn(7, 3, dtype=torch.float64)
    pull = {"number": 0.3, "diagonal": torch.rand(7, dtype=torch.float64) + 0.1}.get(penalty)
    pull = torch.diag(torch.rand(7, dtype=torch.float64) + 0.1) if pull is None else pull
    before = moments.gram.clone(), moments.cross.clone(), head.clone()
    small = solve_head(moments, penalty=pull, previous=head if previous else None)
    monkeypatch.setattr("sciml_cf.head.moments.solve_small", lambda *given: None)
    plain = solve_head(moments, penalty=pull, previous=head if previous else None)
    torch.testing.assert_close(small.head, plain.head, rtol=1e-10, atol=1e-12)
    assert small.jitter == plain.jitter == 0.0
    assert all(map(torch.equal, before, (moments.gram, moments.cross, head)))  # nothing is overwritten


@pytest.mark.parametrize("strength", [1e-6, 0.3, 1e6])
def test_losses_known_from_a_solve_are_those_of_its_heads(strength):
    phi, y = regression()
    before = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    solution = solve_head(Moments.from_batch(phi, y), penalty=strength, previous=before)
    expected = [(phi @ head - y).square().mean().item() for head in (before, solution.head, torch.zeros_like(before))]
    found = losses_of([solution.residuals] * 2, *(np.stack([head, head]) for head in (before, solution.head)))
    np.testing.assert_allclose(found, np.transpose([expected] * 2), rtol=1e-10)
    with_matrix = solve_head(Moments.from_batch(phi, y), penalty=strength * torch.eye(7).double(), previous=before)
    assert with_matrix.residuals is None  # not known on the way


def test_a_solve_in_a_graph_stays_in_torch():
    phi, y = regression()
    phi = phi.double().requires_grad_()
    head = solve_head(Moments.in_graph(phi, y.double()), penalty=0.3).head
    assert head.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_others_write_into_a_layer_is_seen(dtype):
    model = mlp().to(dtype)
    head = ClosedFormHead(model[-1], Proximal())
    x, y = regression(features=3, outputs=2)
    model(x.to(dtype))
    head.update(y.to(dtype))
    assert head._present()["head"] is head.state()["head"]
    for part in (model[-1].weight, model[-1].bias):
        for change in (lambda values: values.data.mul_(2), lambda values: values.detach().add_(1)):
            change(part)
            assert torch.equal(head._present()["head"].to(dtype), read_head(model[-1]).to(dtype))


# Solves that are not waited for: what CUDA does, forced on the CPU.


@dataclass(frozen=True)
class Later(Rule):
    strength: float = 1e-2

    def update(self, state, moments):
        return solved_state(state, moments, self.strength, state["head"], later=True)


def test_a_solve_that_is_not_waited_for_is_the_same_solve():
    moments, previous = Moments.from_batch(*regression()), torch.randn(7, 3, dtype=torch.float64)
    at_once = solve_head(moments, penalty=0.3, previous=previous)
    head, jitter = moments.solve_later(0.3, previous, keep=previous)
    torch.testing.assert_close(head, at_once.head, rtol=1e-10, atol=1e-12)  # another library's Cholesky
    assert jitter == 0.0 == at_once.jitter


def test_the_ladder_is_the_same_without_waiting():
    phi, y = dependent()
    moments = Moments.from_batch(phi, y)
    with pytest.warns(JitterWarning):
        at_once = solve_head(moments, penalty=0.0)
    head, jitter = moments.solve_later(0.0, None, keep=torch.zeros(14, 3, dtype=torch.float64))
    assert jitter == at_once.jitter > 0
    torch.testing.assert_close(phi @ head, phi @ at_once.head, rtol=1e-8, atol=1e-8)  # the heads are not unique


@pytest.mark.parametrize("cause", ["features", "targets", "indefinite"])
def test_a_failed_solve_keeps_the_head_and_raises_at_the_next_step(cause):
    phi, y = regression()
    good = Moments.from_batch(phi, y)
    strength = 1e-2
    if cause == "indefinite":
        strength = -100.0
    else:
        (phi if cause == "features" else y)[3, 1] = math.nan
    rule = Later(strength)
    _, before = Later().update(Later().init(7, 3), good)
    head, state = rule.update(before, Moments.from_batch(phi, y))
    assert torch.equal(head, before["head"])
    assert not torch.isfinite(state["jitter"])
    reason = "linearly dependent" if cause == "indefinite" else "NaN or Inf"
    with pytest.raises(NotPositiveDefinite, match=f"an earlier solve failed.*was kept.*{reason}"):
        rule.update(state, good)


def test_the_layer_never_holds_what_is_not_finite():
    model = mlp()
    head = ClosedFormHead(model[-1], Later())
    x = torch.randn(40, 3, dtype=torch.float64)
    y = torch.sin(x[:, :2])
    model(x)
    head.update(y)
    before = read_head(model[-1])
    assert before.any()
    model(x * math.nan)
    head.update(y)
    assert torch.equal(read_head(model[-1]), before)
    with pytest.raises(NotPositiveDefinite, match="NaN or Inf"):
        check_solved(head.state())
    model(x)
    head.update(y)  # told once; then training may go on
    check_solved(head.state())
    assert head.state()["jitter"] == 0


def test_a_failure_that_was_saved_unseen_is_told():
    state = Later().init(7, 3)
    check_solved(state)
    with pytest.raises(NotPositiveDefinite):
        check_solved({**state, "jitter": torch.tensor(math.inf, dtype=torch.float64)})


def test_a_jitter_is_warned_of_at_the_next_step():
    moments = Moments.from_batch(*dependent())
    rule = Later(strength=0.0)
    _, state = rule.update(rule.init(14, 3), moments)
    with pytest.warns(JitterWarning, match="raise `strength`"):
        check_solved(state)


def test_on_a_cpu_rules_fail_at_once():
    phi, y = regression()
    phi[0, 0] = math.nan
    with pytest.raises(NotPositiveDefinite):
        Proximal().update(Proximal().init(7, 3), Moments.from_batch(phi, y))


# Solving now and then.


def run(rule, moments):
    state, heads = rule.init(7, 3), []
    for part in moments:
        head, state = rule.update(state, part)
        heads.append(head)
    return heads, state


def test_every_step_is_the_rule_itself():
    parts = parts_of(3)
    for on in ("all", "last"):
        ours, theirs = run(Every(Proximal(), 1, on), parts)[0], run(Proximal(), parts)[0]
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_every_third_step_solves_on_all_rows_since():
    phi, y = regression(rows=120)
    (first, _, third, fourth, _, sixth), _ = run(Every(Proximal(0.1), 3), parts_of(6))
    assert not first.any()
    expected = proximal(Moments.from_batch(phi[:60], y[:60]), torch.zeros(7, 3), strength=0.1)
    torch.testing.assert_close(third, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(fourth, third)
    expected = proximal(Moments.from_batch(phi[60:], y[60:]), expected, strength=0.1)
    torch.testing.assert_close(sixth, expected, rtol=1e-12, atol=1e-12)


def test_every_third_step_solves_on_its_own_rows_alone():
    parts = parts_of(3)
    rule = Every(Ridge(0.1), 3, on="last")
    heads, state = run(rule, parts)
    assert torch.equal(heads[2], ridge(parts[2], strength=0.1))
    assert set(state) == {"head", "jitter", "waited"}


def test_steps_between_need_no_moments_when_the_last_alone_counts():
    parts = parts_of(3)
    rule = Every(Ridge(0.1), 3, on="last")
    state = rule.init(7, 3)
    for _ in range(2):
        state = rule.passes_over(state)
    assert rule.passes_over(state) is None
    head, state = rule.update(state, parts[2])
    assert torch.equal(head, ridge(parts[2], strength=0.1))
    assert rule.passes_over(state) is not None
    for wanting in (Proximal(), Every(Proximal(), 3), Every(Proximal(), 1, on="last")):
        assert wanting.passes_over(wanting.init(7, 3)) is None


def test_what_waits_is_in_the_state_dict():
    x = torch.randn(60, 3, dtype=torch.float64)
    y = torch.sin(x[:, :2])

    def step(model, head, i):
        model(x[20 * i : 20 * i + 20])
        head.update(y[20 * i : 20 * i + 20])

    model, other = mlp(), mlp()
    head, copy = (ClosedFormHead(m[-1], Every(Proximal(), 3)) for m in (model, other))
    step(model, head, 0)
    step(other, copy, 0)
    step(other, copy, 1)  # the copy is ahead by a step when it is set back
    copy.load_state_dict(head.state_dict())
    for i in (1, 2):
        step(model, head, i)
        step(other, copy, i)
    assert read_head(model[-1]).any()
    assert torch.equal(read_head(other[-1]), read_head(model[-1]))


def test_known_values_follow_changes_in_place():
    _, state = run(Every(Proximal(), 3), parts_of(2))
    assert number_in(state, "waited") == 2
    state["waited"].fill_(1.0)
    assert number_in(state, "waited") == 1


def test_wrong_settings_of_every_are_refused():
    with pytest.raises(ValueError, match="`steps` must be an integer of at least 1"):
        Every(Proximal(), 0)
    with pytest.raises(ValueError, match="`on` must be one of"):
        Every(Proximal(), 2, on="first")
    with pytest.raises(TypeError, match="`rule` must be a Rule"):
        Every(None, 2)
