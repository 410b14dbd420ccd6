"""The study of digits: its data, its trainings, its choices, and its page."""

import json
import math
import re

import pytest
import torch

from benchmarks.classification_docs import PAGE, filled, judged, read
from sciml_cf.cli.study import study_command
from sciml_cf.studies.digits import page as report
from sciml_cf.studies.digits.run import ARMS, candidates
from sciml_cf.studies.harness.class_data import load_task, synthetic
from sciml_cf.studies.harness.class_training import class_trial, make_optimizer

SETTINGS = {
    "task": "digits", "method": "proximal", "algorithm": 2, "optimizer": "adam", "batch_size": 128, "iterations": 25,
    "learning_rate": 3e-3, "strength": 1e-2, "part": "test", "every": 5, "seed": 1,
}  # fmt: skip


def test_the_parts_of_the_data_share_no_sample_and_hold_all():
    task = load_task("digits")
    assert {name: len(y) for name, (_, y) in task.parts.items()} == {"train": 1097, "validation": 300, "test": 400}
    rows = torch.cat([torch.cat([x, y[:, None]], 1) for x, y in task.parts.values()])
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    whole = torch.cat([torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)[:, None]], 1)
    order = [tuple(row) for row in rows.tolist()], [tuple(row) for row in whole.tolist()]
    assert sorted(order[0]) == sorted(order[1])


def test_the_synthetic_task_is_the_same_each_time_balanced_and_not_linear():
    one, same = (synthetic(20, samples=60, hidden=(8,)) for _ in range(2))
    for name, (x, y) in one.parts.items():
        assert torch.equal(x, same.parts[name][0]) and torch.equal(y, same.parts[name][1])
    labels = torch.cat([y for _, y in one.parts.values()])
    assert torch.bincount(labels).tolist() == [60] * 20
    x, y = one.parts["train"]
    head = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), torch.eye(20)[y]).solution
    test_x, test_y = one.parts["test"]
    linear = (torch.cat([test_x, torch.ones(len(test_x), 1)], 1) @ head).argmax(1) == test_y
    assert 0.3 < linear.float().mean() < 0.97


def test_a_training_is_the_same_each_time_and_tells_what_it_was_asked(tmp_path):
    first = class_trial({**SETTINGS, "movement": True, "calibration": True}, tmp_path)
    assert first == class_trial({**SETTINGS, "movement": True, "calibration": True}, tmp_path)
    assert first["iteration"] == [5, 10, 15, 20, 25]
    assert first["accuracy"][-1] > 0.95
    assert first["best_validation_mse"] == pytest.approx(1 - (first["accuracy"][1] + first["accuracy"][4]) / 2)
    assert len(first["movement"]) == 25 and first["movement"][0] == pytest.approx(1.0)
    assert sum(map(sum, first["calibration"]["confusion"])) == 400
    assert "reliability" not in first["calibration"]
    looked = class_trial({**SETTINGS, "every": 1}, tmp_path)
    assert looked["accuracy"][4::5] == first["accuracy"]  # looking changes nothing
    json.dumps(first, allow_nan=False)


def test_a_training_that_diverges_says_when(tmp_path):
    found = class_trial(
        {**SETTINGS, "method": "l2", "strength": None, "optimizer": "sgd", "learning_rate": 30.0}, tmp_path
    )
    assert 1 < found["diverged"] < 25
    assert found["best_validation_mse"] >= 0.8


def test_movement_is_that_of_gradient_descent_too(tmp_path):
    found = class_trial({**SETTINGS, "method": "l2", "strength": None, "movement": True}, tmp_path)
    assert all(0 < move < 0.5 for move in found["movement"])


@pytest.mark.parametrize("name", ["sgd", "sgd 0", "sgd 0.99", "adam", "adamw", "rmsprop", "muon"])
def test_every_optimizer_moves_every_parameter(name):
    if name == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    model = load_task("digits").model()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model(torch.rand(8, 64)).square().sum().backward()
    for one in make_optimizer(model, name, 0.1):
        one.step()
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    if name.startswith("sgd "):
        assert make_optimizer(model, name, 0.1)[0].param_groups[0]["momentum"] == float(name.split()[1])


