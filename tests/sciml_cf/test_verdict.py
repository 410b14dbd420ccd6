"""The verdict: each clause by the numbers that call for it, and on problems where a linear map is enough."""

import re
import shutil

import numpy as np
import pytest
import xarray as xr

from sciml_cf.cli import main
from sciml_cf.datasets import split_indices
from sciml_cf.report import baseline_table, run_verdict, verdict
from sciml_cf.training.run_folder import read_evaluation, save_evaluation
from tests.problems import oscillator, poisson


def evaluation(errors=None, baselines=None, *, mse=None, reference=256, shape=(256,), **attrs):
    """An evaluation of these native relative errors by resolution, and of baselines alike at all of them."""
    errors = errors or {32: 0.018, 256: 0.018}
    sizes, values = list(errors), np.array(list(errors.values()))
    variables = {
        "relative_l2": (("resolution", "output"), np.stack([values, 7 * values], 1)),
        "mse": (("resolution", "output"), np.stack([values**2 if mse is None else np.array(mse)] * 2, 1)),
        "example_input": (("example", "channel", *("zyx"[-len(shape) :])), np.zeros((1, 1, *shape))),
    }
    coords = {"resolution": sizes, "output": ["native", "linear"]}
    if baselines is not None:
        table = np.array(list(baselines.values()))
        coords["baseline"] = list(baselines)
        variables["native_baseline_relative_l2"] = (("resolution", "baseline"), np.stack([table] * len(sizes)))
        variables["native_baseline_mse"] = (("resolution", "baseline"), np.stack([table**2] * len(sizes)))
        attrs.setdefault("baseline_samples", 300)
    known = {"num_samples": 39, "split": "test", "reference_resolution": reference, "data": "data.h5"}
    return xr.Dataset(variables, coords, {**known, **attrs})


USUAL = {"training_mean": 0.972, "linear_map": 0.0558}


def history(losses, validations, column="validation_mse"):
    return [{"train_loss": loss, column: error} for loss, error in zip(losses, validations, strict=True)]


def test_all_of_it():
    rows = history(np.linspace(1, 1e-4, 20), np.linspace(1, 1.5e-2, 20))
    assert verdict(evaluation(baselines=USUAL), rows) == (
        "Relative L2 error 1.8 % on 39 test samples at 256 points: 54 times lower than the training mean, 3.1 times "
        "lower than the best linear map; unchanged from 32 to 256 points. Validation error is 150 times the training "
        "error: more samples would help more than more epochs."
    )


def test_a_large_mean_of_the_targets_does_not_flatter():
    """Of targets 1e5 + 10 y every relative error is tiny: half of what they vary by is 5e-5 of them."""
    text = verdict(evaluation({256: 5e-5}, {"training_mean": 1e-4, "linear_map": 2e-4}))
    assert text.startswith("Relative L2 error 5.0e-05 (50 % of the targets' fluctuations) on 39 test samples")
    assert "2 times lower than the training mean" in text
    alone = evaluation({256: 5e-5}).assign(vrmse=(("resolution", "output"), [[0.5, 0.6]]))
    assert verdict(alone).startswith("Relative L2 error 5.0e-05 (50 % of the targets' fluctuations) on")
    assert "fluctuations" not in verdict(evaluation({256: 0.5}, {"training_mean": 0.9}))


def test_baselines_that_are_worse_than_zero_are_not_named():
    text = verdict(evaluation({256: 0.02}, {"zero": 1.0, "training_mean": 1.75, "linear_map": 1.75}))
    assert "50 times lower than predicting zero" in text and "mean" not in text and "linear" not in text
    text = verdict(evaluation({256: 0.02}, {"zero": 1.0, "training_mean": 1.05, "linear_map": 0.5}))
    assert "52 times lower than the training mean, 25 times lower than the best linear map" in text


def test_an_evaluation_of_an_older_version_has_a_shorter_verdict():
    assert verdict(evaluation({64: 0.018})) == "Relative L2 error 1.8 % on 39 test samples at 64 points."
    old = evaluation().assign(baseline_relative_l2=("baseline", [1.0, 0.9, 0.0045]))
    old = old.assign_coords(baseline=["zero", "training_mean", "linear_part"])
    text = verdict(old)
    assert "256 points: 50 times lower than the training mean; unchanged" in text
    assert "the linear part of the equation is 4 times better than this model" in text
    assert "times" not in verdict(old.sel(resolution=[32]))  # those errors are at other points


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"split": "all"}, "on 39 samples at"),
        ({"split": "validation", "num_samples": 1}, "on 1 validation sample at"),
        ({"trained_at": 32}, "at 32 points:"),
        ({"trained_at": 48}, "at 256 points:"),
        ({"shape": (128, 256)}, "at 128 x 256 points: unchanged from 16 x 32 to 128 x 256 points"),
    ],
)
def test_samples_and_points(attrs, words):
    assert words in verdict(evaluation(**attrs))


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.5, "50 %"), (1.234, "120 %"), (13.0, "1300 %"), (1e-4, "0.01 %"), (3.21e-6, "3.2e-06"), (0.0, "0 %")],
)
def test_the_error_is_readable(value, words):
    assert verdict(evaluation({256: value})) == f"Relative L2 error {words} on 39 test samples at 256 points."


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({32: 0.019, 256: 0.018}, "; unchanged from 32 to 256 points."),
        ({32: 0.09, 64: 0.03, 256: 0.018}, "; 5 times higher at 32 points."),
        ({32: 0.004, 256: 0.018}, "; 4.5 times lower at 32 points."),
        ({32: np.nan, 256: 0.018}, "the best linear map."),
        ({256: 0.018}, "the best linear map."),
    ],
)
def test_the_change_over_resolutions(errors, words):
    assert verdict(evaluation(errors, USUAL)).endswith(words)


