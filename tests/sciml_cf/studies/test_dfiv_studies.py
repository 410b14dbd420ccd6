"""Both studies of instrumental variables at the smallest size, through the command line."""

import json
import shutil
from dataclasses import replace

import pytest

from benchmarks.dfiv_docs import PAGE, filled
from sciml_cf.causal import dsprites_test
from sciml_cf.cli import main
from sciml_cf.errors import BenchmarkError, DatasetError
from sciml_cf.head import Kalman, Proximal, Ridge, SampledGCV
from sciml_cf.studies.dfiv_demand import run as dfiv_demand
from sciml_cf.studies.dfiv_dsprites import run as dfiv_dsprites
from sciml_cf.studies.harness import dfiv as dfiv_common
from sciml_cf.studies.harness.grid import Workers, trial_runner
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.harness.selection import Rung
from tests.browser import CHROMIUM, look_at

HEARTS = replace(
    dfiv_dsprites.PRESETS["small"],
    samples=80, batch_sizes=(16, 40), iterations=4, every=2, rungs=(Rung(2, 1),),
)  # fmt: skip
DEMAND = replace(dfiv_demand.PRESETS["small"], samples=600, noises=(1.0, 158.0), iterations=2, epochs_share=0.02)


def some(candidates):
    return [candidates[0], candidates[-1]]


def run(words):
    with pytest.raises(SystemExit) as caught:
        main(words)
        raise SystemExit(0)
    assert not caught.value.code


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "hearts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dfiv_dsprites.PRESETS, "small", HEARTS)
        patch.setitem(dfiv_dsprites.FEW_ROWS, "ridge", 16)
        for name, (fixed, candidates) in dfiv_dsprites.METHODS.items():
            patch.setitem(dfiv_dsprites.METHODS, name, (fixed, some(candidates)))
        for name in ("direct", "direct-truth"):
            patch.setitem(
                dfiv_dsprites.BASELINES, name, [{"learning_rate": rate, "epochs": 1} for rate in (1e-4, 1e-3)]
            )
        parts = [part.take(slice(0, 12)) for part in dsprites_test()]
        patch.setattr(dfiv_dsprites, "dsprites_test", lambda archive: parts)
        words = ["study", "dfiv-dsprites", "--out", str(out), "--workers", "1"]
        run([*words, "--methods", "proximal", "ridge"])
        before = {path: path.stat().st_mtime_ns for path in (out / "trials").glob("*.json")}
        run([*words, "--methods", "proximal", "ridge"])
    assert before == {path: path.stat().st_mtime_ns for path in (out / "trials").glob("*.json")}
    return out


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "tickets"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dfiv_demand.PRESETS, "small", DEMAND)
        for name, candidates in list(dfiv_demand.METHODS.items())[:-1]:
            patch.setitem(dfiv_demand.METHODS, name, some(candidates))
        run(["study", "dfiv-demand", "--out", str(out), "--workers", "1"])
    return out


@pytest.mark.slow
def test_hearts_hold_every_cell_and_both_kinds_of_heads(hearts):
    result = read_result(hearts / "results.json")
    deep = {"proximal batch 16", "proximal batch 40", "ridge batch 16"}
    expected = {f"{name}, {heads} heads" for name in deep for heads in ("current", "refit")}
    assert set(result["figures"]) == expected | {"constant", "direct", "direct-truth"}
    assert result["command"].startswith("sciml-cf study dfiv-dsprites --out ")
    cell = result["figures"]["proximal batch 40, refit heads"]
    assert [run["seed"] for run in cell["runs"]] == [1, 2] and cell["chosen"]
    assert cell["runs"][0]["curve"]["iteration"] == [2, 4]
    assert [entry["epochs"] for entry in cell["selection"]] == [2, 2]


@pytest.mark.slow
def test_hearts_candidates_are_chosen_by_their_own_kind_of_heads(hearts):
    figures = read_result(hearts / "results.json")["figures"]
    for heads in ("current", "refit"):
        cell = figures[f"ridge batch 16, {heads} heads"]
        best = min(cell["selection"], key=lambda entry: entry["best_validation_mse"])
        assert len(cell["selection"]) == 2 and cell["chosen"] == best["settings"]
        words = " ".join(f"{key}={value:g}" for key, value in best["settings"].items())
        name = f"ridge batch 16 {words} small net seed 0 iteration 2.json"
        curve = json.loads((hearts / "trials" / name).read_text())["result"]["curve"]
        assert best["best_validation_mse"] == curve[f"validation_{heads}"][0]


@pytest.mark.slow
def test_direct_regression_is_chosen_on_held_out_outcomes_and_on_the_truth(hearts):
    figures = read_result(hearts / "results.json")["figures"]
    stored = [json.loads(path.read_text()) for path in (hearts / "trials").glob("direct * seed 0.json")]
    for name, key in (("direct", "held_out"), ("direct-truth", "validation")):
        best = min(stored, key=lambda one: one["result"][key][0])
        assert len(stored) == 2 and figures[name]["chosen"] == best["settings"]["fit"]


@pytest.mark.slow
def test_hearts_page_says_what_the_file_holds(hearts):
    text = (hearts / "dfiv-dsprites.md").read_text()
    assert "| proximal | 40 | current |" in text and "| constant | - | - |" in text
    assert "Proximal against ridge with current heads, by batch size: 16: " in text
    assert (hearts / "dfiv-dsprites.png").stat().st_size > 1000
    run(["study", "page", str(hearts / "results.json")])


