"""`sciml-cf adapt`, `posterior` and `predict --std`: the new run is a run like any other, and bad input one line."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate
from data_gen.executors.local import processes
from sciml_cf import FieldDataset, adapt, load, predict, read_posterior
from sciml_cf.errors import BenchmarkError
from sciml_cf.head import find_head
from sciml_cf.head.binding.layer import read_head
from sciml_cf.training.run_folder import read_evaluation, read_history
from tests.sciml_cf.test_cli import broken_files, call


@pytest.fixture(scope="module")
def new_file(tmp_path_factory):
    """Another viscosity, other samples."""
    path = tmp_path_factory.mktemp("data") / "new.h5"
    spec = DatasetSpec(samples=40, resolution=256, parameters={"viscosity": 0.02}, seed=1)
    return generate(spec, path, progress=False)


def test_adapted_run_is_a_run(capsys, run_folder, new_file, tmp_path):
    out = tmp_path / "adapted"
    status, text, error = call(capsys, "adapt", run_folder, "--data", new_file, "--out", out, "--samples", 20)
    assert status == 0 and "by cross-validation over 20 samples" in text and "head moved" in text, error
    assert {path.name for path in tmp_path.iterdir()} == {"adapted"}
    model, data = load(run_folder), FieldDataset(new_file, "train", resolution=64)
    result = adapt(model, torch.utils.data.Subset(data, range(20)), prior=read_posterior(run_folder))
    for which in ("best", "last"):
        assert torch.equal(read_head(find_head(load(out, which=which))), read_head(find_head(model)))
    said = json.loads((out / "run.json").read_text())["adapted"]
    assert said["from"] == str(run_folder) and said["changed"] and said["strength"] == result.strength
    assert said["error_after"] == result.error_after < said["error_before"]
    assert len(said["candidates"]) == len(result.candidates) and said["candidates"][-1]["strength"] is None
    assert [row["validation_mse"] for row in read_history(out)] == [result.error_before, result.error_after]

    assert call(capsys, "evaluate", out, "--data", new_file, "--resolutions", 64, 256)[0] == 0
    old = shutil.copytree(run_folder, tmp_path / "old")
    assert call(capsys, "evaluate", old, "--data", new_file, "--resolutions", 64, 256)[0] == 0
    new_error, old_error = (float(read_evaluation(run)["mse"].sel(output="native")[0]) for run in (out, old))
    assert new_error < 0.8 * old_error
    assert call(capsys, "report", out)[0] == 0 and (out / "report" / "index.html").exists()
    assert call(capsys, "compare", out, old, "--out", tmp_path / "both")[0] == 0
    again = call(capsys, "adapt", out, "--data", new_file, "--out", tmp_path / "twice")
    assert again[0] == 0, again[2]


@pytest.mark.parametrize("where", [("--workers", 2), pytest.param(("--dask", "local"), marks=pytest.mark.slow)])
def test_several_runs_in_several_processes_as_one_by_one(capsys, run_folder, new_file, tmp_path, where):
    if "--dask" in where:
        pytest.importorskip("distributed")
    runs = [run_folder, shutil.copytree(run_folder, tmp_path / "second")]
    (out := tmp_path / "adapted").mkdir()
    status, text, error = call(capsys, "adapt", *runs, "--data", new_file, "--out", out, "--split", "all", *where)
    assert status == 0 and text.count("by cross-validation over 40 samples") == 2, error
    assert call(capsys, "adapt", run_folder, "--data", new_file, "--out", tmp_path / "one", "--split", "all")[0] == 0
    for run in runs:
        new = out / run.name
        torch.testing.assert_close(
            *(read_head(find_head(load(one))) for one in (new, tmp_path / "one")), rtol=1e-5, atol=1e-7
        )
        for name, value in read_posterior(tmp_path / "one").state().items():
            torch.testing.assert_close(read_posterior(new).state()[name], value, rtol=1e-5, atol=1e-7)


def _dies(*_):
    os._exit(1)


def test_a_worker_that_dies_leaves_the_head(run_folder, new_file, monkeypatch):
    model, data = load(run_folder), FieldDataset(new_file, "all", resolution=64, lazy=True)
    before = read_head(find_head(model)).clone()
    monkeypatch.setattr("sciml_cf.evaluate.adaptation._fold_moments", _dies)
    with processes(2) as runner, pytest.raises(BenchmarkError, match="every worker must live until its share is done"):
        adapt(model, data, runner=runner)
    assert torch.equal(read_head(find_head(model)), before)


def test_predict_writes_std(capsys, run_folder, new_file, tmp_path):
    words = ("predict", run_folder, "--input", new_file, "--output", tmp_path / "u.npy", "--std", tmp_path / "s.npy")
    status, out, error = call(capsys, *words, "--resolution", 512)
    assert status == 0 and out.count("(40, 1, 512) float32") == 2, error
    inputs = FieldDataset(new_file, "all").x.double().numpy()
    mean, std = predict(run_folder, inputs, resolution=512, std=True)
    np.testing.assert_allclose(np.load(tmp_path / "u.npy"), mean, atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), std, rtol=1e-4)


def test_posterior_command_makes_what_the_training_makes(capsys, run_folder, burgers_file, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / "posterior.pt").unlink()
    (tmp_path / "x.npy").write_bytes(b"")
    words = ("predict", run, "--input", burgers_file, "--output", tmp_path / "u.npy", "--std", tmp_path / "s.npy")
    status, _, error = call(capsys, *words)
    assert status == 1 and "`sciml-cf posterior RUN --data FILE`" in error and not (tmp_path / "u.npy").exists()
    assert call(capsys, "posterior", run, "--data", burgers_file)[0] == 0
    for name, value in read_posterior(run_folder).state().items():
        torch.testing.assert_close(read_posterior(run).state()[name], value, rtol=1e-9, atol=0)
    status, _, error = call(capsys, "posterior", run, "--data", burgers_file)
    assert status == 2 and "--overwrite" in error


def test_overwrite_replaces_a_run_and_nothing_else(capsys, run_folder, new_file, tmp_path):
    out = shutil.copytree(run_folder, tmp_path / "run")
    words = ("adapt", run_folder, "--data", new_file, "--out", out, "--overwrite")
    assert call(capsys, *words)[0] == 0 and "adapted" in json.loads((out / "run.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("kept")
    status, _, error = call(capsys, "adapt", run_folder, "--data", new_file, "--out", tmp_path / "other", "--overwrite")
    assert status == 2 and "must be a run folder to be replaced" in error
    assert (tmp_path / "other" / "mine.txt").read_text() == "kept"


def test_data_of_the_samples_adapted_to_are_said_at_evaluation(capsys, run_folder, new_file, tmp_path, caplog):
    out = tmp_path / "adapted"
    assert call(capsys, "adapt", run_folder, "--data", new_file, "--out", out, "--split", "all")[0] == 0
    assert call(capsys, "evaluate", out, "--data", new_file, "--resolutions", 64)[0] == 0
    assert "was adapted on samples of the test split" in caplog.text


ADAPT = "adapt {run} --data {data} --out {tmp}/new"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("adapt {tmp}/no --data {data} --out {tmp}/new", 1, "must be a folder made by training"),
        ("adapt {run} --data {tmp}/no.h5 --out {tmp}/new", 1, "no.h5"),
        ("adapt {run} --data {nan} --out {tmp}/new", 1, "NaN"),
        ("adapt {run} --data {text} --out {tmp}/new", 1, "not an HDF5 file"),
        ("adapt {run} --data {channels} --out {tmp}/new", 2, "`data` must have 1 dimension, 1 input channel"),
        ("adapt {run} --data {data} --out {run}", 2, "`out` must be another folder than the run"),
        ("adapt {run} --data {data} --out {data}", 2, "`out` must not exist yet"),
        ("adapt {run} --data {data} --out {tmp}/no/new", 1, "must lie in an existing folder"),
        (ADAPT + " --resolution 100", 2, "`resolution` must divide the stored resolution 256; got 100"),
        (ADAPT + " --samples 0", 2, "`samples` must be an integer of at least 1; got 0"),
        (ADAPT + " --samples 400", 2, "`samples` must be at most 28, the train samples of"),
        (ADAPT + " --samples 1", 2, "at least 2 samples to choose a strength"),
        (ADAPT + " --strength 0", 2, "`strength` must be a finite number above 0; got 0.0"),
        (ADAPT + " --workers 0", 2, "`workers` must be an integer of at least 1; got 0"),
        (ADAPT + " --dask nowhere", 2, "adapt: `dask` must be 'local' or a scheduler's address"),
        ("adapt {run} {run} --data {data} --out {tmp}/no", 1, "`out` must be an existing folder for several runs"),
        ("adapt {run} {run} --data {data} --out {tmp}", 2, "`runs` must have different names"),
        (ADAPT + " --folds 1", 2, "`folds` must be an integer of at least 2"),
        (ADAPT + " --choose loo", 2, "--choose"),
        ("posterior {tmp}/no --data {data}", 1, "must be a folder made by training"),
        ("posterior {run} --data {other} --overwrite", 1, "must be the file that {run} was trained on"),
        ("predict {run} --input {data} --output {tmp}/a.npy --std {tmp}/a.npy", 2, "`std` must be another file"),
        ("predict {run} --input {data} --output {tmp}/a.npy --std {tmp}/no/b.npy", 1, "`std` must lie in an existing"),
        ("predict {run} --input {data} --output {tmp}/a.npy --std {tmp}/b.npy --which last", 2, "best weights only"),
    ],
)
def test_bad_input_gives_one_clear_line(
    capsys, tmp_path, burgers_file, run_folder, new_file, channels_file, words, status, message
):
    places = {"tmp": tmp_path, "data": burgers_file, "run": run_folder, "other": new_file, "channels": channels_file}
    places.update(broken_files(tmp_path, burgers_file))
    before, old = (
        sorted(tmp_path.rglob("*")),
        {path: path.read_bytes() for path in run_folder.iterdir() if path.is_file()},
    )
    found, out, error = call(capsys, *(word.format(**places) for word in words.split()))
    assert found == status and message.format(**places) in error and not out, error
    assert sorted(tmp_path.rglob("*")) == before, "nothing is half written"
    assert all(path.read_bytes() == content for path, content in old.items())


@pytest.fixture(scope="module")
def channels_file(tmp_path_factory):
    """Fields of two channels on 256 points."""
    folder = tmp_path_factory.mktemp("channels")
    spec = DatasetSpec(equation="gray_scott", samples=3, resolution=256, times=(0.1,))
    return generate(spec, folder / "two.h5", progress=False)
