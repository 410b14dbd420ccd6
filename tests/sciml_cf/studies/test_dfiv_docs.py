"""docs/instrumental_variables.md shows what the result files hold, and its example runs."""

import re

from benchmarks.dfiv_docs import PAGE, filled

TEXT = PAGE.read_text()


def test_the_tables_are_those_of_the_files():
    assert filled(TEXT) == TEXT, "run python -m benchmarks.dfiv_docs"


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(example.replace("iterations=200", "iterations=3, progress=False"), {})
    assert re.fullmatch(r"-?\d+\.\d+\n", capsys.readouterr().out)
