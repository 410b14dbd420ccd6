"""Steps whose passes no loss takes keep no graphs: the memory of a process that takes 200 of them."""

from __future__ import annotations

import json
import platform

import pytest

from benchmarks.common import RESULTS
from benchmarks.head_memory import CASES, Config, measured

MOST = 5.0  # MiB


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it looks at the memory that glibc has given back")
@pytest.mark.parametrize("case", CASES)
def test_memory_does_not_rise_over_200_physics_steps(case: str) -> None:
    assert measured(case, Config()) <= MOST


def test_the_stored_figures_are_those_of_all_cases() -> None:
    figures = json.loads((RESULTS / "head_memory.json").read_text())["figures"]
    assert set(figures["rise_mib"]) == set(CASES)
    assert all(rise <= MOST < 2 * figures["graph_mib"] for rise in figures["rise_mib"].values())
