"""Figures of the suite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from sciml_cf.plots.style import COLORS, REFERENCE, nth_style
from sciml_cf.studies.harness.intervals import Interval
from sciml_cf.studies.suite.summary import Comparison, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEAD, _REFIT = COLORS[0], COLORS[1]
_WIDEST = (0.02, 50.0)  # of the axis of ratios
_TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
_FEWEST_POINTS = 2  # of a scatter
_MANY = 16  # names that need a higher figure
_FEW_TICKS = 6
_COLUMNS = 3  # of curves


def ratio_figure(found: Sequence[Comparison]) -> Figure:
    """Ratios of test errors to those of gradients by problem: of the closed-form head, and of a re-fitted last layer.

    Args:
        found: in the order from the top down.
    """
    rows = [
        (one.ratio("closed")[0], one.ratio("re-fit")[0], label) for one, label in zip(found, labels(found), strict=True)
    ]
    figure = Figure(figsize=(7.6, 1.5 + 0.36 * max(len(rows), 2)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1.0, color=REFERENCE, lw=1.2)
    low, high = _limits([one for row in rows for one in row[:2] if one is not None])
    for place, (head, refit, _) in enumerate(rows):
        if head is not None:
            bounds, shade = np.clip([head.low, head.high], low, high), 1.0 if "not" not in head.verdict else 0.45
            axes.plot(bounds, [place, place], color=_HEAD, lw=2.2, alpha=shade, solid_capstyle="butt")
            axes.plot(np.clip(head.mean, low, high), place, "o", color=_HEAD, ms=7, alpha=shade)
            axes.annotate(
                f"{head.mean:.2f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", color=_HEAD
            )
        if refit is not None:
            axes.plot(np.clip(refit.mean, low, high), place, "D", mfc="white", mec=_REFIT, mew=1.6, ms=6)
    _log_ratios(axes, "x", (low, high))
    axes.set(ylim=(len(rows) - 0.5, -1.3), xlabel="test error over that of gradients")
    axes.set_yticks(range(len(rows)), [label for *_, label in rows])
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    _direct_labels(axes, rows, (low, high))
    return figure


def _direct_labels(axes: Axes, rows: Sequence[tuple[Any, ...]], limits: tuple[float, float]) -> None:
    """Names of both markers above the first row that has them, and on which side the better ones lie."""
    for which, (name, color) in enumerate((("closed-form head", _HEAD), ("re-fit after gradients", _REFIT))):
        first = next((row[which] for row in rows if row[which] is not None), None)
        if first is not None:
            at = float(np.clip(first.mean, *limits))
            side = "right" if which == 0 else "left"
            axes.annotate(
                name, (at, 0), xytext=(-6 if which == 0 else 6, 14), textcoords="offset points", color=color, ha=side,
                fontsize="small", fontweight="bold",
            )  # fmt: skip
    for words, at, side in (("← better than gradients ", 0.0, "left"), (" worse →", 1.0, "right")):
        axes.annotate(words, (at, 1.0), xycoords="axes fraction", ha=side, va="bottom", fontsize="small", color="0.35")


def _limits(intervals: Sequence[Any]) -> tuple[float, float]:
    """The axis holds every mean, and of intervals what is not far from them."""
    means = [one.mean for one in intervals] or [1.0]
    near = [bound for one in intervals for bound in one[1:] if one.mean / 4 < bound < one.mean * 4]
    low, high = min([*means, *near, 0.9]), max([*means, *near, 1.15])
    return max(low / 1.15, _WIDEST[0]), min(high * 1.15, _WIDEST[1])


def _log_ratios(axes: Axes, which: str, limits: tuple[float, float]) -> None:
    """A logarithmic axis of ratios with a few round ticks."""
    axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
    axis = axes.xaxis if which == "x" else axes.yaxis
    ticks = [tick for tick in _TICKS if limits[0] <= tick <= limits[1]]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def scatter_figure(found: Sequence[Comparison]) -> Figure | None:
    """The ratio against the samples per feature and against the share that the solve explains; None for few points.

    Numbers of samples of the same problem, model and optimizer are joined by a line.
    """
    panels = (("samples_per_feature", "training samples per feature"), ("explained", "share explained by the solve"))
    known = [one for one in found if math.isfinite(one.mean)]
    if len(known) < _FEWEST_POINTS:
        return None
    lines: dict[tuple[str, ...], list[Comparison]] = {}
    for one in sorted(known, key=lambda one: one.case[1]):
        lines.setdefault((one.case[0], *one.case[2:]), []).append(one)
    names = _line_names(list(lines))
    figure = Figure(figsize=(9.6, 3.8 if len(lines) < _MANY else 5.2), layout="constrained")
    limits = _limits([Interval(one.mean, one.mean, one.mean) for one in known])
    panels_of = figure.subplots(1, 2, sharey=True)
    for axes, (key, name) in zip(panels_of, panels, strict=True):
        axes.axhline(1.0, color=REFERENCE, lw=1.0)
        for place, (line, label) in enumerate(zip(lines.values(), names, strict=True)):
            points = [(x, float(np.clip(one.mean, *limits))) for one in line if (x := one.mean_of(key)) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, **{**nth_style(place), "ms": 7, "lw": 0.8})
        axes.set(xlabel=name)
        axes.margins(x=0.15)
        axes.grid(alpha=0.25)
    first = panels_of[0]
    _ticks_at(first, sorted({one.mean_of("samples_per_feature") or 0.0 for one in known}))
    first.set_ylabel("closed form over gradients")
    _log_ratios(first, "y", limits)
    handles, names = first.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", fontsize="small", frameon=False)
    return figure


def _line_names(cases: Sequence[tuple[str, ...]]) -> list[str]:
    """The problem, and the model and the optimizer where they differ."""
    differs = [place == 0 or len({case[place] for case in cases}) > 1 for place in range(3)]
    return [", ".join(word for word, named in zip(case, differs, strict=True) if named) for case in cases]


def _ticks_at(axes: Axes, counts: Sequence[float]) -> None:
    """A logarithmic axis of counts, with ticks at them if they are few."""
    if counts[0] <= 0:
        return
    axes.set_xscale("log")
    axes.set_xlim(counts[0] / 1.4, counts[-1] * 1.4)
    axes.xaxis.set_minor_locator(NullLocator())
    if len(counts) <= _FEW_TICKS:
        axes.set_xticks(counts, [f"{count:.3g}" for count in counts])


def curve_figure(found: Sequence[Comparison]) -> Figure:
    """Validation errors against processor seconds, a panel a problem."""
    rows = max(1, math.ceil(len(found) / _COLUMNS))
    figure = Figure(figsize=(9.0, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    for axes, one, label in zip(grid, found, labels(found), strict=False):
        for cell, color, name in ((one.gradients, _REFIT, "gradients"), (one.closed, _HEAD, "closed form")):
            runs = [run for run in cell.get("runs", ()) if "diverged" not in run]
            if runs:
                errors = np.exp(np.mean(np.log([run["validation_mse"] for run in runs]), axis=0))
                axes.semilogy(
                    np.mean([run["seconds"] for run in runs], axis=0), errors, color=color, label=name, lw=1.4
                )
        axes.set_title(label, fontsize="small")
        axes.tick_params(which="both", labelsize="x-small")
        axes.grid(alpha=0.25)
    first = next((axes for axes in grid if axes.lines), None)  # none where every run diverged, or peers alone were run
    if first is not None:
        first.legend(fontsize="x-small", frameon=False)
    figure.supxlabel("processor seconds", fontsize="small")
    figure.supylabel("validation mse", fontsize="small")
    return figure