def test_errors_within_a_tenth_are_called_alike():
    text = verdict(evaluation(baselines={"training_mean": 0.9, "linear_map": 0.0175}))
    assert "the training mean, about that of the best linear map; unchanged" in text and "Warning" not in text


def test_the_best_baseline_is_named_whichever_it_is():
    text = verdict(evaluation(baselines={"zero": 1.0, **USUAL, "nearest_sample": 0.045, "identity": 0.5}))
    assert "3.1 times lower than the best linear map, 2.5 times lower than the nearest training sample; unch" in text
    assert "zero" not in text and "input" not in text


@pytest.mark.parametrize(
    ("baselines", "words"),
    [
        ({"linear_map": 0.018 / 640}, "Warning: the best linear map is 640 times better than this model: use it"),
        ({"linear_map": 0.0}, "Warning: the best linear map is exact and this model is not: use it"),
        (
            {"training_mean": 0.009},
            "Warning: the training mean is 2 times better than this model: it has learned little",
        ),
        ({"identity": 0.009, "linear_map": 0.01}, "Warning: the unchanged input is 2 times better"),
        ({"nearest_sample": 0.006}, "Warning: the nearest training sample is 3 times better"),
        ({"linear_part": 0.006}, "Warning: the linear part of the equation is 3 times better"),
        ({"zero": 0.012}, "Warning: predicting zero is 1.5 times better"),
        ({"a_later_one": 0.009}, "Warning: a later one is 2 times better"),
    ],
)
def test_a_baseline_that_wins_is_a_warning(baselines, words):
    text = verdict(evaluation(baselines=baselines))
    assert words in text and text.count("Warning") == 1
    assert not re.search("lower than the best linear|about that of", text)


def test_an_exact_model():
    text = verdict(evaluation({256: 0.0}, {"training_mean": 0.5, "linear_map": 0.0}))
    assert "0 % on" in text and "about that of the best linear map" in text and "Warning" not in text


def test_targets_of_zero_leave_the_root_mean_square():
    found = evaluation({32: np.nan, 256: np.nan}, {"training_mean": 0.5}, mse=[1e-4, 1e-4])
    assert verdict(found) == (
        "Root mean square error 0.01 on 39 test samples at 256 points: 50 times lower than the training mean; "
        "unchanged from 32 to 256 points."
    )


def test_a_model_that_left_the_finite_numbers():
    text = verdict(evaluation({256: np.nan}, USUAL, mse=[np.inf]), history([1.0] * 9, [1.0] * 9))
    assert text.endswith("at 256 points: this model does not return finite numbers.")


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"own_data": 1}, None),
        ({"own_data": 0}, "The baselines learned from 300 samples of data.h5, this model from another file."),
        ({"adapted_samples": 16}, "The baselines learned from 300 samples, this model was adapted to 16."),
        ({"adapted_samples": 300}, None),
    ],
)
def test_other_training_samples_are_said(attrs, words):
    text = verdict(evaluation(baselines=USUAL, **attrs))
    assert text.endswith(words) if words else "learned from" not in text


SAMPLES, EPOCHS = "more samples would help more", "more epochs would help."


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (history([1, 0.1, 0.01], [1, 0.5, 0.4]), SAMPLES),
        (history([1, 0.1, 0.05], [1, 0.5, 0.4]), None),  # 8 times
        (history([1, 0.4, 0.01], [1, 0.4, 2.0]), None),  # the weights with the lowest validation error were evaluated
        (history([1, 0.1, 0.01], [1, 0.5, np.nan]), None),  # 5 times, in the last epoch that was validated
        (
            history(0.8 ** np.arange(20.0), 0.81 ** np.arange(20.0)),
            f"by a factor of 3.1 in the last 5 epochs: {EPOCHS}",
        ),
        (history(0.99 ** np.arange(20.0), 0.99 ** np.arange(20.0)), None),  # hardly falling
        (history(0.8 ** np.arange(20.0), np.r_[0.9 ** np.arange(14.0), [0.2] * 6]), None),  # training error alone
        (history(0.5 ** np.arange(7.0), 0.5 ** np.arange(7.0)), None),  # few epochs
        (history([0.0], [1.0]), None),
        (history([1e-3] * 9, [1e-2] * 9, "validation_loss"), None),  # another objective
        ([{"epoch": 1.0}], None),
        ([], None),
        (None, None),
    ],
)
def test_the_history_says_what_would_help(rows, words):
    text = verdict(evaluation(), rows)
    assert words in text if words else "would help" not in text