def test_every_arm_has_as_many_candidates():
    assert {len(candidates(arm, mover)) for arm in ARMS for mover in ("sgd", "adam")} == {12}
    for arm in ARMS:
        for mover in ("sgd", "adam"):
            assert len({tuple(one.items()) for one in candidates(arm, mover)}) == 12


@pytest.mark.slow
def test_the_small_preset_runs_from_the_command_line_and_goes_on(tmp_path):
    out = tmp_path / "digits"
    words = ["digits", "--preset", "small", "--workers", "1", "--out", str(out)]
    text = study_command([*words, "--parts", "gap", "cost"])
    assert "Is it the loss or the tuning?" in text and (out / "digits.html").exists()
    files = {path: path.stat().st_mtime_ns for path in (out / "trials").glob("*.json")}
    figures = json.loads((out / "results.json").read_text())["figures"]
    study_command([*words, "--parts", "gap"])
    assert files == {path: path.stat().st_mtime_ns for path in (out / "trials").glob("*.json")}
    again = json.loads((out / "results.json").read_text())["figures"]
    assert again["gap"] == figures["gap"] and again["cost"] == figures["cost"]


# The page.


def test_first_reaching_and_intervals_by_hand():
    run = {"iteration": [5, 10, 15], "accuracy": [0.5, 0.95, 0.9]}
    assert report.first_reaching(run) == 10 and math.isinf(report.first_reaching(run, 0.99))
    assert report.at_mark(run, 15) == 0.9 and report.at_mark(run, 200) == 0.1
    runs = [{"accuracy": 0.9}, {"accuracy": 0.92}, {"accuracy": 0.94}, {"diverged": 3}]
    assert report.interval(runs) == "0.920 -+ 0.050, 1 diverged"  # 4.303 * .02 / sqrt(3)
    assert report.interval(runs[3:]) == "1 diverged"


def test_the_page_is_that_of_the_result_file_and_tells_every_part():
    title, words, parts = report.page(read())
    names = [part.title if hasattr(part, "title") else part.name for part in parts]
    assert title == "Classification with closed-form heads" and "twelve" not in words[0]
    assert {"accuracy", "reliability", "confusion", "movement"} <= set(names)
    assert len(names) == 13


def test_the_docs_show_what_the_file_holds():
    text = PAGE.read_text()
    assert filled(text) == text, "run python -m benchmarks.classification_docs"
    changed = re.sub(r"0\.98(\d)", lambda match: f"0.97{match[1]}", text)
    assert filled(changed) != changed


def test_what_the_page_says_of_expectations_is_judged_and_told():
    text, judgements = PAGE.read_text(), judged(read()["figures"])
    assert len(judgements) == 17
    for what, _, got, holds in judgements:
        assert f"| {what} |" in text and re.search(rf"\| {re.escape(got)} \| {'yes' if holds else 'no'} \|", text)


def test_what_the_docs_say_of_the_gap_is_so():
    best = {}
    for cell in read()["figures"]["gap"].values():
        for name in ("runs", "at_rate_of_cross_entropy"):
            finals = [run.get("accuracy", 0.0) for run in cell[name]]
            best[cell["task"], cell["arm"], cell["optimizer"], name] = sum(finals) / len(finals)
    for (task, arm, mover, name), value in best.items():
        plain = best[task, "cross-entropy", mover, "runs"]
        if name == "runs" and arm == "cross-entropy closed form" and task != "digits":
            assert value > plain
        if name == "runs" and arm in ("l2", "proximal") and task == "100 classes 256 features":
            assert value > plain
        if arm in ("l2", "proximal") and task in ("100 classes 64 features", "1000 classes 128 features"):
            assert value < plain - 0.05
    assert best["100 classes 256 features", "l2", "adam", "at_rate_of_cross_entropy"] < 0.05
