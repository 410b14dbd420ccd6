"""Statements of docs/results_classification.md on the ablations, against their result file."""

import copy

import pytest

from benchmarks.ablation_claims import gaps, judged
from benchmarks.classification_docs import PAGE, ablated, read
from sciml_cf.studies.ablations import page as report
from sciml_cf.studies.ablations.figures import finals

RESULT = read("ablations")
FIGURES, CONFIG = RESULT["figures"], RESULT["config"]
INITIALS = list(CONFIG["questions"]["initial"].values())[1:]


def differences(arm, mark):
    """Of an arm from proximal's, by both algorithms and all batch sizes."""
    pairs = [(f"{arm}, Alg. {n}", f"proximal, Alg. {n}") for n in (1, 2)]
    return [gap for pair in pairs for gap in gaps(FIGURES["design"], CONFIG, pair, mark)]


def swept(part, name):
    """Mean accuracy by the value that was changed."""
    cell = FIGURES[part][name]
    return dict(zip(cell["values"], finals(cell, CONFIG["classes"]).mean(1), strict=True))


def test_the_tables_are_those_of_the_file():
    text = PAGE.read_text()
    assert ablated(text, RESULT) == text, "run python -m benchmarks.classification_docs"
    other = copy.deepcopy(RESULT)
    for run in other["figures"]["design"]["adam, Alg. 2, 32"]["runs"]:
        run["accuracy"] = [0.5] * len(run["accuracy"])
    assert ablated(text, other) != text


def test_every_finding_is_told_and_a_worse_adam_would_be_seen():
    text, found = PAGE.read_text(), judged(RESULT)
    assert len(found) == 15
    for what, got, holds in found:
        assert f"| {what} | {got} | {'yes' if holds else 'no'} |" in text
    other = copy.deepcopy(RESULT)
    for name, cell in other["figures"]["design"].items():
        if name.startswith("adam"):
            for run in cell["runs"]:
                run["accuracy"] = [value - 0.1 for value in run["accuracy"]]
    changed = [one[0] for one, two in zip(found, judged(other), strict=True) if one[2] != two[2]]
    assert changed == [what for what, _, _ in found if what.startswith("Adam is worse")]


def test_what_is_said_of_initial_heads_and_adam_is_so():
    assert all(abs(gap) < 0.012 for arm in INITIALS for gap in differences(arm, 200))
    assert all(abs(gap) < 0.02 for arm in INITIALS for gap in differences(arm, None))
    assert min(differences("first batch", None)) > -0.001
    assert all(abs(gap) < 0.01 for mark in (None, 200) for gap in differences("adam", mark))


def test_what_is_said_of_the_algorithms_is_so():
    pair = ("proximal, Alg. 1", "proximal, Alg. 2")
    assert all(abs(gap) < 0.01 for gap in gaps(FIGURES["methods"], CONFIG, pair, None))
    rates, strengths = ([swept(part, f"{name}, 32") for name in pair] for part in ("rate", "strength"))
    assert all(value < 0.6 for rate, value in rates[0].items() if rate >= 0.1)
    assert all(value < 0.6 for strength, value in strengths[0].items() if strength <= 0.001)
    assert all(value > 0.95 for rate, value in rates[1].items() if rate <= 1)
    assert all(value > 0.75 for strength, value in strengths[1].items() if strength <= 10)


@pytest.mark.parametrize("size", [128, 1024])
def test_what_is_said_of_rates_is_so(size):
    flat = [value for rate, value in swept("rate", f"proximal, Alg. 2, {size}").items() if rate <= 1]
    assert max(flat) - min(flat) <= 0.01
    for rate in (0.3, 1.0, 3.0, 10.0):
        assert swept("rate", "l2, 1024")[rate] < 0.11
    for rate in (1.0, 3.0):
        assert swept("rate", "cross-entropy, 1024")[rate] < 0.11
        assert all(
            swept("rate", f"{rule}, Alg. {n}, 1024")[rate] > 0.98 for rule in ("ridge", "proximal") for n in (1, 2)
        )


def test_the_page_of_the_file_holds_every_figure_and_table():
    _, words, parts = report.page(RESULT)
    pictures = [part.name for part in parts if hasattr(part, "figure")]
    assert [name.removeprefix("ablation-") for name in pictures] == [
        "bias", "initial", "optimizer", "methods", "algorithms", "dependence", "rates",
    ]  # fmt: skip
    assert len(parts) - len(pictures) == 10 and "lambda = batch size x strength" in words[1]
