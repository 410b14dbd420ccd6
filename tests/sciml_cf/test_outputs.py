"""Outputs of commands: through links, never over devices or files of others, one line for errors of the system."""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from sciml_cf.report.tables import Table
from sciml_cf.training.checkpoints import save_checkpoint, save_tensors, write_atomically
from sciml_cf.training.run_start import is_run_folder, start_run, strangers
from tests.sciml_cf.test_cli import call

SINGLE = {
    "generate": ("o.h5", lambda run, data, out: ["generate", "heat", "--samples", 2, "--resolution", 16, "--out", out]),
    "convert": ("o.npz.h5", lambda run, data, out: ["convert", data, out]),
    "repack": ("o.h5", lambda run, data, out: ["repack", data, "--out", out]),
    "plot": ("o.png", lambda run, data, out: ["plot", data, "--out", out]),
    "predict": ("o.npy", lambda run, data, out: ["predict", run, "--input", data, "--output", out]),
}


@pytest.fixture(params=SINGLE)
def command(request, run_folder, burgers_file):
    name, words = SINGLE[request.param]
    return name, lambda out, *more: [*words(run_folder, burgers_file, out), *more]


def test_what_is_no_file_of_the_kind_is_never_replaced(capsys, tmp_path, command):
    name, words = command
    out = tmp_path / name
    os.mkfifo(out)
    assert call(capsys, *words(out, "--overwrite"))[0] == 2 and stat.S_ISFIFO(out.stat().st_mode)
    out.unlink()
    out.symlink_to(os.devnull)
    status, _, error = call(capsys, *words(out, "--overwrite"))
    assert status == 2 and "a device" in error and error.count("\n") == 0
    assert out.is_symlink() and stat.S_ISCHR(os.stat(os.devnull).st_mode)
    out.unlink()
    out.write_text("a letter")
    status, _, error = call(capsys, *words(out, "--overwrite"))
    assert status == 2 and "to replace; the file" in error and "remove it by hand" in error
    assert out.read_text() == "a letter" and os.listdir(tmp_path) == [name]


def test_links_are_written_through_and_files_of_strangers_kept(capsys, tmp_path, command):
    name, words = command
    out, real = tmp_path / name, tmp_path / "elsewhere" / ("real" + Path(name).suffix)
    real.parent.mkdir()
    assert call(capsys, *words(real))[0] == 0
    strange = [tmp_path / (name + ending) for ending in (".part", ".repacking", ".new", ".replaced")]
    for path in strange:
        path.write_text("a stranger's")
    out.symlink_to(real)
    before = real.stat().st_ino
    assert call(capsys, *words(out))[0] == 2
    status, _, error = call(capsys, *words(out, "--overwrite"))
    assert status == 0, error
    assert out.is_symlink() and real.stat().st_ino != before and os.listdir(real.parent) == [real.name]
    assert all(path.read_text() == "a stranger's" for path in strange)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "elsewhere", *(path.name for path in strange)])


@pytest.mark.parametrize("name", ["o.h5.partial", "o.h5.journal"])
@pytest.mark.parametrize("flag", ["--overwrite", "--resume"])
def test_an_unfinished_file_of_a_stranger_is_neither_resumed_nor_dropped(capsys, tmp_path, name, flag):
    words = SINGLE["generate"][1](None, None, tmp_path / "o.h5")
    for make in (lambda path: path.write_text("{}"), lambda path: path.symlink_to(tmp_path / "x"), os.mkfifo):
        make(tmp_path / name)
        status, _, error = call(capsys, *words, flag)
        assert status == 2 and f"{name} is there and was not written by generate" in error
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_system_refuses_is_one_line(capsys, tmp_path, command, monkeypatch, number):
    name, words = command
    real = os.mkdir

    def refused(path, *given, **how):
        if str(path).startswith(str(tmp_path)):
            raise OSError(number, os.strerror(number), str(path))
        real(path, *given, **how)

    monkeypatch.setattr(os, "mkdir", refused)
    status, _, error = call(capsys, *words(tmp_path / name))
    line = error.strip().splitlines()[-1]
    assert status == 1 and str(tmp_path / name) in line and os.strerror(number) in line and line.startswith("error: ")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["{tmp}/file/o.h5", "{tmp}/" + "n" * 300 + ".h5"])
