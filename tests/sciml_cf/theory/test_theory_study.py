"""The study through the command line at its smallest, its page, and docs/theory.md beside the result file."""

import json
import re

import pytest

from benchmarks.theory_docs import FIGURES, PAGE, RESULT, filled, verdicts
from sciml_cf.cli import main
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.theory import page as report

TEXT = PAGE.read_text()


@pytest.mark.slow
def test_the_study_runs_and_writes_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["study", "theory", "--preset", "small", "--out", "found"])
    shown = capsys.readouterr().out
    assert "Theorems 1, 2" in shown and "The Kalman view" in shown
    result = read_result(tmp_path / "found" / "results.json")
    assert result["command"] == "sciml-cf study theory --preset small --out found"
    assert "nan" not in json.dumps(result["figures"]).lower()
    assert set(result["figures"]) == set(read_result(RESULT)["figures"])
    assert {path.name for path in FIGURES.glob("*.png")} == {p.name for p in (tmp_path / "found").glob("*.png")}
    page = (tmp_path / "found" / "theory.html").read_text()
    assert page.count("<img ") == len(report.pictures(result["figures"])) and "Figure 1" in page
    says = {claim: word for claim, word, _ in verdicts(result["figures"])}
    assert says["Theorems 1, 2: the gradient with the head held is the whole gradient"] == "holds"


def test_the_study_refuses_a_folder_that_cannot_be(tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["study", "theory", "--out", str(tmp_path / "no" / "where")])
    assert caught.value.code == 1


def test_the_tables_are_those_of_the_file():
    assert filled(TEXT) == TEXT, "run python -m benchmarks.theory_docs"
    changed = re.sub(r"0\.(\d)", lambda match: f"0.{(int(match[1]) + 1) % 10}", TEXT)
    assert changed != TEXT and filled(changed).count("0.") == TEXT.count("0.")


def test_the_words_of_the_page_follow_from_the_file():
    figures = read_result(RESULT)["figures"]
    says = [word for _, word, _ in verdicts(figures)]
    assert says == ["holds"] * 4 + ["does not hold", "holds", "holds", "does not hold", "does not hold", "holds"]
    flows = {(row["outputs"], row["side"]): row for row in figures["flows"]}
    assert all(flows[3, side]["falls"] > flows[3, side]["draws"] / 2 for side in ("points", "features"))
    assert max(row["drift"] for row in flows.values()) < 1e-6  # what is conserved
    assert all(row["worst_excess"] < 1e-4 for row in figures["assumption"])  # "the least loss there is"
    assert all(row["bound_holds"] and row["growth"] > 1.2 for row in figures["penalty"] if row["penalty"])
    assert all(row["late"] < row["early"] for row in figures["penalty"] if row["penalty"])  # "the residual falls"
    for outputs in (1, 2):
        moves = [row["kernel_change"] for row in figures["wide"] if row["outputs"] == outputs]
        assert moves == sorted(moves, reverse=True)
    saddle = figures["saddle"]
    assert saddle[0]["time"] is None and [row["time"] for row in saddle[1:]] == sorted(
        (row["time"] for row in saddle[1:]), reverse=True
    )
    relu = figures["landscape"][0]
    assert any(path["solved_loss"][-1] > 2 * path["joint_loss"][-1] for path in relu["paths"])  # "no free lunch"
    assert all(row["left"]["closed form"] < 1e-15 for row in figures["one step"])


def test_a_statement_that_fails_is_said_to_fail():
    figures = read_result(RESULT)["figures"]
    figures["gradients"][0]["worst"] = 0.1
    figures["flows"][0]["falls"] = 1
    says = [word for _, word, _ in verdicts(figures)]
    assert says[0] == says[3] == "does not hold"
