"""Rules that remember: one pass is ridge on all rows, and nothing remembered is the plain rule."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head import (
    Automatic,
    ClosedFormHead,
    Every,
    Kalman,
    Moments,
    MovingAverage,
    PerFeature,
    Proximal,
    RandomWalk,
    Ridge,
    SampledGCV,
    Streaming,
    WarmUp,
    check_solved,
)
from sciml_cf.head.rules.automatic import squared_errors
from sciml_cf.head.rules.common.solving import solved_state
from tests.problems import mlp, regression

REMEMBER = [
    Kalman(),
    RandomWalk(),
    Streaming(),
    PerFeature(),
    MovingAverage(),
    Automatic(),
    WarmUp(Kalman(), 3),
]


def batches(sizes, *, seed=0):
    phi, y = regression(rows=sum(sizes), seed=seed)
    return list(zip(phi.split(list(sizes)), y.split(list(sizes)), strict=True))


def run(rule, parts, state=None):
    state, heads = state or rule.init(7, 3), []
    for part in parts:
        head, state = rule.update(state, part if isinstance(part, Moments) else Moments.from_batch(*part))
        heads.append(head)
    return heads, state


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("rule", [Kalman(1.0, 1e-2), Streaming(1.0, 1e-2)], ids=str)
@pytest.mark.parametrize("sizes", [(20, 20, 20, 20), (20, 3, 31, 1, 11)], ids=str)
def test_one_pass_that_forgets_nothing_is_ridge_on_all_rows(rule, sizes):
    parts = batches(sizes)
    phi, y = (torch.cat(some).numpy() for some in zip(*parts, strict=True))
    # The prior entered once, with the first batch: 20 rows of strength 1e-2.
    expected = np.linalg.solve(phi.T @ phi + 20 * 1e-2 * np.eye(7), phi.T @ y)
    assert relative(run(rule, parts)[0][-1], torch.tensor(expected)) < 1e-10


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        (Kalman(0.0, 0.3), Proximal(0.3)),
        (Streaming(0.0, 0.3), Ridge(0.3)),
        (MovingAverage(0.0, 0.3), Ridge(0.3)),
        (Every(WarmUp(Proximal(0.3), 1, times=1.0), 1), Proximal(0.3)),
    ],
    ids=str,
)
def test_with_nothing_remembered_it_is_the_plain_rule(rule, limit):
    parts = batches((20, 30, 4, 11))
    for ours, theirs in zip(run(rule, parts)[0], run(limit, parts)[0], strict=True):
        assert relative(ours, theirs) < 1e-12


def test_a_kalman_of_little_memory_is_close_to_proximal():
    parts = batches((20, 30, 25))
    far, near = (relative(run(Kalman(g, 0.3), parts)[0][-1], run(Proximal(0.3), parts)[0][-1]) for g in (1e-2, 1e-4))
    assert near == pytest.approx(far / 100, rel=0.1)


def test_a_random_walk_moves_more_than_its_collapse_where_little_was_seen():
    # A direction that batch 1 did not contain has the covariance of two steps: half the pull.
    phi, y = torch.eye(7, dtype=torch.float64)[:1].repeat(5, 1), torch.ones(5, 3, dtype=torch.float64)
    new = Moments.from_batch(phi.roll(1, 1), y)
    walk, collapsed = (run(rule, [(phi, y), new])[0][-1] for rule in (RandomWalk(0.5), Proximal(0.5)))
    torch.testing.assert_close(collapsed[1], torch.full((3,), 1 / 1.5, dtype=torch.float64))
    torch.testing.assert_close(walk[1], torch.full((3,), 1 / 1.25, dtype=torch.float64))


def test_a_batch_of_half_the_weight_counts_half():
    parts = [Moments.from_batch(*part) for part in batches((20, 40))]
    both = parts[0] + parts[1]
    assert relative(run(Streaming(1.0, 1e-12), parts)[0][-1], run(Ridge(0.0), [both])[0][-1]) < 1e-9
    average = run(MovingAverage(1.0, 0.0), parts)[0][-1]
    own = [run(Ridge(0.0), [part])[0][-1] for part in parts]
    assert relative(average, (own[0] + 2 * own[1]) / 3) < 1e-12


@pytest.mark.parametrize("rule", REMEMBER, ids=lambda rule: type(rule).__name__)
def test_the_size_of_all_batches_means_nothing(rule):
    parts = batches((20, 30, 25))
    repeated = [(phi.repeat(4, 1), y.repeat(4, 1)) for phi, y in parts]
    assert relative(run(rule, repeated)[0][-1], run(rule, parts)[0][-1]) < 1e-10


@pytest.mark.parametrize("rule", [PerFeature(), Automatic(), PerFeature(forgetting=0.0)], ids=str)
@pytest.mark.parametrize("scale", [1e-6, 100.0])
def test_the_scale_of_the_features_means_nothing(rule, scale):
    parts = batches((20, 30, 25, 20))
    plain, scaled = run(rule, parts)[0], run(rule, [(scale * phi, y) for phi, y in parts])[0]
    for ours, theirs in zip(scaled, plain, strict=True):
        assert relative(scale * ours, theirs) < 1e-10


def test_each_feature_has_its_own_scale():
    parts, scales = batches((20, 30, 25)), 10.0 ** torch.arange(-3, 4, dtype=torch.float64)
    plain, scaled = run(PerFeature(), parts)[0][-1], run(PerFeature(), [(phi * scales, y) for phi, y in parts])[0][-1]
    assert relative(scales[:, None] * scaled, plain) < 1e-9


def test_a_feature_that_was_never_active_keeps_its_weight():
    (phi, y), *_ = batches((20,))
    phi = phi * (torch.arange(7) != 2)
    for rule in (PerFeature(), Automatic()):
        head = run(rule, [(phi, y)])[0][-1]
        assert not head[2].any()
        assert head[3].all()


def test_automatic_finds_the_strength_that_foretells():
    noise = torch.Generator().manual_seed(1)
    parts = [(phi, y + 30 * torch.randn(y.shape, dtype=y.dtype, generator=noise)) for phi, y in batches((9,) * 60)]
    strengths = (1e-4, 1e-2, 1.0, 100.0)
    _, state = run(Automatic(0.99, strengths), parts)
    best = state["scores"].argmin().item()
    assert best == 3  # nine noisy rows for seven features: only a strong pull averages the noise away
    assert torch.equal(state["head"], state["heads"][best])
    _, clean = run(Automatic(0.99, strengths), batches((9,) * 60))
    assert clean["scores"].argmin().item() < 3


def test_automatic_starts_anew_from_a_head_that_was_put_there():
    parts = batches((20, 30))
    _, state = run(Automatic(), parts[:1])
    other = torch.ones(7, 3, dtype=torch.float64)
    head, _ = Automatic().update({**state, "head": other}, Moments.from_batch(*parts[1]))
    expected, _ = Automatic().update({**Automatic().init(7, 3), "head": other}, Moments.from_batch(*parts[1]))
    assert torch.equal(head, expected)


def test_errors_from_moments_are_those_of_the_rows():
    (phi, y), *_ = batches((50,))
    heads = torch.randn(4, 7, 3, dtype=torch.float64)
    for rows in (50, 5):  # from moments, and from rows that are fewer than the features
        expected = (phi[:rows] @ heads - y[:rows]).square().sum(-1).mean(-1)
        found = squared_errors(heads, Moments.from_batch(phi[:rows], y[:rows]))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    exact = torch.linalg.lstsq(phi[:7], y[:7]).solution
    assert squared_errors(exact[None], Moments.from_batch(phi[:7], y[:7])) > 0  # its logarithm is finite


def test_a_warm_up_ends_in_the_rule_itself():
    parts = batches((20,) * 4)
    rule, state = WarmUp(Proximal(0.01), 2, times=100.0), Proximal().init(7, 3)
    heads, _ = run(rule, parts)
    for head, strength, part in zip(heads, (1.0, 0.1, 0.01, 0.01), parts, strict=True):
        expected, state = Proximal(strength).update(state, Moments.from_batch(*part))
        assert relative(head, expected) < 1e-12


@pytest.mark.parametrize("rule", REMEMBER, ids=lambda rule: type(rule).__name__)
def test_every_applies_it_to_merged_batches(rule):
    parts = [Moments.from_batch(*part) for part in batches((20, 30, 25, 20))]
    now_and_then = run(Every(rule, 2), parts)[0][-1]
    assert relative(now_and_then, run(rule, [parts[0] + parts[1], parts[2] + parts[3]])[0][-1]) < 1e-12


@pytest.mark.parametrize("rule", [*REMEMBER, Every(Kalman(), 2)], ids=lambda rule: type(rule).__name__)
def test_a_saved_memory_goes_on_to_the_same_bits(rule):
    model, other = mlp(), mlp()
    x = torch.randn(60, 3, dtype=torch.float64)
    y = torch.sin(x[:, :2])

    def step(some, head, i):
        some(x[20 * i : 20 * i + 20])
        head.update(y[20 * i : 20 * i + 20])

    head = ClosedFormHead(model[-1], rule)
    step(model, head, 0)
    step(model, head, 1)
    copy = ClosedFormHead(other[-1], rule)
    copy.load_state_dict(head.state_dict())
    step(model, head, 2)
    step(other, copy, 2)
    assert all(torch.equal(a, b) for a, b in zip(head.state().values(), copy.state().values(), strict=True))
    assert all(value.dtype == torch.float64 for value in head.state().values())


@pytest.mark.parametrize("rule", REMEMBER, ids=lambda rule: type(rule).__name__)
def test_the_shape_of_the_state_is_fixed(rule):
    before = rule.init(7, 3)
    _, after = run(rule, batches((20, 30)))
    assert {name: value.shape for name, value in before.items()} == {n: value.shape for n, value in after.items()}


# A solve that fails on a device is told of a step later: the memory must be what it was.


@pytest.mark.parametrize("rule", REMEMBER, ids=lambda rule: type(rule).__name__)
def test_a_failed_solve_that_is_not_waited_for_leaves_the_memory(rule, monkeypatch):
    def later(*args, **kwargs):
        return solved_state(*args, **kwargs, later=True)

    for module in ("kalman", "random_walk", "streaming", "per_feature", "moving_average", "automatic"):
        monkeypatch.setattr(f"sciml_cf.head.rules.{module}.solved_state", later)
    monkeypatch.setattr("sciml_cf.head.rules.automatic._solved", _unchecked)
    good, other = batches((20, 30))
    _, before = run(rule, [good])
    bad = (good[0] * torch.nan, good[1])
    _, after = run(rule, [bad], before)
    assert not torch.isfinite(after["jitter"])
    kept = set(before) - {"jitter", "warmed"}
    assert all(torch.equal(after[name], before[name]) for name in kept)
    with pytest.raises(NotPositiveDefinite, match="an earlier solve failed"):
        check_solved(after)
    at_once, _ = run(rule, [other], {**before, "warmed": after["warmed"]} if "warmed" in before else before)
    assert torch.equal(run(rule, [other], after)[0][0], at_once[0])


def _unchecked(moments, penalty, head):
    return moments.solve_later(penalty, head, keep=head).head


@dataclass(frozen=True)
class Plain(Proximal):
    """A rule of someone's own."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Kalman(forgetting=1.1), "Kalman: `forgetting` must be a number from 0 to 1; got 1.1"),
        (lambda: Streaming(forgetting=True), "Streaming: `forgetting` must be a number"),
        (lambda: Kalman(strength=0.0), "Kalman: `strength` must be a finite number above 0"),
        (lambda: Streaming(strength=-1.0), "Streaming: `strength`"),
        (lambda: RandomWalk(0.0), "RandomWalk: `strength`"),
        (lambda: PerFeature(strength=float("inf")), "PerFeature: `strength`"),
        (lambda: MovingAverage(strength=-1.0), "MovingAverage: `strength` must be a finite number of at least 0"),
        (lambda: MovingAverage(forgetting=float("nan")), "MovingAverage: `forgetting`"),
        (lambda: Automatic(strengths=()), "Automatic: `strengths` must name at least one"),
        (lambda: Automatic(strengths=(1.0, 0.0)), "Automatic: `strength` must be a finite number above 0"),
        (lambda: WarmUp(Proximal(), 0), "WarmUp: `steps`|WarmUp.*steps"),
        (lambda: WarmUp(Proximal(), 3, times=0.0), "times"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_warm_up_needs_a_strength():
    with pytest.raises(TypeError, match="`rule` must be a Rule with a strength"):
        WarmUp(Automatic(), 3)
    assert WarmUp(Plain(), 3).update(Proximal().init(7, 3) | WarmUp(Plain(), 3).init(7, 3), _some())[0].any()


def _some():
    return Moments.from_batch(*regression())


@pytest.mark.parametrize("rule", [Kalman(), RandomWalk(), Streaming(), Every(Ridge(), 2), WarmUp(Kalman(), 2)], ids=str)
def test_a_free_bias_is_refused_where_moments_are_remembered(rule):
    with pytest.raises(ValueError, match="`penalise_bias` must be True with a rule that remembers earlier batches"):
        ClosedFormHead(mlp()[-1], rule, penalise_bias=False)
    ClosedFormHead(mlp(bias=False)[-1], rule, penalise_bias=False)
    ClosedFormHead(mlp()[-1], Every(Ridge(), 2, on="last"), penalise_bias=False)


@pytest.mark.parametrize("dependent", [1.0, 3.0])
def test_sampled_gcv_scores_are_those_of_dense_smoothers(dependent):
    strengths, parts = (1e-3, 0.1, 10.0), batches((60, 40))
    rule = SampledGCV(0.5, dependent, strengths)
    state, expected, weight = rule.init(7, 3), np.zeros(3), 0.0
    for tensors in parts:
        (phi, y), n = (part.numpy() for part in tensors), len(tensors[0])
        gram, rest = phi.T @ phi / n, y - phi @ state["head"].numpy()
        each = []
        for strength in strengths:
            pull = strength * np.trace(gram) / 7
            smoother = phi @ np.linalg.solve(gram + pull * np.eye(7), phi.T) / n
            error = np.square(rest - smoother @ rest).sum(0).mean() / n
            each.append(np.log(error / (1 - np.trace(smoother) * dependent / n) ** 2))
        faded = 0.5 * weight
        expected, weight = (faded * expected + n * np.array(each)) / (faded + n), faded + n
        _, state = rule.update(state, Moments.from_batch(*tensors))
    np.testing.assert_allclose(state["scores"], expected, rtol=1e-9)


def test_sampled_gcv_pulls_harder_where_targets_are_noise_and_where_fewer_rows_are_independent():
    noise = torch.Generator().manual_seed(1)
    parts = [(phi, torch.randn(y.shape, dtype=y.dtype, generator=noise)) for phi, y in batches((30,) * 20)]
    strengths = (1e-4, 1e-2, 1.0, 100.0)

    def found(data, dependent=1.0):
        return run(SampledGCV(0.99, dependent, strengths), data)[1]["scores"].argmin().item()

    assert found(parts) > found(batches((30,) * 20))
    mixed = [(phi, y + 0.5 * e) for (phi, y), (_, e) in zip(batches((30,) * 20), parts, strict=True)]
    assert found(mixed, dependent=4.0) > found(mixed)
    with pytest.raises(ValueError, match="`dependent` must be a finite number above 0; got 0"):
        SampledGCV(dependent=0)
    with pytest.raises(ValueError, match="`strengths` must name at least one"):
        SampledGCV(strengths=())


ROWWISE = [
    Proximal(0.1),
    Ridge(0.1),
    *REMEMBER,
    SampledGCV(0.5, strengths=(1e-3, 1e-1, 10.0)),
    Every(SampledGCV(), 2),
    Every(Proximal(0.1), 2, on="last"),
]


@pytest.mark.parametrize("rule", ROWWISE, ids=str)
@pytest.mark.parametrize("rows", [50, 6], ids=["more rows than features", "fewer"])
def test_no_rule_depends_on_the_unit_of_the_weights(rule, rows):
    def after(unit):
        generator = torch.Generator().manual_seed(0)
        state = rule.init(10, 2)
        for step in range(4):
            x, noise = (torch.randn(rows + step, size, generator=generator) for size in (10, 2))
            w = torch.rand(rows + step, generator=generator).double() + 0.1
            _, state = rule.update(state, Moments.from_batch(x, x[:, :2] + noise, unit * w))
        return state

    one = after(1.0)
    for unit in (1 / 256, 1000.0):
        other = after(unit)
        assert relative(other["head"], one["head"]) < 1e-9
        if "scores" in one:
            torch.testing.assert_close(other["scores"], one["scores"], rtol=1e-9, atol=1e-9)


def test_equal_weights_of_any_unit_leave_generalised_cross_validation_alone():
    x, y = regression(256, 40, 1)
    rule, found = SampledGCV(), []
    for unit in (None, 1.0, 1 / 256, 1000.0):
        weights = None if unit is None else torch.full((256,), unit)
        found.append(rule.update(rule.init(40, 1), Moments.from_batch(x, y, weights))[1])
    for other in found[1:]:
        assert found[0]["scores"].isfinite().all()
        torch.testing.assert_close(other["scores"], found[0]["scores"], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(other["head"], found[0]["head"], rtol=1e-9, atol=1e-12)


def test_rows_are_counted_through_merges_of_weighted_and_other_moments():
    x, y = regression(30, 4, 2)
    weights = torch.linspace(0, 2, 30)  # the first row counts for nothing
    parts = [Moments.from_batch(x[a:b], y[a:b], w) for a, b, w in ((0, 2, weights[:2]), (2, 20, None))]
    assert [float(one.num_rows) for one in parts] == [1, 18]
    assert float((parts[0] + parts[1]).num_rows) == float((parts[1] + parts[0]).num_rows) == 19
    assert float((parts[1] + parts[1]).num_rows) == 36 and (parts[1] + parts[1]).count is None
    moved = parts[0].around(torch.zeros(4, 2).double(), step=1.0, curvature=0.5)
    assert float(moved.num_rows) == float(parts[0].weighing(moved.weight * 9).num_rows) == 1


def test_states_of_an_earlier_version_are_completed():
    x, y = regression(20, 4, 2)
    layer = torch.nn.Linear(4, 2, bias=False).double()
    every = ClosedFormHead(layer, Every(SampledGCV(), 3))
    for _ in range(2):
        every.update(y, prediction=layer(x))
    old = {name: value.clone() for name, value in every.state_dict().items() if "count" not in name}
    every.update(y, prediction=layer(x))
    every.load_state_dict(old)
    assert float(every.state()["waiting_count"]) == 40
    stream = ClosedFormHead(layer, Streaming(0.5))
    stream.update(y, prediction=layer(x))
    old = {name: value.clone() for name, value in stream.state_dict().items() if "target_square" not in name}
    torch.nn.ModuleDict({"head": stream}).load_state_dict({f"head.{name}": value for name, value in old.items()})
    assert stream.state()["target_square"].isnan().all()
    stream.update(y, prediction=layer(x))
    torch.testing.assert_close(stream.state()["target_square"], y.square().mean(dim=0).double())
    assert stream.diagnostics().loss_after > 0
    stream.restore({name.removeprefix("rule_"): value for name, value in old.items()})
    assert stream.state()["target_square"].isnan().all()
    del old["rule_head"]
    with pytest.raises(RuntimeError, match="rule_head"):
        stream.load_state_dict(old)


def test_diagnostics_of_streaming_are_those_of_all_that_it_remembers():
    generator = torch.Generator().manual_seed(0)
    layer, fade = torch.nn.Linear(4, 2).double(), 0.9
    head = ClosedFormHead(layer, Streaming(fade, 1e-4))
    rows = []
    for step in range(6):
        x = torch.randn(50, 4, generator=generator).double()
        y = (x[:, :2] + torch.randn(50, 2, generator=generator)) * (10.0 if step < 5 else 1.0)
        rows.append((x, y))
        before = layer.weight.clone(), layer.bias.clone()
        head.update(y, prediction=layer(x))
    shares = torch.tensor([fade ** (5 - step) for step in range(6)], dtype=torch.float64)

    def loss(weight, bias):
        errors = torch.stack([(x @ weight.T + bias - y).square().mean() for x, y in rows])
        return float(shares @ errors / shares.sum())

    found = head.diagnostics()
    root = shares.sqrt().repeat_interleave(50)[:, None]
    phi = torch.cat([torch.cat([x, torch.ones(50, 1)], dim=1) for x, _ in rows])
    best = torch.linalg.lstsq(root * phi, root * torch.cat([y for _, y in rows])).solution
    assert found.loss_before == pytest.approx(loss(*before), rel=1e-9)
    assert found.loss_after == pytest.approx(loss(layer.weight, layer.bias), rel=1e-9)
    assert found.loss_reachable == pytest.approx(loss(best[:4].T, best[4]), rel=1e-6)
    assert found.rows == pytest.approx(50 * float(shares.sum()))
