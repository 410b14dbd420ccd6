"""Plots: what they show, on which axes, and that names and marks follow the numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colors, pyplot
from matplotlib.figure import Figure

from sciml_cf import FieldDataset, History, evaluate_transfer, load
from sciml_cf.plots import plot_fields, plot_history, plot_predictions, plot_transfer
from sciml_cf.plots.style import COLORS, _spread, safe_colors
from sciml_cf.report import figures
from sciml_cf.training.run_folder import read_evaluation, read_history
from tests.sciml_cf.test_verdict import USUAL, evaluation

ROWS = [
    {"epoch": epoch, "train_loss": 0.1 / epoch, "validation_mse": error}
    for epoch, error in ((1, 0.4), (2, 0.02), (3, 0.05))
]


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def own_axes(rows: int = 1, columns: int = 1):
    axes = Figure(layout="constrained").subplots(rows, columns, squeeze=False)
    return axes[0, 0] if rows == columns == 1 else axes


def names(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_history_shows_both_errors_and_the_weights_that_are_kept():
    axes = plot_history(History(tuple(ROWS)), ax=own_axes())
    validation, training, ring = axes.lines
    np.testing.assert_allclose(validation.get_ydata(), [0.4, 0.02, 0.05])
    np.testing.assert_allclose(training.get_ydata(), [0.1, 0.05, 0.1 / 3])
    assert names(axes) == ["validation", "training"] and ring.get_xdata()[0] == 2
    assert validation.get_linestyle() != training.get_linestyle() and axes.get_ylabel() == "mean squared error"


def test_history_of_a_run_file_and_of_several_runs(run_folder):
    rows = read_history(run_folder)
    axes = plot_history({"a": rows, "b": History(tuple(rows[:2]))}, ax=own_axes())
    assert names(axes) == ["a, validation", "a, training", "b, validation", "b, training"] or len(axes.texts) == 4
    first, second = axes.lines[0], axes.lines[3]
    assert first.get_color() != second.get_color() and first.get_marker() != second.get_marker()


def test_a_loss_is_named_and_what_cannot_be_drawn_is_left_out():
    rows = [
        {"epoch": 1, "train_loss": 0.0, "validation_loss": 1.0},
        {"epoch": 2, "train_loss": 0.5, "validation_loss": np.inf},
    ]
    axes = plot_history(rows, ax=own_axes())
    assert axes.get_ylabel() == "loss"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1, np.nan])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [np.nan, 0.5])
    with pytest.raises(ValueError, match="plot_history: `histories` must hold at least one epoch; got none"):
        plot_history([])


def test_history_plots_itself_in_a_new_figure():
    axes = History(tuple(ROWS)).plot()
    assert axes.figure.number in pyplot.get_fignums()
    mine = own_axes()
    assert History(tuple(ROWS)).plot(ax=mine) is mine and len(pyplot.get_fignums()) == 1


def test_transfer_marks_the_training_and_the_baselines_of_the_verdict():
    found = evaluation({32: 0.02, 256: 0.01}, {"zero": 1.0, **USUAL, "nearest_sample": 0.03}, trained_at=32)
    axes = plot_transfer(found, ax=own_axes())
    assert names(axes) == [
        "trained here",
        "at these points",
        "interpolated to 256 (dashed)",
        "the training mean",
        "the best linear map",
        "the nearest training sample",
    ]
    native, interpolated, mean = axes.lines[:3]
    np.testing.assert_allclose(native.get_ydata(), [0.02, 0.01])
    np.testing.assert_allclose(interpolated.get_ydata(), [0.14, 0.07])
    np.testing.assert_allclose(mean.get_ydata(), [0.972, 0.972])
    assert axes.lines[-1].get_xdata()[0] == 32 and axes.get_ylabel() == "relative L2 error"
    assert interpolated.get_markerfacecolor() == "none" != native.get_markerfacecolor()


def test_transfer_shows_the_error_where_targets_are_zero_and_on_request():
    zero = evaluation({32: np.inf, 256: np.inf}, mse=[0.04, 0.01])
    axes = plot_transfer(zero, ax=own_axes())
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.2, 0.1])
    assert axes.get_ylabel() == "root mean square error" and "trained here" not in names(axes)
    assert plot_transfer(evaluation(), metric="mse", ax=own_axes()).get_ylabel() == "root mean square error"
    with pytest.raises(ValueError, match="plot_transfer: `metric` must be one of relative_l2, mse; got 'max'"):
        plot_transfer(zero, metric="max")


def test_predictions_show_input_solution_prediction_and_error(run_folder):
    found = read_evaluation(run_folder)
    axes = plot_predictions(found)
    assert axes.shape == (3, found.sizes["example"]) and axes[0, 0].figure.number in pyplot.get_fignums()
    example = found.isel(example=1, channel=0)
    given, (target, prediction), error = axes[0, 1].lines[0], axes[1, 1].lines, axes[2, 1].lines[0]
    np.testing.assert_allclose(given.get_ydata(), example["example_input"].values[0])
    np.testing.assert_allclose(target.get_ydata(), example["example_target"])
    np.testing.assert_allclose(prediction.get_ydata(), example["example_prediction"])
    np.testing.assert_allclose(error.get_ydata(), prediction.get_ydata() - target.get_ydata())
    np.testing.assert_allclose(target.get_xdata(), found["x"])
    assert axes[0, 1].get_title().startswith(f"sample {int(found['example'][1])}, error ")


@pytest.mark.parametrize("dims", [2, 3])
def test_predictions_of_maps_have_the_palette_of_plot(dims):
    y = torch.rand(2, 1, *[6] * dims)
    x = torch.randn(2, 2, *[6] * dims)
    axes = plot_predictions(x, y, y + 0.01, axes=own_axes(4, 2))
    images = [panel.collections[0] for panel in axes[:, 0]]
    assert [image.get_cmap().name for image in images] == ["RdBu_r", "viridis", "viridis", "RdBu_r"]
    assert images[1].norm is images[2].norm
    low, high = images[3].get_clim()
    assert low == -high
    error = float(100 * 0.01 * np.sqrt(6**dims) / np.linalg.norm(y[0].numpy()))
    assert axes[0, 0].get_title().startswith(f"error {error:.2g} %")
    assert ("z = 3" in axes[0, 0].get_title()) == (dims == 3)


def test_fields_have_a_row_a_channel():
    axes = plot_fields(torch.arange(24.0).reshape(2, 3, 4), names=["u", "v", "w"], coordinates=[[0, 1, 2, 3]])
    assert axes.shape == (3, 2) and axes[2, 0].get_ylabel() == "w" and axes[0, 1].get_title() == "sample 1"
    np.testing.assert_allclose(axes[1, 1].lines[0].get_ydata(), [16, 17, 18, 19])
    maps = plot_fields(np.random.default_rng(0).normal(size=(3, 1, 4, 5)))
    low, high = maps[0, 2].collections[0].get_clim()
    assert low == -high and all(panel.collections[0].get_clim() == (low, high) for panel in maps[0])


def test_fields_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"`fields` must be \(samples, channels, \*points\) with 1 to 12 samples"):
        plot_fields(np.zeros((13, 1, 4)))
    with pytest.raises(ValueError, match=r"`axes` must be of shape \(1, 2\); got \(2, 2\)"):
        plot_fields(np.zeros((2, 1, 4)), axes=own_axes(2, 2))
    with pytest.raises(ValueError, match=r"`coordinates` must have one array an axis, of \(4,\) points; got \(3,\)"):
        plot_fields(np.zeros((2, 1, 4)), coordinates=[[1, 2, 3]])
    with pytest.raises(ValueError, match="`predictions` must be fields of the shape of the targets"):
        plot_predictions(np.zeros((2, 1, 4)), np.zeros((2, 1, 4)), np.zeros((2, 2, 4)))


def test_names_move_apart_and_stay_on_the_axes():
    assert _spread([0.1, 0.5, 0.9]) == [0.1, 0.5, 0.9]
    for heights in ([1.0, 1.0, 1.0], [0.0, 0.0, 0.01, 0.5], [0.5] * 12):
        found = _spread(heights)
        gaps = np.diff(sorted(found))
        assert (gaps > 0.05).all() and min(found) >= -1e-9 and max(found) <= 1 + 1e-9


def test_reports_are_drawn_by_the_public_functions(run_folder, monkeypatch):
    called = []
    for name in ("plot_history", "plot_transfer", "plot_predictions"):
        plain = getattr(figures, name)
        watched = lambda *a, name=name, plain=plain, **k: (called.append(name), plain(*a, **k))[1]  # noqa: E731
        monkeypatch.setattr(figures, name, watched)
    figures.training_curves({"run": read_history(run_folder)})
    figures.error_against_resolution({"run": read_evaluation(run_folder)})
    figures.example_predictions(read_evaluation(run_folder))
    assert called == ["plot_history", "plot_transfer", "plot_predictions"] and not pyplot.get_fignums()


def luminance(color: str) -> float:
    red, green, blue = colors.to_rgb(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colors_of_pages_are_those_of_the_palette():
    with safe_colors():
        assert [colors.to_hex(f"C{index}").upper() for index in range(len(COLORS))] == list(COLORS)
    assert colors.to_hex("C0").upper() != COLORS[0]
    assert abs(luminance(COLORS[0]) - luminance(COLORS[1])) > 0.02


def test_no_figure_of_a_report_or_page_has_the_default_colors():
    """Names C0, C1, ... are the palette's only inside ``safe_colors``, which writes the pages of studies."""
    for path in Path(figures.__file__).parent.glob("*.py"):
        assert not re.search(r'"C[0-9{]', path.read_text()), path


def test_the_example_of_the_guide_draws(tmp_path, monkeypatch, burgers_file, run_folder):
    page = (Path(__file__).parents[2] / "docs" / "plot_and_log.md").read_text()
    (code,) = re.findall(r"## Plot\n.*?```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("burgers.h5").symlink_to(burgers_file)
    rows = tuple(read_history(run_folder))
    found = {
        "history": History(rows),
        "other": History(rows[:2]),
        "train": FieldDataset(burgers_file, "train", resolution=64),
        "model": load(run_folder),
        "evaluate_transfer": evaluate_transfer,
    }
    exec(code, found)
    assert Path("predictions.png").stat().st_size > 10_000 and len(pyplot.get_fignums()) == 4
