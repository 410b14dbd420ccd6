"""Inputs of `fit`: other return values, other items, frozen backbones; and the state after a refused one."""

import json
import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from sciml_cf import FitConfig, adapt, fit, load, predict
from sciml_cf.errors import TrainingDiverged
from sciml_cf.model_outputs import carry_entry, entry_of
from sciml_cf.normalization import normalization_of
from sciml_cf.training.run_folder import read_history
from tests.problems import Points, Shifted, mlp
from tests.sciml_cf.test_passed_in import ENTRIES, Net, Registered

TRAIN, VALIDATION = Shifted(16, points=8), Shifted(4, points=8, seed=1)


def pairs(data):
    return TensorDataset(data.x, data.y)


def run(out, model, *, train=TRAIN, validation=VALIDATION, prediction=None, objective=None, head=None, **settings):
    config = FitConfig(**{"epochs": 2, "batch_size": 4, "accelerator": "cpu", "learning_rate": 1e-2, **settings})
    options = {"prediction": prediction, "objective": objective, "head": head}
    return fit(model, train, validation, config=config, out=out, progress=False, **options)


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


OTHER_WAYS = [{"algorithm": 1}, {"method": "l2"}, {"average": 0.9}, {"normalize": "none"}]


@pytest.mark.parametrize(
    ("kind", "entry", "settings"),
    [*((kind, entry, {}) for kind, entry in ENTRIES), *(("dict", "y", settings) for settings in OTHER_WAYS)],
)
def test_fit_finds_the_prediction_and_the_model_carries_it(kind, entry, settings, tmp_path):
    x = VALIDATION.x.numpy()
    plain, other = Net(), Net(kind)
    run(tmp_path / "plain", plain, **settings)
    run(tmp_path / "other", other, prediction=entry, **settings)
    torch.testing.assert_close(weights(other), weights(plain))
    np.testing.assert_allclose(predict(other, x), predict(plain, x), rtol=1e-5)
    torch.testing.assert_close(adapt(other, VALIDATION).head, adapt(plain, VALIDATION).head)
    assert (tmp_path / "other" / "posterior.pt").is_file()
    stored = json.loads((tmp_path / "other" / "run.json").read_text())["prediction"]
    assert stored == ({"entry": entry} if not callable(entry) else {"entry": None, "function": "<lambda>"})
    loaded = load(tmp_path / "other", model=Net(kind))
    if callable(entry):
        with pytest.raises(TypeError, match="Net: `prediction` must say which entry"):
            predict(loaded, x, prediction=entry)
        carry_entry(loaded, entry)
    expected = predict(load(tmp_path / "plain", model=Net()), x)
    np.testing.assert_allclose(predict(loaded, x), expected, rtol=1e-5)


def test_an_interrupted_run_of_a_model_that_returns_a_dict_goes_on(tmp_path):
    whole, parts = Net("dict"), Net("dict")
    run(tmp_path / "whole", whole, prediction="y")
    config = FitConfig(epochs=2, batch_size=4, accelerator="cpu", learning_rate=1e-2)
    for until in (1, None):
        fit(
            parts, TRAIN, VALIDATION, config=config, out=tmp_path / "parts", progress=False, prediction="y",
            resume=until is None, until=until,
        )  # fmt: skip
        parts = Net("dict", seed=3) if until else parts
    assert torch.equal(weights(parts), weights(whole))


def test_a_model_whose_prediction_is_not_known_is_refused_and_left_alone(tmp_path):
    for kind, entry, message in [
        ("dict", None, "fit: `prediction` must say which entry .* For instance prediction='y'"),
        ("dict", "z", "fit: `prediction` must lead to an entry of what the model returns"),
        ("dict", 1.5, "fit: `prediction` must be a key, an index, or a function"),
        ("dict", lambda returned: returned["y"] * 1, "which normalization replaces"),
    ]:
        model = Net(kind)
        with pytest.raises((TypeError, ValueError), match=message):
            run(tmp_path / "run", model, prediction=entry, method="l2")
        assert not list(tmp_path.iterdir()) and entry_of(model) is None and normalization_of(model) is None
    run(tmp_path / "run", Net("dict"), prediction=lambda returned: returned["y"] * 1, method="l2", normalize="none")


@pytest.mark.parametrize("settings", [{}, {"normalize": "none"}, {"method": "l2"}])
def test_items_may_be_pairs(settings, tmp_path):
    plain, other = Net(), Net()
    first = run(tmp_path / "plain", plain, **settings)
    second = run(tmp_path / "other", other, train=pairs(TRAIN), validation=list(pairs(VALIDATION)), **settings)
    torch.testing.assert_close(weights(other), weights(plain))
    assert first.best["validation_mse"] == pytest.approx(second.best["validation_mse"])
    assert (tmp_path / "other" / "posterior.pt").is_file()


# What cannot be trained on.


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("which", ["train", "validation"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"method": "l2"}, {"normalize": "none"}, {"normalize": "none", "method": "l2"},
     {"normalize": "none", "method": "l2", "epochs": 1, "batch_size": 16}],
)  # fmt: skip
def test_a_sample_that_is_not_finite_is_named(settings, which, name, tmp_path):
    data = {"train": Shifted(16, points=8), "validation": Shifted(4, points=8)}
    data[which].__dict__[name][3, 0, 2] = torch.nan
    message = f"fit: `{which}` must hold finite numbers; got NaN or Inf in {name} of sample 3"
    with pytest.raises(ValueError, match=message) as caught:
        run(tmp_path / "run", Net(), **data, **settings)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_an_infinite_input_that_only_the_gradients_show_is_named(tmp_path):
    data = Points(16)  # tanh hides it in the forward pass
    data.x[5, 1] = torch.inf
    with pytest.raises(ValueError, match="fit: `train` must hold finite numbers; got NaN or Inf in x of sample 5"):
        run(tmp_path / "run", mlp(), train=data, validation=Points(4), normalize="none", batch_size=16, epochs=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [{}, {"method": "l2"}])
