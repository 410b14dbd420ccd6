"""Roll-outs on the command line: a data file of them, and errors against time in the evaluation and the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate, open_dataset
from data_gen.formats import Overrides, open_source
from sciml_cf.cli.dispatch import main
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.steps import Steps
from sciml_cf.evaluate.rollout import rollout
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import load, read_rollout

SMALL = {"width": 8, "modes": 4, "layers": 2}
TIMES = tuple(round(0.01 * step, 2) for step in range(1, 7))
WINDOWS = Overrides(input_steps=2, output_steps=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rollout")
    generate(DatasetSpec(equation="heat", samples=12, resolution=64, times=TIMES), folder / "f.h5", progress=False)
    config = FitConfig(epochs=2, batch_size=8, residual="yes")
    train_on_file(folder / "f.h5", folder / "run", config, model=SMALL, facts=WINDOWS, resolution=32)
    return folder


def test_the_run_knows_its_step(folder: Path) -> None:
    assert json.loads((folder / "run" / "run.json").read_text())["data"]["time_step"] == pytest.approx(0.01)


def test_the_file_has_the_states_of_the_model(folder: Path, tmp_path: Path, capsys) -> None:
    words = ["rollout", str(folder / "run"), "--data", str(folder / "f.h5"), "--steps", "9"]
    main([*words, "--out", str(tmp_path / "r.h5")])
    shown = capsys.readouterr()
    assert "3 samples, 11 states to t = 0.1" in shown.out and shown.err.endswith(
        f"Next: sciml-cf plot {tmp_path}/r.h5\n"
    )
    test = FieldDataset(folder / "f.h5", "test", facts=WINDOWS, resolution=32)
    with open_source(folder / "f.h5") as source:
        rows = np.unique(test.indices // (len(TIMES) + 1 - 3))
        start = torch.from_numpy(source.read_trajectory(rows, stride=2)[:, :2])
    arranged = Steps(inputs=2, outputs=2, components=1)
    expected = rollout(load(folder / "run"), start.flatten(1, 2).float(), 9, arranged=arranged)
    with open_dataset(tmp_path / "r.h5") as data:
        np.testing.assert_allclose(data.read_trajectory(), expected, atol=1e-5)
        np.testing.assert_allclose(data.times, 0.01 * np.arange(11), atol=1e-12)
    main(["validate", str(tmp_path / "r.h5")])
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--out", str(tmp_path / "r.h5")])
    assert stopped.value.code == 2 and "overwrite" in capsys.readouterr().err
    main([*words, "--out", str(tmp_path / "r.nc")])
    assert capsys.readouterr().err.endswith(f"Next: sciml-cf info {tmp_path}/r.nc\n")
    with open_source(tmp_path / "r.nc") as data:
        np.testing.assert_allclose(data.read_trajectory(), expected, atol=1e-5)


def test_evaluation_and_report_show_the_error_against_time(folder: Path, capsys) -> None:
    main(["evaluate", str(folder / "run"), "--data", str(folder / "f.h5"), "--resolutions", "32", "64"])
    out = capsys.readouterr().out
    assert "Rolled out from the true start: 3 test samples" in out and "rollout.nc" in out
    found = read_rollout(folder / "run")
    assert found is not None and found.sizes["time"] == 5 and found.attrs["resolution"] == 32
    main(["report", str(folder / "run")])
    page = (folder / "run" / "report" / "index.html").read_text()
    assert (folder / "run" / "report" / "rollout.png").stat().st_size > 10_000
    assert "Rolled out over 5 steps to t = 0.06" in page and "best linear map" in page
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    assert "rollout.nc" in json.dumps(manifest)


def test_an_evaluation_without_steps_leaves_no_rollout_of_another(folder: Path, tmp_path: Path) -> None:
    generate(
        DatasetSpec(equation="heat", samples=12, resolution=64, times=(0.01, 0.02, 0.03)),
        tmp_path / "s.h5",
        progress=False,
    )
    main(["evaluate", str(folder / "run"), "--data", str(folder / "f.h5"), "--resolutions", "32"])
    assert read_rollout(folder / "run") is not None
    main(["evaluate", str(folder / "run"), "--data", str(tmp_path / "s.h5"), "--resolutions", "32"])
    found = read_rollout(folder / "run")
    assert found is not None and found.sizes["time"] == 2


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--steps", "0"], 2, "`steps` must be an integer of at least 1; got 0"),
        (["--data", "missing.h5"], 1, "does not exist"),
        (["--out", "r.xyz"], 2, "`out` must end in"),
        (["--resolution", "48"], 2, "`resolution` must divide the stored resolution 64; got 48"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch, flags, code, message, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"--data": str(folder / "f.h5"), "--out": "r.h5"} | {flags[0]: flags[1]}
    with pytest.raises(SystemExit) as stopped:
        main(["rollout", str(folder / "run"), *(word for pair in words.items() for word in pair)])
    error = capsys.readouterr().err
    assert stopped.value.code == code and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_of_no_steps_is_refused(run_folder: Path, tmp_path: Path, capsys) -> None:
    generate(DatasetSpec(equation="darcy", samples=8, resolution=16), tmp_path / "d.h5", progress=False)
    train_on_file(tmp_path / "d.h5", tmp_path / "run", FitConfig(epochs=1, batch_size=4), model=SMALL)
    with pytest.raises(SystemExit):
        main(["rollout", str(tmp_path / "run"), "--data", str(tmp_path / "d.h5"), "--out", str(tmp_path / "r.h5")])
    assert "`run` must make steps in time" in capsys.readouterr().err and not (tmp_path / "r.h5").exists()


def test_the_file_itself_is_not_overwritten(folder: Path, capsys) -> None:
    file = str(folder / "f.h5")
    with pytest.raises(SystemExit) as stopped:
        main(["rollout", str(folder / "run"), "--data", file, "--out", file, "--overwrite"])
    assert stopped.value.code == 2 and "must be another file" in capsys.readouterr().err


def test_a_rollout_that_leaves_the_finite_numbers_says_when(folder: Path, tmp_path: Path, capsys) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    weights = torch.load(run / "weights_best.pt", weights_only=True)
    (run / "manifest.json").unlink()
    larger = {name: value * 1e6 if value.ndim == 3 else value for name, value in weights.items()}
    torch.save(larger, run / "weights_best.pt")
    out = tmp_path / "r.h5"
    main(["rollout", str(run), "--data", str(folder / "f.h5"), "--steps", "12", "--out", str(out)])
    assert "3 of 3 samples leave the finite numbers, the first after t = " in capsys.readouterr().out and out.exists()
