"""The whole study at the smallest size, through the command line."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from sciml_cf.cli import main
from sciml_cf.cli.study import study_command
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.report.html import png
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.harness.selection import Rung
from sciml_cf.studies.transfer import run as transfer
from sciml_cf.studies.transfer.page import page as transfer_page
from sciml_cf.training.run_folder import load

TINY = transfer.Scale(
    line=transfer.Size(
        samples=24, stored=128, train=(32, 64), select=32, test=(32, 64, 128), width=6, modes=5, layers=1,
        batch_size=8, epochs=2,
    ),
    plane=transfer.Size(
        samples=12, stored=32, train=(16,), select=16, test=(16, 32), width=4, modes=3, layers=1, batch_size=4, epochs=2
    ),
    rungs=(Rung(1, 1),), seeds=(1, 2),
)  # fmt: skip
WORDS = ("--problems", "burgers-0.1", "navier_stokes", "--models", "fno", "conv", "--workers", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "transfer"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(transfer.PRESETS, "small", TINY)
        text = study_command(["transfer", "--out", str(out), *WORDS])
    return out, text


@pytest.mark.slow
def test_the_result_file_holds_every_run_and_what_was_chosen(finished):
    out, _ = finished
    cells = read_result(out / "results.json")["figures"]
    assert set(cells) == {f"{problem} {model}" for problem in WORDS[1:3] for model in ("fno", "conv")}
    for cell in cells.values():
        assert cell["chosen"] == min(cell["selection"], key=lambda entry: entry["best_validation_mse"])["settings"]
        assert len(cell["selection"]) == 4
        size = TINY.size(cell["problem"])
        assert [(run["resolution"], run["seed"]) for run in cell["runs"]] == [
            (n, s) for n in size.train for s in (1, 2)
        ]
        for run in cell["runs"]:
            found = run["evaluation"]
            assert found["resolution"] == list(size.test) and found["reference"] == size.stored
            fourier = found["output"].index("fourier")
            np.testing.assert_allclose(np.sum(found["part_mse"], axis=1), np.array(found["mse"])[:, fourier], rtol=1e-9)


@pytest.mark.slow
def test_a_run_of_the_grid_can_be_loaded_and_measured_again(finished):
    out, _ = finished
    cell = read_result(out / "results.json")["figures"]["burgers-0.1 conv"]
    rate = cell["chosen"]["learning_rate"]
    model = load(out / "trials" / f"run burgers-0.1 conv at 64 rate={rate:g} seed 2", which="last")
    again = evaluate_transfer(model, out / "data" / "burgers-0.1.h5", resolutions=TINY.line.test)
    (run,) = [run for run in cell["runs"] if (run["resolution"], run["seed"]) == (64, 2)]
    np.testing.assert_allclose(run["evaluation"]["relative_l2"], again["relative_l2"], rtol=1e-6)


@pytest.mark.slow
def test_the_table_holds_geometric_means(finished):
    out, text = finished
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert len(rows) == 2 * 3 * (2 * 3 + 1 * 2)  # models x outputs x (resolutions trained at x evaluated at)
    cell = read_result(out / "results.json")["figures"]["burgers-0.1 fno"]
    errors = [run["evaluation"]["relative_l2"][2][0] for run in cell["runs"] if run["resolution"] == 32]
    (row,) = [
        row for row in rows
        if (row["problem"], row["model"], row["trained_at"], row["resolution"], row["output"])
        == ("burgers-0.1", "fno", "32", "128", "native")
    ]  # fmt: skip
    assert float(row["relative_l2"]) == pytest.approx((errors[0] * errors[1]) ** 0.5, rel=1e-12)
    assert float(row["low"]) < float(row["relative_l2"]) < float(row["high"])
    (line,) = [line for line in text.splitlines() if line.split()[:3] == ["burgers-0.1", "fno", "32"]]
    assert f"{float(row['relative_l2']):.3g}" in line.split()


@pytest.mark.slow
def test_the_page_stands_alone_and_is_made_again_from_the_file(finished, tmp_path):
    out, text = finished
    (path,) = out.glob("*.html")
    page = path.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert page.count('src="data:image/png;base64,') == 4
    (tmp_path / "results.json").write_bytes((out / "results.json").read_bytes())
    assert study_command(["page", str(tmp_path / "results.json")]).replace(str(tmp_path), str(out)) == text
    assert (tmp_path / path.name).read_text() == page


@pytest.mark.slow
def test_again_runs_nothing_and_a_part_keeps_its_trials(finished, monkeypatch):
    out, _ = finished
    monkeypatch.setitem(transfer.PRESETS, "small", TINY)
    monkeypatch.setattr(transfer, "transfer_trial", None)
    before = read_result(out / "results.json")["figures"]
    flags = transfer.Transfer(out=out, problems=WORDS[1:3], models=("fno", "conv"), workers=1)
    transfer.run(replace(flags, problems=("burgers-0.1",), models=("fno",), resolutions=(64,)), "")
    part = read_result(out / "results.json")["figures"]
    assert list(part) == ["burgers-0.1 fno"] and {run["resolution"] for run in part["burgers-0.1 fno"]["runs"]} == {64}
    transfer.run(flags, "")
    assert read_result(out / "results.json")["figures"] == before


@pytest.mark.slow
def test_runs_that_diverged_and_models_not_run_are_shown_as_such(finished):
    out, _ = finished
    result = read_result(out / "results.json")
    cells = result["figures"]
    cells["burgers-0.1 conv"].update(chosen={}, at_edge=[], runs=[])
    del cells["navier_stokes conv"]
    for run in cells["burgers-0.1 fno"]["runs"][:2]:
        run.pop("evaluation")
        run["diverged"] = "by step 3"
    blown = cells["navier_stokes fno"]["runs"][0]["evaluation"]
    blown["relative_l2"] = (np.array(blown["relative_l2"]) * np.inf).tolist()
    *_, parts = transfer_page(result)
    (row,) = [row for row in parts[-1].rows if row[:3] == ("burgers-0.1", "fno", 32)]
    assert row[-2:] == (2, "-")
    rows = transfer.long_table(result).rows
    assert not [row for row in rows if row[:3] == ("burgers-0.1", "fno", 32)]
    assert [row[6] for row in rows if row[0] == "navier_stokes"] == [np.inf] * 6
    assert png(parts[0].figure)


def test_the_selection_has_as_many_candidates_for_every_model_and_its_own_seed(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(transfer, "make_data", lambda *_: None)

    def diverge(trials, label):
        asked.extend(trials)
        return [{"diverged": "by step 1"} for _ in trials]

    monkeypatch.setattr(transfer, "trial_runner", lambda *_: diverge)
    monkeypatch.setattr(transfer, "store_result", lambda study, config, command, **_: config.out / "results.json")
    monkeypatch.setattr(transfer, "read_result", lambda path: {"figures": {}})
    transfer.run(transfer.Transfer(out=tmp_path, preset="full"), "")
    names = [(trial.settings["data"], trial.settings["model"]["builder"]) for trial in asked]
    assert {names.count(name) for name in names} == {4} and len(set(names)) == 16
    assert {trial.settings["fit"]["seed"] for trial in asked} == {0}
    assert not {0} & set(transfer.PRESETS["full"].seeds) and not {0} & set(transfer.PRESETS["small"].seeds)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--problems", "wave"], "`problems` must be one of 'burgers-0.1'"),
        (["--models", "deeponet"], "`models` must be one of 'fno'"),
        (["--resolutions", "100"], "`resolutions` must be one of 32, 64, 256"),
    ],
)
def test_bad_words_get_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["study", "transfer", "--out", "here", *words])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and message in error


def test_presets_fit_their_grids():
    for scale in transfer.PRESETS.values():
        for size in (scale.line, scale.plane):
            assert set(size.train) <= set(size.test) and size.select in size.train and size.test[-1] == size.stored
            assert all(n // 4 + 1 >= size.modes for n in size.train)  # what the inner layers of a UNO hold
        assert scale.size("navier_stokes") is scale.plane and scale.size("burgers-0.1") is scale.line
