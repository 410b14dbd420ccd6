"""The figures of a report: each takes result data and returns a matplotlib Figure; none keeps global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml_cf.plots import plot_history, plot_predictions, plot_transfer
from sciml_cf.plots.fields import panel_size, prediction_rows
from sciml_cf.plots.style import COLORS, REFERENCE, at_whole_numbers

_FLOOR = 1e-30  # a power of zero cannot be drawn on a log axis


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """The figure of ``plot_history``."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    only = next(iter(histories.values())) if len(histories) == 1 else histories
    plot_history(only, ax=figure.subplots())
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
        axes.plot([row["epoch"] for row in rows], values, "o-", color=COLORS[0], ms=3, lw=1.2)
        axes.set_title(label, fontsize="medium")
        axes.grid(alpha=0.3)
        if logarithmic:
            _scale_by_decades(axes, values)
        else:
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 0.0), high)
    for axes in figure.axes[2:]:
        axes.set_xlabel("epoch")
        at_whole_numbers(axes)
    figure.suptitle("The closed-form head")
    return figure


def _scale_by_decades(axes: Axes, values: Sequence[float]) -> None:
    """A log scale around the values that it can show."""
    axes.set_yscale("log")
    positive = [value for value in values if math.isfinite(value) and value > 0]
    if positive:
        axes.set_ylim(min(positive) / 3, max(positive) * 3)


def error_against_resolution(evaluations: Mapping[str, xr.Dataset]) -> Figure:
    """The figure of ``plot_transfer``."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    only = next(iter(evaluations.values())) if len(evaluations) == 1 else evaluations
    plot_transfer(only, ax=figure.subplots())
    return figure


def error_against_time(rolled: xr.Dataset) -> Figure:
    """A roll-out against time: its error next to simpler ones, its correlation, and on periodic grids its spectrum."""
    periodic = "power" in rolled
    figure = Figure(figsize=(12.6 if periodic else 8.4, 4.0), layout="constrained")
    panels = figure.subplots(1, 3 if periodic else 2)
    _errors_of(panels[0], rolled)
    time, samples = rolled["time"].values, rolled["sample_correlation"].values
    panels[1].fill_between(time, *np.quantile(samples, (0.1, 0.9), axis=1), color=COLORS[0], alpha=0.2, lw=0)
    panels[1].plot(time, rolled["correlation"], color=COLORS[0], lw=2.2, label="mean (shaded: 10 % to 90 % of samples)")
    panels[1].axhline(0.8, color=REFERENCE, ls=":", lw=1.2)
    bounds = min(0.0, float(samples.min())), 1.05
    panels[1].set(xlabel="time", ylabel="correlation with the solution", title="Correlation", ylim=bounds)
    if periodic:
        last = rolled["power"].isel(picked_time=-1)
        for curve, style in (
            ("target", {"color": COLORS[2], "lw": 2}),
            ("prediction", {"color": COLORS[0], "ls": "--"}),
        ):
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
        ("relative_l2", "rolled out", {"color": COLORS[0], "lw": 2.2}),
        (
            "one_step_relative_l2",
            "one step from the solution",
            {"color": COLORS[2], "ls": "--", "marker": "o", "ms": 3},
        ),
        ("persistence_relative_l2", "persistence", {"color": REFERENCE, "ls": ":"}),
        ("linear_relative_l2", "best linear map", {"color": COLORS[1], "ls": "-."}),
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
    """The figure of ``plot_predictions``, from the lowest to the highest error."""
    dims = sum(axis in evaluation.dims for axis in ("z", "y", "x"))
    rows, columns = prediction_rows(dims), evaluation.sizes["example"]
    figure = Figure(figsize=panel_size(rows, columns, dims), layout="constrained")
    plot_predictions(evaluation, axes=figure.subplots(rows, columns, sharex=True, squeeze=False))
    return figure


def spectrum(evaluation: xr.Dataset) -> Figure:
    """Mean squared Fourier coefficients of solution, prediction and error on the reference grid."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    styles: dict[str, dict[str, Any]] = {
        "target": {"label": "solution", "lw": 2, "color": COLORS[0]},
        "prediction": {"lw": 1.2, "ls": "--", "color": COLORS[1]},
        "error": {"lw": 1.2, "ls": "-.", "color": COLORS[3]},
    }
    for name, style in styles.items():
        power = evaluation["spectrum"].sel(curve=name)[1:]
        axes.loglog(power["wavenumber"], power.clip(min=_FLOOR), **{"label": name, **style})
    axes.set(xlabel="wavenumber k", ylabel="mean |u_k|^2")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure
