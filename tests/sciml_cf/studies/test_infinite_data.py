"""The study of new samples in every epoch: a page from its result file alone, and a small run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.infinite_data import run as study
from sciml_cf.studies.infinite_data.flags import ARMS, METHODS, InfiniteData
from sciml_cf.studies.infinite_data.page import page


def made_up() -> dict:
    """A result in which more data halve the error, new data halve it again, and the head takes a third off."""
    cells = {}
    for halvings, arm in enumerate(ARMS):
        for method in METHODS:
            error = 0.1 * 0.5**halvings * (2 / 3 if method == "proximal" else 1.0)
            runs: list[dict[str, Any]] = [
                {"seed": seed, "steps": [10, 20], "validation_mse": [1.0, error],
                 "test": [{"relative_l2": e, "mse": e**2} for e in (error, 1.1 * error)],
                 "on_the_files_training_samples": error}
                for seed in (1, 2, 3)
            ]  # fmt: skip
            cells[f"{arm} {method}"] = {"arm": arm, "method": method, "chosen": {"learning_rate": 1e-3}, "runs": runs}
    config = {**asdict(study.PRESETS["full"]), "training_samples": 1448, "rates": [1e-3]}
    return {"config": config, "figures": cells, "seeds": [1, 2, 3]}


def test_the_page_has_errors_and_ratios() -> None:
    title, _, parts = page(made_up())
    picture, errors, ratios = cast(Any, parts)
    assert title == "Infinite data" and picture.name == "infinite-data" and len(errors.rows) == 6
    assert [row[2].split()[0] for row in ratios.rows] == ["0.500", "0.250", "0.500", "0.250", "0.667", "0.667", "0.667"]
    assert {row[3] for row in ratios.rows} == {"better"}


def test_the_page_counts_runs_that_diverged() -> None:
    result = made_up()
    result["figures"]["infinite l2"]["runs"][0] = {"seed": 1, "diverged": "the loss is not finite"}
    _, errors, ratios = cast(Any, page(result)[2])
    assert next(row for row in errors.rows if row[:2] == ("new in each epoch", "gradients"))[-1] == 1
    assert "1 of 3 runs diverged" in ratios.rows[1][3]


@pytest.mark.slow
def test_a_small_part_runs(tmp_path: Path) -> None:
    path = study.run(InfiniteData(out=tmp_path / "out", methods=("proximal",), workers=1))
    assert path is not None
    cells = read_result(path)["figures"]
    assert set(cells) == {f"{arm} proximal" for arm in ARMS}
    steps = {name: cell["runs"][0]["steps"][-1] for name, cell in cells.items()}
    assert steps["finite proximal"] == steps["infinite proximal"] == pytest.approx(steps["more proximal"], rel=0.4)
    page(read_result(path))
