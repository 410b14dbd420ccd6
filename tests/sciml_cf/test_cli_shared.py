"""Shared parts of all commands: the next step, --quiet, --json, and the page without arguments."""

import errno
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_gen.cli import inspect
from data_gen.terminal.outcome import Outcome, command_line, free_name, strict_json
from data_gen.terminal.quiet import be_quiet, is_quiet, progress_bar, restored
from sciml_cf import __version__
from sciml_cf.cli import COMMANDS, main
from tests.cli_calls import call
from tests.edits import edited

SMALL = ("--width", 8, "--modes", 8, "--layers", 2, "--resolution", 64, "--batch-size", 8, "--epochs", 1)


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def document(text):
    """The one document of a text; NaN and infinity are refused."""
    return json.loads(text, parse_constant=refuse)


def next_of(shown):
    """The words after `Next: sciml-cf` of the last line on standard error."""
    last = shown[2].splitlines()[-1]
    assert shown[0] == 0 and last.startswith("Next: sciml-cf "), shown
    return shlex.split(last.split("    (")[0])[2:]


def test_without_arguments_the_main_path_is_shown(capsys):
    status, out, err = call(capsys)
    commands = re.findall(r"^  sciml-cf (\w+)", out, re.M)
    assert status == 0 and not err and commands == ["generate", "train", "evaluate", "report"]
    assert len(out.splitlines()) <= 7 and "sciml-cf --help" in out


def test_every_next_step_can_be_run(capsys, tmp_path, monkeypatch):
    """From generate to report, each command is the one that the command before it names."""
    monkeypatch.chdir(tmp_path)
    shown = call(capsys, "generate", "heat", "--samples", 20, "--resolution", 64, "--out", "my data.h5")
    train = next_of(shown)
    assert train == ["train", "--data", "my data.h5", "--out", "run"]
    assert "(checks the file: sciml-cf validate 'my data.h5' --truth)" in shown[2]
    assert next_of(call(capsys, "validate", "my data.h5", "--truth")) == train
    assert next_of(call(capsys, "plot", "my data.h5")) == train
    evaluate = next_of(call(capsys, *train, *SMALL))
    assert evaluate == ["evaluate", "run", "--data", "my data.h5"]
    assert next_of(call(capsys, "validate", "my data.h5")) == [*train[:-1], "run2"]
    report = next_of(call(capsys, *evaluate))
    assert report == ["report", "run"]
    for command in (report, ("compare", "run")):
        last = call(capsys, *command)[2].splitlines()[-1]
        page = re.fullmatch("Next: open (.*) in a browser", last)
        assert page and (tmp_path / page[1]).is_file()
    assert next_of(call(capsys, "convert", "my data.h5", "b.mat")) == ["train", "--data", "b.mat", "--out", "run2"]
    assert next_of(call(capsys, "repack", "my data.h5", "--out", "c.h5")) == [
        "train",
        "--data",
        "c.h5",
        "--out",
        "run2",
    ]
    adapted = next_of(call(capsys, "adapt", "run", "--data", "my data.h5", "--out", "adapted"))
    assert adapted == ["evaluate", "adapted", "--data", "my data.h5"] and call(capsys, *adapted)[0] == 0
    predict = next_of(call(capsys, "posterior", "run", "--data", "my data.h5", "--overwrite"))
    assert predict[:2] == ["predict", "run"]
    last = call(capsys, *predict)[2].splitlines()[-1]
    assert last == "Next: numpy.load('prediction.npy') in Python" and np.load("prediction.npy").shape == (20, 1, 64)


@pytest.mark.parametrize(
    "words", [*((name,) for name in COMMANDS), ("generate", "heat"), ("study", "figure2"), ("study", "page")]
)
def test_every_command_has_quiet(capsys, words):
    out = call(capsys, *words, "--help")[1]
    assert "--quiet" in out or words in (("generate",), ("study",)), "these two list what they take"


def test_quiet_leaves_results_and_warnings(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("generate", "burgers", "--samples", 20, "--resolution", 64, "--out", "b.h5", "--viscosity", 0.5)
    status, out, err = call(capsys, *words, "--quiet")
    assert status == 0 and "viscosity = 0.5" in out and not err
    assert not is_quiet()
    status, out, err = call(capsys, "train", "--data", "b.h5", "--out", "run", *SMALL, "--quiet")
    assert status == 0 and len(out.splitlines()) == 1 and not err
    (tmp_path / "quiet.toml").write_text("quiet = true\n")
    assert call(capsys, "evaluate", "run", "--data", "b.h5", "--config", "quiet.toml")[2] == ""
    assert "error: " in call(capsys, "validate", "no.h5", "--quiet")[2]
    assert call(capsys, "validate", "b.h5")[2].startswith("Next: ")


def test_quiet_bars_are_not_shown_and_warnings_are(capsys):
    with restored():
        level = logging.getLogger().level
        be_quiet()
        bar = progress_bar(total=3, file=sys.stderr)
        assert bar.disable and logging.getLogger().isEnabledFor(logging.WARNING)
        assert not logging.getLogger().isEnabledFor(logging.INFO)
    assert not is_quiet() and logging.getLogger().level == level
    with progress_bar(total=3, file=sys.stderr) as bar:
        assert not bar.disable
    assert progress_bar(shown=False).disable


def test_a_line_on_a_file_is_logged_once_a_command(capsys, caplog, tmp_path):
    bump = np.sin(np.linspace(0, np.pi, 64)) * (np.arange(64) % 63 > 0)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(0.5, 1, (20, 1)) * bump)
    pair = f"{tmp_path / 'a.npy'},{tmp_path / 'a.npy'}"
    for _ in range(2):
        caplog.clear()
        words = ("--data", pair, "--extent", 1, "--times", 0, 1, "--out", tmp_path / "run", *SMALL, "--overwrite")
        assert call(capsys, "train", *words)[0] == 0
        assert caplog.text.count("are taken as walls") == 1
    assert not any(handler.filters for handler in logging.getLogger().handlers)


