"""Results of an update and contents of a state: nothing global or lost; plain pairs and dictionaries still work."""

import copy
import gc
import io
import math
import pickle
import warnings
import weakref
from dataclasses import dataclass

import pytest
import torch

from sciml_cf.causal.stage_rules import StageHead
from sciml_cf.errors import JitterWarning, NotPositiveDefinite
from sciml_cf.head import (
    ClosedFormHead,
    ClosedFormLoss,
    CrossEntropy,
    Every,
    Moments,
    Proximal,
    Ridge,
    Rule,
    Update,
    WarmUp,
    check_solved,
    solved_state,
)
from sciml_cf.head.moments import RowMoments, SmallMoments
from sciml_cf.head.rules.common.rule import updated
from sciml_cf.head.rules.common.state import TrackedState, known_number, number_in, report_of, with_number
from tests.problems import dependent, mlp, regression


@dataclass(frozen=True)
class Later(Proximal):
    """The check of each solve is left to the next one, as on CUDA."""

    def update(self, state, moments):
        return solved_state(state, moments, self.strength, state["head"], later=True)


@dataclass(frozen=True)
class LaterPair(Rule):
    """A rule for an earlier version, which knows of no reports."""

    def update(self, state, moments):
        own, new = solved_state(state, moments, 1e-2, state["head"], later=True)
        return own, {**new, "head": own}


@dataclass(frozen=True)
class Own(Rule):
    """A rule that solves for itself."""

    pair: bool = False

    def update(self, state, moments):
        size = moments.num_features
        head = torch.linalg.solve(moments.gram + 0.1 * torch.eye(size), moments.cross + 0.1 * state["head"])
        return (head, {**state, "head": head}) if self.pair else Update({**state, "head": head})