def test_the_last_weights_are_judged_by_the_last_epoch():
    rows = history([1, 0.4, 0.01], [1, 0.4, 2.0])
    assert "200 times the training error" in verdict(evaluation(which="last"), rows)


def test_losses_of_normalized_fields_are_compared_on_one_scale():
    rows = [{"train_loss": 0.1, "validation_mse": 1e4, "validation_loss_normalized": 0.2}]
    assert "would help" not in verdict(evaluation(), rows)
    rows[0]["validation_loss_normalized"] = 2.0
    assert "Validation error is 20 times the training error" in verdict(evaluation(), rows)


# Whole runs


def call(capsys, *words):
    main([str(word) for word in words])
    return capsys.readouterr().out


def trained(capsys, folder, x, y, boundary, model, *, extent):
    """The first words of `evaluate` for a model trained for two epochs, its run and the file."""
    np.save(folder / "x.npy", x[:, 0])
    np.save(folder / "y.npy", y[:, 0])
    facts = ("--boundary", boundary, "--extent", *extent, "--times", 0)
    points, data, run = x.shape[-1], f"{folder / 'x.npy'},{folder / 'y.npy'}", folder / "run"
    size = ("--model", model, "--width", 8, "--layers", 2, "--epochs", 2, "--batch-size", 16, "--accelerator", "cpu")
    call(capsys, "train", "--data", data, "--out", run, "--resolution", points, *size, *facts)
    return call(capsys, "evaluate", run, "--data", data, "--resolutions", points // 2, points, *facts), run


def claimed(text):
    """How many times better the linear map is, as the verdict says."""
    return float(re.search(r"Warning: the best linear map is ([\d.e+]+) times better than this model", text)[1])


def by_principal_components(x, y, split):
    """Mean relative error of least squares on the principal components of double precision fields."""
    x, y = x.flatten(1).double().numpy(), y.flatten(1).double().numpy()
    train, test = split
    left, values, right = np.linalg.svd(x[train] - x[train].mean(0), full_matrices=False)
    kept = values > 1e-6 * values[0]
    weights = right[kept].T @ ((left[:, kept] / values[kept]).T @ (y[train] - y[train].mean(0)))
    guess = y[train].mean(0) + (x[test] - x[train].mean(0)) @ weights
    return (np.linalg.norm(guess - y[test], axis=1) / np.linalg.norm(y[test], axis=1)).mean()


@pytest.mark.parametrize(
    ("samples", "points"), [(280, 32), pytest.param(560, 64, marks=pytest.mark.slow)], ids=["32", "64"]
)
def test_poisson_between_walls_is_better_solved_by_a_matrix(capsys, tmp_path, samples, points):
    x, y = poisson(samples, points)
    text, run = trained(capsys, tmp_path, x, y, "wall", "conv", extent=(1, 1))
    errors = read_evaluation(run).sel(resolution=points)
    model = float(errors["relative_l2"].sel(output="native"))
    split = split_indices(samples)
    expected = by_principal_components(x, y, (split["train"], split["test"]))
    assert expected < 1e-3
    assert text.startswith("Relative L2 error")
    assert f"{len(split['test'])} test samples at {points} x {points} points" in text.splitlines()[0]
    assert model / expected / 2 < claimed(text.splitlines()[0]) < 2 * model / expected


def begins_with_the_warning(page):
    """Whether a page says that a baseline is better, terms explained or not, before its first figure and table."""
    before = re.split("<figure|<table", page.read_text())[0]
    return "the best linear map is" in re.sub("<[^>]+>", "", before)


def test_a_forced_oscillator_is_better_solved_by_a_matrix(capsys, tmp_path):
    x, y = oscillator(150)
    text, run = trained(capsys, tmp_path, x, y, "open", "fno", extent=(10,))
    model = float(read_evaluation(run)["relative_l2"].sel(resolution=128, output="native"))
    assert claimed(text.splitlines()[0]) > model / 1e-6
    said = run_verdict(run)
    assert text.splitlines()[0] == said
    report = call(capsys, "report", run)
    assert report.splitlines()[0] == said
    assert begins_with_the_warning(run / "report" / "index.html")
    lines = call(capsys, "compare", run, "--out", tmp_path / "comparison").splitlines()
    assert lines[0] == f"run: {said}"
    assert begins_with_the_warning(tmp_path / "comparison" / "index.html")


def test_a_run_without_history_or_new_baselines_is_shown(run_folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    old = read_evaluation(run)
    newer = [name for name in old if str(name).startswith(("native_baseline", "linear_map"))]
    save_evaluation(old.drop_vars(newer).sel(baseline=["zero", "training_mean", "linear_part"]), run)
    (run / "history.csv").unlink()
    assert run_verdict(run).startswith("Relative L2 error")
    table = baseline_table(read_evaluation(run))
    assert table.columns == ("prediction", "mse", "rel. L2") and len(table.rows) == 3
    assert baseline_table(old).columns == ("prediction", "mse", "rel. L2", "rel. L2 at 64")
