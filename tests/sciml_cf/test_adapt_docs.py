"""docs/results_adaptation.md shows the result file, and the result file bears out the words of the pages."""

import json
import re

import pytest

from benchmarks.adaptation_docs import PAGE, filled
from benchmarks.common import RESULTS
from sciml_cf.cli import COMMANDS


@pytest.fixture(scope="module")
def figures():
    return json.loads((RESULTS / "adaptation.json").read_text())["figures"]


def test_page_shows_the_result_file():
    assert filled(PAGE.read_text()) == PAGE.read_text()


def test_commands_on_the_page_exist():
    assert set(re.findall(r"sciml-cf (\w+)", (PAGE.parent / "adaptation.md").read_text())) <= set(COMMANDS)


def test_adaptation_is_as_good_and_as_safe_as_the_page_says(figures):
    rows = {(row["law"], row["samples"]): row for row in figures["proximal"]["adaptation"] if row["way"] == "default"}
    assert rows["viscosity 0.05", 64]["ratio_max"] < 1 / 5 * 1.05 and rows["viscosity 0.05", 64]["ratio_median"] < 1 / 8
    assert rows["viscosity 0.05", 4]["ratio_90"] < 1 / 2
    for samples in (4, 16, 64):
        assert rows["training law", samples]["ratio_max"] <= 1.2
        assert rows["viscosity 0.05", samples]["seconds_median"] < 5


def test_error_bars_cover_and_widen_as_the_page_says(figures):
    for found in figures.values():
        rows = {(row["inputs"], row["resolution"]): row for row in found["error_bars"]}
        for resolution in {resolution for _, resolution in rows}:
            inside = rows["held out", resolution]
            assert 0.85 <= inside["coverage"] <= 0.95
            assert rows["amplitude x2", resolution]["width"] > 2 * inside["width"]
            assert rows["literal Laplacian", resolution]["width"] > rows["amplitude x2", resolution]["width"]
            assert rows["viscosity 0.05", resolution]["coverage"] < 0.5
    for row in figures["proximal"]["adapted_error_bars"]:
        assert row["coverage"] > 0.8
