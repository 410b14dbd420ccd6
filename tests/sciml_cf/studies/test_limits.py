"""The study of what limits the recipe: a page from its result alone, one change a training, and a small run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.limits import run as study
from sciml_cf.studies.limits.flags import ROUTES, Limits
from sciml_cf.studies.limits.page import page


def errors(value: float) -> dict[str, float]:
    return {"relative_l2": value, "relative_l2_median": value, "relative_l2_worst": 10 * value, "mse": value**2}


def made_up() -> dict[str, Any]:
    """A result in which SOAP halves the errors, and one head over all models halves that of one."""
    cells = {}
    for route, changes in ROUTES.items():
        error = 0.5 if route.startswith("SOAP") else 1.0
        runs: list[dict[str, Any]] = [
            {"seed": seed, "seconds": 10.0, "training": errors(error / 4), "test": errors(error),
             "symmetrised": errors(0.9 * error), "epochs": 6, "best_validation_mse": error**2,
             **({} if "data" in changes else {"fitted_after": {"strength": 1.0, **errors(0.8 * error)}})}
            for seed in (1, 2, 3)
        ]  # fmt: skip
        combined = {"mean": errors(0.7), "one_head": errors(error / 2), "one_head_symmetrised": errors(error / 3)}
        cells[route] = {"changes": changes, "runs": runs, "combined": None if "data" in changes else combined}
    config = {"fit": study._FIT, "worst": 0.01, "training_samples": 90, **asdict(study.PRESETS["full"])}
    return {"config": config, "figures": cells, "seeds": [1, 2, 3]}


def test_the_page_has_every_training_and_what_follows_it() -> None:
    title, said, parts = page(made_up())
    assert said[0].startswith("Lower test errors than the recipe's: SOAP (0.50), SOAP, rate ")
    picture, trainings, after, combined = cast(Any, parts)
    assert title == "What limits the recipe" and picture.name == "limits"
    rows = {row[0]: row for row in trainings.rows}
    assert set(rows) == set(ROUTES) and rows["recipe"][2:4] == ("-", "-")
    assert rows["SOAP"][2].startswith("0.500") and rows["SOAP"][3] == "better"
    assert rows["SOAP"][6] == pytest.approx(4)
    fitted = {row[0]: row[2:4] for row in after.rows}
    assert fitted["infinite samples"] == ("-", "-") and fitted["recipe"][1].startswith("0.800")
    assert {row[0] for row in combined.rows} == {name for name, changes in ROUTES.items() if "data" not in changes}


def test_without_the_first_training_there_are_errors_and_no_ratios() -> None:
    result = made_up()
    del result["figures"]["recipe"]
    _, said, parts = page(result)
    assert said[0].startswith("Viscous Burgers")
    assert {row[2] for row in cast(Any, parts)[1].rows} == {"-"}


def test_a_run_that_diverged_is_counted() -> None:
    result = made_up()
    result["figures"]["shifts"]["runs"] = [{"seed": seed, "diverged": "not finite"} for seed in (1, 2, 3)]
    (row,) = (row for row in cast(Any, page(result)[2])[1].rows if row[0] == "shifts")
    assert row[1] == "-" and row[-1] == 3


def test_every_training_differs_from_the_first_in_one_respect() -> None:
    scale = study.PRESETS["full"]
    settings = {route: study._trial(scale, route, 1, 1448).settings for route in ROUTES}
    first = settings["recipe"]
    for route, own in settings.items():
        differs = {key for key in first if own[key] != first[key]}
        fit = {key for key in {**first["fit"], **own["fit"]} if own["fit"].get(key) != first["fit"].get(key)}
        assert len(differs) <= 2 and (route == "recipe") == (not differs)
        assert len(fit - {"epochs", "weight_decay", "learning_rate"}) <= 1, route
    more = settings["4096 samples"]["fit"]["epochs"]
    assert abs(more * 4096 - first["fit"]["epochs"] * 1448) < 4096 / 2  # as many steps


@pytest.mark.slow
def test_a_small_part_runs(tmp_path: Path) -> None:
    path = study.run(Limits(out=tmp_path / "out", routes=("recipe", "shifts", "infinite samples"), workers=1))
    assert path is not None
    result = read_result(path)
    assert set(result["figures"]) == {"recipe", "shifts", "infinite samples"}
    assert all(run["test"]["relative_l2"] < 1 for cell in result["figures"].values() for run in cell["runs"])
    assert result["figures"]["recipe"]["combined"]["one_head"]["relative_l2"] < 1
    assert result["figures"]["infinite samples"]["combined"] is None
    page(result)
