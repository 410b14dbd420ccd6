"""Damaged files of every kind, given to every command that reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import KINDS, damages

ROOT = Path(__file__).parent.parent
#: Bytes to flip, and cuts, of each kind; FUZZ="50 20" asks for more.
FLIPS, CUTS = os.environ.get("FUZZ", "3 2").split()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each kind is damaged in a forked process")
def test_no_command_ends_in_a_traceback_or_takes_a_changed_value(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", str(tmp_path), "--flips", FLIPS, "--cuts", CUTS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == set(KINDS)
    assert [fault for kind in results.values() for fault in kind["faults"]] == []
    noticed = {name for name, kind in results.items() if kind["counts"].get("one line", 0)}
    assert noticed >= set(KINDS) - {"config.toml", "last.pt"}  # a resume takes previous.pt instead of a damaged last.pt
    assert results["last.pt"]["counts"].keys() <= {"one line", "the same result"}


def test_damages_are_the_same_for_one_seed_and_differ_from_the_whole() -> None:
    whole = bytes(range(256)) * 40
    first, second = damages(whole, 6, 4, seed=1), damages(whole, 6, 4, seed=1)
    assert first == second and all(content != whole for _, content in first)
    assert [len(content) == len(whole) for _, content in first] == [True] * 6 + [False] * 4
