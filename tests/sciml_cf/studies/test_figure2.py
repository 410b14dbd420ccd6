"""The whole study at the smallest size, through the command line."""

import json
import math
import re
from dataclasses import replace

import pytest

from benchmarks.common import RESULTS
from sciml_cf.cli import main
from sciml_cf.cli.study import study_command
from sciml_cf.errors import BenchmarkError
from sciml_cf.studies.figure2 import page as report
from sciml_cf.studies.figure2 import run as figure2
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.harness.selection import Rung
from tests.browser import CHROMIUM, look_at

TINY = replace(
    figure2.PRESETS["small"],
    samples=40, stored_resolution=256, resolution=64, width=6, modes=5, layers=1, batch_sizes=(8, 16), epochs=4,
    rungs=(Rung(1, 2), Rung(2, 1)), seeds=(1, 2), curve=(1, 2, 4), curve_samples=4,
)  # fmt: skip

pytestmark = pytest.mark.slow
METHODS = ("l2-SGD", "proximal-Adam")
FULL, TIME = (str(RESULTS / f"{name}.json") for name in ("figure2", "time"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "figure2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(figure2.PRESETS, "small", TINY)
        low = [{"learning_rate": 0.01 * n} for n in range(1, 10)]  # none diverges in so few steps
        patch.setitem(figure2.METHODS, "l2-SGD", (figure2.METHODS["l2-SGD"][0], low))
        text = study_command(["figure2", "--out", str(out), "--methods", *METHODS, "--workers", "1"])
    return out, text


def test_the_result_file_holds_every_run_and_what_was_chosen(finished):
    out, _ = finished
    result = read_result(out / "results.json")
    assert set(result["figures"]) == {f"{method} batch {size}" for method in METHODS for size in (8, 16)}
    assert result["command"].startswith("sciml-cf study figure2") and result["versions"]["torch"]
    for cell in result["figures"].values():
        sound = [entry for entry in cell["selection"] if entry["epochs"] == 2]
        best = min(sound, key=lambda entry: entry["best_validation_mse"])
        assert cell["chosen"] == best["settings"]
        assert len([entry for entry in cell["selection"] if entry["epochs"] == 1]) == 9
        assert [run["seed"] for run in cell["runs"]] == [1, 2]
        for run in cell["runs"]:
            assert run["curve"]["steps"] == [epoch * run["steps_per_epoch"] for epoch in (1, 2, 4)]
            assert [row["resolution"] for row in run["test"]] == [64, 256]


def test_few_steps_an_epoch_are_judged_by_three_seeds(finished):
    out, _ = finished
    result = read_result(out / "results.json")
    assert [cell["selection_seeds"] for cell in result["figures"].values()] == [[0, 10, 11]] * (2 * len(METHODS))
    (cell, entry), *_ = [(name, cell["selection"][0]) for name, cell in result["figures"].items()]
    name = f"{cell} {' '.join(f'{key}={value:g}' for key, value in entry['settings'].items())} selection epoch 1"
    seeds = [json.loads((out / "trials" / f"{name}{more}.json").read_text()) for more in ("", " seed 10", " seed 11")]
    assert [one["settings"]["fit"]["seed"] for one in seeds] == [0, 10, 11]
    product = math.prod(one["result"]["best_validation_mse"] for one in seeds)
    assert math.isclose(entry["best_validation_mse"], product ** (1 / 3))
    assert "with seed 0, at batch sizes of 8 or more with three seeds" in (out / "figure2.html").read_text()


def test_the_second_rung_goes_on_from_the_first(finished):
    out, _ = finished
    runs = list((out / "trials").glob("run l2-SGD batch 8*selection"))
    epochs = sorted(len((run / "history.csv").read_text().splitlines()) - 1 for run in runs)
    beyond = [entry for entry in read_result(out / "results.json")["figures"]["l2-SGD batch 8"]["selection"]
              if entry.get("beyond_the_edge")]  # fmt: skip
    assert epochs == [1] * 7 + [2] * (2 + len(beyond))


def test_the_page_stands_alone_and_names_its_origin(finished):
    out, text = finished
    page = (out / "figure2.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert page.count('src="data:image/png;base64,') == 3
    assert page.count("sciml-cf study figure2 --out") >= 4  # below every picture, and in the settings
    assert "proximal-Adam" in text and str(out / "figure2.html") in text
    cell = json.loads((out / "results.json").read_text())["figures"]["l2-SGD batch 8"]
    errors = [run["test"][-1]["mse"] for run in cell["runs"]]
    mean = (errors[0] * errors[1]) ** 0.5
    assert f"<td>l2-SGD</td><td>8</td>" in page and f"<td>{mean:.3g}</td>" in page  # noqa: F541


def test_methods_are_compared_seed_by_seed():
    def cell(method, size, errors):
        runs = [{"seed": seed, "test": [{"resolution": 8, "mse": mse}]} for seed, mse in errors.items()]
        return {"method": method, "batch_size": size, "runs": runs}

    lost = {"seed": 2, "diverged": "at step 3"}
    cells = [
        cell("l2-SGD", 4, {1: 2.0, 2: 4.0}),
        cell("ridge", 4, {1: 1.0, 2: 2.0}),
        cell("proximal-1", 4, {1: 0.5, 2: 8.0}),
        cell("l2-SGD", 9, {2: 1.0}),
        {"method": "ridge", "batch_size": 9, "runs": [lost]},
        cell("proximal-2", 2, {1: 1.0}),
    ]
    rows = {row[:3]: row[3:] for row in report.ratio_table(cells, 8).rows}
    assert rows["ridge", "l2-SGD", 4] == pytest.approx((0.5, 0.5, 0.5, "better"))
    assert rows["ridge", "l2-SGD", 9] == ("-", "-", "-", "1 of 1 runs diverged, and 0 of the other's")
    assert (
        rows["ridge", "proximal-1", 4][0] == pytest.approx(0.5**0.5) and rows["ridge", "proximal-1", 4][3] != "better"
    )
    assert set(rows) == {
        ("ridge", "l2-SGD", 4), ("ridge", "l2-SGD", 9), ("proximal-1", "l2-SGD", 4), ("ridge", "proximal-1", 4),
    }  # fmt: skip


def test_the_page_says_where_the_next_best_had_to_be_tried(finished):
    result = json.loads((finished[0] / "results.json").read_text())
    assert "next best" not in " ".join(report.page(result)[1])
    late = result["figures"]["l2-SGD batch 16"]["selection"]
    late += [entry for entry in late if entry["epochs"] == 2]
    words = " ".join(report.page(result)[1])
    assert "next best were tried there: l2-SGD at 16." in words


def test_again_runs_nothing_and_writes_the_same_figures(finished, monkeypatch):
    out, _ = finished
    low = [{"learning_rate": 0.01 * n} for n in range(1, 10)]
    monkeypatch.setitem(figure2.METHODS, "l2-SGD", (figure2.METHODS["l2-SGD"][0], low))
    monkeypatch.setitem(figure2.PRESETS, "small", TINY)
    monkeypatch.setattr(figure2, "train_trial", None)
    before = read_result(out / "results.json")["figures"]
    study_command(["figure2", "--out", str(out), "--methods", *METHODS, "--workers", "1"])
    assert read_result(out / "results.json")["figures"] == before
    assert "done" in study_command(["figure2", "--out", str(out), "--methods", *METHODS, "--shard", "2", "4"])
    monkeypatch.setitem(figure2.PRESETS, "small", replace(TINY, epochs=5))
    with pytest.raises(BenchmarkError, match="must hold results of the same settings"):
        study_command(["figure2", "--out", str(out), "--methods", *METHODS, "--workers", "1"])


def test_an_earlier_file_saves_its_selection_and_its_runs(finished, tmp_path, monkeypatch):
    out, _ = finished
    monkeypatch.setitem(figure2.PRESETS, "small", TINY)
    words = ["figure2", "--methods", METHODS[1], "--workers", "1", "--out", str(tmp_path / "new")]
    study_command([*words, "--earlier", str(out / "results.json")])
    before, after = (read_result(folder / "results.json")["figures"] for folder in (out, tmp_path / "new"))
    for cell in after:
        assert after[cell]["selection"][: len(before[cell]["selection"])] == before[cell]["selection"]
        assert after[cell]["chosen"] != before[cell]["chosen"] or after[cell]["runs"] == before[cell]["runs"]
    assert not list((tmp_path / "new" / "trials").glob("* epoch 1*.json"))  # no candidate of the first round again
    study_command([*words, "--batch-sizes", "8", "--earlier", str(tmp_path / "new" / "results.json")])
    again = read_result(tmp_path / "new" / "results.json")["figures"]
    assert list(again) == list(after) and again[f"{METHODS[1]} batch 16"] == after[f"{METHODS[1]} batch 16"]


def test_a_page_is_made_again_from_the_file_alone(finished, tmp_path):
    out, text = finished
    (tmp_path / "results.json").write_bytes((out / "results.json").read_bytes())
    again = study_command(["page", str(tmp_path / "results.json")])
    assert again.replace(str(tmp_path), str(out)) == text
    assert (tmp_path / "figure2.html").read_bytes() == (out / "figure2.html").read_bytes()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_every_figure_and_says_nothing(width, finished):
    look = look_at(finished[0] / "figure2.html", width=width)
    assert look["console"] == [] and look["page"] <= look["width"] == width  # nothing to scroll sideways
    assert [name for name, *_ in look["images"]] == ["figure2", "figure2-rolling", "figure2-final"]
    for _, pixels, shown in look["images"]:
        assert shown <= width
        # The labels of a figure are 10 points on a canvas of 5.6 inches: at least 8 pixels where it is shown.
        assert pixels > 0 and 10 * shown / (5.6 * 72) >= 8
    assert look["smallest"] >= 12


def test_runs_that_diverged_are_counted_and_shown_as_such(finished, tmp_path):
    out, _ = finished
    result = read_result(out / "results.json")
    cells = result["figures"]
    cells["l2-SGD batch 8"].update(chosen={}, at_edge=[], runs=[])
    cells["proximal-Adam batch 16"]["runs"] = [{"seed": seed, "diverged": "by step 3"} for seed in (1, 2)]
    (tmp_path / "results.json").write_text(json.dumps(result))
    text = study_command(["page", str(tmp_path / "results.json")])
    lines = {tuple(line.split()[:2]): line for line in text.splitlines() if line.split()}
    assert "every candidate diverged" in lines["l2-SGD", "8"]
    assert lines["proximal-Adam", "16"].split()[-2:] == ["2", "-"]  # so many, and no seconds
    assert "no run in common" in text and "2 of 2 runs diverged, and 0 of the other's" in text


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["study", "figure9"], 2, "unknown study 'figure9'; choose one of ablations, burgers-fno"),
        (["study", "figure2", "--methods", "newton"], 2, "`methods` must be one of 'l2-SGD'"),
        (["study", "figure2", "--batch-sizes", "8", "0", "--out", "here"], 2, "`batch_sizes` must be an integer of at"),
        (["study", "ablations", "--task", "letters", "--out", "here"], 2, "`task` must be one of 'digits'"),
        (["study", "figure2", "--shard", "5", "4", "--out", "here"], 2, "`shard` must be K N with K from 1 to N"),
        (["study", "figure2", "--workers", "0", "--out", "here"], 2, "`workers` must be an integer of at least 1"),
        (["study", "figure2", "--out", "no/such/place"], 1, "`out` must be a folder, or a new one in a folder"),
        (["study", "figure2", "--earlier", "nothing.json", "--out", "here"], 1, "`earlier` must be a whole result"),
        (["study", "figure2", "--earlier", FULL, "--out", "here"], 2, "with other samples and stored_resolution and"),
        (["study", "figure2", "--preset", "full", "--earlier", TIME, "--out", "here"], 2, "with results of time."),
        (["study", "page", "nothing.json"], 1, "nothing.json cannot be read"),
        (["study", "page"], 2, "Missing from sciml-cf study page: PATH result file of a study"),
    ],
)
def test_bad_words_get_one_line(words, status, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words)
    error = capsys.readouterr().err
    assert stop.value.code == status and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir())  # nothing is left behind


def without_what_was_chosen(result):
    del result["figures"]["proximal-Adam batch 8"]["chosen"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            without_what_was_chosen,
            "changed.json does not of proximal-Adam batch 8. Take the file as the study wrote it.",
        ),
        (lambda result: result.update(figures=[]), "`earlier` must hold an object as figures; changed.json does not."),
        (lambda result: result.update(config=None), "`earlier` must hold an object as config; changed.json does not."),
    ],
)
def test_an_earlier_file_that_is_not_whole_gets_one_line(spoil, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = read_result(FULL)
    spoil(result)
    (tmp_path / "changed.json").write_text(json.dumps(result))
    with pytest.raises(SystemExit) as stop:
        main(["study", "figure2", "--preset", "full", "--earlier", "changed.json", "--out", "here"])
    error = capsys.readouterr().err
    assert stop.value.code == 1 and error.count("\n") == 1 and message in error
    assert not (tmp_path / "here").exists()
