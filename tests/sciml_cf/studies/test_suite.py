"""The suite: a page from its result alone, the settings of its trials, files in pieces, and a small run."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from benchmarks import suite_docs
from data_gen import DatasetSpec, generate
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import DatasetError
from sciml_cf.metrics import difference_h1
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.suite import run as study
from sciml_cf.studies.suite.flags import PEERS, PROBLEMS, PUBLISHED, Suite
from sciml_cf.studies.suite.own_file import describe_file
from sciml_cf.studies.suite.page import page
from sciml_cf.studies.suite.sentences import headline, sentence
from sciml_cf.studies.suite.summary import comparisons, epochs_below, labels, merged, overall, parted
from sciml_cf.studies.suite.trial import errors_on

RATIOS = {"kdv": 0.5, "darcy": 0.8, "advection": 1.5}  # closed form over gradients
REFIT = {"kdv": 0.98, "darcy": 0.81, "advection": 1.0}  # a re-fit does nothing for the first, all for the second


def cell_of(problem: str, method: str, samples: int = 512) -> dict[str, Any]:
    """A cell in which the head's errors fall to the final one of gradients at the third of four epochs."""
    ratio, refit = (RATIOS[problem], 1.0) if method == "proximal" else (1.0, REFIT[problem])
    runs = [
        {
            "seed": seed,
            "validation_mse": [4.0, 2.0, 0.9, 0.8] if method == "proximal" else [4.0, 3.0, 2.0, 1.0],
            "seconds": [2.0, 4.0, 6.0, 8.0] if method == "proximal" else [1.0, 2.0, 3.0, 4.0],
            "test": {name: 0.1 * ratio * wobble for name in ("relative_l2", "vrmse", "relative_h1")},
            "training": {"relative_l2": 0.05 * ratio * wobble},
            "fitted_after": {name: 0.1 * ratio * refit * wobble for name in ("relative_l2", "vrmse", "relative_h1")},
            "explained": 0.3 if method == "proximal" else None,
            "rows_per_feature": 32.0,
            "samples_per_feature": samples / 128,
        }
        for seed, wobble in ((1, 0.99), (2, 1.0), (3, 1.01))
    ]
    chosen = {"chosen": {"learning_rate": 3e-3}, "at_edge": [], "selection": [], "runs": runs}
    return {"problem": problem, "samples": samples, "model": "fno", "optimizer": "adam", "method": method, **chosen}


def made_up(problems: tuple[str, ...] = tuple(RATIOS), preset: str = "full", samples: int = 512) -> dict[str, Any]:
    """A result in which the head halves an error, lowers another as a re-fit does, and raises a third."""
    cells = [cell_of(problem, method, samples) for problem in problems for method in ("l2", "proximal")]
    scale = study.PRESETS[preset]
    return {
        "benchmark": "suite",
        "command": f"sciml-cf study suite --problems {' '.join(problems)} --out suite_{problems[0]}",
        "machine": {"cpu": "Processor of " + problems[0], "cores": 2},
        "date": "2026-11-30",
        "seeds": [1, 2, 3],
        "config": {
            "preset": preset, "sizes": {name: asdict(scale.sizes[name]) for name in problems}, "share": scale.share,
            "seeds": [1, 2, 3], "rates": [1e-3, 1e-2], "held_out": [128, 256], "file": None,
        },
        "figures": {
            "cells": {f"{one['problem']} {one['samples']} {one['method']}": one for one in cells},
            "linear": {f"advection {samples}": {"rank": 256, "test": {"relative_l2": 1e-6}}},
        },
    }  # fmt: skip


