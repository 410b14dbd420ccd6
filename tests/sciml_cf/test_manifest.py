"""The manifest of a run: a changed byte in any file is one line, and a kill at any moment leaves a usable run."""

import json
import os
import shutil

import numpy as np
import pytest
import xarray as xr

from sciml_cf import load, read_evaluation, read_posterior
from sciml_cf.cli import main
from sciml_cf.errors import CheckpointError
from sciml_cf.training import manifest
from sciml_cf.training.checkpoints import choose_checkpoint, read_tensors, save_checkpoint, save_tensors
from sciml_cf.training.manifest import MANIFEST_FILE, read_verified, write_listed
from sciml_cf.training.run_folder import read_history, read_settings, save_evaluation
from tests.edits import flip

READERS = {
    "run.json": read_settings,
    "history.csv": read_history,
    "weights_best.pt": load,
    "weights_last.pt": lambda run: load(run, which="last"),
    "last.pt": lambda run: read_tensors(run / "last.pt"),
    "previous.pt": lambda run: read_tensors(run / "previous.pt"),
    "posterior.pt": read_posterior,
    "evaluation.nc": read_evaluation,
    MANIFEST_FILE: read_settings,
}


@pytest.fixture
def run(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


@pytest.mark.parametrize("name", READERS)
def test_every_changed_byte_and_every_cut_is_one_line(run, name):
    path, random = run / name, np.random.default_rng(0)
    whole = path.read_bytes()
    READERS[name](run)
    for place in [0, len(whole) - 1, *random.integers(0, len(whole), 8).tolist()]:
        flip(path, place, int(random.integers(1, 256)))
        if name == MANIFEST_FILE and _same(path.read_bytes(), whole):
            continue
        with pytest.raises(CheckpointError, match=rf"{name} is damaged") as caught:
            READERS[name](run)
        assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    for size in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        if name == MANIFEST_FILE and size == len(whole) - 1:
            continue  # the line's end
        with pytest.raises(CheckpointError, match=rf"{name} is damaged"):
            READERS[name](run)


def _same(text, other):
    """Whether two JSON texts say the same."""
    try:
        return json.loads(text) == json.loads(other)
    except ValueError:
        return False


def test_all_files_of_a_run_are_listed_and_read_without_a_manifest(run):
    listed = json.loads((run / MANIFEST_FILE).read_text())["files"]
    names = {path.name for path in run.iterdir() if path.is_file()}
    assert names == {*listed, MANIFEST_FILE} >= set(READERS)
    (run / MANIFEST_FILE).unlink()
    for read in READERS.values():
        read(run)


class Killed(BaseException):
    """In place of a kill."""


@pytest.mark.parametrize("moment", ["part", "manifest", "listed", "link", "put"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file(tmp_path, monkeypatch, moment):
    """Two kills at the same moment, each by a process that knows nothing of what it wrote."""
    for epoch in range(2):
        save_checkpoint(tmp_path, {"epoch": epoch})
    whole, count = os.replace, {"part": 0, "manifest": 0, "listed": 1, "link": 2, "put": 3}[moment]

    def replace(*paths):
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        whole(*paths)

    for epoch in (2, 3):
        left = count
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            if moment == "part":
                patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(Killed))
            if moment == "put":
                save_checkpoint(tmp_path, {"epoch": epoch})
            else:
                with pytest.raises(Killed):
                    save_checkpoint(tmp_path, {"epoch": epoch})
        monkeypatch.setattr(manifest, "_known", {})
        found = read_tensors(tmp_path / choose_checkpoint(tmp_path, frozenset({"epoch"})))["epoch"]
        assert found == (epoch if moment == "put" else 1)
        read_tensors(tmp_path / "previous.pt")
    save_checkpoint(tmp_path, {"epoch": 9})
    assert read_tensors(tmp_path / "last.pt")["epoch"] == 9
    flip(tmp_path / "last.pt", 30)
    assert choose_checkpoint(tmp_path, frozenset({"epoch"})) == "previous.pt"


def test_a_reader_beside_a_writer_sees_no_damage(tmp_path, monkeypatch):
    """The file is replaced twice after its bytes were read and before the manifest is."""
    path = tmp_path / "history.csv"
    write_listed(path, "a\n")
    whole, busy = manifest._read_manifest, [True]

    def later(folder):
        if busy:
            busy.clear()
            write_listed(path, "b\n")
            write_listed(path, "c\n")
        return whole(folder)

    monkeypatch.setattr(manifest, "_read_manifest", later)
    assert read_verified(path) == b"c\n"


def test_files_that_are_not_listed_are_read(run):
    (run / MANIFEST_FILE).unlink()
    save_tensors(run / "weights_best.pt", read_tensors(run / "weights_best.pt"))
    load(run)
    (run / "history.csv").write_text((run / "history.csv").read_text())
    read_history(run)


def test_an_evaluation_leads_to_no_other_file(run, tmp_path, capsys):
    import h5py

    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["mse"] = np.full(3, 42.0)
    save_evaluation(xr.Dataset({"mse": ("sample", np.zeros(3))}), run)
    with h5py.File(run / "evaluation.nc", "r+") as file:
        del file["mse"]
        file["mse"] = h5py.ExternalLink("../secret.h5", "/mse")
    (run / MANIFEST_FILE).unlink()
    with pytest.raises(CheckpointError, match="keeps mse in another file, which is refused"):
        read_evaluation(run)
    for command in ("report", "compare"):
        with pytest.raises(SystemExit):
            main([command, str(run)])
        assert "in another file, which is refused" in capsys.readouterr().err
