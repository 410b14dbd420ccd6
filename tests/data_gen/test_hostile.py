"""Limits on strangers' HDF5 files: no other file is read, errors are one line, and memory is bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_gen.errors import DatasetError
from data_gen.formats.arrays_hdf5 import read_arrays, write_arrays
from tests.data_gen.hostile import FORMATS, HOSTILE

ROOT = Path(__file__).parents[2]
#: Files of which some format may read values of their own: they lead nowhere.
HARMLESS = {"references", "regions", "wide", "attributes", "many samples"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="openings are watched by inotify")
def test_no_hostile_file_leads_to_another_or_to_a_traceback(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-m", "tests.data_gen.hostile", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    *rows, (_, _, peak, _) = map(json.loads, done.stdout.splitlines())
    assert len(rows) == len(HOSTILE) * len(FORMATS) and int(peak) < 2**30
    assert [row for row in rows if row[3]] == [], "another file was opened"
    assert [row for row in rows if row[2].startswith(("leaked", "traceback")) or not row[2].isprintable()] == []
    assert {name for name, _, came, _ in rows if came == "read"} <= HARMLESS


def test_arrays_lead_to_no_other_file(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "data.h5", {"x": np.zeros(3)}, kind="points", facts={})
    other = write_arrays(tmp_path / "other.h5", {"x": np.ones(3)}, kind="points", facts={})
    with h5py.File(path, "r+") as file:
        file["group"] = h5py.ExternalLink(other.name, "/")
        file.attrs["arrays"] = json.dumps(["group/x"])
    with pytest.raises(DatasetError, match="keeps group in another file, which is refused"):
        read_arrays(path, kind="points")
