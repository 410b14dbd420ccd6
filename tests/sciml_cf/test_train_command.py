"""Output and requirements of `sciml-cf train`, and the resolutions that `evaluate` takes by itself."""

import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import xarray as xr
from tyro.conf import Positional

from data_gen.cli.flag_groups import grouped
from data_gen.cli.flags import UsageError, parse
from data_gen.cli.override_flags import METADATA, OverrideFlags
from sciml_cf.cli import main
from sciml_cf.cli.evaluate import EvaluateFlags
from sciml_cf.cli.train import TrainFlags
from sciml_cf.evaluate.grids import default_resolutions
from sciml_cf.training.run_folder import read_history

TINY = ("--width", "4", "--modes", "2", "--layers", "1")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Open fields on 24 points in two .npy files."""
    folder = tmp_path_factory.mktemp("pair")
    x = np.linspace(0, 1, 24)
    inputs = np.random.default_rng(0).normal(size=(30, 1)) + np.sin(3 * x)
    np.save(folder / "x.npy", inputs)
    np.save(folder / "y.npy", inputs * x + 2)
    return f"{folder / 'x.npy'},{folder / 'y.npy'}"


def printed(capsys, *words):
    main([str(word) for word in words])
    return capsys.readouterr().out


def test_train_ends_with_error_and_folder_and_the_next_command(capsys, pair, tmp_path):
    run = tmp_path / "my run"
    facts = ("--extent", 1, "--times", 0, 0.1, "--boundary", "open")
    main([str(word) for word in ("train", "--data", pair, "--out", run, "--epochs", 3, *TINY, *facts)])
    shown = capsys.readouterr()
    (line,) = shown.out.splitlines()
    said = re.fullmatch(r"(.*): relative L2 error (\S+) (% )?on 3 validation samples \(epoch (\d) of 3\)", line)
    assert said and said[1] == str(run)
    row = min(read_history(run), key=lambda row: row["validation_mse"])
    share = float(said[2]) / (100 if said[3] else 1)
    assert int(said[4]) == row["epoch"] and share == pytest.approx(row["validation_relative_l2"], rel=0.06)
    command = shown.err.splitlines()[-1].removeprefix("Next: ")
    assert command == f"sciml-cf evaluate '{run}' --data {pair} --extent 1 --times 0 0.1 --boundary open"
    out = printed(capsys, "evaluate", run, "--data", pair, *facts)
    assert "Relative L2 error" in out and (run / "evaluation.nc").exists()


def test_targets_of_zero_have_no_relative_error(capsys, pair, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((30, 24)))
    data = f"{pair.split(',')[0]},{tmp_path / 'zero.npy'}"
    facts = ("--extent", 1, "--times", 0, 1)
    out = printed(capsys, "train", "--data", data, "--out", tmp_path / "run", "--epochs", 1, *TINY, *facts)
    assert re.search(r"run: mean squared error \S+ on 3 validation samples \(epoch 1 of 1\)$", out.strip())


def test_a_training_into_a_file_prints_few_lines(pair, tmp_path):
    words = ["-m", "sciml_cf.cli", "train", "--data", pair, "--out", tmp_path / "run", "--epochs", "100", *TINY]
    facts = ["--extent", "1", "--times", "0", "1", "--boundary", "open"]
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run([sys.executable, *words, *facts], stdout=log, stderr=subprocess.STDOUT, check=False)
    lines = (tmp_path / "log").read_text().splitlines()
    assert done.returncode == 0 and "epoch 100 of 100: relative error" in "\n".join(lines)
    assert 20 <= len(lines) <= 40 and max(map(len, lines)) < 400, lines


def test_help_of_train_has_required_flags_first_and_all_in_groups(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    out = capsys.readouterr().out
    groups = re.findall(r"(?m)^\W*(\w+) options\W*$", out)
    assert not stop.value.code
    assert groups == ["required", "train", "model", "data", "head", "optimizer", "run", "metadata"]
    flags = re.findall(r"(?m)^[^\w\n]{2}--([a-z][\w-]*)", out)
    assert flags[:2] == ["data", "out"] and flags[-2:] == ["quiet", "config"]
    assert flags[-len(METADATA) - 2 : -2] == [name.replace("_", "-") for name in METADATA]
    assert sorted(flags[:-2]) == sorted(one.name.replace("_", "-") for one in fields(TrainFlags))
    text = " ".join(re.sub("[^ -{}~]", " ", out).split())
    assert "run folder to write. (required)" in text and "length of the domain, one number or one an axis" in text
    assert "passes over the training samples; fewer with patience. (default: 100)" in text
    assert "proximal: Least squares on the batch" in text


@dataclass(frozen=True, kw_only=True)
class Example(OverrideFlags):
    """Some flags.

    Args:
        file: read
            this.
        out: write this.
        count: number
            of things.

    Raises:
        ValueError: never.
    """

    GROUPS: ClassVar = {"size": ("count",), "metadata": METADATA}
    file: Positional[Path]
    out: Path
    count: int = 3
    tags: tuple[str, ...] = ()


def test_groups_change_no_value(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("count = 4\nextent = [1.5, 2.0]\n")
    found = parse(Example, ["in", "--out", "o", "--config", str(config), "--tags", "a", "b"], prog="x example")
    assert found == Example(file=Path("in"), out=Path("o"), count=4, extent=(1.5, 2.0), tags=("a", "b"))
    with pytest.raises(UsageError, match=r"x example: Missing .*--out PATH write this\. See --help\."):
        parse(Example, ["in"], prog="x example")
    with pytest.raises(UsageError, match=r"--nothing"):
        parse(Example, ["in", "--out", "o", "--nothing"], prog="x example")


@pytest.mark.parametrize("groups", [{"a": ("count",), "b": ("count",)}, {"a": ("colour",)}])
def test_groups_must_name_fields_once(groups):
    with pytest.raises(ValueError, match="`groups` must name fields of Example, each once"):
        grouped(Example, groups, "rest")


def test_metadata_words_give_the_same_metadata():
    given = {"extent": (6.283185307179586, 2.0), "times": (0.0, 1e-7), "parameters": ("nu=0.1",), "target_time": 0.5}
    words = EvaluateFlags(run=Path("r"), data=Path("d"), boundary=("wall",), **given).metadata_words()
    assert words[:3] == ["--extent", "6.283185307179586", "2"]
    found = parse(EvaluateFlags, ["r", "--data", "d", *words], prog="sciml-cf evaluate")
    assert found == EvaluateFlags(run=Path("r"), data=Path("d"), boundary=("wall",), **given)
    assert EvaluateFlags(run=Path("r"), data=Path("d")).metadata_words() == []


@pytest.mark.parametrize(
    ("shape", "trained", "expected"),
    [
        ((8192,), 256, (256, 1024, 8192)),
        ((256,), 256, (256,)),
        ((512,), 256, (256, 512)),
        ((241, 241), 241, (241,)),
        ((421, 421), 64, (421,)),  # a prime: its only other grid is a single point
        ((1, 64), 64, (64,)),
        ((96,), 64, (48, 96)),
        ((96,), 40, (48, 96)),
        ((100, 60), 6, (6, 15, 60)),
        ((64, 128, 128), 32, (32, 64, 128)),
        ((1000,), None, (1000,)),
        ((128,), 4096, (128,)),
    ],
)
def test_default_resolutions(shape, trained, expected):
    assert default_resolutions(shape, trained) == expected


@pytest.mark.parametrize("shape", [(60,), (24, 36), (8, 12, 16)])
def test_default_resolutions_can_be_evaluated(capsys, tmp_path, shape):
    fields = np.random.default_rng(0).normal(size=(8, *shape))
    np.save(tmp_path / "x.npy", fields)
    data, run = f"{tmp_path / 'x.npy'},{tmp_path / 'x.npy'}", tmp_path / "run"
    facts = ("--extent", *[1] * len(shape), "--times", 0, 1, "--boundary", "open")
    trained = shape[-1] // 4
    words = ("--epochs", 1, "--resolution", trained, *TINY, *facts)
    printed(capsys, "train", "--data", data, "--out", run, *words)
    printed(capsys, "evaluate", run, "--data", data, *facts)
    found = xr.load_dataset(run / "evaluation.nc")["resolution"].values.tolist()
    assert found == [trained, shape[-1] // 2, shape[-1]]