def test_config_is_given_once(capsys, tmp_path):
    (tmp_path / "a.toml").write_text("samples = 2\n")
    given = ("--config", tmp_path / "a.toml")
    status, _, err = call(capsys, "plot", "x.h5", *given, *given)
    assert status == 2 and "`--config` must be given once" in err


def test_json_is_one_strict_document(capsys, burgers_file, run_folder, tmp_path):
    _, out, err = call(capsys, "info", burgers_file, "--json")
    assert document(out)["samples"] == 40 and not err
    found = document(call(capsys, "validate", burgers_file, "--truth", "--json")[1])
    assert found["ok"] and found["problems"] == [] and found["max_error"] <= found["allowed"]
    status, out, _ = call(capsys, "evaluate", run_folder, "--data", burgers_file, "--resolutions", 64, 256, "--json")
    found = document(out)
    assert status == 0 and found["num_samples"] == 8 and "Relative L2 error" in found["verdict"]
    native = [row for row in found["errors"] if row["output"] == "native"]
    assert [row["resolution"] for row in native] == [64, 256] and all(row["mse"] > 0 for row in native)
    assert {row["baseline"] for row in found["baselines"]} >= {"zero", "training_mean"}
    assert found["rollout"] is None
    words = ("predict", run_folder, "--input", burgers_file, "--output", tmp_path / "p.npy", "--json")
    found, made = document(call(capsys, *words)[1])["output"], np.load(tmp_path / "p.npy")
    assert found["shape"] == list(made.shape) and found["finite"] and found["max"] == pytest.approx(made.max())
    found = document(call(capsys, "compare", run_folder, "--out", tmp_path / "both", "--json")[1])
    (run,) = found["runs"]
    assert (
        run["fit"]["method"] and run["errors"] and all((tmp_path / "both" / name).exists() for name in found["files"])
    )
    assert "torch" in document(call(capsys, "--version", "--json")[1])


def test_json_of_a_damaged_file_has_its_faults_and_status_1(capsys, burgers_file, tmp_path):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(burgers_file.read_bytes())
    with edited(damaged) as file:
        file["u"][3, 8] = np.nan
    status, out, err = call(capsys, "validate", damaged, "--json")
    found = document(out)
    assert status == 1 and not found["ok"] and found["problems"] and found["max_error"] is None
    assert "error: validate: " in err and "is not sound" in err


def test_json_of_an_error_has_no_document(capsys, tmp_path):
    status, out, err = call(capsys, "info", tmp_path / "no.h5", "--json")
    assert status == 1 and not out and "error: " in err


@pytest.mark.parametrize("words", [["info", None, "--json"], ["adapt", "--help"], ["study"], ["--help"], []])
def test_a_reader_that_has_enough_is_no_error(words, burgers_file):
    """As in `sciml-cf info FILE --json | head -1`."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "sciml_cf.cli", *(word or burgers_file for word in words)]
    try:
        done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert done.returncode == 1 and not done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--help >&-", 0, ""),
        ("study >&-", 0, ""),
        ("info no.h5 >&-", 1, "error: open_dataset: no.h5 does not exist"),
        ("unknown 2>&-", 2, ""),  # not to standard output either
        ("unknown 2>/dev/full", 2, ""),
        ("--help >/dev/full", 1, "error: sciml-cf: standard output cannot be written (No space left on device)."),
        ("study >/dev/full", 1, "error: sciml-cf study: a file cannot be used (No space left on device)."),
    ],
)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_streams_that_take_nothing_change_no_status(words, status, said):
    """As under a service manager, or on a full disk; at most one line is said."""
    call = f'"$0" -m sciml_cf.cli {words}'
    done = subprocess.run(["sh", "-c", call, sys.executable], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "") and done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)


def test_a_stream_without_a_file_is_written_out(monkeypatch):
    """As in a notebook: a broken pipe of the job is reported, and is none of the output."""

    def job(words):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(inspect, "info_command", job)
    for words, status in ((["--version"], 0), (["info"], 1)):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == status
    assert out.getvalue().strip() == __version__ and "(Broken pipe)" in err.getvalue()


def test_strict_json_has_no_nan(tmp_path):
    values = {"a": float("nan"), 3: [np.float32("inf"), np.arange(2), np.int64(7)], "p": tmp_path, "t": (True, None)}
    found = document(strict_json(values))
    assert found == {"a": None, "3": [None, [0, 1], 7], "p": str(tmp_path), "t": [True, None]}
    with pytest.raises(TypeError):
        strict_json({"a": object()})


def test_a_free_name_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert free_name("data.h5") == "data.h5"
    for name in ("data.h5", "data2.h5"):
        (tmp_path / name).touch()
    assert free_name("data.h5") == "data3.h5"
    assert command_line("train", "--data", tmp_path / "a b") == f"sciml-cf train --data '{tmp_path}/a b'"
    assert command_line("train", "--data", Path("-a.h5")) == "sciml-cf train --data ./-a.h5"
    assert Outcome("text").following == "" and Outcome("text") == "text"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_missing_word_is_named_in_one_line_in_any_encoding(encoding):
    words = [sys.executable, "-m", "sciml_cf.cli", "study", "page"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    expected = (
        "Missing from sciml-cf study page: PATH result file of a study, such as figure2/results.json. See --help."
    )
    assert done.returncode == 2 and done.stderr == f"error: sciml-cf study page: {expected}\n"
