"""The figures of a report. Each takes result data and returns a matplotlib Figure; none keeps global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml_cf.report.tables import upsampling

_FLOOR = 1e-30  # a power of zero cannot be drawn on a log axis


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Training loss and validation error over the epochs, one color a run."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for index, (name, rows) in enumerate(histories.items()):
        epochs = [row["epoch"] for row in rows]
        axes.semilogy(epochs, [row["validation_mse"] for row in rows], color=f"C{index}", label=f"{name}, validation")
        axes.semilogy(
            epochs, [row["train_loss"] for row in rows], color=f"C{index}", ls=":", lw=1.2, label=f"{name}, training"
        )
    axes.set(xlabel="epoch", ylabel="mean squared error", title="Training")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure


def head_panel(rows: Sequence[Mapping[str, float]]) -> Figure | None:
    """Metrics of the head's solves over the epochs; None for a history without them."""
    panels = [
        ("condition", "condition number of the system", True),
        ("degrees_of_freedom", "degrees of freedom", False),
        ("head_step", "relative change of the head a step", True),
        ("gain", "share of the batch's loss that a solve takes", False),
    ]
    if not all(any(math.isfinite(row.get(name, math.nan)) for row in rows) for name, _, _ in panels):
        return None
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    for axes, (name, label, logarithmic) in zip(figure.subplots(2, 2, sharex=True).flat, panels, strict=True):
        values = [row.get(name, math.nan) for row in rows]
        axes.plot([row["epoch"] for row in rows], values, "o-", ms=3, lw=1.2)
        axes.set_title(label, fontsize="medium")
        axes.grid(alpha=0.3)
        if logarithmic:
            _scale_by_decades(axes, values)
        else:
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 0.0), high)
    for axes in figure.axes[2:]:
        axes.set_xlabel("epoch")
    figure.suptitle("The closed-form head")
    return figure


def _scale_by_decades(axes: Axes, values: Sequence[float]) -> None:
    """A log scale around the values that it can show."""
    axes.set_yscale("log")
    positive = [value for value in values if math.isfinite(value) and value > 0]
    if positive:
        axes.set_ylim(min(positive) / 3, max(positive) * 3)


