"""The pages of the guide show the tables of the committed benchmarks, and nothing that no file holds."""

import json
import shutil

import pytest

from benchmarks.bench_docs import SHOWN, filled
from benchmarks.common import RESULTS

NAMES = [name for names in SHOWN.values() for name in names]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_the_tables_are_those_of_the_files(page):
    text = page.read_text()
    assert all(f"<!-- {name}: " in text for name in SHOWN[page])
    assert filled(text, SHOWN[page]) == text, "run python -m benchmarks.bench_docs"


def test_a_file_fills_its_own_place_only(tmp_path):
    known = [name for name in NAMES if (RESULTS / f"{name}.json").exists()]
    assert known, "no benchmark has a committed result"
    shutil.copy(RESULTS / f"{known[0]}.json", tmp_path)
    text = "".join(f"<!-- {name}: by a program -->\nold\n<!-- end of {name} -->\n" for name in NAMES)
    made = filled(text, tuple(NAMES), tmp_path)
    assert made.count("Not measured yet.") == len(NAMES) - 1 and "\nold\n" not in made
    assert f"<!-- {known[0]}: by a program -->\n`sciml-cf bench {known[0]}" in made


def test_the_parts_of_a_benchmark_fill_one_table(tmp_path):
    """A table has the rows of every part, and ratios to a row of another part; parts of other settings are refused."""
    whole = json.loads((RESULTS / "limits.json").read_text())
    *first, last = whole["figures"]
    for name, routes in (("limits", first), ("limits_2", [last])):
        part = {**whole, "figures": {route: whole["figures"][route] for route in routes}}
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    text = "<!-- limits: by a program -->\n<!-- end of limits -->\n"
    assert filled(text, ("limits",), tmp_path) == filled(text, ("limits",), _only(whole, tmp_path / "whole"))
    part["config"]["epochs"] += 1
    (tmp_path / "limits_2.json").write_text(json.dumps(part))
    with pytest.raises(ValueError, match="`results` must have the same epochs; got"):
        filled(text, ("limits",), tmp_path)


def _only(result, folder):
    folder.mkdir()
    (folder / "limits.json").write_text(json.dumps(result))
    return folder
