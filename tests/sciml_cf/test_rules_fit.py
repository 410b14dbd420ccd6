"""Rules by their names in fit, and the head to start from."""

import json

import pytest
import torch
from torch import nn

from sciml_cf import FitConfig, FNOConfig, fit
from sciml_cf.head import (
    Automatic,
    ClosedFormHead,
    Kalman,
    MovingAverage,
    PerFeature,
    Proximal,
    RandomWalk,
    Ridge,
    SampledGCV,
    Streaming,
)
from sciml_cf.head.binding.layer import read_head
from tests.problems import Shifted

RULES = {
    "ridge": Ridge(),
    "proximal": Proximal(),
    "per-feature": PerFeature(),
    "automatic": Automatic(),
    "sampled-gcv": SampledGCV(),
    "kalman": Kalman(),
    "random-walk": RandomWalk(),
    "streaming": Streaming(),
    "moving-average": MovingAverage(),
}
SMALL = {"epochs": 2, "batch_size": 8, "accelerator": "cpu"}


def train(out, *, epochs=2, resume=False, **settings):
    config = FitConfig(**{**SMALL, "normalize": "none", **settings, "epochs": epochs})
    model = FNOConfig(width=8, modes=8, layers=2).build(seed=0)
    history = fit(model, Shifted(24), Shifted(8, seed=1), config=config, out=out, resume=resume, progress=False)
    return history, model


@pytest.mark.parametrize("method", RULES)
def test_a_method_is_a_rule(method):
    assert FitConfig(method=method).rule() == RULES[method]
    resolved = FitConfig(method=method).resolved()
    assert resolved.rule() == RULES[method]
    assert resolved.strength == getattr(RULES[method], "strength", None)
    assert resolved.forgetting == getattr(RULES[method], "forgetting", None)


def test_strength_and_forgetting_reach_the_rule():
    assert FitConfig(method="kalman", strength=0.3, forgetting=0.5).rule() == Kalman(0.5, 0.3)
    assert FitConfig(method="automatic", forgetting=0.5).rule() == Automatic(0.5)


@pytest.mark.parametrize("method", ["kalman", "random-walk", "streaming", "per-feature", "moving-average", "automatic"])
def test_fit_learns_with_every_rule(tmp_path, method):
    history, _ = train(tmp_path / "run", method=method, epochs=4)
    share = 1.0 if method == "moving-average" else 0.5  # the baseline learns slowly
    assert history.rows[-1]["validation_mse"] < share * history.rows[0]["train_loss"]


@pytest.mark.parametrize("method", ["kalman", "automatic", "streaming"])
def test_a_resumed_memory_is_the_same_to_the_bit(tmp_path, method, monkeypatch):
    _, whole = train(tmp_path / "whole", method=method, initial_head="he")
    stop = iter([False, False, True])  # asked once before each epoch, and once after the first
    monkeypatch.setattr("sciml_cf.training.loop.Training._done", lambda self: next(stop))
    train(tmp_path / "parts", method=method, initial_head="he")
    monkeypatch.undo()
    torch.rand(3)  # what the caller did with torch's generator does not matter
    _, resumed = train(tmp_path / "parts", method=method, initial_head="he", resume=True)
    assert len((tmp_path / "parts" / "history.csv").read_text().splitlines()) == 3
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_run_from_before_these_settings_can_be_resumed(tmp_path):
    train(tmp_path / "run", method="proximal")
    path = tmp_path / "run" / "run.json"
    settings = json.loads(path.read_text())
    assert settings["fit"].pop("forgetting") is None
    assert settings["fit"].pop("initial_head") is None
    path.write_text(json.dumps(settings))
    (tmp_path / "run" / "manifest.json").unlink()
    train(tmp_path / "run", method="proximal", resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "kalmann"}, "`method` must be one of 'l2', 'automatic', 'kalman'"),
        (
            {"method": "proximal", "forgetting": 0.9},
            "`forgetting` must be left out with the rule 'proximal'.*settings: strength",
        ),
        ({"method": "l2", "forgetting": 0.9}, "`forgetting` must be left out with method 'l2'"),
        ({"method": "kalman", "forgetting": 1.5}, "`forgetting` must be a number from 0 to 1; got 1.5"),
        ({"method": "automatic", "strength": 0.1}, "`strength` must be left out with the rule 'automatic'"),
        ({"method": "per-feature", "strength": 0.0}, "`strength` must be a finite number above 0"),
        ({"initial_head": "ones"}, "`initial_head` must be one of 'zeros', 'keep', 'lecun'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FitConfig(**settings)


# The head to start from.

VARIANCES = {"lecun": 1 / 400, "xavier": 2 / 500, "he": 2 / 400}


@pytest.mark.parametrize("layer", [nn.Linear(400, 100), nn.Conv1d(400, 100, 1)], ids=str)
@pytest.mark.parametrize("initial", VARIANCES)
def test_a_random_head_has_its_variance_and_no_bias(initial, layer):
    torch.manual_seed(0)
    head = ClosedFormHead(layer, Proximal(), initial=initial).state()["head"]
    assert head.shape == (401, 100)
    assert not head[-1].any()
    # 40000 draws: the mean is within 5 standard errors of 0, the variance within 5 of its own.
    deviation = VARIANCES[initial] ** 0.5
    assert abs(head[:-1].mean()) < 5 * deviation / 200
    assert head[:-1].var().item() == pytest.approx(VARIANCES[initial], rel=5 * (2 / 40000) ** 0.5)
    torch.testing.assert_close(read_head(layer), head.float().double())


def test_a_random_head_follows_torchs_generator():
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(ClosedFormHead(nn.Linear(5, 2, bias=False), Proximal(), initial="he").state()["head"])
    # The layer's own weights are drawn first.
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_zeros_and_keep_draw_nothing():
    torch.manual_seed(0)
    layer = nn.Linear(5, 2)
    before = torch.get_rng_state()
    kept = read_head(layer)
    assert torch.equal(ClosedFormHead(layer, Proximal(), initial="keep").state()["head"], kept)
    assert not ClosedFormHead(layer, Proximal(), penalise_bias=False).state()["head"].any()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_of_fit_decides_the_first_head(tmp_path, monkeypatch):
    firsts = []

    def first(self, *, resume, overwrite, describe):
        firsts.append(self.loss.head.state()["head"])
        raise KeyboardInterrupt

    monkeypatch.setattr("sciml_cf.training.loop.Training.start", first)
    for seed in (3, 3, 4):
        torch.rand(1)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", initial_head="lecun", seed=seed)
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[0], firsts[2])
