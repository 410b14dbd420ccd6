"""docs/results_instruments.md shows the result files, and the example of docs/instrumental_variables.md runs."""

import re

from benchmarks.dfiv_docs import PAGE, filled

TEXT = PAGE.read_text()


def test_the_tables_are_those_of_the_files():
    assert filled(TEXT) == TEXT, "run python -m benchmarks.dfiv_docs"


def test_the_example_runs(capsys):
    guide = (PAGE.parent / "instrumental_variables.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    exec(example.replace("iterations=200", "iterations=3, progress=False"), {})
    assert re.fullmatch(r"-?\d+\.\d+\n", capsys.readouterr().out)
