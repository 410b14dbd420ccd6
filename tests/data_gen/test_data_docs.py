"""The pages on data: their tables show the code, their commands exist, and their example files work."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import data_gen.equations as equations
from benchmarks.data_docs import MEASURED, PAGE, filled
from data_gen import DatasetSpec, PeriodicGrid, cole_hopf, generate, open_dataset, solve, validate
from data_gen.random_fields import INITIAL_CONDITIONS
from sciml_cf.cli import COMMANDS, main

TABLES = PAGE.read_text()
GUIDE = ("data", "own_equation", "generate_many", "extend_data")
TEXT = "".join((PAGE.parent / f"{name}.md").read_text() for name in GUIDE)


def example(name: str) -> str:
    """The file of that name in the pages."""
    (code,) = re.findall(rf"<!-- file: {name} -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    return code


def test_tables_show_what_the_code_holds() -> None:
    assert all(filled(page.read_text()) == page.read_text() for page in (PAGE, MEASURED)), "benchmarks.data_docs"
    assert all(f"| `{name}` |" in TABLES for name in (*equations.equation_names(), *INITIAL_CONDITIONS))
    assert "vortices" in equations.equation_named("navier_stokes")(forcing=0.0).known


def test_commands_and_their_flags_exist(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [shlex.split(line) for line in re.findall(r"^    sciml-cf (.*)$", TEXT, re.MULTILINE)]
    assert [words[0] for words in lines] == [
        "generate",
        "info",
        "plot",
        "validate",
        *["generate", "validate", "plot"],
        *["generate", "train"],
        *["generate", "validate"],
        "generate",
        *["generate", "validate", "plot"],
        "convert",
        *["generate"] * 6,
        "validate",
        *["generate"] * 5,
        "repack",
    ]
    for words in lines:
        assert words[0] in COMMANDS
        with pytest.raises(SystemExit):
            main([*words[: 2 if words[0] == "generate" else 1], "--help"])
        shown = capsys.readouterr().out
        assert all(word in shown for word in words if word.startswith("--")), words


def test_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(from data_gen import .*?)```", TEXT, re.DOTALL)[0]
    small = code.replace("samples=2048, resolution=8192", "samples=3, resolution=64")
    assert small != code
    monkeypatch.chdir(tmp_path)
    exec(small, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["burgers.h5", "burgers.png"]


def test_example_equation_is_found_generated_and_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "benjamin_ono.py").write_text(example("benjamin_ono.py"))
    monkeypatch.setattr(equations, "__path__", [*equations.__path__, str(tmp_path)])
    try:
        spec = DatasetSpec(equation="benjamin_ono", samples=3, resolution=128)
        report = validate(generate(spec, tmp_path / "data.h5", progress=False), truth=True, truth_samples=2)
        assert report.ok and report.truth == "self-convergence"
        spec = DatasetSpec(equation="benjamin_ono", parameters={"dispersion": 0.0}, samples=3, resolution=128)
        with open_dataset(generate(spec, tmp_path / "burgers.h5", progress=False)) as data:
            exact = cole_hopf(data.read("a"), viscosity=0.1, time=1.0, extent=2 * np.pi)
            np.testing.assert_allclose(data.read("u"), exact, atol=1e-9)
        law = equations.equation_named("benjamin_ono")(viscosity=0.1, dispersion=0.3)
        grid = PeriodicGrid(64, 2 * np.pi)
        small = 1e-9 * np.cos(2 * grid.points)[None, None]  # so small that the law is linear
        exact = 1e-9 * np.exp(-0.1 * 4) * np.cos(2 * grid.points - 0.3 * 4)
        np.testing.assert_allclose(solve(law, grid, small, [1.0])[0, 0, 0], exact, atol=1e-17)
    finally:
        sys.modules.pop("data_gen.equations.benjamin_ono", None)


def test_example_initial_condition_is_drawn_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict = {}
    exec(compile(example("bumps.py"), "bumps.py", "exec"), found)
    monkeypatch.setitem(INITIAL_CONDITIONS, "bumps", (found["bumps"], found["check_bumps"]))  # type: ignore[arg-type]
    spec = DatasetSpec(
        equation="heat", samples=4, resolution=256, initial_condition="bumps", initial_parameters={"height": 2.0}
    )
    path = generate(spec, tmp_path / "data.h5", progress=False)
    assert validate(path, truth=True).ok
    with open_dataset(path) as data:
        fields = data.read("a")[:, 0]
    np.testing.assert_allclose(fields.max(axis=1), 2.0, rtol=2e-3)
    assert len(set(fields.argmax(axis=1))) == 4
    np.testing.assert_array_equal(found["bumps"](spec.grid, [2], seed=0, height=2.0)[0, 0], fields[2])
    with pytest.raises(ValueError, match="bumps: `width` must be a finite number above 0"):
        DatasetSpec(initial_condition="bumps", initial_parameters={"width": -1.0})
