import copy
import errno
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.errors import CheckpointError, TrainingDiverged
from sciml_cf.head import ClosedFormHead, Proximal, find_head
from sciml_cf.head.binding.layer import read_head
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.models import FNOConfig, describe
from sciml_cf.training.checkpoints import read_tensors, save_tensors
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.run_folder import load, plain_state_dict, read_history, read_settings, write_history
from sciml_cf.training.run_start import only_writer
from tests.problems import Points, Shifted, mlp

TRAIN, VALIDATION = Shifted(40), Shifted(16, seed=1)
SMALL = FNOConfig(width=8, modes=6, layers=2)
KINDS = {
    "l2": {"method": "l2", "learning_rate": 1e-2},
    "ridge": {"method": "ridge", "algorithm": 1},
    "algorithm 1": {"method": "proximal", "algorithm": 1, "optimizer": "sgd", "learning_rate": 1.0, "warmup": 5},
    "algorithm 2": {"method": "proximal", "algorithm": 2},
}


def train(out, *, model=None, epochs=3, train=TRAIN, **settings):
    model = model or SMALL.build()
    arguments = {key: settings.pop(key) for key in ("resume", "overwrite", "describe", "head") if key in settings}
    config = FitConfig(epochs=epochs, batch_size=8, accelerator="cpu", **{"normalize": "none", **settings})
    return model, fit(model, train, VALIDATION, config=config, out=out, progress=False, **arguments)


def assert_same_weights(a, b):
    for name, value in plain_state_dict(a).items():
        assert torch.equal(value, plain_state_dict(b)[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns(kind, tmp_path):
    _, history = train(tmp_path / "run", epochs=12, **KINDS[kind])
    zero = VALIDATION.y.square().mean().item()
    assert history.best["validation_mse"] < 0.5 * zero


class InterruptedAfter(Shifted):
    """Ctrl-C while the given item is read."""

    def __init__(self, samples, left):
        super().__init__(samples)
        self.left = left

    def __getitem__(self, index):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_training_resumes_to_the_same_bits(kind, tmp_path):
    whole, history = train(tmp_path / "whole", **KINDS[kind])

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", train=InterruptedAfter(40, 2 * 40 + 11), **KINDS[kind])
    assert 1 <= len(read_history(tmp_path / "run")) < 3
    resumed, again = train(tmp_path / "run", model=SMALL.build(seed=99), resume=True, **KINDS[kind])
    assert_same_weights(whole, resumed)
    assert [row["validation_mse"] for row in again.rows] == [row["validation_mse"] for row in history.rows]
    a, b = (read_tensors(tmp_path / name / "weights_best.pt") for name in ("whole", "run"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_one_seed_gives_one_result_and_another_seed_another(tmp_path):
    (a, _), (b, _) = (train(tmp_path / name, seed=3) for name in "ab")
    c, _ = train(tmp_path / "c", seed=4)
    assert_same_weights(a, b)
    assert not torch.equal(read_head(find_head(a)), read_head(find_head(c)))


def by_hand(algorithm, steps):
    """The paper's algorithm box written out, on the batches that fit draws with this seed."""
    model = SMALL.build()
    layer = model.projection.fcs[-1]
    head = ClosedFormHead(layer, Proximal())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.5, momentum=0.9, nesterov=True)
    for x, y in steps:
        if algorithm == 2:
            with torch.no_grad():
                model(x)
                head.update(y)
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if algorithm == 1:
            with torch.no_grad():
                model(x)
                head.update(y)
    return model


class Recorded(Shifted):
    """Remembers which samples were asked for, in order."""

    def __init__(self, samples):
        super().__init__(samples)
        self.seen = []

    def __getitem__(self, index):
        self.seen.append(index)
        return super().__getitem__(index)


def recorded_run(tmp_path, algorithm):
    data = Recorded(40)
    settings = {"method": "proximal", "optimizer": "sgd", "learning_rate": 0.5, "schedule": "constant", "warmup": 0}
    model, _ = train(tmp_path / "run", train=data, epochs=2, algorithm=algorithm, **settings)
    looks = 2  # at the first sample: what an item is, and which layer runs last; by the training and the posterior
    steps = data.seen[looks : -len(data) - looks]  # the last pass is the posterior's
    return model, torch.tensor(steps).reshape(-1, 8).tolist()


def test_fit_is_the_papers_algorithm_1(tmp_path):
    model, batches = recorded_run(tmp_path, 1)
    expected = by_hand(1, [(TRAIN.x[batch], TRAIN.y[batch]) for batch in batches])
    for name, value in expected.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), value, rtol=1e-4, atol=1e-6)


def test_fit_is_the_papers_algorithm_2(tmp_path):
    # Five batches an epoch; before each validation the head is also solved on the batch that comes next (line 10).
    model, batches = recorded_run(tmp_path, 2)
    assert len(batches) == 2 * 5 + 2 and batches[5] == batches[6]
    trained, ahead = batches[:5] + batches[6:11], batches[11]
    expected = by_hand(2, [(TRAIN.x[batch], TRAIN.y[batch]) for batch in trained])
    layer = expected.projection.fcs[-1]
    head = ClosedFormHead(layer, Proximal(), initial="keep")
    expected(TRAIN.x[ahead])
    head.update(TRAIN.y[ahead])
    for name, value in expected.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), value, rtol=1e-4, atol=1e-5)
    checkpoint = read_tensors(tmp_path / "run" / "last.pt")
    solved_ahead, trajectory = read_head(model.projection.fcs[-1]), checkpoint["head"]["head"]
    assert (solved_ahead - trajectory).abs().max() > 1e-6