def error_against_resolution(evaluations: Mapping[str, xr.Dataset]) -> Figure:
    """MSE against resolution: solid natively, dashed after interpolation to the full grid."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for index, (name, evaluation) in enumerate(evaluations.items()):
        for output, style in (("native", "o-"), (upsampling(evaluation), "s--")):
            errors = evaluation["mse"].sel(output=output)
            axes.loglog(evaluation["resolution"], errors, style, color=f"C{index}", ms=5, label=f"{name}, {output}")
    ticks = sorted({int(n) for evaluation in evaluations.values() for n in evaluation["resolution"].values})
    low, high = axes.get_ylim()
    axes.set_ylim(low / 3, high * 3)  # differences of a per cent are no cliff
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set(xlabel="resolution (points)", ylabel="mean squared error", title="Error against resolution")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure


def error_against_time(rolled: xr.Dataset) -> Figure:
    """A roll-out against time: its error beside simpler ones, its correlation, and on periodic grids its spectrum."""
    periodic = "power" in rolled
    figure = Figure(figsize=(12.6 if periodic else 8.4, 4.0), layout="constrained")
    panels = figure.subplots(1, 3 if periodic else 2)
    _errors_of(panels[0], rolled)
    time, samples = rolled["time"].values, rolled["sample_correlation"].values
    panels[1].fill_between(time, *np.quantile(samples, (0.1, 0.9), axis=1), color="C0", alpha=0.2, lw=0)
    panels[1].plot(time, rolled["correlation"], color="C0", lw=2.2, label="mean (shaded: 10 % to 90 % of samples)")
    panels[1].axhline(0.8, color="0.5", ls=":", lw=1.2)
    bounds = min(0.0, float(samples.min())), 1.05
    panels[1].set(xlabel="time", ylabel="correlation with the solution", title="Correlation", ylim=bounds)
    if periodic:
        last = rolled["power"].isel(picked_time=-1)
        for curve, style in (("target", {"color": "C2", "lw": 2}), ("prediction", {"color": "C0", "ls": "--"})):
            power = last.sel(curve=curve)[1:]
            power = power.where(np.isfinite(power)).clip(min=_FLOOR)
            panels[2].loglog(power["wavenumber"], power, label={"target": "solution"}.get(curve, "rolled out"), **style)
        title = f"Spectrum at t = {float(last['picked_time']):g}"
        panels[2].set(xlabel="wavenumber k", ylabel="mean |u_k|^2", title=title)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return figure


def _errors_of(axes: Axes, rolled: xr.Dataset) -> None:
    """Relative L2 errors against time."""
    lines: list[tuple[str, str, dict[str, Any]]] = [
        ("relative_l2", "rolled out", {"color": "C0", "lw": 2.2}),
        ("one_step_relative_l2", "one step from the solution", {"color": "C2", "ls": "--", "marker": "o", "ms": 3}),
        ("persistence_relative_l2", "persistence", {"color": "0.5", "ls": ":"}),
        ("linear_relative_l2", "best linear map", {"color": "C1", "ls": "-."}),
    ]
    shown = {name: np.where(np.isfinite(rolled[name]), rolled[name], np.nan) for name, _, _ in lines if name in rolled}
    for name, label, style in lines:
        if name in shown:
            axes.semilogy(rolled["time"], shown[name], label=label, **style)
    highest = max(float(np.nanmax(shown[name], initial=0.0)) for name in shown if name != "linear_relative_l2")
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 10 * highest) if highest else high)  # a linear map may grow without bounds
    axes.set(xlabel="time", ylabel="relative L2 error", title="Error against time")


def example_predictions(evaluation: xr.Dataset) -> Figure:
    """Samples from the lowest to the highest error: the fields above, the error below."""
    count = evaluation.sizes["example"]
    if "y" in evaluation.dims:
        return _example_maps(evaluation)
    figure = Figure(figsize=(3.4 * count, 4.8), layout="constrained")
    rows = figure.subplots(2, count, sharex=True, squeeze=False, height_ratios=(2, 1))
    x = evaluation["x"].values
    for column in range(count):
        example = evaluation.isel(example=column, channel=0)
        target, prediction = example["example_target"].values, example["example_prediction"].values
        top, bottom = rows[0][column], rows[1][column]
        top.plot(x, example["example_input"].isel(input_channel=0), color="0.7", lw=1, label="input")
        top.plot(x, target, color="C0", lw=2, label="solution")
        top.plot(x, prediction, color="C1", lw=1.2, ls="--", label="prediction")
        bottom.plot(x, prediction - target, color="C3", lw=1)
        bottom.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        relative = np.linalg.norm(prediction - target) / np.linalg.norm(target)
        top.set_title(f"sample {int(example['example'])}, rel. L2 {relative:.1e}", fontsize="medium")
        bottom.set_xlabel("x")
    rows[0][0].legend(fontsize="small", frameon=False)
    rows[0][0].set_ylabel("u")
    rows[1][0].set_ylabel("error")
    return figure


def _example_maps(evaluation: xr.Dataset) -> Figure:
    """The same in two dimensions, and in three at the middle z: solution, prediction and error, a column a sample."""
    count = evaluation.sizes["example"]
    figure = Figure(figsize=(3.0 * count, 7.6), layout="constrained")
    rows = figure.subplots(3, count, sharex=True, sharey=True, squeeze=False)
    for column in range(count):
        example = evaluation.isel(example=column, channel=0)
        target, prediction = example["example_target"], example["example_prediction"]
        relative = float(np.linalg.norm(prediction - target) / np.linalg.norm(target))
        if "z" in target.dims:
            target, prediction = (field.isel(z=field.sizes["z"] // 2) for field in (target, prediction))
        low, high, error = float(target.min()), float(target.max()), prediction - target
        reach = float(np.abs(error).max()) or 1.0
        for row, field, bounds, colors in (
            (0, target, (low, high), "viridis"),
            (1, prediction, (low, high), "viridis"),
            (2, error, (-reach, reach), "RdBu_r"),
        ):
            axes = rows[row][column]
            limits = {"vmin": bounds[0], "vmax": bounds[1], "cmap": colors, "shading": "nearest"}
            figure.colorbar(axes.pcolormesh(field["x"], field["y"], field, **limits), ax=axes, shrink=0.8)
            axes.set_aspect("equal")
        rows[0][column].set_title(f"sample {int(example['example'])}, rel. L2 {relative:.1e}", fontsize="medium")
        rows[2][column].set_xlabel("x")
    for axes, name in zip(rows[:, 0], ("solution", "prediction", "error"), strict=True):
        axes.set_ylabel(f"{name}\ny")
    if "z" in evaluation.dims:
        figure.suptitle(f"z = {float(evaluation['z'][evaluation.sizes['z'] // 2]):.3g}")
    return figure


def spectrum(evaluation: xr.Dataset) -> Figure:
    """Mean squared Fourier coefficients of solution, prediction and error on the reference grid."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    styles: dict[str, dict[str, Any]] = {
        "target": {"label": "solution", "lw": 2},
        "prediction": {"lw": 1.2, "ls": "--"},
        "error": {"lw": 1.2, "color": "C3"},
    }
    for name, style in styles.items():
        power = evaluation["spectrum"].sel(curve=name)[1:]
        axes.loglog(power["wavenumber"], power.clip(min=_FLOOR), **{"label": name, **style})
    axes.set(xlabel="wavenumber k", ylabel="mean |u_k|^2", title="Spectrum")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure
