"""The whole study at the smallest size, through the command line."""

import json
from dataclasses import replace

import pytest
import torch

from data_gen import DatasetSpec, generate
from sciml_cf.cli.study import study_command
from sciml_cf.datasets import FieldDataset
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.recipe import run as recipe
from sciml_cf.studies.recipe.flags import Recipe
from sciml_cf.studies.recipe.page import page
from sciml_cf.studies.recipe.run import parts_of

TINY = replace(
    recipe.PRESETS["small"],
    samples=40, stored_resolution=128, resolution=32, width=6, modes=5, layers=1, epochs=2, selection_epochs=1,
    seeds=(1, 2), cases=((0.1, "paper"), (0.1, "published")), published=(20, 8),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "recipe"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipe.PRESETS, "small", TINY)
        return out, study_command(["recipe", "--out", str(out), "--workers", "1"])


def test_each_method_chooses_its_rate_and_reports_other_seeds(finished):
    out, text = finished
    result = read_result(out / "results.json")
    assert len(result["figures"]) == 4
    for cell in result["figures"].values():
        best = min(cell["selection"], key=cell["selection"].get)
        assert float(best) == cell["learning_rate"]
        assert [run["seed"] for run in cell["runs"]] == [1, 2]
        assert [row["resolution"] for row in cell["runs"][0]["test"]] == [32, 128]
        assert [row["resolution"] for row in cell["together"]["one_head"]] == [32, 128]
    assert "rel. L2 at 128" in text and "published" in text and "one head of all" in text


def test_runs_that_diverged_and_missing_cases_are_told(finished, tmp_path):
    result = read_result(finished[0] / "results.json")
    next(iter(result["figures"].values()))["runs"] = [{"seed": 1, "diverged": "by step 2"}]
    (tmp_path / "results.json").write_text(json.dumps(result))
    row = study_command(["page", str(tmp_path / "results.json")]).splitlines()[3].split()
    assert row[-1] == "1" and row[-2] == "-"
    with pytest.raises(ValueError, match="`cases` must be numbers from 1 to 3; got 4"):
        study_command(["recipe", "--preset", "full", "--out", str(tmp_path), "--cases", "4"])


def test_the_page_says_of_what_is_in_the_result_alone(finished):
    result = read_result(finished[0] / "results.json")
    own = [name for name, cell in result["figures"].items() if cell["split"] == "paper"]
    result["figures"] = {name: result["figures"][name] for name in own}
    words = " ".join(page(result)[1])
    assert "for 2 epochs, measured on 128" in words and "published split" not in words
    result["figures"][own[0]] |= {"optimizer": "soap", "epochs": 5, "split": "published"}
    words = " ".join(page(result)[1])
    assert "for 5 epochs of SOAP and 2 epochs of Adam, measured" in words and "The published split trains" in words
    assert "chose its learning rate among three with seed 0" in words
    for cell in result["figures"].values():
        cell["selection"] = {"0.01": 0.5}
    assert "One learning rate was given, so none was chosen." in " ".join(page(result)[1])


def test_epochs_may_be_given():
    assert recipe._scale(Recipe()) == recipe.PRESETS["small"]
    scale = recipe._scale(Recipe(preset="full", epochs=200))
    assert (scale.epochs, scale.soap_epochs, scale.selection_epochs) == (200, 200, 20)
    with pytest.raises(ValueError, match="`epochs` must be an integer of at least 1; got 0"):
        recipe._scale(Recipe(epochs=0))


def test_rates_batch_size_and_strength_may_be_given():
    scale = recipe._scale(Recipe(preset="full", rates=(1e-2,), batch_size=32, strength=1e-3))
    cells = [recipe.Cell(0.1, "paper", method, "soap") for method in ("proximal", "l2")]
    head, gradients = (recipe._trial(scale, cell, 1e-2, 5, 1) for cell in cells)
    assert scale.rates_of("soap") == (1e-2,) and recipe.PRESETS["full"].rates_of("soap") == (2e-3, 3e-3, 6e-3)
    assert (head.settings["fit"]["batch_size"], head.settings["fit"]["strength"]) == (32, 1e-3)
    assert gradients.settings["fit"]["batch_size"] == 32 and "strength" not in gradients.settings["fit"]
    usual = recipe._trial(recipe.PRESETS["full"], cells[0], 1e-2, 5, 1)
    assert head.name.replace(" batch_size=32 strength=0.001", "") == usual.name != head.name
    for name, words in (
        ("rates", {"rates": (0.0,)}),
        ("strength", {"strength": -1}),
        ("batch_size", {"batch_size": 0}),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            recipe._scale(Recipe(**words))


def test_soap_has_trials_and_rows_of_its_own():
    scale = recipe.PRESETS["full"]
    cells = [recipe.Cell(0.1, "paper", "proximal", optimizer) for optimizer in ("adam", "soap")]
    trials = [recipe._trial(scale, cell, 1e-3, 5, 1) for cell in cells]
    assert [trial.settings["fit"]["batch_size"] for trial in trials] == [8, 16]
    plain = "proximal, viscosity 0.1, paper split"
    assert [cell.name for cell in cells] == [plain, f"{plain}, soap"]
    assert trials[0].name == "burgers 0.1 paper proximal rate=0.001 epochs=5 seed 1"  # as version 0.1 had it
    assert len({trial.name for trial in trials}) == 2


def test_the_published_split_is_the_first_samples_and_the_last(tmp_path):
    generate(DatasetSpec(samples=30, resolution=32), tmp_path / "data.h5", progress=False)
    whole = FieldDataset(tmp_path / "data.h5", "all")
    settings = {"split": "published", "published": [10, 4]}
    train, validation, test = parts_of(tmp_path / "data.h5", settings, 32)
    assert (len(train), len(validation), len(test)) == (10, 4, 4)
    for part, first in ((train, 0), (validation, 10), (test, 26)):
        for index in range(len(part)):
            assert torch.equal(part[index]["x"], whole.x[first + index])
    sizes = [len(part) for part in parts_of(tmp_path / "data.h5", {"split": "paper"}, 16)]
    assert sum(sizes) == 30