def test_the_page_has_the_verdicts_sorted_by_the_ratio() -> None:
    title, said, parts = page(made_up())
    ratios, errors, scatter, details, curves = cast(Any, parts)
    assert title == "How good is the closed-form head?"
    assert [part.name for part in (ratios, scatter, curves)] == ["suite-ratios", "suite-scatter", "suite-curves"]
    assert [(row[0], row[5]) for row in errors.rows] == [("kdv", "better"), ("darcy", "better"), ("advection", "worse")]
    assert errors.rows[0][1:4] == (
        pytest.approx(0.1, rel=1e-3),
        pytest.approx(0.098, rel=1e-3),
        pytest.approx(0.05, rel=1e-3),
    )
    assert errors.rows[0][4].startswith("0.500") and [row[-1] for row in errors.rows] == ["-", "-", 1e-6]
    names = dict(zip(details.columns, details.rows[0], strict=True))
    assert names["closed form / re-fit"].startswith("0.510") and names["ratio of VRMSE"].startswith("0.500")
    assert names["epochs until gradients' error, share"] == pytest.approx(0.75)
    assert names["seconds until it, share"] == pytest.approx(1.5) and names["ratio of seconds"] == pytest.approx(2.0)
    assert (names["test / training error, gradients"], names["test / training error, closed form"]) == (
        pytest.approx(2.0), pytest.approx(2.0),
    )  # fmt: skip
    assert (names["share explained by the solve"], names["samples per feature"]) == (pytest.approx(0.3), 4.0)
    assert not any("Small preset" in text for text in said)


def test_a_gain_that_a_refit_explains_is_said_first() -> None:
    first, second, third, pace, last = headline(comparisons(made_up()))
    assert first.startswith("A re-fitted last layer explains most of the gain on darcy:")
    assert "lower in 2 (kdv and darcy), higher in 1 (advection), not distinguishable in 0." in second
    mean = np.prod(list(RATIOS.values())) ** (1 / 3)
    assert f"over 3 problems: {mean:.2f} (" in third
    assert pace.endswith(
        "of gradients after 75% to 75% of the epochs, median 75%; its training takes 2.00 to 2.00 times the processor "
        "time."
    )
    assert last == "The best linear map has a lower error than both on advection."
    assert headline(comparisons(made_up(("kdv",))))[0].startswith("Test errors of the closed-form head")


def test_where_the_closed_form_never_reaches_gradients_is_counted() -> None:
    result = made_up()
    for run in result["figures"]["cells"]["darcy 512 proximal"]["runs"]:
        run["validation_mse"] = [4.0, 2.0, 1.5, 1.2]
    assert any("error of gradients on 2 of 3 problems after" in text for text in headline(comparisons(result)))
    for cell in result["figures"]["cells"].values():
        for run in cell["runs"] if cell["method"] == "proximal" else ():
            run["validation_mse"] = [4.0, 2.0, 1.5, 1.2]
    words = "error of gradients on none of 3 problems; its training takes 2.00 to 2.00 times"
    assert any(words in text for text in headline(comparisons(result)))


def test_the_small_preset_says_so_first() -> None:
    assert page(made_up(preset="small"))[1][0].startswith("Small preset:")


def test_runs_that_diverged_are_counted_and_judge_nothing() -> None:
    result = made_up(("kdv", "darcy"))
    result["figures"]["cells"]["kdv 512 proximal"]["runs"][0] = {"seed": 1, "diverged": "the loss is not finite"}
    (row,) = (row for row in cast(Any, page(result)[2])[1].rows if row[0] == "kdv")
    assert row[5] == "1 of 3 runs diverged, and 0 of the other's"
    assert headline(comparisons(result))[-1] == "Runs diverged on kdv."


def test_a_page_of_one_method_or_one_problem_has_no_ratio_but_its_errors() -> None:
    result = made_up(("kdv",))
    del result["figures"]["cells"]["kdv 512 proximal"]
    errors = cast(Any, page(result)[2])[1]
    assert errors.rows[0][3:6] == ("-", "-", "not run")


@pytest.mark.parametrize(
    ("errors", "epoch"), [([3, 2, 1], None), ([0.9, 2, 0.5], 3), ([0.5, 0.4], 1), ([2.0, float("nan")], None)]
)
def test_epochs_below_a_goal_count_from_where_errors_stay_there(errors: list[float], epoch: int | None) -> None:
    assert epochs_below(errors, 1.0) == epoch


