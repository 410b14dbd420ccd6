"""The study of ablations: its trainings, its grid, its page, and what the docs say of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sciml_cf.cli.study import study_command
from sciml_cf.errors import BenchmarkError, DatasetError
from sciml_cf.head.algorithms import Algorithm1, Algorithm2
from sciml_cf.studies import page_of
from sciml_cf.studies.ablations import page as report
from sciml_cf.studies.ablations import run as ablations
from sciml_cf.studies.ablations.figures import accuracy_curves, finals
from sciml_cf.studies.harness import class_grid
from sciml_cf.studies.harness.class_data import load_task
from sciml_cf.studies.harness.class_grid import ClassGrid, known_figures
from sciml_cf.studies.harness.class_training import class_trial
from sciml_cf.studies.harness.grid import Workers

SETTINGS = {
    "task": "digits", "method": "proximal", "algorithm": 1, "optimizer": "sgd", "batch_size": 64, "iterations": 10,
    "learning_rate": 0.1, "strength": 1e-2, "part": "test", "every": 5, "seed": 3,
}  # fmt: skip
TINY = replace(
    ablations.PRESETS["small"],
    batch_sizes=(64,), iterations=10, first=10, keep=1, rates={"sgd": (0.1, 0.3), "adam": (3e-3, 1e-2)},
    strengths=(1e-2,), sweep_rates=(0.1, 0.3), sweep_strengths=(1e-2, 100.0),
)  # fmt: skip
CONFIG = {"marks": [5, 10], "classes": 10, "batch_sizes": [32], "candidates": 4, "iterations": 10}


def cell(*runs, **more):
    """A cell whose runs have these accuracies at iterations 5 and 10; fewer of them: it diverged."""
    made = [{"seed": seed, "iteration": [5, 10][: len(run)], "accuracy": list(run)} for seed, run in enumerate(runs, 1)]
    made = [run if len(run["accuracy"]) == 2 else {**run, "diverged": 7} for run in made]
    settings = {"arm": "proximal", "method": "proximal", "algorithm": 1, "batch_size": 32, "chosen": {}}
    return {**settings, "runs": made, **more}


# A training.


class Stop(Exception):
    pass


def head_before_training(monkeypatch, **more):
    """The layer, the model, and the first batch as the first step of a training gets them."""
    found = {}

    def first_step(self, x, y, *_, **__):
        found.update(layer=self.loss_of.head.layer, model=self.model, x=x, y=y)
        raise Stop

    for algorithm in (Algorithm1, Algorithm2):
        monkeypatch.setattr(algorithm, "step", first_step)
    with pytest.raises(Stop):
        class_trial({**SETTINGS, **more}, None)
    return found


def test_the_backbone_is_the_same_with_and_without_a_bias():
    models = []
    for bias in (True, False):
        torch.manual_seed(0)
        models.append(load_task("digits").model(bias=bias))
    for one, two in zip(models[0][:-1].parameters(), models[1][:-1].parameters(), strict=True):
        assert torch.equal(one, two)
    assert models[0][-1].bias is not None and models[1][-1].bias is None


def test_a_training_without_a_bias_solves_none(monkeypatch, tmp_path):
    assert head_before_training(monkeypatch, bias=False)["layer"].bias is None
    monkeypatch.undo()
    with_one, without = (class_trial({**SETTINGS, "bias": bias}, tmp_path) for bias in (True, False))
    assert with_one == class_trial(SETTINGS, tmp_path) != without


@pytest.mark.parametrize(
    ("initial", "variance"), [("zeros", 0.0), ("lecun", 1 / 64), ("xavier", 2 / 74), ("he", 2 / 64)]
)
def test_the_initial_head_has_the_variance_of_its_law(monkeypatch, initial, variance):
    weight = head_before_training(monkeypatch, initial=initial)["layer"].weight
    assert weight.square().mean().item() == pytest.approx(variance, rel=0.25)


def test_torchs_default_is_the_layer_as_it_was_made(monkeypatch):
    torch.manual_seed(SETTINGS["seed"])
    own = load_task("digits").model()[-1]
    layer = head_before_training(monkeypatch, initial="keep")["layer"]
    assert torch.equal(own.weight, layer.weight) and torch.equal(own.bias, layer.bias)


def test_the_head_of_the_first_batch_is_ridge_on_it(monkeypatch):
    found = head_before_training(monkeypatch, initial="first batch")
    with torch.no_grad():
        features = found["model"][:-1](found["x"]).double().numpy()
    rows = np.concatenate([features, np.ones((len(features), 1))], 1)
    targets = np.eye(10)[found["y"]]
    s = SETTINGS["strength"] * len(rows)  # the penalty on the sum, as more rows of a plain least squares
    head = np.linalg.lstsq(
        np.concatenate([rows, math.sqrt(s) * np.eye(65)]), np.concatenate([targets, np.zeros((65, 10))]), rcond=None
    )[0]
    assert np.allclose(found["layer"].weight.detach().numpy(), head[:-1].T, atol=1e-5)
    assert np.allclose(found["layer"].bias.detach().numpy(), head[-1], atol=1e-5)


# The grid.


def test_every_cell_has_as_many_candidates_and_alike_cells_are_one():
    scale = ablations.PRESETS["full"]
    cells = {}
    for part in ("design", "methods", "strength", "rate"):
        for name, one in ablations._cells(part, scale).items():
            assert cells.setdefault(name, one) == one
    assert len(cells) == 3 * (2 * 8 + 2 * 2 + 2)  # designs, ridge and Kalman by two algorithms; two of gradients
    for one in cells.values():
        found = ablations._candidates(one, scale)
        assert len({tuple(candidate.items()) for candidate in found}) == len(found) == 30
        rates = [candidate["learning_rate"] for candidate in found]
        assert (min(rates), max(rates)) == (scale.rates[one["optimizer"]][0], scale.rates[one["optimizer"]][-1])


def test_one_part_of_a_grid_chooses_for_its_own_cells_and_all_parts_for_all(monkeypatch, tmp_path):
    def trial(settings, scratch):
        return {
            "best_validation_mse": abs(settings["learning_rate"] - settings["wanted"]),
            "iteration": [],
            "accuracy": [],
        }

    monkeypatch.setattr(class_grid, "class_trial", trial)
    cells = {f"cell {n}": [{"learning_rate": rate} for rate in (0.1, 0.2, 0.3)] for n in range(5)}
    common = {name: {"iterations": 20, "wanted": 0.1 * (1 + n % 3)} for n, name in enumerate(cells)}

    def choose(out, shard):
        return ClassGrid(out, Workers(shard=shard), "test").choose(cells, common, first=10, label="x", keep=2)

    parts = [choose(tmp_path / "parts", (k, 2)) for k in (1, 2)]
    assert [len(part) for part in parts] == [3, 2] and parts[0] | parts[1] == choose(tmp_path / "whole", None)
    assert (parts[0] | parts[1])["cell 4"] == {"learning_rate": 0.2, "at_edge": []}
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts" / "trials").glob("*.json")}
    assert choose(tmp_path / "parts", None) == parts[0] | parts[1]
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "parts" / "trials").glob("*.json")}


def test_figures_are_kept_of_the_same_configuration_only(tmp_path):
    content = dict.fromkeys(("command", "versions", "machine", "date", "seeds"), "")
    path = tmp_path / "results.json"
    assert known_figures(path, preset="small") == {}
    path.write_text(json.dumps({**content, "benchmark": "x", "config": {"preset": "small"}, "figures": {"part": 1}}))
    assert known_figures(path, preset="small") == {"part": 1} and known_figures(path, preset="full") == {}


@pytest.mark.slow
def test_a_small_grid_runs_from_the_command_line_keeps_parts_and_goes_on(monkeypatch, tmp_path):
    monkeypatch.setitem(ablations.PRESETS, "small", TINY)
    out = tmp_path / "ablations"
    words = ["ablations", "--workers", "1", "--out", str(out), "--parts"]
    out.mkdir()
    ablations.run(ablations.Ablations(out=out, workers=1, parts=("methods",)), "the same without a page")
    first = json.loads((out / "results.json").read_text())["figures"]["methods"]
    assert len(first) == 8 and all(len(one["runs"]) == 2 for one in first.values())
    text = study_command([*words, "strength"])  # at the rates that are chosen already
    assert "Accuracy after the last iteration by strength" in text and (out / "ablation-dependence.png").exists()
    result = json.loads((out / "results.json").read_text())
    assert result["figures"]["methods"] == first and list(result["figures"]) == ["methods", "strength"]
    swept = result["figures"]["strength"]["proximal, Alg. 2, 64"]
    assert swept["values"] == [1e-2, 100.0] and swept["chosen"] == first["proximal, Alg. 2, 64"]["chosen"]
    at_its_own = [run["accuracy"] for run in swept["runs"][0]]
    assert at_its_own == [run["accuracy"][-1] for run in first["proximal, Alg. 2, 64"]["runs"]]
    assert max(run["accuracy"] for run in swept["runs"][1]) < min(at_its_own)  # so strong that the head stays


@pytest.mark.slow
def test_all_parts_make_a_page_with_every_figure(monkeypatch, tmp_path):
    monkeypatch.setitem(ablations.PRESETS, "small", TINY)
    out = tmp_path / "ablations"
    words = ["ablations", "--workers", "1", "--out", str(out)]
    assert "this part of the grid is done" in study_command([*words, "--shard", "1", "2"])
    study_command([*words, "--shard", "2", "2"])
    files = set((out / "trials").glob("*.json"))
    study_command(words)
    assert files == set((out / "trials").glob("*.json"))  # the parts were all of it
    names = ("bias", "initial", "optimizer", "methods", "algorithms", "dependence", "rates")
    assert {path.stem for path in out.glob("*.png")} == {f"ablation-{name}" for name in names}


# A file of one's own.


def write_digits(path, **more):
    parts = load_task("digits").parts.values()
    content = {"x": torch.cat([x for x, _ in parts]).numpy(), "y": torch.cat([y for _, y in parts]).numpy()}
    np.savez(path, **{**content, **more})
    return content


def test_a_file_is_split_into_parts_that_hold_it_and_trained_on(tmp_path):
    content = write_digits(tmp_path / "own.npz")
    task = load_task(str(tmp_path / "own.npz"))
    assert {name: len(y) for name, (_, y) in task.parts.items()} == {"train": 1199, "validation": 299, "test": 299}
    x, y = (torch.cat([part[n] for part in task.parts.values()]).double().numpy() for n in (0, 1))
    rows = [np.sort((table * weights).sum(1)) for table in (x, content["x"] / content["x"].std(ddof=1))
            for weights in [np.random.default_rng(0).normal(size=64)]]  # fmt: skip
    assert np.allclose(*rows, atol=1e-4) and task.classes == 10
    assert np.bincount(y.astype(int)).tolist() == np.bincount(content["y"]).tolist()
    found = class_trial({**SETTINGS, "task": str(tmp_path / "own.npz"), "iterations": 25}, tmp_path)
    assert found["accuracy"][-1] > 0.9


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"y": np.zeros(5, int)}, "must have numbers x"),
        ({"x": np.full((1797, 2), "a")}, "must have numbers x"),
        ({"y": np.arange(1797) % 3 + 1}, "must have labels y that are whole numbers from 0 on"),
        ({"y": np.arange(1797) % 3 / 2}, "must have labels y that are whole numbers from 0 on"),
        ({"x": np.ones((1797, 2))}, "must have finite x that are not all the same"),
        ({"x": np.full((1797, 2), np.nan)}, "must have finite x that are not all the same"),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_told(tmp_path, more, words):
    write_digits(tmp_path / "own.npz", **more)
    with pytest.raises(DatasetError, match=f"study: `task` {words}"):
        load_task(str(tmp_path / "own.npz"))


def test_a_missing_file_and_an_unknown_task_are_told(tmp_path):
    with pytest.raises(DatasetError, match=r"`task` must be a file with x and y; .*none\.npz cannot be read so"):
        load_task(str(tmp_path / "none.npz"))
    with pytest.raises(ValueError, match="study: `task` must be one of"):
        load_task("letters")


def test_a_file_that_has_changed_is_not_gone_on_with(monkeypatch, tmp_path):
    monkeypatch.setitem(ablations.PRESETS, "small", replace(TINY, seeds=(1,)))
    monkeypatch.setattr(
        class_grid, "class_trial", lambda *_: {"best_validation_mse": 1, "iteration": [], "accuracy": []}
    )
    path = tmp_path / "own data.npz"
    write_digits(path)
    config = ablations.Ablations(out=tmp_path, workers=1, task=str(path), parts=("strength",))
    ablations.run(config, "x")
    assert json.loads((tmp_path / "results.json").read_text())["config"]["task"] == str(path)
    ablations.run(config, "x")
    write_digits(path, extra=np.zeros(3))
    with pytest.raises(BenchmarkError, match="`out` must hold results of the same settings"):
        ablations.run(config, "x")


# The page.


def test_differences_are_those_of_the_same_seeds_by_hand():
    one, two = cell((0.5, 0.9), (0.6, 0.8)), cell((0.4, 0.8), (0.4, 0.9))
    assert report.paired(one, two, CONFIG, 10) == pytest.approx([0.1, -0.1])
    assert report.paired(one, two, CONFIG, None) == pytest.approx([0.1, 0.05])
    reversed_seeds = {**two, "runs": two["runs"][::-1]}
    assert report.paired(one, reversed_seeds, CONFIG, 10) == pytest.approx([0.1, -0.1])
    assert report.told([0.1, 0.05]) == "+0.075 -+ 0.318"  # 12.706 * .035355 / sqrt(2)
    assert report.told([0.1]) == "+0.100" and report.told([]) == "-"


def test_a_run_that_diverged_is_a_guess_from_then_on():
    lost = cell((0.5, 0.9), (0.6,))
    assert report.at_mark(lost, CONFIG, 10) == [0.9, 0.1]
    steps, curves = accuracy_curves(lost, 10)
    assert steps.tolist() == [5, 10] and curves.tolist() == [[0.5, 0.9], [0.6, 0.1]]
    swept = {"runs": [[{"accuracy": 0.9}, {"diverged": 3}]]}
    assert finals(swept, 4).tolist() == [[0.9, 0.25]]
    table = report.cell_table("Some", [("a", lost)], CONFIG)
    assert table.rows == (("a", 1, 32, "-", "-", "0.550", "0.500", "0.525", 1),)


def test_a_cell_without_runs_and_a_rate_at_the_edge_are_told():
    chosen = {"learning_rate": 0.3, "strength": 0.01, "at_edge": ["learning_rate"]}
    assert report.cell_table("Some", [("a", cell(chosen={"at_edge": []}))], CONFIG).rows[0][5:] == ("-", "-", "-", 0)
    table = report.rate_table({"proximal, Alg. 1, 32": cell((0.5, 0.9), chosen=chosen)}, CONFIG)
    assert table.rows == (("proximal, Alg. 1", "0.3*"),)
    assert report.best_rates({"l2, 32": cell()}) == {}


def test_the_page_has_its_name():
    assert page_of("ablations") is report.page
