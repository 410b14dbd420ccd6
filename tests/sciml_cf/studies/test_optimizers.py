"""The study of optimizers and heads: a page from its result alone, budgets of seconds, and a small run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.optimizers import run as study
from sciml_cf.studies.optimizers.flags import METHODS, OPTIMIZERS, Optimizers
from sciml_cf.studies.optimizers.page import page


def made_up() -> dict:
    """A result in which SOAP halves the error of Adam, the head takes a third off, and SOAP takes twice as long."""
    cells = {}
    for optimizer in OPTIMIZERS:
        for method in METHODS:
            error = 0.1 * (0.5 if optimizer == "soap" else 1.0) * (1.0 if method == "l2" else 2 / 3)
            runs: list[dict[str, Any]] = [
                {"seed": seed, "steps": [10, 20], "validation_mse": [1.0, error], "seconds": seconds_of(optimizer),
                 "test": {"relative_l2": error}, "head_fitted_after": {"relative_l2": 0.9 * error}, "head_norm": 2.0,
                 "head_change": [] if method == "l2" else [1.0, 0.2]}
                for seed in (1, 2, 3)
            ]  # fmt: skip
            names = {"problem": "burgers", "optimizer": optimizer, "method": method}
            cells[f"burgers {optimizer} {method}"] = {
                **names, "chosen": {"learning_rate": 1e-2}, "at_edge": ["learning_rate"], "runs": runs,
                "runs_of_equal_seconds": runs,
            }  # fmt: skip
    config = {**asdict(study.PRESETS["full"]), "rates": [1e-3, 1e-2]}
    return {"config": config, "figures": cells, "seeds": [1, 2, 3]}


def seconds_of(optimizer: str) -> float:
    return 20.0 if optimizer == "soap" else 10.0


def test_the_page_has_errors_ratios_and_movement() -> None:
    title, said, parts = page(made_up())
    picture, errors, ratios, movement = cast(Any, parts)
    assert title == "Optimizers and the head" and picture.name == "optimizers-burgers"
    assert "In 9 of 9 rows the choice is at an edge" in said[-1]
    assert len(errors.rows) == 9 and errors.rows[0][3:5] == (pytest.approx(0.1), pytest.approx(0.09))
    found = {row[:2]: row[2].split()[0] for row in ratios.rows}
    assert found["SOAP, proximal head", "SOAP, gradients"] == "0.667"
    assert found["SOAP, gradients", "Adam, gradients"] == "0.500"
    assert found["SOAP, proximal head", "Adam, gradients"] == "0.333"
    assert [row[2:] for row in movement.rows] == [(pytest.approx(0.5), *(pytest.approx(0.1),) * 2)] * 6


def test_the_page_counts_runs_that_diverged() -> None:
    result = made_up()
    result["figures"]["burgers soap l2"]["runs"] = [
        {"seed": s, "diverged": "the loss is not finite"} for s in (1, 2, 3)
    ]
    errors = cast(Any, page(result)[2])[1]
    (row,) = (row for row in errors.rows if row[:2] == ("SOAP", "gradients"))
    assert row[3:6] == ("-", "-", "-") and row[-1] == 3


def test_equal_seconds_are_those_of_adam_with_gradients() -> None:
    cells: dict[str, study.Cell] = {f"burgers {o} {m}": ("burgers", o, m) for o in OPTIMIZERS for m in METHODS}
    epochs = study.equal_seconds(study.PRESETS["full"], cells, made_up()["figures"])
    assert epochs == {f"burgers soap {method}": 10 for method in METHODS}
    without = {name: cell for name, cell in cells.items() if cell[1] == "soap"}
    found = {name: made_up()["figures"][name] for name in without}
    assert study.equal_seconds(study.PRESETS["full"], without, found) == {}


@pytest.mark.slow
def test_a_small_part_runs(tmp_path: Path) -> None:
    config = Optimizers(out=tmp_path / "out", problems=("darcy",), optimizers=("adam",), methods=("l2", "proximal"))
    path = study.run(config)
    assert path is not None
    cells = read_result(path)["figures"]
    assert set(cells) == {"darcy adam l2", "darcy adam proximal"}
    assert all(run["test"]["relative_l2"] < 1 for cell in cells.values() for run in cell["runs"])
    page(read_result(path))