def test_the_overall_interval_is_of_problems() -> None:
    spread = overall(comparisons(made_up()))
    assert spread is not None and min(RATIOS.values()) * 0.98 < spread.low < spread.mean < spread.high < 1.55
    one = overall(comparisons(made_up(("kdv",))))
    assert one is not None and one.high == np.inf


def test_pieces_become_one_result() -> None:
    pieces = [made_up(("kdv",)), made_up(("darcy", "advection")), made_up(("kdv",), preset="small", samples=64)]
    whole = merged(pieces)
    processors = {cell["problem"]: cell.pop("processor") for cell in whole["figures"]["cells"].values()}
    assert processors == {name: f"Processor of {'kdv' if name == 'kdv' else 'darcy'}" for name in RATIOS}
    assert whole["figures"] == made_up()["figures"]
    assert list(whole["config"]["sizes"]) == list(RATIOS)
    assert whole["command"].count("sciml-cf study suite") == 2
    assert merged(pieces[-1:])["config"]["preset"] == "small"
    several = comparisons(merged([made_up(("kdv",)), made_up(("kdv",), samples=128)]))
    assert sorted(labels(several)) == ["kdv (128 samples)", "kdv (512 samples)"]
    other = made_up(("kdv",))
    other["config"]["rates"] = [1e-2]
    with pytest.raises(ValueError, match="`results` must have the same rates"):
        merged([pieces[0], other])
    with pytest.raises(ValueError, match="at least; got none"):
        merged([])


def test_other_samples_have_a_table_and_a_sentence_of_their_own() -> None:
    whole = merged([made_up(), made_up(("kdv",), samples=128)])
    found = comparisons(whole)
    usual, (further,) = parted(found)
    assert [one.case[:2] for one in usual] == [("kdv", 512), ("darcy", 512), ("advection", 512)]
    assert [one.case[:2] for one in further] == [("kdv", 128)]
    _, said, parts = page(whole)
    tables = {part.title: part for part in cast(Any, parts) if hasattr(part, "title")}
    (row,) = tables["Other samples, models and optimizers: relative L2 errors on test samples"].rows
    assert row[0] == "kdv (128 samples)" and row[4].startswith("0.500")
    assert len(tables["Relative L2 errors on test samples"].rows) == 3
    assert "With 128 samples: kdv, mean ratio 0.50, as usual 0.50." in said
    assert "in 3 cases: lower in 2" in said[1]


def with_other_model(result: dict[str, Any], problem: str) -> dict[str, Any]:
    """The result of problems, and the same of one of them with another model."""
    cells = made_up((problem,))["figures"]["cells"]
    others = {f"{name} unet": {**cell, "model": "unet"} for name, cell in cells.items()}
    return {**result, "figures": {**result["figures"], "cells": {**result["figures"]["cells"], **others}}}


def lost(cell: dict[str, Any], seeds: tuple[int, ...] = (1, 2, 3)) -> None:
    """Let runs of a cell diverge."""
    cell["runs"] = [
        {"seed": run["seed"], "diverged": "by step 3"} if run["seed"] in seeds else run for run in cell["runs"]
    ]


def test_another_model_is_compared_on_the_problems_that_both_have() -> None:
    result = with_other_model(with_other_model(made_up(("darcy", "advection")), "darcy"), "kdv")
    assert "With unet: darcy, mean ratio 0.80, as usual 0.80." not in headline(comparisons(result))  # as many of each
    result = with_other_model(with_other_model(made_up(("darcy", "advection", "kdv")), "darcy"), "kdv")
    for cell in result["figures"]["cells"].values():
        if (cell["problem"], cell["model"]) == ("kdv", "fno"):
            lost(cell)
    said = headline(comparisons(result))
    assert "With unet: darcy, mean ratio 0.80, as usual 0.80." in said and said[-1] == "Runs diverged on kdv."