def test_validation_does_not_change_the_trajectory(tmp_path):
    config = FitConfig(epochs=3, batch_size=8, accelerator="cpu")
    models = []
    for index, validation in enumerate((VALIDATION, Shifted(3, seed=7))):
        model = SMALL.build()
        fit(model, TRAIN, validation, config=config, out=tmp_path / str(index), progress=False)
        models.append(model)
    assert_same_weights(*models)


def test_model_can_be_trained_again_by_another_method(tmp_path):
    model, _ = train(tmp_path / "closed", method="proximal")
    before = read_head(find_head(model))
    assert all(p.requires_grad for p in model.parameters())
    train(tmp_path / "l2", model=model, method="l2", epochs=1)
    assert not torch.equal(read_head(find_head(model)), before)


class WithDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.dropout = SMALL.build(), nn.Dropout(0.2)

    def forward(self, x):
        return self.inner(self.dropout(x))


def test_dropout_depends_on_the_seed_alone_and_not_on_interruption(tmp_path):
    whole, _ = train(tmp_path / "whole", model=WithDropout())
    torch.manual_seed(1234)
    again, _ = train(tmp_path / "again", model=WithDropout())
    assert_same_weights(whole, again)
    interrupted = InterruptedAfter(40, 2 * 40 + 11)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", model=WithDropout(), train=interrupted)
    resumed, _ = train(tmp_path / "run", model=WithDropout(), resume=True)
    assert_same_weights(whole, resumed)


def test_resuming_a_finished_run_gives_its_evaluated_weights(tmp_path):
    whole, _ = train(tmp_path / "run", algorithm=2)
    again, history = train(tmp_path / "run", model=SMALL.build(seed=9), algorithm=2, resume=True)
    assert_same_weights(whole, again)
    assert len(history.rows) == 3


def test_best_weights_are_those_of_the_best_epoch(tmp_path):
    settings = {"method": "l2", "optimizer": "sgd", "learning_rate": 0.2, "schedule": "constant", "warmup": 0}
    _, history = train(tmp_path / "run", epochs=12, **settings)
    best = int(history.best["epoch"])
    assert best < 12, "the test needs a run whose last epoch is not its best"
    model = load(tmp_path / "run", model=SMALL.build(), which="best")
    error = (model(VALIDATION.x) - VALIDATION.y).square().mean().item()
    assert error == pytest.approx(history.best["validation_mse"], rel=1e-5)


