"""The pages of the guide show the tables of the committed benchmarks, and nothing that no file holds."""

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