def test_other_models_that_diverged_are_named_and_leave_no_empty_paragraph() -> None:
    result = with_other_model(made_up(), "kdv")
    lost(result["figures"]["cells"]["kdv 512 proximal unet"])
    said = headline(comparisons(result))
    assert said[-1] == "Runs diverged on kdv (unet)." and all(text.strip() for text in said)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("proximal", "are lower than those of gradients in all 2 cases (kdv and darcy)."),
        ("l2", "are not distinguishable from those of gradients in all 2 cases (kdv and darcy)."),
    ],
)
def test_one_verdict_on_all_problems_is_said_without_counts_of_none(method: str, words: str) -> None:
    result = made_up(("kdv", "darcy"))
    for name, cell in result["figures"]["cells"].items():
        if cell["method"] == "proximal":
            cell["runs"] = result["figures"]["cells"][name.replace("proximal", method)]["runs"]
    assert any(text.endswith(words) for text in headline(comparisons(result)))


def test_means_and_counts_are_of_what_was_run_with_both_methods() -> None:
    result = made_up()
    lost(result["figures"]["cells"]["darcy 512 proximal"])
    del result["figures"]["cells"]["advection 512 proximal"]
    said = " ".join(headline(comparisons(result)))
    assert "on 1 of 2 problems after" in said and "Geometric mean" not in said and "linear map" not in said
    del result["figures"]["cells"]["darcy 512 proximal"]
    assert "final validation error" not in " ".join(headline(comparisons(result)))
    result = made_up(("kdv",))
    result = with_other_model(result, "kdv")
    result["figures"]["cells"]["kdv 512 proximal unet"]["runs"][0]["validation_mse"] = [4.0, 3.0, 2.0, 1.5]
    assert "on 1 of 2 cases after" in " ".join(headline(comparisons(result)))


@pytest.mark.parametrize("kept", ["peers", "diverged"])
def test_without_a_run_of_either_method_the_page_is_made(kept: str) -> None:
    result = made_up(("kdv",))
    for name, cell in list(result["figures"]["cells"].items()):
        if kept == "diverged":
            lost(cell)
        elif cell["method"] == "l2":
            result["figures"]["cells"][name] = {**cell, "method": "neuralop-l2"}
        else:
            del result["figures"]["cells"][name]
    _, said, parts = page(result)
    (details,) = (part for part in cast(Any, parts) if getattr(part, "title", "").startswith("Other ratios"))
    assert details.rows[0][6:9] == ("-", "-", "-") and said[0] == "No problem has test errors of both methods."


def test_a_last_layer_that_is_fitted_after_the_closed_form_is_judged() -> None:
    result = made_up()
    for run in result["figures"]["cells"]["kdv 512 proximal"]["runs"]:
        run["fitted_after"]["relative_l2"] *= 0.729
    words = "lowers the error on 1 of 3 problems and raises it on 0; geometric mean 0.90: `sciml-cf adapt` does it."
    assert sum(words in text for text in headline(comparisons(result))) == 1
    assert not any("once more" in text for text in headline(comparisons(made_up())))


def test_commands_and_processors_of_pieces_are_shown_once() -> None:
    whole = merged([made_up((name,)) for name in ("kdv", "darcy")])
    assert whole["command"] == "sciml-cf study suite --problems {kdv,darcy}"
    assert whole["machine"] == {"cpu": "Processor of kdv and Processor of darcy", "cores": 2}
    again = merged([made_up(("kdv",)), {**made_up(("kdv",)), "command": "sciml-cf study suite --problems kdv"}])
    assert (again["command"], again["machine"]["cpu"]) == ("sciml-cf study suite --problems kdv", "Processor of kdv")