@pytest.mark.slow
def test_another_preset_in_the_same_folder_is_refused(hearts, monkeypatch):
    monkeypatch.setitem(dfiv_dsprites.PRESETS, "small", replace(HEARTS, samples=90))
    with pytest.raises(BenchmarkError, match="`out` must hold results of the same settings"):
        dfiv_dsprites.run(dfiv_dsprites.DFIVDsprites(out=hearts, workers=1))
    settings = {"samples": 90, "seed": 1, "method": "constant"}
    with pytest.raises(DatasetError, match="dfiv-dsprites: `out` must hold 90 samples a seed; got 80"):
        dfiv_dsprites.train_trial(settings, hearts / "trials" / "any")


@pytest.mark.slow
def test_demand_holds_every_method_with_intervals(tickets):
    result = read_result(tickets / "results.json")
    expected = [f"{method}, noise {noise}" for noise in (1, 158) for method in dfiv_demand.METHODS]
    assert list(result["figures"]) == expected
    for cell in result["figures"].values():
        assert len(cell["runs"]) == 2 and len(cell["selection"]) == (1 if cell["method"] == "constant" else 2)
        assert all(run["test_mse"] > 0 for run in cell["runs"])
    text = (tickets / "dfiv-demand.md").read_text()
    assert "| 158 | DFIV proximal |" in text and "| 1 | two-stage least squares |" in text
    # Least squares is done here in full: far better than a constant, as is its page.
    found = {name: cell["runs"][0]["test_mse"] for name, cell in result["figures"].items()}
    assert found["two-stage least squares, noise 1"] < 0.5 * found["constant, noise 1"]


@pytest.mark.slow
def test_demand_chooses_between_both_kinds_of_heads_of_one_training(tickets):
    cell = read_result(tickets / "results.json")["figures"]["DFIV ridge, noise 158"]
    trainings = list((tickets / "trials").glob("DFIV ridge * noise 158 seed 0.json"))
    by_words = {path.name: json.loads(path.read_text())["result"] for path in trainings}
    assert len(by_words) == 2  # the first and the last candidate, which differ in more than their heads
    for entry in cell["selection"]:
        settings = entry["settings"]
        words = f"learning_rate={settings['learning_rate']} strength_2={settings['strength_2']}"
        found = by_words[f"DFIV ridge {words} noise 158 seed 0.json"]
        assert entry["validation_mse"] == found[f"validation_{settings['heads']}_mse"]
    assert {entry["settings"]["heads"] for entry in cell["selection"]} == {"current", "refit"}
    assert cell["runs"][0]["test_mse"] == cell["runs"][0][f"test_{cell['chosen']['heads']}_mse"]


def test_what_two_candidates_share_is_trained_once(tmp_path):
    scale = dfiv_demand.PRESETS["small"]
    same = [{"strength_2": 1.0, "heads": heads} for heads in ("current", "refit")]
    trials = [dfiv_demand._trial(scale, ("DFIV ridge", 1.0), options, 0) for options in same]
    run_all = trial_runner("study", tmp_path, lambda settings, scratch: {"mse": 2.0}, Workers(1))
    assert run_all(trials, "select") == [{"mse": 2.0}] * 2
    assert len(list((tmp_path / "trials").glob("*.json"))) == 1
    with pytest.raises(ValueError, match="`trials` must have unique names"):
        run_all([trials[0], replace(trials[1], settings={})], "select")


@pytest.mark.slow
def test_results_fill_the_page_of_the_docs(hearts, tickets, tmp_path):
    for folder, name in ((hearts, "dfiv_dsprites"), (tickets, "dfiv_demand")):
        shutil.copy(folder / "results.json", tmp_path / f"{name}.json")
    text = filled(PAGE.read_text(), tmp_path)
    assert "Not measured yet" not in text and "| proximal | 40 | current |" in text and "| 158 | kernel IV |" in text
    assert "- Proximal against ridge with refit heads" in text


def test_coefficients_of_the_paper_become_strengths():
    given = {"lambda_1": 10.0, "lambda_2": 100.0, "lambda_12": 1e-4, "forgetting": 0.5}
    rules = dfiv_common.rules_of({"rule": "proximal", **given}, rows=50)
    assert (rules.first, rules.second, rules.inner) == (Proximal(0.2), Proximal(2.0), Proximal(2e-6))
    rules = dfiv_common.rules_of({"rule": "ridge", "lambda_1": 10.0, "lambda_2": 100.0}, rows=50)
    assert (rules.first, rules.second, rules.inner) == (Ridge(0.2), Ridge(2.0), Ridge(0.2))
    assert dfiv_common.rules_of({"rule": "streaming", **given}, rows=50).inner == Kalman(0.5, 2e-6)
    assert isinstance(dfiv_common.rules_of({"rule": "gcv", **given}, rows=50).inner, SampledGCV)


def test_every_method_gets_as_many_candidates():
    deep = [candidates for _, candidates in dfiv_dsprites.METHODS.values()]
    assert {len(one) for one in (*deep, dfiv_dsprites.BASELINES["direct"])} == {12}
    assert {len(one) for name, one in dfiv_demand.METHODS.items() if name != "constant"} == {18}


@pytest.mark.parametrize("words", [["--methods", "lasso"], ["--batch-sizes", "5000"]])
def test_a_wrong_flag_is_one_line(tmp_path, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["study", "dfiv-dsprites", "--out", str(tmp_path / "run"), *words])
    assert caught.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_pages_fit_a_phone(hearts, tickets):
    for page in (hearts / "dfiv-dsprites.html", tickets / "dfiv-demand.html"):
        for width in (390, 1280):
            seen = look_at(page, width=width)
            assert not seen["console"] and seen["page"] <= width and seen["images"] and seen["smallest"] >= 11