def test_places_that_cannot_be_are_one_line(capsys, tmp_path, path):
    (tmp_path / "file").write_text("")
    words = SINGLE["generate"][1](None, None, path.format(tmp=tmp_path))
    status, _, error = call(capsys, *words)
    assert status == 1 and str(tmp_path) in error and error.count("\n") == 0, error


def test_a_run_folder_with_files_of_others_is_not_replaced(tmp_path):
    run = tmp_path / "run"
    start_run(run, {"fit": {}}, resume=False, overwrite=False)
    assert is_run_folder(run)
    (run / "notes.txt").write_text("mine")
    assert strangers(run) == ["notes.txt"]
    with pytest.raises(FileExistsError, match="which has notes.txt. Choose another path"):
        start_run(run, {"fit": {}}, resume=False, overwrite=True)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="must be a run folder and hold nothing else .* which has thesis.txt"):
        start_run(tmp_path / "project", {"fit": {}}, resume=False, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["project", "run"] and (run / "notes.txt").exists()


def test_compare_and_report_write_over_no_page_of_others(capsys, run_folder, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<title>My own</title>")
    status, _, error = call(capsys, "compare", run_folder, "--out", tmp_path / "site")
    assert status == 2 and "must be a new folder, or one that compare wrote before" in error and "index.html" in error
    assert os.listdir(tmp_path / "site") == ["index.html"]
    for _ in range(2):
        assert call(capsys, "compare", run_folder, "--out", tmp_path / "new")[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["new", "site"]


@pytest.mark.parametrize("write", ["text", "tensors", "checkpoint"])
def test_files_of_a_run_survive_a_full_disk(tmp_path, monkeypatch, write):
    def once() -> None:
        if write == "text":
            write_atomically(tmp_path / "last.pt", "words")
        elif write == "tensors":
            save_tensors(tmp_path / "last.pt", {"x": 1})
        else:
            save_checkpoint(tmp_path, {"x": 1})

    once()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real, count = os.write, iter(range(99))

    def full(descriptor, data):
        if next(count) < (write != "text"):
            return real(descriptor, data)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError) as refusal:
        once()
    monkeypatch.undo()
    assert refusal.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_cells_that_look_like_formulas_or_end_a_cell_are_escaped():
    words = ["=1+1", "+cmd", "-x", "@sum", "\t=1", "a|b", "a\nb", "-1.5", "+3e4"]
    table = Table("t", ("=name", "value"), tuple((word, -1.5) for word in words))
    read = list(csv.reader(io.StringIO(table.csv())))
    assert [row[0] for row in read] == ["'=name", "'=1+1", "'+cmd", "'-x", "'@sum", "'\t=1", *words[5:]]
    assert {row[1] for row in read[1:]} == {"-1.5"}
    lines = table.markdown().splitlines()[2:]
    assert len(lines) == 2 + len(words)
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines) and "a\\|b" in lines[7]


def test_predictions_and_their_deviations_come_together(capsys, run_folder, burgers_file, tmp_path, monkeypatch):
    """The second file cannot get its name: the first one keeps what it had."""
    words = [
        "predict",
        run_folder,
        "--input",
        burgers_file,
        "--output",
        tmp_path / "u.npy",
        "--std",
        tmp_path / "s.npy",
    ]
    for name in ("u.npy", "s.npy"):
        np.save(tmp_path / name, np.zeros(3))
    real, count = os.replace, iter(range(9))

    def refused(source, target):
        if next(count) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", refused)
    status, _, error = call(capsys, *words, "--overwrite")
    monkeypatch.undo()
    assert status == 1 and os.strerror(errno.EIO) in error
    assert sorted(os.listdir(tmp_path)) == ["s.npy", "u.npy"]
    assert all(np.load(tmp_path / name).shape == (3,) for name in ("u.npy", "s.npy"))