def test_changes_are_shown_beside_the_usual_training() -> None:
    """A change of the head alone is compared with gradients without it, any other with gradients with it."""
    result = made_up(("kdv", "darcy"))
    for change, method, factor in (
        ("strength 1", "proximal", 0.5), ("relative loss", "proximal", 2.0), ("relative loss", "l2", 0.25),
    ):  # fmt: skip
        cell = cell_of("kdv", method)
        for run in cell["runs"]:
            run["test"] = {name: factor * error for name, error in run["test"].items()}
        result["figures"]["cells"][f"kdv {change} {method}"] = {**cell, "change": change}
    assert comparisons(result) == comparisons(made_up(("kdv", "darcy")))
    (table,) = (part for part in page(result)[2] if getattr(part, "title", "").startswith("Changes"))
    loss, strength = (dict(zip(cast(Any, table).columns, row, strict=True)) for row in cast(Any, table).rows)
    assert (loss["change"], strength["change"]) == ("relative loss", "strength 1")
    assert loss["gradients / usual"].startswith("0.250") and loss["closed form / usual"].startswith("2.000")
    assert loss["closed form / gradients"].startswith("4.000") and loss["compared with gradients it is"] == "worse"
    assert (strength["gradients / usual"], strength["gradients are"]) == ("-", "-")
    assert strength["closed form / usual"].startswith("0.500") and strength["closed form is"] == "better"
    assert strength["closed form / gradients"].startswith("0.250")
    words = [text for text in page(result)[1] if text.startswith("With ")]
    assert [text.partition(":")[0] for text in words] == [
        "With relative loss (`loss` relative) on kdv",
        "With strength 1 (`strength` 1.0) on kdv",
    ]
    assert "times that without, of gradients 0.25 (" in words[0] and "closed form / gradients 4.00" in words[0]
    assert "0.50 (" in words[1] and "of gradients" not in words[1]


def test_gradients_are_not_trained_with_changes_of_the_head() -> None:
    asked = Suite(problems=("kdv",), changes=("none", "strength 1", "relative loss"))
    names = [cell.name for cell in study._cells(asked, [("kdv", 64)])]
    assert names == [
        "kdv 64 fno adam l2", "kdv 64 fno adam l2 relative loss", "kdv 64 fno adam proximal",
        "kdv 64 fno adam proximal strength 1", "kdv 64 fno adam proximal relative loss",
    ]  # fmt: skip
    plan, data = study._plan(Suite(preset="full")), {"resolution": 256, "times": None}
    fits = [
        study._trial(
            study.Cell("kdv", 512, "fno", "adam", "proximal", change), data, {"learning_rate": 1e-3}, 1, plan
        ).settings["fit"]
        for change in ("none", "batch 64")
    ]
    assert {key: fits[1][key] for key in fits[1] if fits[1][key] != fits[0].get(key)} == {"batch_size": 64}


def test_symmetries_are_trained_where_the_law_has_them() -> None:
    asked = Suite(problems=("kdv", "darcy"), changes=("none", "symmetries"))
    names = [cell.name for cell in study._cells(asked, [(name, 64) for name in ("kdv", "darcy", "mine")])]
    assert [name for name in names if "symmetries" in name] == [
        f"{name} 64 fno adam {method} symmetries" for name in ("darcy", "mine") for method in ("l2", "proximal")
    ]
    assert {name for name in {**PROBLEMS, **PUBLISHED} if study._has_symmetries(name)} == {
        "allen_cahn", "darcy", "darcy-log-normal", "darcy-85", "gray_scott"
    }  # fmt: skip
    with pytest.raises(ValueError, match="and symmetries with allen_cahn, .* changes of symmetries"):
        study.run(Suite(problems=("kdv",), changes=("symmetries",)))


def test_changes_have_rows_beside_errors_in_print() -> None:
    result = made_up(("darcy",))
    cells = {name: {**cell, "problem": "darcy-85"} for name, cell in result["figures"]["cells"].items()}
    closed = next(cell for cell in cells.values() if cell["method"] == "proximal")
    cells["changed"] = {**closed, "change": "symmetries"}
    result["figures"]["cells"] = cells
    tables = [part for part in page(result)[2] if "in print" in getattr(part, "title", "")]
    (rows,) = (cast(Any, table).rows for table in tables)
    ours = [method.partition(",")[0] for method, _, source in rows if source.startswith("this file")]
    assert ours == ["closed form", "gradients", "closed form with symmetries"]