def problem(rows=40):
    x = torch.randn(rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, torch.sin(x[:, :2])


# Updates.


def test_an_update_has_the_solve_and_unpacks_into_head_and_state():
    moments, rule = Moments.from_batch(*regression()), Proximal(0.3)
    update = rule.update(rule.init(7, 3), moments)
    head, state = update
    assert head is update.head is state["head"] is update[0]
    assert update.moments is moments and update.penalty == 0.3 and update.jitter == 0
    assert update.residuals is not None
    other = update.changed({"head": 2 * head})
    assert other.moments is moments and other.residuals is None  # they belong to the solved head
    assert torch.equal(other.head, 2 * head) and torch.equal(update.head, head)


@pytest.mark.parametrize("pair", [False, True])
def test_a_rule_with_a_solve_of_its_own_joins_the_head_and_its_figures(pair):
    (x, y), model = problem(), mlp()
    loss_of = ClosedFormLoss(model[-1], Own(pair))
    loss = loss_of(model(x), y)
    found = loss_of.head.diagnostics()
    assert found.loss_after == pytest.approx(loss.item()) and math.isnan(found.condition)
    assert loss_of.head.recent().solves == 1
    for wrapped in (Every(Own(pair), 1), WarmUp(Proximal(), 2)):
        assert isinstance(wrapped.update(wrapped.init(7, 3), Moments.from_batch(*regression())), Update)


def test_nothing_outlives_the_states_of_a_loop():
    rule, moments = Proximal(), Moments.from_batch(*regression())
    update = rule.update(rule.init(7, 3), moments)
    gone = weakref.ref(moments)
    del moments, update
    gc.collect()
    assert gone() is None


# Solves that are not waited for.


@pytest.mark.parametrize(
    "rule", [Later(), LaterPair(), Every(Later(), 1, "last"), WarmUp(Later(), 3), Every(LaterPair(), 1)]
)
def test_a_failed_solve_is_reported_once_whatever_the_rule_returns(rule):
    (x, y), model = problem(), mlp()
    head = ClosedFormHead(model[-1], rule)
    model(x)
    head.update(y)
    model(x * math.nan)
    head.update(y)
    model(x)
    with pytest.raises(NotPositiveDefinite, match="an earlier solve failed"):
        head.update(y)
    model(x)
    head.update(y)
    check_solved(head.state())


def test_a_failed_solve_of_one_output_is_reported_with_the_others():
    x, model = problem()[0], mlp(outputs=3)
    head = ClosedFormHead(model[-1], Later(), objective=CrossEntropy(curvature="per-class"))
    head.solve(tuple(Moments.from_batch(*regression(features=9, outputs=1)) for _ in range(3)))
    good, bad = (regression(features=9, outputs=1) for _ in range(2))
    bad[1][0] = math.nan
    head.solve(tuple(Moments.from_batch(*one) for one in (good, bad, good)))
    with pytest.raises(NotPositiveDefinite, match="an earlier solve failed"):
        check_solved(head.state())
    assert bool(torch.isfinite(model(x)).all())


def test_the_jitter_of_an_earlier_solve_is_warned_of_once():
    rule, moments = Later(1e-30), Moments.from_batch(*dependent())
    state = rule.update(rule.init(14, 3), moments).state
    with pytest.warns(JitterWarning):
        check_solved(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_solved(state)


def test_a_plain_state_is_looked_at():
    rule, (phi, y) = Later(), regression()
    state = rule.update(rule.init(7, 3), Moments.from_batch(phi * math.nan, y)).state
    assert report_of(state) is not None and report_of({**state}) is None
    with pytest.raises(NotPositiveDefinite):
        check_solved({**state})


def test_a_stage_reports_a_solve_behind_another_start():
    head, (phi, y) = StageHead(Later(), 7, 3, torch.device("cpu")), regression()
    head.solve(Moments.from_batch(phi * math.nan, y))
    head.start_from(torch.zeros(7, 3, dtype=torch.float64))
    with pytest.raises(NotPositiveDefinite, match="an earlier solve failed"):
        head.solve(Moments.from_batch(phi, y))
    head.solve(Moments.from_batch(phi * math.nan, y))
    with pytest.raises(NotPositiveDefinite, match="an earlier solve failed"):
        head.check()


# States.


def test_numbers_of_the_host_travel_with_the_state_and_follow_changes():
    state = with_number({"waited": torch.zeros(()), "head": torch.zeros(2, 1)}, "waited", 3.0)
    assert known_number(state, "waited") == 3
    for other in (state | {"head": torch.ones(2, 1)}, {"head": torch.ones(2, 1), **{}} | state):
        assert known_number(other, "waited") == 3
    assert known_number({**state}, "waited") is None and number_in({**state}, "waited") == 3
    replaced = state | {"waited": torch.ones(())}
    assert known_number(replaced, "waited") is None and number_in(replaced, "waited") == 1
    state["waited"].add_(1)
    assert number_in(state, "waited") == 4


def test_a_head_knows_the_numbers_of_its_state_until_it_is_loaded():
    model = mlp()
    head = ClosedFormHead(model[-1], Every(Ridge(0.1), 3))
    (x, y), saved = problem(), head.state_dict()
    model(x)
    head.update(y)
    assert known_number(head.state(), "waited") == 1
    head.load_state_dict(saved)
    assert known_number(head.state(), "waited") is None
    for _ in range(3):
        model(x)
        head.update(y)
    assert head.state()["head"].any() and known_number(head.state(), "waited") == 0


def test_plain_states_work_and_states_are_saved_as_plain_tensors():
    parts = [Moments.from_batch(*regression(rows=20 + k)) for k in range(6)]
    for rule in (Every(Proximal(), 2), WarmUp(Proximal(), 3)):
        plain = tracked = rule.init(7, 3)
        for part in parts:
            plain, tracked = dict(rule.update(plain, part).state), rule.update(tracked, part).state
        assert all(torch.equal(plain[name], value) for name, value in tracked.items())
    file = io.BytesIO()
    torch.save({"state": tracked}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)["state"]
    for other in (loaded, copy.deepcopy(tracked), pickle.loads(pickle.dumps(tracked))):
        assert not isinstance(other, TrackedState)
        assert all(torch.equal(other[name], value) for name, value in tracked.items())


def test_an_update_without_a_jitter_keeps_the_one_before():
    class Bare(Rule):
        def update(self, state, moments):
            return Update({"head": state["head"] + 1})

    state = Bare().init(7, 3)
    assert updated(Bare(), state, Moments.from_batch(*regression())).jitter is state["jitter"]


# The three classes of moments.


def test_moments_of_three_classes_have_one_interface():
    phi, y = (part.double() for part in regression(rows=9, features=7))
    weight = torch.tensor(9.0, dtype=torch.float64)
    dense = Moments(phi.T @ phi / 9, phi.T @ y / 9, y.square().mean(0), weight)
    small = Moments.from_batch(phi, y)
    rows = RowMoments(phi / 3, y / 3, weight)
    assert isinstance(small, SmallMoments)
    previous = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    diagonal = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    for other in (small, rows):
        for name in ("gram", "cross", "target_square", "weight", "squares", "num_rows"):
            torch.testing.assert_close(getattr(other, name), getattr(dense, name), rtol=1e-12, atol=1e-13)
        assert (other.shape, other.device, other.count) == ((7, 3), dense.device, None)
        for penalty in (0.3, diagonal, diagonal.diag()):
            for start in (None, previous):
                expected = dense.solve(penalty, start).head
                torch.testing.assert_close(other.solve(penalty, start).head, expected, rtol=1e-9, atol=1e-11)
                found = other.solve_later(penalty, start, keep=previous)
                torch.testing.assert_close(found.head, expected, rtol=1e-9, atol=1e-11)
                assert found.jitter == 0
        heads = torch.stack([previous, 2 * previous])
        torch.testing.assert_close(other.squared_errors(heads), dense.squared_errors(heads), rtol=1e-10, atol=1e-12)
        for change in (
            lambda some: some + dense,
            lambda some: dense + some,
            lambda some: some.weighing(torch.tensor(4.0, dtype=torch.float64)),
            lambda some: some.around(previous, step=0.5, curvature=0.25),
        ):
            for name in ("gram", "cross", "target_square", "weight"):
                ours, theirs = (getattr(change(some), name) for some in (other, dense))
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    with pytest.raises(AttributeError):
        dense.gram = phi
