"""The study of training for roll-outs: equal candidates and budgets, and a page from its result file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.rollouts import run as study
from sciml_cf.studies.rollouts.flags import ARMS, METHODS, Rollouts
from sciml_cf.studies.rollouts.page import page


def test_every_arm_has_as_many_candidates_and_as_much_computing() -> None:
    assert {len(candidates) for candidates in study._CANDIDATES.values()} == {6} and set(study._CANDIDATES) == set(ARMS)
    for candidates in study._CANDIDATES.values():
        for options in candidates:
            k = options.get("unroll", 1)
            cost = k + (k - 1) * (1.0 if options.get("through_steps") else 1 / 3)
            epochs = study.epochs_of(200, options)
            assert epochs * (study._STEPS_SEEN - k + 1) * cost == pytest.approx(200 * study._STEPS_SEEN, rel=0.02)


def made_up(left: int = 0) -> dict:
    """A result as the study writes it."""
    rng, cells = np.random.default_rng(0), {}
    for arm in ARMS:
        for method in METHODS:
            runs = []
            for seed in (1, 2, 3):
                curve = np.linspace(0.1, 1, 5) * rng.uniform(0.9, 1.1)
                names = ("relative_l2", "correlation", "persistence_relative_l2", "linear_relative_l2")
                curves = {"time": [1.0, 2.0, 3.0, 4.0, 5.0], **{name: curve.tolist() for name in names}}
                run = {"seed": seed, "one_step": curve[0], "rollout": curve.mean(), "seconds": 1.0, "curves": curves}
                runs.append({**run, "correlation_time": [3.0, 4.0], "left_finite": left})
            if arm == "noise" and method == "l2":
                runs[1] = {"seed": 2, "diverged": "fit: ..."}
            chosen = {"learning_rate": 1e-3, "unroll": 2, "through_steps": True}
            cells[f"p {method} {arm}"] = {
                **{"problem": "p", "arm": arm, "method": method},
                **{"chosen": chosen, "at_edge": ["unroll"] if arm == "unrolled" else [], "runs": runs},
            }
    return {"config": {"candidates": 6, "lyapunov": {"p": 0.1}}, "figures": cells, "seeds": [1, 2, 3]}


def test_the_page_has_a_curve_and_two_tables_a_problem() -> None:
    title, words, parts = page(made_up())
    assert words[-1].startswith("In 2 of 8 rows the choice is at an edge")
    picture, summary, ratios = cast(Any, parts)
    assert title == "Roll-outs" and "6 candidates" in words[1] and picture.name == "rollouts-p"
    assert len(summary.rows) == 8 and [row[0] for row in ratios.rows] == list(ARMS)
    noise = next(row for row in summary.rows if row[:2] == ("noise", "gradients"))
    assert noise[-1] == 1 and noise[2] == "rate 0.001, steps 2" and noise[6] == "0.35"
    assert all(0.5 < float(row[1].split()[0]) < 2 for row in ratios.rows)


@pytest.mark.slow
def test_a_small_part_runs_and_goes_on(tmp_path: Path) -> None:
    config = Rollouts(out=tmp_path / "out", problems=("kuramoto_sivashinsky",), arms=("plain", "unrolled"), workers=1)
    path = study.run(config)
    assert path is not None
    result = read_result(path)
    assert set(result["figures"]) == {
        f"kuramoto_sivashinsky {method} {arm}" for method in METHODS for arm in ("plain", "unrolled")
    }
    for cell in result["figures"].values():
        assert [run["seed"] for run in cell["runs"]] == [1, 2] and len(cell["selection"]) == 6
        assert all(len(run["curves"]["relative_l2"]) == 12 for run in cell["runs"] if "diverged" not in run)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "trials").glob("*.json")}
    study.run(config)
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "trials").glob("*.json")}
    page(result)