def test_a_sentence_says_what_a_file_gains() -> None:
    kdv, darcy, advection = comparisons(made_up())
    assert sentence("mine.h5", kdv) == (
        "On mine.h5 the closed-form head is better: it reaches 0.50 (0.50-0.50) times the error of gradients; "
        "re-fitting the last layer after training gives 0.98."
    )
    assert sentence("mine.h5", darcy).endswith("gives 0.81, most of the gain.")
    assert sentence("mine.h5", advection, several=True).startswith(
        "On mine.h5 (fno, adam) the closed-form head is worse:"
    )
    lost = made_up(("kdv",))
    lost["figures"]["cells"]["kdv 512 proximal"]["runs"][0] = {"seed": 1, "diverged": "the loss is not finite"}
    (one,) = comparisons(lost)
    assert "head cannot be judged (1 of 3 runs diverged, and 0 of the other's): it reaches 0.50" in sentence(
        "x.h5", one
    )
    assert sentence("x.h5", replace(one, closed={})).startswith("On x.h5 the methods cannot be compared: ")


def test_trials_differ_in_the_method_alone_and_selection_is_short() -> None:
    data = {"resolution": 32, "times": None, "train": ["t.h5", "all"]}
    plan = study._plan(Suite(preset="full"))
    made = [
        study._trial(study.Cell("darcy", 512, "fno", "adam", method), data, {"learning_rate": 3e-3}, seed, plan)
        for method in ("l2", "proximal")
        for seed in (0, 1)
    ]
    (chosen, reported), (_, ours) = made[:2], made[2:]
    assert (chosen.settings["fit"]["epochs"], reported.settings["fit"]["epochs"]) == (10, 40)
    assert (chosen.settings["test"], reported.settings["test"]) == (False, True)
    theirs = reported.settings["fit"]
    assert {key for key in theirs if theirs[key] != ours.settings["fit"][key]} == {"method"}
    assert "schedule" not in theirs, "the default"


def test_every_problem_can_be_described_and_seeds_keep_the_parts_apart() -> None:
    assert len(set(study._SEEDS.values())) == 3
    for name, described in PROBLEMS.items():
        spec = DatasetSpec(**described, samples=4)
        assert spec.num_dims == (2 if name in study._PLANES else 1)
        for scale in study.PRESETS.values():
            size = scale.sizes[name]
            assert (
                isinstance(spec.resolution, int)
                and spec.resolution % size.resolution == 0
                and size.modes <= size.resolution // 2
            )


def test_a_published_setting_has_its_own_plan_and_is_run_alone() -> None:
    config = Suite(problems=("darcy-85",), preset="full")
    plan = study._plan(config)
    (cell, _) = study._cells(config, [("darcy-85", 1000)])
    made = study._trial(cell, {"resolution": 85, "times": None}, {"learning_rate": 1e-3}, 1, plan)
    fit = made.settings["fit"]
    assert (plan.samples, plan.scale.seeds) == ((1000, 100, 200), (1, 2, 3))
    assert (fit["loss"], fit["epochs"], fit["batch_size"]) == ("relative", 50, 20)
    spec = DatasetSpec(**PUBLISHED["darcy-85"], samples=2)
    assert spec.placement == "nodes" and (421 - 1) % (85 - 1) == 0
    with pytest.raises(ValueError, match="`problems` must hold darcy-85 alone, or not; got darcy darcy-85"):
        study.run(Suite(problems=("darcy", "darcy-85")))
    with pytest.raises(ValueError, match="`changes` must differ from the usual training; got relative loss, with"):
        study.run(Suite(problems=("darcy-85",), changes=("none", "relative loss")))


@pytest.mark.parametrize(
    ("placement", "stored", "used", "spacing"),
    [("nodes", 21, 21, 0.05), ("nodes", 21, 11, 0.1), ("cells", 20, 10, 0.1)],
)
def test_the_h1_error_has_the_spacing_of_the_points(
    placement: Any, stored: int, used: int, spacing: float, tmp_path: Path
) -> None:
    path = tmp_path / "darcy.h5"
    generate(DatasetSpec(equation="darcy", placement=placement, resolution=stored, samples=2), path, progress=False)
    data, model = FieldDataset(path, "all", resolution=used), torch.nn.Conv2d(1, 1, 1).double()
    expected = difference_h1(model(data.x.double()), data.y.double(), spacing=(spacing, spacing)).mean().item()
    assert errors_on(data, model)["relative_h1"] == pytest.approx(expected, rel=1e-9)


