"""Common features of a trainer beyond the method: schedules, stopping, clipping, averaging, checkpoints."""

import logging
import math
import pickle

import pytest
import torch
from torch import nn

from sciml_cf.errors import CheckpointError
from sciml_cf.head import ClosedFormHead, Proximal, find_head
from sciml_cf.training.averaging import WeightAverage
from sciml_cf.training.checkpoints import choose_checkpoint, read_tensors, save_checkpoint
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.run_folder import load, plain_state_dict, read_history
from sciml_cf.training.tensorboard import ScalarWriter
from tests.problems import Points, mlp

SGD_L2 = {"method": "l2", "optimizer": "sgd", "warmup": 0}
FEATURES = {
    "step": {"schedule": "step", "period": 2, "factor": 0.1},
    "plateau": {"schedule": "plateau", "period": 1, "factor": 0.1, "learning_rate": 0.3},
    "patience": {"patience": 2, "learning_rate": 0.3, "schedule": "constant"},
    "relative": {"loss": "relative"},
    "relative, algorithm 1": {"loss": "relative", "algorithm": 1},
    "clip": {"clip": 1e-3, "optimizer": "sgd"},
    "average": {"average": 0.9},
    "average, algorithm 1": {"average": 0.9, "algorithm": 1},
    "average, l2": {"average": 0.9, "method": "l2"},
    "everything": {"average": 0.9, "clip": 1.0, "schedule": "plateau", "period": 2, "patience": 4},
}


class InterruptedAfter(Points):
    def __init__(self, samples, left):
        super().__init__(samples)
        self.left = left

    def __getitem__(self, index):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


TRAIN, VALIDATION = Points(40), Points(16, seed=1)


def train(out, *, model=None, epochs=6, data=TRAIN, **settings):
    names = ("resume", "overwrite", "tensorboard", "until", "measure")
    arguments = {key: settings.pop(key) for key in names if key in settings}
    model = model or mlp()
    config = FitConfig(epochs=epochs, batch_size=8, accelerator="cpu", **{"normalize": "none", **settings})
    return model, fit(model, data, VALIDATION, config=config, out=out, progress=False, **arguments)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history.rows]


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("items", [3 * 40 - 5, 5 * 40 + 3])
def test_interrupted_and_resumed_equals_uninterrupted(feature, items, tmp_path):
    whole, history = train(tmp_path / "whole", **FEATURES[feature])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", data=InterruptedAfter(40, items), **FEATURES[feature])
        raise KeyboardInterrupt  # stopped by itself before
    resumed, again = train(tmp_path / "run", model=mlp(seed=5), resume=True, **FEATURES[feature])
    assert_same(plain_state_dict(whole), plain_state_dict(resumed))
    assert without_seconds(history) == without_seconds(again)
    for name in ("weights_best.pt", "weights_last.pt"):
        assert_same(read_tensors(tmp_path / "whole" / name), read_tensors(tmp_path / "run" / name))


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_changes_the_training(feature, tmp_path):
    kept = {key: FEATURES[feature][key] for key in ("method", "algorithm", "optimizer") if key in FEATURES[feature]}
    plain, _ = train(tmp_path / "plain", **kept)
    changed, _ = train(tmp_path / "changed", **FEATURES[feature])
    assert any(not torch.equal(a, b) for a, b in zip(plain.parameters(), changed.parameters(), strict=True))


@pytest.mark.parametrize("feature", FEATURES)
def test_resuming_a_finished_run_gives_its_evaluated_weights(feature, tmp_path):
    whole, history = train(tmp_path / "run", **FEATURES[feature])
    again, same = train(tmp_path / "run", model=mlp(seed=9), resume=True, **FEATURES[feature])
    assert_same(plain_state_dict(whole), plain_state_dict(again))
    assert same.rows == history.rows


