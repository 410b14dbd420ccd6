"""The whole study at the smallest size, through the command line."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sciml_cf.cli.study import study_command
from sciml_cf.studies.harness.neuralop_trainer import default_fno, train_with_neuralop
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.time_to_accuracy import run as time_to_accuracy
from sciml_cf.studies.time_to_accuracy.page import chosen_words, marks_table, ratio_table
from sciml_cf.studies.time_to_accuracy.run import Clock, first_below
from tests.problems import Shifted

TINY = replace(
    time_to_accuracy.PRESETS["small"],
    samples=40, stored_resolution=128, resolution=32, width=6, modes=5, batch_size=8, lengths=(1, 2),
    marks=(1.0, 0.2, 1e-9),
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "time"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(time_to_accuracy.PRESETS, "small", TINY)
        text = study_command(["time", "--out", str(out), "--arms", "neuralop", "proximal", "best", "--workers", "1"])
    return out, text


def test_every_arm_has_its_own_choice_and_its_clock(finished):
    out, text = finished
    figures = read_result(out / "results.json")["figures"]
    assert set(figures) == {"neuralop", "proximal", "best"}
    for name, arm in figures.items():
        tried = [entry["settings"] for entry in arm["selection"]]
        assert 6 <= len(tried) <= 12 and arm["chosen"] in tried and tried.count(arm["chosen"]) == 1
        (run,) = arm["runs"]
        steps = 28 // (16 if name == "best" else 8)
        assert [row["steps"] for row in run["rows"]] == [steps * (e + 1) for e in range(arm["chosen"]["epochs"])]
        times = [row["seconds"] for row in run["rows"]]
        assert times == sorted(times) and times[0] > 0
        assert run["marks"]["1.0"]["epoch"] == 1 and run["marks"]["1e-09"] is None
    page = (out / "time.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2 and "sciml-cf study time" in page
    assert page.count("Chosen: rate ") == 3
    lengths = {entry["settings"]["epochs"] for entry in figures["proximal"]["selection"]}
    assert len(lengths) > 2, "of two lengths each is one end"
    assert "0 of 1" in text and "neuralop over proximal" in text


def test_the_first_row_below_a_mark_counts():
    rows = [{"epoch": e, "steps": 5 * e, "seconds": e, "cpu_seconds": e, "mse": m} for e, m in ((1, 3), (2, 1), (3, 2))]
    assert first_below(rows, 2)["steps"] == 10
    assert first_below(rows, 0.5) is None


def arm(*steps):
    marks = [None if n is None else {"steps": n, "seconds": 2.0 * n, "cpu_seconds": 2.0 * n} for n in steps]
    return {"runs": [{"marks": {"0.1": mark}} for mark in marks]}


def test_medians_and_ratios_count_a_mark_not_passed_as_infinite():
    arms = {"neuralop": arm(40, 60, None), "l2": arm(None, None, 3), "proximal": arm(10, 20, 30)}
    table = marks_table(arms, ["0.1"])
    assert [row[2:5] for row in table.rows] == [
        ("2 of 3", 60, 120),
        ("1 of 3", float("inf"), float("inf")),
        ("3 of 3", 20, 40),
    ]
    ratios = {row[0]: row[2] for row in ratio_table(arms, ["0.1"]).rows}
    assert ratios["neuralop over proximal"] == 3
    assert ratios["l2 over proximal"] == float("inf")
    assert ratios["neuralop over l2"] == "0 (does not pass)"


def test_a_choice_at_the_edge_of_what_was_tried_is_told():
    def words(rate, epochs, rates=(1e-3, 3e-3, 1e-2), lengths=(10, 20, 40)):
        tried = [{"settings": {"learning_rate": r, "epochs": n}} for n in lengths for r in rates]
        return chosen_words({"chosen": {"learning_rate": rate, "epochs": epochs}, "selection": tried})

    assert words(3e-3, 20) == "rate 0.003, 20 epochs"
    assert words(1e-2, 20) == "rate 0.01, 20 epochs (edge of the grid: rate)"
    assert words(1e-3, 20) == "rate 0.001, 20 epochs (edge of the grid: rate)"
    assert words(3e-3, 40) == "rate 0.003, 40 epochs (edge of the grid: epochs)"
    assert words(1e-2, 10) == "rate 0.01, 10 epochs (edge of the grid: rate, epochs)"
    assert words(3e-3, 20, rates=(3e-3,), lengths=(20,)) == "rate 0.003, 20 epochs"


def test_the_clock_stands_still_while_the_error_is_measured(monkeypatch):
    data, now = Shifted(2), [100.0]
    readings = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[0] / 2)
    monkeypatch.setattr(time_to_accuracy, "time", readings)
    clock = Clock(data, steps_per_epoch=3)

    class Slow(torch.nn.Linear):
        def forward(self, x):
            now[0] += 7
            return x

    model = Slow(1, 1)
    clock.start()
    for epoch in (1, 2):
        now[0] += 3  # the training of an epoch
        clock.measure(model, epoch)
    assert [row["seconds"] for row in clock.rows] == [3, 6] and clock.rows[-1]["steps"] == 6
    assert [row["cpu_seconds"] for row in clock.rows] == [1.5, 3]
    assert clock.rows[0]["mse"] == pytest.approx((data.x - data.y).square().mean().item(), rel=1e-5)


def test_a_choice_at_an_edge_is_followed_by_what_lies_beyond():
    def beyond(*steps, lengths=(10,)):
        settings = [{"learning_rate": rate, "epochs": n} for n in lengths for rate in (1e-3, 3e-3, 1e-2)]
        log = [{"settings": one, "steps": n, "lowest": 1.0} for one, n in zip(settings, steps, strict=True)]
        return time_to_accuracy._beyond(log, lengths)

    assert beyond(9, 5, 7) == []
    assert beyond(9, 7, 5) == [{"learning_rate": 0.0333, "epochs": 10}]
    assert beyond(3, 7, 5) == [{"learning_rate": 0.000333, "epochs": 10}]
    three = {"lengths": (10, 20, 40)}
    assert beyond(9, 9, 9, 9, 5, 9, 9, 9, 9, **three) == []
    assert beyond(9, 5, 9, 9, 9, 9, 9, 9, 9, **three) == [{"learning_rate": 3e-3, "epochs": 5}]
    assert beyond(9, 9, 9, 9, 9, 9, 9, 5, 9, **three) == [{"learning_rate": 3e-3, "epochs": 80}]
    both = beyond(9, 9, 5, 9, 9, 9, 9, 9, 9, **three)
    assert [(one["learning_rate"], one["epochs"]) for one in both] == [
        (0.0333, 10), (0.0333, 20), (0.0333, 40), (1e-2, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("optimizer", ["adamw", "soap"])
def test_neuralops_trainer_is_watched_after_each_epoch(optimizer):
    if optimizer == "soap":
        pytest.importorskip("pytorch_optimizer")
    seen = []
    model = default_fno(6, 5, seed=0)
    before = [p.detach().clone() for p in model.parameters()]

    def look(watched, epoch):
        change = max((p - q).abs().max().item() for p, q in zip(watched.parameters(), before, strict=True))
        seen.append((epoch, change))

    rates = {"learning_rate": 1e-3, "epochs": 3, "batch_size": 4}
    train_with_neuralop(model, Shifted(20), **rates, seed=0, optimizer=optimizer, after_epoch=look)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    changes = [change for _, change in seen]
    assert 0 < changes[0] < changes[1]
    weights = [(p, q) for p, q in zip(model.parameters(), before, strict=True) if p.is_complex()]
    assert weights and all((p - q).abs().max() > 0 for p, q in weights)