def test_replaced_run_is_kept_until_the_new_one_is_done(tmp_path):
    out = tmp_path / "run"
    train(out, epochs=1)
    before = (out / "weights_best.pt").read_bytes()
    with pytest.raises(TrainingDiverged, match="the run before in"):
        train(out, method="l2", optimizer="sgd", learning_rate=1e5, epochs=30, overwrite=True)
    assert (tmp_path / "run.replaced" / "weights_best.pt").read_bytes() == before
    train(out, epochs=1, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_two_trainings_do_not_write_one_folder(tmp_path):
    out = tmp_path / "run"
    train(out, epochs=1)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with only_writer(out):
        for choice in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(CheckpointError, match="one training at a time; got .*run, which another one"):
                train(out, epochs=1, **choice)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    train(out, epochs=1, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_training_that_was_killed_holds_its_folder_no_longer(tmp_path):
    hold = "import os, sys; from pathlib import Path; from sciml_cf.training.run_start import only_writer\n"
    hold += "with only_writer(Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", hold, str(tmp_path / "run")], check=False).returncode == 9
    assert (tmp_path / ".run.lock").exists()  # what it left is no obstacle
    train(tmp_path / "run", epochs=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_the_folder_one_stands_in_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("of someone else")
    with pytest.raises(FileExistsError, match="`out` must not exist yet"):
        train(Path(), epochs=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]
    assert not list(tmp_path.parent.glob(".*.lock"))


def test_a_folder_whose_place_cannot_be_locked_is_trained_in_all_the_same(tmp_path, monkeypatch):
    def refused(descriptor, how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", refused)
    assert len(train(tmp_path / "run", epochs=1)[1].rows) == 1


def test_measurements_of_older_weights_do_not_survive_a_resume(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(out, train=InterruptedAfter(40, 2 * 40 + 11))
    (out / "evaluation.nc").write_text("of an earlier epoch")
    train(out, resume=True)
    assert not (out / "evaluation.nc").exists()


class Torn(RuntimeError):
    pass


@pytest.mark.parametrize("name", ["last.pt", "previous.pt", "weights_last.pt", "history.csv"])
def test_files_are_whole_when_writing_fails_halfway(name, tmp_path, monkeypatch):
    train(tmp_path / "run")
    before = (tmp_path / "run" / name).read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(Torn))
    with pytest.raises(Torn):
        if name == "history.csv":
            write_history(tmp_path / "run", [{"epoch": 1}])
        else:
            save_tensors(tmp_path / "run" / name, {"x": torch.zeros(3)})
    assert (tmp_path / "run" / name).read_bytes() == before


def test_head_may_be_named(tmp_path):
    _, history = train(tmp_path / "run", head="projection.fcs.1")
    assert len(history.rows) == 3
    with pytest.raises(ValueError, match="`head` must be one of"):
        train(tmp_path / "other", head="projection.fcs.7")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = SMALL.build()

    def forward(self, x):
        return x + self.inner(x)


@pytest.mark.parametrize("algorithm", [1, 2])
def test_model_that_changes_its_output_after_the_head_is_refused(algorithm, tmp_path):
    with pytest.raises(ValueError, match="Something after the head changes it"):
        train(tmp_path / "run", model=Residual(), algorithm=algorithm)


def test_diverging_learning_rate_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(TrainingDiverged, match=r"`learning_rate`.*got 10000.*Try a third"):
        train(out, method="l2", optimizer="sgd", learning_rate=1e4, epochs=30)
    checkpoint = read_tensors(out / "last.pt")
    assert all(
        torch.isfinite(torch.view_as_real(v) if v.is_complex() else v).all() for v in checkpoint["model"].values()
    )


def test_run_folder_is_kept_unless_told_otherwise(tmp_path):
    out = tmp_path / "run"
    train(out, epochs=1)
    before = (out / "last.pt").read_bytes()
    with pytest.raises(FileExistsError, match="--resume to continue it or --overwrite"):
        train(out, epochs=1)
    with pytest.raises(CheckpointError, match=r"fit.learning_rate = 0.5 where .* has 0.003"):
        train(out, epochs=1, learning_rate=0.5, resume=True)
    assert (out / "last.pt").read_bytes() == before
    train(out, epochs=1, learning_rate=0.5, overwrite=True)
    assert read_settings(out)["fit"]["learning_rate"] == 0.5


def test_missing_parent_and_foreign_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="existing folder"):
        train(tmp_path / "no" / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(CheckpointError, match="no run.json"):
        train(tmp_path / "mine", resume=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="got the file"):
        train(tmp_path / "file", overwrite=True)


def test_run_folder_rebuilds_the_model(tmp_path):
    model, history = train(tmp_path / "run", describe={"model": describe(SMALL)})
    loaded = load(tmp_path / "run", which="last")
    model.eval()
    torch.testing.assert_close(loaded(VALIDATION.x), model(VALIDATION.x), rtol=0, atol=0)
    assert (loaded(VALIDATION.x) - VALIDATION.y).square().mean().item() == pytest.approx(
        history.rows[-1]["validation_mse"], rel=1e-5
    )


def test_weights_load_without_our_classes(tmp_path):
    from neuralop.models import FNO

    train(tmp_path / "run")
    plain = FNO(
        n_modes=(10,),
        in_channels=1,
        out_channels=1,
        hidden_channels=8,
        n_layers=2,
        positional_embedding=None,
        use_channel_mlp=False,
    )
    plain.load_state_dict(torch.load(tmp_path / "run" / "weights_best.pt", weights_only=True))
    ours = load(tmp_path / "run", model=SMALL.build(seed=5))
    assert torch.equal(plain(VALIDATION.x), ours(VALIDATION.x))


def test_damaged_run_folders_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="must be a folder made by training"):
        load(tmp_path / "nothing")
    train(tmp_path / "run", describe={"model": describe(SMALL)})
    best = tmp_path / "run" / "weights_best.pt"
    whole = best.read_bytes()
    best.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"weights_best\.pt is damaged: it differs from its digest"):
        load(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()  # as runs of version 0.1
    with pytest.raises(CheckpointError, match="must be a whole checkpoint"):
        load(tmp_path / "run")
    best.write_bytes(whole)
    with pytest.raises(CheckpointError, match="must have the shape"):
        load(tmp_path / "run", model=FNOConfig(width=4, modes=6, layers=2).build())
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    settings["model"]["builder"] = "unet"
    (tmp_path / "run" / "run.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="must name a builder of this version"):
        load(tmp_path / "run")


def test_a_failure_that_a_device_tells_late_is_told_before_the_epoch_ends(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Late(Proximal):  # the check of each solve is left to the next one, as on CUDA
        def update(self, state, moments):
            return solved_state(state, moments, self.strength, state["head"], later=True)

    class LastIsBad(Shifted):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            self.read = getattr(self, "read", 0) + 1
            last = 2 + 32 < self.read <= 2 + 40  # after two looks at the first sample; sound when looked at again
            return {**item, "y": item["y"] * math.nan} if last else item

    monkeypatch.setattr(FitConfig, "rule", lambda self: Late(1e-2))
    monkeypatch.setattr("sciml_cf.training.loop.Training._check", lambda *_: None)  # it would see the loss first
    with pytest.raises(TrainingDiverged, match=r"by step 5 .epoch 1.*an earlier solve failed"):
        train(tmp_path / "run", train=LastIsBad(40), method="proximal", algorithm=1)
    assert not (tmp_path / "run" / "weights_last.pt").exists()


class Scaled(Points):
    """Targets of very different size from sample to sample."""

    def __init__(self, samples, factor=10.0):
        super().__init__(samples)
        self.y *= factor ** (torch.arange(samples)[:, None] % 3)


@pytest.mark.parametrize("kind", ["ridge", "algorithm 2"])
def test_the_model_is_left_with_the_last_weights_though_the_best_get_error_bars(kind, tmp_path):
    class Opposite(Shifted):  # the better it is learnt, the worse it gets
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return {"x": item["x"], "y": -item["y"]}

    model, config = SMALL.build(), FitConfig(epochs=3, batch_size=8, accelerator="cpu", normalize="none", **KINDS[kind])
    history = fit(model, TRAIN, Opposite(16), config=config, out=tmp_path / "run", progress=False)
    assert history.best["epoch"] < 3 and (tmp_path / "run" / "posterior.pt").exists()
    best, last = (read_tensors(tmp_path / "run" / f"weights_{which}.pt") for which in ("best", "last"))
    for name, value in plain_state_dict(model).items():
        assert torch.equal(value, last[name]), name
    assert any(not torch.equal(best[name], last[name]) for name in last)


@pytest.mark.parametrize("method", ["l2", "ridge"])
def test_the_relative_loss_weighs_each_sample_by_the_size_of_its_target(method, tmp_path):
    data = Scaled(8)
    weights = (1 / data.y.square().mean(1)).numpy()
    phi = np.concatenate([mlp()[:2](data.x).detach().numpy(), np.ones((8, 1))], axis=1)
    layer = mlp()[2]
    head = np.concatenate([layer.weight.detach().numpy().T, layer.bias.detach().numpy()[None]])
    if method == "ridge":  # dense, on rows scaled by the roots of their weights
        roots = np.sqrt(weights / weights.sum())[:, None]
        rows = np.concatenate([roots * phi, np.sqrt(1e-4) * np.eye(9)])
        head = np.linalg.lstsq(rows, np.concatenate([roots * data.y.numpy(), np.zeros((9, 2))]), rcond=None)[0]
    errors = np.square(phi @ head - data.y.numpy()).mean(1)
    settings = {"method": method, "loss": "relative", "learning_rate": 1e-12, "normalize": "none"}
    config = FitConfig(epochs=1, batch_size=8, accelerator="cpu", **settings)
    history = fit(mlp(), data, data, config=config, out=tmp_path / "run", progress=False)
    assert math.isclose(history.rows[0]["train_loss"], (weights * errors).sum() / weights.sum(), rel_tol=1e-8)
    with pytest.raises(ValueError, match="`loss` must be 'mse' where the targets of a sample are all zero"):
        fit(mlp(), Scaled(8, factor=0.0), data, config=config, out=tmp_path / "zero", progress=False)


def test_own_model_needs_its_own_constructor_to_load(tmp_path):
    class Rows(Shifted):
        def __getitem__(self, index):
            return {"x": self.x[index, 0, :3].double(), "y": self.y[index, 0, :2].double()}

    model = mlp()
    fit(model, Rows(40), Rows(8), config=FitConfig(epochs=2, accelerator="cpu"), out=tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="`model` must be given"):
        load(tmp_path / "run")
    assert torch.equal(load(tmp_path / "run", model=mlp(seed=1), which="last")[0].weight, model[0].weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "`epochs` must be an integer of at least 1; got 0"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"learning_rate": -1.0}, "`learning_rate` must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "`learning_rate`"),
        ({"strength": 0.0}, "`strength`"),
        ({"method": "newton"}, "`method` must be one of 'l2', 'automatic', 'kalman'"),
        ({"algorithm": 3}, "`algorithm` must be one of 1, 2"),
        ({"optimizer": "lbfgs"}, "`optimizer`"),
        ({"schedule": "linear"}, "`schedule` must be one of 'constant', 'cosine', 'step', 'plateau'"),
        ({"period": 0}, "`period`"),
        ({"factor": 1.0}, "`factor` must lie between 0 and 1; got 1.0"),
        ({"patience": 0}, "`patience` must be an integer of at least 1"),
        ({"clip": 0.0}, "`clip` must be a finite number above 0"),
        ({"average": 1.0}, "`average` must be at least 0 and below 1; got 1.0"),
        ({"seed": -1}, "`seed`"),
        ({"warmup": -1}, "`warmup`"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FitConfig(**settings)


def test_defaults_that_depend_on_others_are_written_out(tmp_path):
    train(tmp_path / "run", epochs=1, method="proximal", optimizer="sgd")
    fit_settings = read_settings(tmp_path / "run")["fit"]
    assert (fit_settings["learning_rate"], fit_settings["strength"]) == (2.0, 1e-2)


def test_learning_rate_warms_up_and_decays(tmp_path):
    # Five steps an epoch; the history holds the rate of an epoch's last step.
    settings = {"learning_rate": 0.01, "warmup": 10}
    rates = {}
    for schedule in ("constant", "cosine"):
        _, history = train(tmp_path / schedule, epochs=4, schedule=schedule, **settings)
        rates[schedule] = [row["learning_rate"] for row in history.rows]
    assert rates["constant"] == pytest.approx([0.005, 0.01, 0.01, 0.01])
    cosine = [0.5 * (1 + math.cos(math.pi * step / 20)) for step in (4, 9, 14, 19)]
    assert rates["cosine"] == pytest.approx([a * b for a, b in zip(rates["constant"], cosine, strict=True)])


def test_empty_dataset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="empty dataset"):
        train(tmp_path / "run", train=Shifted(0))


def test_model_is_deep_copied_with_its_head(tmp_path):
    model, _ = train(tmp_path / "run", epochs=1)
    assert_same_weights(model, copy.deepcopy(model))


def test_interrupt_while_saving_waits_for_the_whole_file(tmp_path, monkeypatch):
    import signal

    from sciml_cf.training import checkpoints as runs

    save = torch.save

    def interrupted(content, file):
        signal.raise_signal(signal.SIGINT)
        save(content, file)

    monkeypatch.setattr(runs.torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.save_tensors(tmp_path / "last.pt", {"w": torch.ones(3)})
    assert torch.equal(runs.read_tensors(tmp_path / "last.pt")["w"], torch.ones(3))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