def test_training_stops_early_and_stays_stopped(tmp_path):
    settings = {"patience": 2, "learning_rate": 0.3, "schedule": "constant"}
    _, history = train(tmp_path / "run", epochs=200, **settings)
    best = history.best["epoch"]
    assert len(history.rows) == best + 2 < 200
    assert len(read_history(tmp_path / "run")) == len(history.rows)


def test_plateau_lowers_the_rate_when_the_error_stays(tmp_path):
    settings = {"schedule": "plateau", "period": 1, "factor": 0.1, "learning_rate": 0.3, "warmup": 0}
    _, history = train(tmp_path / "run", epochs=20, **settings)
    errors, rates = ([row[name] for row in history.rows] for name in ("validation_mse", "learning_rate"))
    assert rates[0] == 0.3 and rates[-1] < 0.1
    for epoch in range(1, 20):
        lowered = errors[epoch - 1] >= min([math.inf, *errors[: epoch - 1]])
        assert rates[epoch] == pytest.approx(rates[epoch - 1] * (0.1 if lowered else 1.0))


def test_clipped_steps_are_no_longer_than_rate_times_norm(tmp_path):
    # One plain gradient step an epoch: Nesterov's first step is rate * (1 + momentum) * gradient.
    settings = {**SGD_L2, "schedule": "constant", "learning_rate": 1.0}
    moved = {}
    for clip in (None, 1e-3, 1e3):
        model = mlp()
        before = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
        config = FitConfig(epochs=1, batch_size=40, clip=clip, accelerator="cpu", **settings)
        fit(model, TRAIN, VALIDATION, config=config, out=tmp_path / str(clip), progress=False)
        moved[clip] = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) - before
    assert moved[1e-3].norm().item() == pytest.approx(1.9e-3, rel=1e-5)
    torch.testing.assert_close(moved[1e-3] / moved[1e-3].norm(), moved[None] / moved[None].norm())
    assert torch.equal(moved[1e3], moved[None])


def test_average_is_the_recursion_written_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = WeightAverage(model, 0.5)
    expected = model[0].weight.detach().clone()
    for step in range(8):
        model(torch.randn(4, 2, generator=torch.Generator().manual_seed(step)))
        with torch.no_grad():
            model[0].weight.add_(step)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    own = average.swap_in()
    torch.testing.assert_close(model[0].weight.detach(), expected)
    assert not torch.equal(own["0.weight"], expected) and model[1].num_batches_tracked == 8


def test_average_of_decay_zero_is_the_last_weights(tmp_path):
    plain, _ = train(tmp_path / "plain", method="l2")
    averaged, _ = train(tmp_path / "averaged", method="l2", average=0.0)
    assert_same(plain_state_dict(plain), plain_state_dict(averaged))


def test_averaging_leaves_the_trajectory_alone_and_keeps_what_was_validated(tmp_path):
    plain, _ = train(tmp_path / "plain", epochs=7)
    averaged, history = train(tmp_path / "averaged", epochs=7, average=0.9)
    states = [read_tensors(tmp_path / name / "last.pt") for name in ("plain", "averaged")]
    assert torch.equal(states[0]["head"]["head"], states[1]["head"]["head"])
    assert torch.equal(states[0]["model"]["0.weight"], states[1]["trajectory"]["0.weight"])
    assert not torch.equal(plain[0].weight, averaged[0].weight)
    for which, error in (
        ("best", history.best["validation_mse"]),
        ("last", history.rows[-1]["validation_mse"]),
    ):
        model = load(tmp_path / "averaged", model=mlp(), which=which)
        assert (model(VALIDATION.x) - VALIDATION.y).square().mean().item() == pytest.approx(error, rel=1e-12)