def test_integers_are_numbers(settings, tmp_path):
    data = [((9 * item["x"]).round().int(), (9 * item["y"]).round().short()) for item in TRAIN]
    history = run(tmp_path / "run", Net(), train=data, validation=data, **settings)
    assert np.isfinite(history.best["validation_mse"])


def test_finite_samples_still_blame_the_learning_rate(tmp_path):
    with pytest.raises(TrainingDiverged, match="`learning_rate` must keep the training stable"):
        run(tmp_path / "run", Net(), method="l2", optimizer="sgd", learning_rate=1e12, warmup=0)
    assert (tmp_path / "run" / "last.pt").is_file()


class Refusing(Net):
    """Fails on its n-th forward pass in training."""

    def __init__(self, error, passes=1):
        super().__init__()
        self.error, self.left = error, passes

    def forward(self, x):
        self.left -= self.training
        if self.training and self.left == 0:
            raise self.error("no")
        return super().forward(x)


@pytest.mark.parametrize("error", [ValueError, TypeError, RuntimeError])
def test_a_refused_fit_leaves_no_folder_and_an_old_run_in_its_place(error, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(error, match="no"):
        run(out, Refusing(error))
    assert not list(tmp_path.iterdir())
    out.mkdir()
    with pytest.raises(error, match="no"):
        run(out, Refusing(error))
    assert list(tmp_path.iterdir()) == [out] and not list(out.iterdir())
    run(out, Net())
    before = read_history(out)
    config = FitConfig(epochs=1, batch_size=4, accelerator="cpu")
    with pytest.raises(error, match="no"):
        fit(Refusing(error), TRAIN, VALIDATION, config=config, out=out, progress=False, overwrite=True)
    assert list(tmp_path.iterdir()) == [out] and read_history(out) == before
    with pytest.raises(error, match="no"):  # later failures keep what was learned
        run(tmp_path / "later", Refusing(error, passes=6))
    assert (tmp_path / "later" / "last.pt").is_file()


@pytest.mark.parametrize("which", ["train", "validation"])
def test_an_empty_dataset_is_named(which, tmp_path):
    with pytest.raises(ValueError, match=f"fit: `{which}` must hold at least one sample; got an empty dataset"):
        run(tmp_path / "run", Net(), **{which: Shifted(0, points=8)})
    with pytest.raises(TypeError, match=f"fit: `{which}` must have items .* got a tuple of 3 as item 0"):
        run(tmp_path / "run", Net(), **{which: [(1, 2, 3)]})
    assert not list(tmp_path.iterdir())


def test_a_batch_larger_than_the_data_is_said(tmp_path, caplog):
    run(tmp_path / "run", Net(), batch_size=17)
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert said == [
        "fit: `batch_size` should be at most the number of training samples, 16; got 17. Every step takes all 16."
    ]
    caplog.clear()
    run(tmp_path / "fits", Net(), batch_size=16)
    assert not [one for one in caplog.records if one.levelno == logging.WARNING]


# Heads.


@pytest.mark.parametrize("settings", [{}, {"algorithm": 1}, {"clip": 1.0, "adaptive_clip": 0.1}, {"method": "ridge"}])
def test_a_frozen_backbone_is_left_and_its_head_solved(settings, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    model = Net()
    model.body.requires_grad_(False)
    body, head = weights(model.body), weights(model.head)
    history = run(tmp_path / "run", model, **settings)
    assert torch.equal(weights(model.body), body) and not torch.equal(weights(model.head), head)
    assert np.isfinite(history.best["validation_mse"]) and "only the head is solved" in caplog.text
    resumed = Net(seed=2)
    resumed.body.load_state_dict(model.body.state_dict())
    resumed.body.requires_grad_(False)
    config = FitConfig(**{"epochs": 2, "batch_size": 4, "accelerator": "cpu", "learning_rate": 1e-2, **settings})
    fit(resumed, TRAIN, VALIDATION, config=config, out=tmp_path / "run", progress=False, resume=True)
    assert torch.equal(weights(resumed), weights(model))


def test_nothing_to_train_is_one_line(tmp_path):
    model = Net().requires_grad_(False)
    with pytest.raises(ValueError, match="`model` must have parameters that require a gradient with method 'l2'"):
        run(tmp_path / "run", model, method="l2")
    assert not list(tmp_path.iterdir())


def test_fit_solves_the_layer_that_runs_last(tmp_path):
    data = TensorDataset(torch.randn(16, 2), torch.randn(16, 1))
    model = Registered()
    history = run(tmp_path / "run", model, train=data, validation=data)
    assert history.rows[-1]["head_change"] > 0 and model.unused.weight.requires_grad
    assert (tmp_path / "run" / "posterior.pt").is_file()


def test_a_model_without_a_linear_layer_trains_by_gradients(tmp_path):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x):
            return self.conv(x)

    run(tmp_path / "run", Plain(), method="l2")
    with pytest.raises(ValueError, match="must contain an nn.Linear"):
        run(tmp_path / "other", Plain())
