"""Data of other dimensions or channels than the run's: one line, whatever asks, and nothing is written."""

import json

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate
from sciml_cf import ConvConfig, FNOConfig, UNOConfig, adapt, evaluate_rollout, evaluate_transfer, load, predict
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate.rollout import rollout
from sciml_cf.models import describe
from sciml_cf.training.run_folder import plain_state_dict
from tests.sciml_cf.test_cli import call

WANTED = {
    "fno1": "1 dimension, 1 input channel and 1 output channel",
    "fno2": "2 dimensions, 1 input channel and 1 output channel",
    "conv2": "2 dimensions, 2 input channels and 2 output channels",
    "uno3": "3 dimensions, 1 input channel and 1 output channel",
}
MAKERS = {
    "fno1": FNOConfig(width=4, modes=2, layers=1),
    "fno2": FNOConfig(width=4, modes=2, layers=1, num_dims=2),
    "conv2": ConvConfig(width=4, layers=1, in_channels=2, out_channels=2, num_dims=2),
    "uno3": UNOConfig(width=4, modes=2, num_dims=3),
}
GOT = {
    "line": "1 dimension, 1 input channel and 1 output channel",
    "plane": "2 dimensions, 1 input channel and 1 output channel",
    "pair": "2 dimensions, 2 input channels and 2 output channels",
}
OTHERS = [(run, data) for run in MAKERS for data in GOT if WANTED[run] != GOT[data]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders of untrained models."""
    folder = tmp_path_factory.mktemp("runs")
    for name, maker in MAKERS.items():
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(json.dumps({"fit": {}, "model": describe(maker), "data": {}}))
        torch.save(plain_state_dict(maker.build()), folder / name / "weights_best.pt")
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Trajectories on a line and in the plane, there also of two channels."""
    folder, times = tmp_path_factory.mktemp("data"), (0.01, 0.02)
    for name, equation, resolution in (("line", "heat", 32), ("plane", "heat_2d", 16), ("pair", "burgers_2d", 64)):
        generate(
            DatasetSpec(equation=equation, samples=4, resolution=resolution, times=times), folder / f"{name}.h5",
            progress=False,
        )  # fmt: skip
    return folder


@pytest.mark.parametrize(("run", "data"), OTHERS)
@pytest.mark.parametrize("command", ["evaluate", "adapt", "posterior", "predict"])
def test_a_command_says_both_in_one_line(capsys, runs, files, tmp_path, command, run, data):
    words = {
        "evaluate": ("--data", files / f"{data}.h5", "--resolutions", 8),
        "adapt": ("--data", files / f"{data}.h5", "--out", tmp_path / "new"),
        "posterior": ("--data", files / f"{data}.h5"),
        "predict": ("--input", files / f"{data}.h5", "--output", tmp_path / "u.npy"),
    }[command]
    before = sorted((runs / run).iterdir())
    status, out, error = call(capsys, command, runs / run, *words)
    argument = "input" if command == "predict" else "data"
    assert status == 2 and not out and f"{command}: `{argument}` must have {WANTED[run][:10]}" in error, error
    assert f"as the run {runs / run} was trained with; got {GOT[data][:10]}" in error
    assert not list(tmp_path.iterdir()) and sorted((runs / run).iterdir()) == before


@pytest.mark.parametrize(("run", "data"), OTHERS)
def test_python_says_the_same(runs, files, run, data):
    path, model = files / f"{data}.h5", load(runs / run)
    fields = FieldDataset(path, "all", target_time=0.01)
    message = f"`path` must have {WANTED[run]}, as the run .* was trained with; got {GOT[data]}"
    with pytest.raises(ValueError, match=message):
        evaluate_rollout(runs / run, path)
    for asker, function in (
        ("evaluate_rollout: `path`", lambda: evaluate_rollout(model, path)),
        ("rollout: `u0`", lambda: rollout(model, fields.x, 1)),
        ("adapt: `data`", lambda: adapt(model, fields)),
    ):
        with pytest.raises(ValueError, match=f"{asker} must have the channels and dimensions that the model was"):
            function()
    with pytest.raises(ValueError, match="evaluate_transfer: `model` must accept inputs"):
        evaluate_transfer(model, path, resolutions=(8,))


def test_data_of_the_runs_own_problem_are_taken(capsys, runs, files, tmp_path):
    for run, data in (("fno1", "line"), ("fno2", "plane")):
        assert run in WANTED and WANTED[run] == GOT[data]
        assert call(capsys, "evaluate", runs / run, "--data", files / f"{data}.h5", "--resolutions", 8)[0] == 0
        assert evaluate_rollout(runs / run, files / f"{data}.h5").sizes["time"] == 2
        words = ("--input", files / f"{data}.h5", "--output", tmp_path / f"{run}.npy")
        assert call(capsys, "predict", runs / run, *words)[0] == 0
    x, y = (FieldDataset(files / "line.h5", "all", target_time=0.01).x.numpy() for _ in range(2))
    np.save(tmp_path / "x.npy", x[:, 0])
    np.save(tmp_path / "y.npy", y[:, 0])
    pair = f"{tmp_path / 'x.npy'},{tmp_path / 'y.npy'}"
    words = ("--input", pair, "--output", tmp_path / "pair.npy", "--extent", 1, "--times", 0, 1)
    status, _, error = call(capsys, "predict", runs / "fno1", *words)
    assert status == 0, error
    np.testing.assert_array_equal(np.load(tmp_path / "pair.npy"), predict(runs / "fno1", x))


def test_fields_without_an_axis_of_channels_are_taken_where_they_cannot_be_channels(runs):
    assert predict(runs / "fno2", np.ones((3, 4, 8))).shape == (3, 4, 8)
    assert predict(runs / "fno2", np.ones((3, 1, 2, 8))).shape == (3, 1, 2, 8)
    with pytest.raises(ValueError, match=r"must have an axis of channels .* got \(3, 2, 8\) for 2 dimensions"):
        predict(runs / "fno2", np.ones((3, 2, 8)))
    with pytest.raises(ValueError, match="must have 2 dimensions and 1 input channel.*got 2 dimensions and 3 input"):
        predict(runs / "fno2", np.ones((2, 3, 4, 8)))