def test_averaged_backbone_has_a_head_of_its_own(tmp_path):
    model, _ = train(tmp_path / "run", average=0.9)
    state = read_tensors(tmp_path / "run" / "last.pt")["average"]["average"]
    assert torch.equal(state["0.weight"], model[0].weight)
    # By hand: the proximal solve on the next epoch's samples, five batches of eight, from the averaged head.
    by_hand = mlp()
    by_hand.load_state_dict(state)
    head = ClosedFormHead(find_head(by_hand), Proximal(), initial="keep")
    by_hand(TRAIN.x)
    head.update(TRAIN.y)
    torch.testing.assert_close(model[2].weight, by_hand[2].weight, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(state["2.weight"], model[2].weight, rtol=1e-3)


def test_averaging_helps_a_noisy_training(tmp_path):
    data = Points(40)
    data.y = data.y + 0.3 * torch.randn(data.y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    settings = {"schedule": "constant", "strength": 1e-3, "data": data}  # a head that follows each small batch
    noisy, averaged = (
        train(tmp_path / str(average), epochs=40, average=average, **settings)[1].rows for average in (None, 0.95)
    )
    late = [sum(row["validation_mse"] for row in rows[-20:]) / 20 for rows in (noisy, averaged)]
    assert late[1] < 0.9 * late[0]


# Checkpoints.


def damage(path, how):
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "flipped":
        middle = len(whole) // 2
        # More than the padding between two entries of the archive, which nobody reads.
        flipped = bytes(b ^ 0xFF for b in whole[middle : middle + 512])
        path.write_bytes(whole[:middle] + flipped + whole[middle + 512 :])
    elif how == "lacking":
        torch.save({"epoch": 3}, path)
    else:
        path.write_bytes(whole[: int(len(whole) * how)])


@pytest.mark.parametrize("how", [0.0, 0.3, 0.99, "missing", "flipped", "lacking"])
def test_damaged_last_checkpoint_gives_way_to_the_previous_one(how, tmp_path, caplog):
    whole, history = train(tmp_path / "whole", average=0.9)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", data=InterruptedAfter(40, 5 * 40 + 3), average=0.9)
    assert (
        read_tensors(tmp_path / "run" / "last.pt")["epoch"]
        == 1 + read_tensors(tmp_path / "run" / "previous.pt")["epoch"]
    )
    damage(tmp_path / "run" / "last.pt", how)
    with caplog.at_level(logging.WARNING):
        resumed, again = train(tmp_path / "run", model=mlp(seed=3), resume=True, average=0.9)
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("sciml_cf")]
    assert "goes on from previous.pt" in message and "\n" not in message
    assert_same(plain_state_dict(whole), plain_state_dict(resumed))
    assert without_seconds(history) == without_seconds(again)


def test_damaged_checkpoint_never_replaces_the_whole_one(tmp_path):
    for epoch in range(2):
        save_checkpoint(tmp_path, {"epoch": epoch})
    damage(tmp_path / "last.pt", 0.5)
    assert choose_checkpoint(tmp_path, frozenset({"epoch"})) == "previous.pt"
    save_checkpoint(tmp_path, {"epoch": 1})
    assert [read_tensors(tmp_path / name)["epoch"] for name in ("last.pt", "previous.pt")] == [1, 0]


def test_no_whole_checkpoint_is_refused(tmp_path):
    train(tmp_path / "run")
    for name in ("last.pt", "previous.pt"):
        damage(tmp_path / "run" / name, 0.5)
    with pytest.raises(CheckpointError, match=r"last.pt is damaged: it differs from its digest.*no whole previous.pt"):
        train(tmp_path / "run", resume=True)
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"last.pt must be a whole checkpoint.*no whole previous.pt either"):
        train(tmp_path / "run", resume=True)


@pytest.mark.parametrize("links", [True, False])
def test_a_whole_checkpoint_exists_between_any_two_file_operations(links, tmp_path, monkeypatch):
    import os

    save_checkpoint(tmp_path, {"epoch": 0})
    save_checkpoint(tmp_path, {"epoch": 1})

    class Killed(BaseException):
        pass

    operations = {name: getattr(os, name) for name in ("replace", "link", "fsync")}

    def start(left):
        def guarded(name):
            def call(*arguments):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                if name == "link" and not links:
                    raise OSError("no hard links here")
                return operations[name](*arguments)

            return call

        for name in operations:
            monkeypatch.setattr(os, name, guarded(name))

    for operation in range(4):
        start([operation])
        with pytest.raises(Killed):
            save_checkpoint(tmp_path, {"epoch": 2})
        assert read_tensors(tmp_path / choose_checkpoint(tmp_path, frozenset({"epoch"})))["epoch"] in (0, 1)
    start([10])
    save_checkpoint(tmp_path, {"epoch": 2})
    assert read_tensors(tmp_path / "last.pt")["epoch"] == 2


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').write('ran')",)


@pytest.mark.parametrize("way", ["torch", "pickle", "legacy"])
@pytest.mark.parametrize("name", ["last.pt", "weights_best.pt"])
def test_checkpoint_from_elsewhere_runs_no_code(way, name, tmp_path):
    train(tmp_path / "run")
    path, proof = tmp_path / "run" / name, tmp_path / "proof"
    if way == "pickle":
        path.write_bytes(pickle.dumps({"model": Malicious(proof)}))
    else:
        torch.save({"model": Malicious(proof)}, path, _use_new_zipfile_serialization=way == "torch")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="must be a whole checkpoint"):
        read_tensors(path)
    if name == "last.pt":
        train(tmp_path / "run", resume=True)
    else:
        with pytest.raises(CheckpointError):
            load(tmp_path / "run", model=mlp())
    assert not proof.exists()


# TensorBoard.


def test_missing_tensorboard_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "sciml-cf\[tensorboard\]"'):
        train(tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_tensorboard_holds_the_history(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", data=InterruptedAfter(40, 3 * 40 + 3), tensorboard=True)
    writer = ScalarWriter(
        tmp_path / "run" / "tensorboard", epoch=2
    )  # as if killed after writing, before the checkpoint
    writer.write({"epoch": 3, "validation_mse": 1e9})
    writer.close()
    _, history = train(tmp_path / "run", resume=True, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("validation_mse")] == [
        (row["epoch"], pytest.approx(row["validation_mse"], rel=1e-6)) for row in history.rows
    ]


@pytest.mark.parametrize("feature", ["average", "patience", "step"])
def test_training_in_two_parts_equals_one(feature, tmp_path):
    whole, history = train(tmp_path / "whole", **FEATURES[feature])
    _, part = train(tmp_path / "run", until=2, **FEATURES[feature])
    assert [row["epoch"] for row in part.rows] == [1, 2]
    resumed, again = train(tmp_path / "run", model=mlp(seed=5), resume=True, **FEATURES[feature])
    assert_same(plain_state_dict(whole), plain_state_dict(resumed))
    assert without_seconds(history) == without_seconds(again)
    with pytest.raises(ValueError, match="`until` must be an integer of at least 1; got 0"):
        train(tmp_path / "other", until=0)


def test_a_part_of_a_replacing_run_keeps_the_run_before(tmp_path):
    train(tmp_path / "run", epochs=2)
    train(tmp_path / "run", epochs=3, overwrite=True, until=1)
    assert (tmp_path / "run.replaced" / "weights_last.pt").exists()
    train(tmp_path / "run", epochs=3, resume=True)
    assert not (tmp_path / "run.replaced").exists()


def test_own_measures_join_the_history(tmp_path):
    seen = []

    def measure(model, epoch):
        assert not model.training
        with torch.no_grad():
            errors = [(model(item["x"]) - item["y"]).square().mean() for item in VALIDATION]
        seen.append(epoch)
        return {"again": torch.stack(errors).mean().item()}

    _, history = train(tmp_path / "run", epochs=3, average=0.5, measure=measure)
    assert seen == [1, 2, 3]
    for row in history.rows:
        assert math.isclose(row["again"], row["validation_mse"], rel_tol=1e-5)
    assert [row["again"] for row in read_history(tmp_path / "run")] == [row["again"] for row in history.rows]
