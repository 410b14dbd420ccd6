"""Figures of the results pages: drawn from the result files, each on a page, with words for those who cannot see it."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.image
import pytest

from docsite.gallery import thumbnails
from docsite.measured import METHODS, OURS, STUDIES, measured_speeds, pictures, speed
from docsite.staging import DOCS


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    out = tmp_path_factory.mktemp("measured")
    return out, pictures(out)


def test_every_picture_is_drawn_and_on_a_page(drawn: tuple[Path, dict[str, str]]) -> None:
    out, found = drawn
    assert set(found) == {"speed", *(name for names in STUDIES.values() for name in names)}
    pages = "\n".join(path.read_text() for path in DOCS.glob("*.md"))
    for name, text in found.items():
        (alternative, path), *more = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
        assert len(alternative) > 20 and not more
        assert matplotlib.image.imread(out / path).shape[1] > 600
        assert f"<!-- site: {name} -->" in pages


def test_the_data_of_both_files_and_every_method_are_drawn() -> None:
    problems = measured_speeds()
    assert {"KdV", "Kuramoto-Sivashinsky"} < set(problems)
    assert {method for methods in problems.values() for method in methods} == set(METHODS.values()) > set(OURS)
    for axes, methods in zip(speed(problems).axes, problems.values(), strict=True):
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert set(lines) == set(methods)
        for method, points in methods.items():
            x, y = lines[method].get_data()
            assert list(zip(x, y, strict=True)) == points
            assert (lines[method].get_markerfacecolor() == "none") == (method not in OURS)


def test_equations_in_small_lead_to_the_gallery() -> None:
    first, *lines = thumbnails(["allen_cahn", "kdv"]).split("\n\n")
    assert "](gallery.md#equations)" in first
    assert lines[1] == "[![](gallery/small_allen_cahn.png) allen_cahn](gallery.md#allen_cahn)" and lines[-1] == "```"
