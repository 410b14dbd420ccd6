"""Checkpoints: the same bits after a stop, and one line for files that cannot be used."""

import zlib

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.causal import DeepFeatureIV, StageRules
from sciml_cf.causal.checkpoint import fingerprint
from sciml_cf.causal.nets import Batch
from sciml_cf.errors import CheckpointError
from tests.sciml_cf.causal.problems import mlp, sine

DATA = sine(300)
GRID = np.linspace(-3, 3, 50)


class Stopped(Exception):
    pass


def deep(out, iterations=10, **changes):
    treatment = nn.Sequential(mlp(seed=1), nn.BatchNorm1d(16))
    instrument = nn.Sequential(mlp(seed=2), nn.Dropout(0.2))
    given = {"progress": False, "batch_size": 32, "updates": (3, 1), "save_every": 4, "optimizer": "adam", **changes}
    return DeepFeatureIV(treatment, instrument, iterations=iterations, out=out, **given)


def stop_at(iteration):
    def measure(estimator, now):
        if now == iteration:
            raise Stopped
        return {}

    return measure


@pytest.mark.parametrize("rule", ["proximal", "ridge", "kalman"])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, rule):
    whole = deep(tmp_path / "whole", rule=rule).fit(**DATA)
    with pytest.raises(Stopped):
        deep(tmp_path / "parts", rule=rule, measure=stop_at(7)).fit(**DATA)
    parts = deep(tmp_path / "parts", rule=rule, resume=True).fit(**DATA)
    np.testing.assert_array_equal(parts.predict(GRID), whole.predict(GRID))
    np.testing.assert_array_equal(parts.predict(GRID, heads="refit"), whole.predict(GRID, heads="refit"))
    for one, other in zip(parts.history_, whole.history_, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_more_iterations_go_on_and_fewer_are_refused(tmp_path):
    deep(tmp_path / "run", 6).fit(**DATA)
    longer = deep(tmp_path / "run", 10, resume=True).fit(**DATA)
    np.testing.assert_array_equal(longer.predict(GRID), deep(None).fit(**DATA).predict(GRID))
    with pytest.raises(CheckpointError, match="`iterations` must be at least 10, where .* stopped; got 6"):
        deep(tmp_path / "run", 6, resume=True).fit(**DATA)


def test_a_falling_rate_goes_on_and_keeps_its_length(tmp_path):
    whole = deep(tmp_path / "whole", schedule="cosine").fit(**DATA)
    with pytest.raises(Stopped):
        deep(tmp_path / "parts", schedule="cosine", measure=stop_at(7)).fit(**DATA)
    parts = deep(tmp_path / "parts", schedule="cosine", resume=True).fit(**DATA)
    np.testing.assert_array_equal(parts.predict(GRID), whole.predict(GRID))
    (group,) = torch.load(tmp_path / "whole" / "last.pt")["optimizers"]["treatment_net"]["param_groups"]
    assert group["lr"] == pytest.approx(0.01 * (1 + np.cos(0.9 * np.pi)) / 2)
    with pytest.raises(CheckpointError, match="differs in schedule"):
        deep(tmp_path / "whole", 12, schedule="cosine", resume=True).fit(**DATA)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    whole = deep(tmp_path / "run").fit(**DATA)
    path = tmp_path / "run" / "last.pt"
    path.write_bytes(path.read_bytes()[:-500])
    again = deep(tmp_path / "run", resume=True).fit(**DATA)
    np.testing.assert_array_equal(again.predict(GRID), whole.predict(GRID))


def test_a_fitted_estimator_is_loaded_without_its_data_and_without_code(tmp_path):
    data = {**DATA, "outcome": np.column_stack([DATA["outcome"], DATA["treatment"] * 3 + 100])}
    fitted = deep(tmp_path / "run", heads="refit").fit(**data)
    loaded = deep(None, heads="refit").load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.predict(GRID), fitted.predict(GRID))
    np.testing.assert_array_equal(loaded.predict(GRID, heads="current"), fitted.predict(GRID, heads="current"))
    assert loaded.history_ == fitted.history_
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["iteration"] == 10
    other = DeepFeatureIV(mlp(features=3), mlp())
    with pytest.raises(CheckpointError, match="DeepFeatureIV.load: `folder` must hold a checkpoint of these nets"):
        other.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "data", "words"),
    [
        ({"learning_rate": 0.02}, DATA, "differs in learning_rate"),
        ({"rule": StageRules.proximal(0.3)}, DATA, "differs in rules"),
        ({}, sine(300, seed=1), "differs in the data"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, changes, data, words):
    deep(tmp_path / "run", 4).fit(**DATA)
    with pytest.raises(CheckpointError, match=words):
        deep(tmp_path / "run", **changes, resume=True).fit(**data)


def test_folders_that_cannot_be_used_are_told(tmp_path):
    deep(tmp_path / "run", 4).fit(**DATA)
    with pytest.raises(FileExistsError, match="`out` must be without a checkpoint; got .* Use resume=True"):
        deep(tmp_path / "run").fit(**DATA)
    with pytest.raises(FileNotFoundError, match="`out` must be a folder, or a new one in a folder; got"):
        deep(tmp_path / "no" / "run").fit(**DATA)
    with pytest.raises(CheckpointError, match="last.pt"):
        deep(None).load(tmp_path)


def test_a_fit_that_stops_leaves_the_fitted_model_and_an_unfitted_one_unfitted(tmp_path):
    fitted = deep(tmp_path / "run", 4).fit(**DATA)
    kinds = ("current", "refit")
    before, rows = [fitted.predict(GRID, heads=kind) for kind in kinds], fitted.history_
    seen = []

    def measure(estimator, iteration):
        seen.append(estimator.predict(GRID))
        raise KeyboardInterrupt

    other = {**DATA, "outcome": 100 + 50 * np.column_stack([DATA["outcome"]] * 2)}
    fitted.set_params(measure=measure, out=None, learning_rate=0.5)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(**other)
    assert seen[0].shape == (50, 2) and seen[0].mean() > 10  # of the nets in training
    for kind, values in zip(kinds, before, strict=True):
        np.testing.assert_array_equal(fitted.predict(GRID, heads=kind), values)
    assert fitted.history_ is rows
    with pytest.raises(CheckpointError):  # where training has begun, and its folder is another's
        fitted.set_params(measure=None, out=tmp_path / "run", resume=True).fit(**other)
    np.testing.assert_array_equal(fitted.predict(GRID), before[0])
    first = deep(None, measure=measure)
    with pytest.raises(KeyboardInterrupt):
        first.fit(**DATA)
    with pytest.raises(ValueError, match="`fit` must come first"):
        first.predict(GRID)


def test_data_of_low_precision_go_on_from_a_checkpoint(tmp_path):
    data = {name: torch.tensor(values).bfloat16() for name, values in DATA.items()}
    whole = deep(None, 6).fit(**data)
    deep(tmp_path / "run", 3).fit(**data)
    parts = deep(tmp_path / "run", 6, resume=True).fit(**data)
    np.testing.assert_array_equal(parts.predict(GRID), whole.predict(GRID))
    changed = {**data, "treatment": data["treatment"].roll(1)}
    with pytest.raises(CheckpointError, match="differs in the data"):
        deep(tmp_path / "run", 6, resume=True).fit(**changed)


def test_data_are_told_by_their_numbers_alone():
    x = torch.linspace(-1, 1, 60).reshape(6, 10)
    wide = torch.complex(x, -x)
    same = [x.T[:, :1], x[0, :, None].clone(), x.T.clone()[:, :1], wide.conj().imag.T[:, :1]]
    found = {fingerprint(Batch(one, one, one, None, None)) for one in same}
    assert found == {fingerprint(Batch(*[x[0]] * 3, None, None))} != {fingerprint(Batch(*[x[1]] * 3, None, None))}
    assert found == {zlib.crc32(np.tile(x[0].numpy(), 3).tobytes())}  # as checkpoints of earlier versions have it
