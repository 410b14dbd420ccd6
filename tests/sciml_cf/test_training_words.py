"""Each sentence of a report appears when its numbers call for it, and only then."""

from __future__ import annotations

import math
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from data_gen import DatasetSpec, generate, open_dataset
from data_gen.info import error_of_data
from sciml_cf.report import compare_runs, report_run, verdict
from sciml_cf.report.tables import settings_table
from sciml_cf.report.terms import TERMS, Terms
from sciml_cf.report.training_words import comparison_sentences, training_sentences
from sciml_cf.training.run_folder import read_evaluation, read_history, save_evaluation
from tests.sciml_cf.test_verdict import evaluation


def rows(training, validation, **more):
    return [
        {"epoch": index + 1, "train_loss": loss, "validation_mse": error, **more}
        for index, (loss, error) in enumerate(zip(training, validation, strict=True))
    ]


FINE = rows([1.0, 0.5, 0.3, 0.2], [1.0, 0.6, 0.4, 0.3])


def test_a_sound_training_needs_no_words():
    assert training_sentences(FINE, {"fit": {"epochs": 4}}) == []
    assert training_sentences([], {}) == []


@pytest.mark.parametrize(
    ("training", "validation", "said"),
    [
        ([1.0, 0.5, 0.4, 0.3, 0.1], [1.0, 0.4, 0.5, 0.6, 0.8], True),
        ([1.0, 0.5, 0.4, 0.3, 0.1], [1.0, 0.4, 0.41, 0.42, 0.43], False),  # validation rose by less than a tenth
        ([1.0, 0.5, 0.49, 0.49, 0.48], [1.0, 0.4, 0.5, 0.6, 0.8], False),  # training stands still
        ([1.0, 0.5, 0.6, 0.7, 0.9], [1.0, 0.4, 0.5, 0.6, 0.8], False),  # training rose too
        ([1.0, 0.5, 0.3, 0.1], [1.0, 0.9, 0.4, 0.8], False),  # one epoch may be noise
        ([1.0, 0.5, 0.4, 0.3, 0.1], [1.0, 0.4, 0.8, 0.41, 0.8], False),  # up and down
        ([1.0] * 36 + [0.5, 0.4, 0.3, 0.1], [1.0] * 36 + [0.4, 0.5, 0.6, 0.8], False),  # the last three of forty
        ([1.0, 0.5, 0.3, 0.1], [1.0, 0.8, 0.5, 0.4], False),  # the last epoch is the best
        ([1.0, 0.5, 0.3, math.nan], [1.0, 0.4, 0.5, 0.8], False),
    ],
)
def test_overfitting(training, validation, said):
    found = training_sentences(rows(training, validation), {})
    assert any(text.startswith("Overfitting") for text in found) == said
    if said:
        assert found == [
            "Overfitting: after epoch 2 the validation error rose by 100 % while the training error fell by 80 %. The "
            "weights of epoch 2 are kept as the best."
        ]


def test_overfitting_is_judged_on_one_scale():
    """validation_mse has the data's units; of normalized fields validation_loss_normalized is comparable."""
    normalized = rows([1.0, 0.5, 0.4, 0.3, 0.1], [1.0, 0.9, 0.8, 0.7, 0.6])
    for row, value in zip(normalized, (0.5, 0.4, 0.7, 0.8, 0.9), strict=True):
        row["validation_loss_normalized"] = value
    assert training_sentences(normalized, {})[0].startswith("Overfitting: after epoch 2")


@pytest.mark.parametrize(
    ("training", "validation", "said"),
    [
        ([1.0, 0.1, 0.5], [1.0, 0.2, 0.9], True),
        ([1.0, 0.1, 0.25], [1.0, 0.2, 0.9], False),
        ([1.0, 0.1, 0.5], [1.0, 0.2, 0.55], False),
        ([1.0, 0.5, 0.1], [1.0, 0.2, 0.9], False),
    ],
)
def test_instability(training, validation, said):
    found = [text for text in training_sentences(rows(training, validation), {}) if "unstable" in text]
    assert bool(found) == said
    if said:
        assert "the validation error is 4.5 times its lowest, that of epoch 2" in found[0]


def test_divergence_and_an_early_end():
    broken = rows([1.0, 0.5], [1.0, math.inf])
    assert training_sentences(broken, {}) == ["The training diverged: the errors of epoch 2 are not finite numbers."]
    short = training_sentences(FINE, {"fit": {"epochs": 40, "patience": None}})
    assert short == [
        "The training ended after 4 of 40 epochs: it was interrupted, stopped by `until`, or it diverged. `--resume` "
        "goes on."
    ]
    assert training_sentences(FINE, {"fit": {"epochs": 40, "patience": 3}}) == []


def compared(errors=(0.1, 0.3), steps=(100, 100), epochs=(4, 4), models=(None, None), trained=(256, 256)):
    names = ["a", "b"]
    found = {n: evaluation({256: e}, trained_at=t) for n, e, t in zip(names, errors, trained, strict=True)}
    settings = {n: {"fit": {"batch_size": 8}, "model": m} for n, m in zip(names, models, strict=True)}
    histories = {n: [*FINE[:-1], {**FINE[-1], "steps": s}][-e:] for n, s, e in zip(names, steps, epochs, strict=True)}
    return comparison_sentences(found, settings, histories)