def test_published_errors_are_beside_the_own_ones() -> None:
    result = made_up(("darcy",))
    for cell in result["figures"]["cells"].values():
        cell["problem"] = "darcy-85"
    result["config"]["fit"] = {"loss": "relative"}
    _, said, parts = page(result)
    (table,) = (part for part in parts if "in print" in getattr(part, "title", ""))
    rows = cast(Any, table).rows
    assert [row[0] for row in rows[:2]] == ["closed form, 4 epochs", "gradients, 4 epochs"]
    assert ("Fourier neural operator, 500 epochs", 0.0108, "arXiv:2010.08895, 85 x 85, 1000 samples") in rows
    assert [row[1] for row in rows[2:]] == sorted((row[1] for row in rows[2:]), reverse=True)
    assert rows[0][2] == "this file, 512 samples, 1 minute of one core"
    assert any("epochs, loss relative." in text for text in said)
    lost(result["figures"]["cells"]["darcy 512 proximal"], (1,))
    cells = {f"{name} unet": {**cell, "model": "unet"} for name, cell in result["figures"]["cells"].items()}
    result["figures"]["cells"] |= cells
    tables = [cast(Any, part) for part in page(result)[2] if "in print" in getattr(part, "title", "")]
    assert [table.title.split(":")[0] for table in tables] == ["darcy-85 (fno)", "darcy-85 (unet)"]
    assert all(table.rows[0][0] == "closed form, 4 epochs" for table in tables)  # the first seed diverged


def test_the_guide_shows_a_published_setting_once_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite_docs, "RESULTS", tmp_path)
    assert suite_docs.published()[0].endswith("not measured yet.")
    result = {**made_up(("darcy",)), "versions": {"sciml-cf": "1", "torch": "2"}}
    for cell in result["figures"]["cells"].values():
        cell["problem"] = "darcy-85"
    (tmp_path / "published_darcy.json").write_text(json.dumps(result))
    found = suite_docs.published()
    (table,), origin = [text for text in found if "in print" in text], found[-1]
    assert found[0].startswith("A re-fitted last layer explains")
    assert "Fourier neural operator, 500 epochs | 0.0108" in table and "closed form, 4 epochs" in table
    assert origin.startswith("`sciml-cf study suite --problems darcy")
    for name, cell in sorted(result["figures"]["cells"].items(), reverse=True):  # a file of each method
        part = {**result, "figures": {**result["figures"], "cells": {name: cell}}}
        (tmp_path / f"published_darcy{'_2' * (cell['method'] == 'l2')}.json").write_text(json.dumps(part))
        lacks = "Not measured yet in this setting: gradients." in suite_docs.published()
        assert lacks == (cell["method"] == "proximal")
    assert suite_docs.published() == found


def test_a_file_is_run_without_problems() -> None:
    with pytest.raises(ValueError, match="`data` must be given without --problems and --samples"):
        study.run(Suite(data=Path("x.h5"), problems=("kdv",)))
    with pytest.raises(ValueError, match="`changes` must hold none where `data` is given; got batch 64"):
        study.run(Suite(data=Path("x.h5"), changes=("batch 64",)))
    with pytest.raises(DatasetError):
        describe_file(Path("missing.h5"))


def test_a_grid_without_trainings_is_refused() -> None:
    with pytest.raises(ValueError, match="`methods` must hold proximal for changes of the head alone"):
        study.run(Suite(methods=("l2",), changes=("strength 1",)))
    with pytest.raises(ValueError, match="peers go with fno, adam and no change, .*; got neuralop-l2 with uno, adam"):
        study.run(Suite(methods=("neuralop-l2",), models=("uno",)))


