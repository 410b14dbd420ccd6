"""The study of parameters as inputs: a page from its result file alone, and a small run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.parameters import run as study
from sciml_cf.studies.parameters.flags import METHODS, Parameters
from sciml_cf.studies.parameters.page import page


def made_up() -> dict:
    """A result in which a model's error is its viscosity, and the head's half of it."""
    every = (*study._SEEN, *study._BETWEEN)
    cells = {}
    for arm in [*(f"own {v:g}" for v in study._SEEN), *study.TOGETHER]:
        for method in METHODS:
            factor = 0.5 if method == "proximal" else 1.0
            runs = [
                {"seed": seed, "test": {f"{v:g}": factor * v * (1 + 0.1 * seed) for v in every}} for seed in (1, 2, 3)
            ]
            cells[f"{arm} {method}"] = {"arm": arm, "method": method, "chosen": {"learning_rate": 1e-3}, "runs": runs}
    config = {"seen": list(study._SEEN), "between": list(study._BETWEEN), "rates": [1e-3]}
    config |= {"resolution": 256, "samples": 10, "test_samples": 5}
    return {"config": config, "figures": cells, "seeds": [1, 2, 3]}


def test_the_page_has_errors_by_viscosity_and_ratios() -> None:
    title, _, parts = page(made_up())
    picture, errors, ratios = cast(Any, parts)
    assert title == "Parameters as inputs" and picture.name == "parameters"
    assert errors.columns[2:] == ("0.01", "0.018", "0.024*", "0.032", "0.056", "0.075*", "0.1")
    own = next(row for row in errors.rows if row[:2] == ("one for each viscosity", "gradients"))
    scale = np.exp(np.mean(np.log([1.1, 1.2, 1.3])))
    np.testing.assert_allclose(own[2:], scale * np.array([0.01, 0.018, 0.024, 0.032, 0.056, 0.075, 0.1]))
    assert len(errors.rows) == 8 and [row[1].split()[0] for row in ratios.rows] == ["0.500"] * 4


@pytest.mark.slow
def test_a_small_part_runs(tmp_path: Path) -> None:
    path = study.run(Parameters(out=tmp_path / "out", methods=("proximal",), workers=1))
    assert path is not None
    cells = read_result(path)["figures"]
    assert set(cells) == {f"{arm} proximal" for arm in [*(f"own {v:g}" for v in study._SEEN), *study.TOGETHER]}
    steps = {name: cell["runs"][0]["steps"] for name, cell in cells.items()}
    assert steps["told proximal"] == steps["not told proximal"]
    assert steps["told, short proximal"] == pytest.approx(steps["own 0.01 proximal"], rel=0.6)
    page(read_result(path))