def test_the_lowest_error_is_named():
    assert compared() == ["a has the lowest relative L2 error, 10 %, 3 times lower than b."]
    assert compared(errors=(0.108, 0.1)) == [
        "b has the lowest relative L2 error, 10 %, but a is within 10 % of it: another seed may change their order."
    ]
    assert compared(errors=(0.1, math.inf))[0].startswith("a has the lowest root mean square error")
    assert comparison_sentences({"a": evaluation()}, {}, {}) == []


def test_unequal_budgets_models_and_resolutions():
    assert "unequal" not in " ".join(compared(steps=(100, 109)))
    assert compared(steps=(100, 300), epochs=(2, 4))[1] == (
        "The budgets are unequal: a 2 epochs, 100 steps, 800 samples seen; b 4 epochs, 300 steps, 2400 samples seen. "
        "Part of the difference may come from that."
    )
    assert len(compared(models=({"width": 4}, {"width": 4}))) == 1
    assert compared(models=({"width": 4}, {"width": 8}))[1] == "The models are not alike: see the settings."
    assert len(compared(models=(None, {"width": 8}))) == 1  # a model made elsewhere is not known
    assert compared(trained=(64, 256))[1] == (
        "The runs were trained at different resolutions (a at 64, b at 256 points); each is judged at its own."
    )


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (1e-8, "The data are accurate to about 1e-08, so this error is the model's."),
        (1e-16, "The data are exact up to rounding, so this error is the model's."),
        (0.01, "The data are accurate to about 1e-02 only, so part of this error may be theirs"),
    ],
)
def test_the_error_of_the_data_is_told_from_the_models(known, words):
    assert words in verdict(evaluation({256: 0.018}, data_error=known))
    assert "The data are" not in verdict(evaluation({256: 0.018}))


def test_the_error_of_the_data_is_that_of_the_generator(tmp_path, burgers_file, run_folder):
    def error(name, **spec):
        path = generate(DatasetSpec(**spec), tmp_path / f"{name}.h5", progress=False)
        with open_dataset(path) as data:
            return error_of_data(data)

    kdv = {"equation": "kdv", "samples": 2, "resolution": 64}
    assert error("stepped", tolerance=1e-5, **kdv) == 1e-5
    assert error("stored", dtype="float32", tolerance=1e-9, **kdv) == pytest.approx(6e-8, rel=0.1)
    assert error("darcy", equation="darcy", samples=2, resolution=8) is None
    assert error("heat", equation="heat", samples=2, resolution=16, tolerance=1e-3) < 1e-12  # exact in time
    with open_dataset(burgers_file) as data:
        assert read_evaluation(run_folder).attrs["data_error"] == error_of_data(data)


def plain(page: str) -> str:
    return re.sub(r"<[^>]+>", "", page)


def test_a_report_has_verdict_figures_tables_and_folded_settings(run_folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    report_run(run)
    page = (run / "report" / "index.html").read_text()
    said = verdict(read_evaluation(run), read_history(run))
    assert plain(page).index("Relative L2 error") < plain(page).index("Error over")
    assert said.split(":")[0] in plain(page) and page.index("<figure>") < page.index("<table>")
    settings = page[page.index("<summary>Settings") :]
    assert (
        page.rindex("<details>") < page.index("<summary>Settings") and "<td>fit.batch_size</td><td>8</td>" in settings
    )
    assert "<pre>" not in page
    for term in ("Relative L2 error", "validation", "baselines"):
        assert page.count(f">{term}</abbr>") == 1  # at its first use


def test_a_comparison_begins_with_the_ranking(run_folder, tmp_path):
    for name, factor in (("a", 1.0), ("b", 4.0)):
        run = shutil.copytree(run_folder, tmp_path / name)
        found = read_evaluation(run)
        found["relative_l2"] *= factor
        save_evaluation(found, run)
    compare_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    page = (tmp_path / "both" / "index.html").read_text()
    text = plain(page[page.index("<h1>") :])
    assert text.split("\n")[1].startswith("a has the lowest relative L2 error") and "4 times lower than b." in text
    assert "unequal" not in text and "<th>a</th><th>b</th>" in page


def test_settings_that_differ_come_first():
    table = settings_table({"a": {"fit": {"epochs": 3, "seed": 0}}, "b": {"fit": {"epochs": 3, "seed": 1}, "x": [1]}})
    assert table.columns == ("setting", "a", "b")
    assert table.rows == (("fit.seed", "0", "1"), ("x", "", "[1]"), ("fit.epochs", "3", "3"))
    assert [row[0] for row in settings_table({"a": {"b": 1, "a": 2}}).rows] == ["b", "a"]


def test_terms_are_explained_once_and_escaped():
    terms = Terms()
    first = terms.explained("The relative L2 error of <a> & relative L2 error")
    assert first.count("<abbr") == 1 and "&lt;a&gt; &amp; relative L2 error" in first
    assert "<abbr" not in terms.explained("Relative L2 error") and terms.explained("overhead") == "overhead"
    assert terms.listed().count("<dt>") == 1 and Terms().listed() == ""
    assert all(not meaning.endswith(".") for meaning in TERMS.values())


def test_histories_with_an_objective_have_sentences_too():
    pairs = ((1.0, 0.5), (0.5, 0.4), (0.3, 0.7), (0.2, 0.8), (0.1, 0.9))
    classes = [{"train_loss": loss, "validation_loss": error} for loss, error in pairs]
    assert training_sentences(classes, {})[0].startswith("Overfitting: after epoch 2")
    assert isinstance(evaluation(), xr.Dataset) and np.isfinite(evaluation()["mse"]).all()