def test_peers_have_a_table_of_their_own() -> None:
    result = made_up(("kdv", "darcy"))
    cell = {**cell_of("kdv", "l2"), "method": "neuralop-h1"}
    for run in cell["runs"]:
        del run["fitted_after"]
    result["figures"]["cells"]["kdv neuralop-h1"] = cell
    assert [one.case for one in comparisons(result)] == [one.case for one in comparisons(made_up(("kdv", "darcy")))]
    (table,) = (part for part in page(result)[2] if getattr(part, "title", "").startswith("Peers"))
    (row,) = (dict(zip(cast(Any, table).columns, row, strict=True)) for row in cast(Any, table).rows)
    assert (row["problem"], row["peer"], row["seconds of closed form / peer"]) == ("kdv", "neuralop-h1", 2.0)
    assert row["gradients / peer"].startswith("1.000") and row["closed form / peer"].startswith("0.500")


def test_times_of_two_processors_do_not_compare() -> None:
    """Pieces of one problem, by method, from two machines; in the whole file of one machine they do."""
    pieces = [made_up(("kdv", "darcy")) for _ in range(2)]
    for piece, method, cpu in zip(pieces, ("l2", "proximal"), ("A", "B"), strict=True):
        cells = piece["figures"]["cells"]
        piece["figures"]["cells"] = {name: cell for name, cell in cells.items() if cell["method"] == method}
        piece["machine"]["cpu"] = cpu
    parted_by_method = comparisons(merged(pieces))
    assert [one.cost() for one in parted_by_method] == [None, None]
    assert all(one.until_gradients() == (pytest.approx(0.75), None) for one in parted_by_method)
    (pace,) = (text for text in headline(parted_by_method) if "of the epochs" in text)
    assert pace.endswith("of the epochs, median 75%.")
    whole = comparisons(merged([made_up(("kdv", "darcy"))]))
    assert [one.cost() for one in whole] == [2.0, 2.0] and whole[0].until_gradients() == (0.75, 1.5)


def test_a_file_says_its_sizes(burgers_file: Path) -> None:
    found = describe_file(burgers_file)
    assert found.num_dims == 1 and found.shape == (found.resolution,) and found.name == burgers_file.name
    assert found.settings["test"] == [str(burgers_file.absolute()), "test"]


def test_the_page_of_the_guide_shows_the_files_and_says_which_preset_they_are_of() -> None:
    text = suite_docs.PAGE.read_text()
    assert suite_docs.filled(text) == text, "run python -m benchmarks.suite_docs"
    assert ("Small preset:" in text) == (suite_docs.result()["config"]["preset"] == "small")
    changed = re.sub(r"0\.(\d)", lambda match: f"0.{(int(match[1]) + 1) % 10}", text)
    assert suite_docs.filled(changed) == text


@pytest.mark.slow
def test_a_small_part_runs(tmp_path: Path) -> None:
    config = Suite(
        out=tmp_path / "out", problems=("darcy", "gray_scott"), samples=(32,), methods=("l2", "proximal", *PEERS),
        changes=("none", "relative loss"), workers=1,
    )  # fmt: skip
    path = study.run(config)
    assert isinstance(path, Path)
    result = read_result(path)
    for cell in result["figures"]["cells"].values():
        for one in cell["runs"]:
            assert one["test"]["relative_l2"] < 1 and one["test"]["vrmse"] > 0 and one["training"]["relative_l2"] > 0
            assert len(one["validation_mse"]) == len(one["seconds"]) == 6
            assert (one.get("explained") is None) == (cell["method"] != "proximal")
    assert len(result["figures"]["cells"]) == 2 * (2 * 2 + 2)
    assert {rank for rank in result["figures"]["linear"]} == {"darcy 32", "gray_scott 32"}
    page(result)


@pytest.mark.slow
def test_a_file_of_ones_own_ends_with_a_sentence(tmp_path: Path, burgers_file: Path) -> None:
    words = study.run(Suite(out=tmp_path / "out", data=burgers_file, workers=1))
    assert isinstance(words, str)
    assert words.splitlines()[-1].startswith(f"On {burgers_file.name} the closed-form head ")
    assert " times the error of gradients; re-fitting the last layer after training gives " in words
    assert f"Chosen for {burgers_file.name}: " in words
