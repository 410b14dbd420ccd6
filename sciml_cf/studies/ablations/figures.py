"""Figures of the benchmark ablations, in the manner of the paper's: a column a batch size, a color a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from sciml_cf.plots.style import nth_curve, nth_style
from sciml_cf.studies.harness.intervals import mean_interval

Cell = dict[str, Any]
# row of panels: batch size: what a line is called: its cell
Lines = Mapping[str, Mapping[int, Mapping[str, Cell]]]
_STYLES = {1: "-", 2: "--"}


def curve_figure(lines: Lines, classes: int) -> Figure:
    """Test accuracy against iteration: a line is the mean over seeds, a band Student's 95 % interval."""
    columns = list(next(iter(lines.values())))
    names = _names(lines)
    figure, panels = _panels(lines, columns)
    lowest = 1.0
    for row, sizes in enumerate(lines.values()):
        for size, cells in sizes.items():
            for name, cell in cells.items():
                steps, accuracies = accuracy_curves(cell, classes)
                if len(steps):
                    axes, number = panels[row][columns.index(size)], names.index(name)
                    mean = _draw(axes, steps, accuracies, name, {**nth_curve(number), "marker": ""})
                    lowest = min(lowest, float(mean[steps >= min(10, steps[-1])].min()))
    for axes in panels.flat:
        axes.set(xscale="log", ylim=(max(lowest - 0.05, 0.0), 1.005))
        axes.xaxis.set_major_locator(FixedLocator([5, 10, 25, 50, 100, 200]))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("iteration")
    return _legend(figure, panels, names)


def accuracy_curves(cell: Cell, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Iterations ``(T,)``, and accuracies (runs, T); that of a guess once a run has diverged."""
    steps = max((run["iteration"] for run in cell["runs"]), key=len, default=[])
    rows = [[*run["accuracy"], *[1 / classes] * (len(steps) - len(run["accuracy"]))] for run in cell["runs"]]
    return np.array(steps), np.array(rows)


def sweep_figure(lines: Lines, classes: int, label: str) -> Figure:
    """Accuracy after the last iteration against the value that was changed, a row for each kind of line."""
    columns = list(next(iter(lines.values())))
    names = _names(lines)
    figure, panels = _panels(lines, columns)
    for row, sizes in enumerate(lines.values()):
        for size, cells in sizes.items():
            for name, cell in cells.items():
                axes = panels[row][columns.index(size)]
                _draw(axes, np.array(cell["values"]), finals(cell, classes).T, name, nth_curve(names.index(name)))
    for axes in panels.flat:
        axes.set(xscale="log", ylim=(0.0, 1.02))
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel(label)
    return _legend(figure, panels, names)


def finals(cell: Cell, classes: int) -> np.ndarray:
    """Accuracies after the last iteration of a sweep (values, runs); that of a guess where a run has diverged."""
    return np.array([[run.get("accuracy", 1 / classes) for run in runs] for runs in cell["runs"]])


def dependence_figure(
    strengths: Mapping[str, Sequence[Cell]], best: Mapping[str, Mapping[int, float]], classes: int
) -> Figure:
    """The paper's Figure 6: accuracy after the last iteration against the strength of each rule, and the best rates.

    Args:
        strengths: for each rule the cells of its sweep. Solid lines are Algorithm 1, dashed ones Algorithm 2.
        best: for each method its best learning rate by batch size.
        classes: of the task.
    """
    figure = Figure(figsize=(3.8 * (len(strengths) + bool(best)) + 1.3 * bool(best), 3.9), layout="constrained")
    panels = figure.subplots(1, len(strengths) + bool(best), squeeze=False)[0]
    for axes, (rule, cells) in zip(panels, strengths.items(), strict=False):
        sizes = sorted({cell["batch_size"] for cell in cells})
        for cell in cells:
            style = {**nth_style(sizes.index(cell["batch_size"])), "ls": _STYLES[cell["algorithm"]]}
            name = f"{cell['batch_size']}, Alg. {cell['algorithm']}"
            _draw(axes, np.array(cell["values"]), finals(cell, classes).T, name, style)
        axes.set(xscale="log", ylim=(0.0, 1.02), xlabel=f"strength of {rule}", ylabel="test accuracy")
        axes.legend(fontsize="small", frameon=False, title="batch size", title_fontsize="small")
        axes.grid(alpha=0.3)
    if best:
        _best_rates(panels[-1], best)
    return figure


def _best_rates(axes: Axes, best: Mapping[str, Mapping[int, float]]) -> None:
    """A line for each method; lines are moved apart a little, or those that agree would hide each other."""
    methods = list(dict.fromkeys(name.partition(",")[0] for name in best))
    for index, (name, rates) in enumerate(best.items()):
        method, _, algorithm = name.partition(", Alg. ")
        style = {**nth_style(methods.index(method)), "ls": _STYLES[int(algorithm or 1)], "ms": 4}
        apart = 1.05 ** (index - len(best) / 2)
        axes.loglog(list(rates), [rate * apart for rate in rates.values()], lw=1.2, label=name, **style)
    sizes = sorted({size for rates in best.values() for size in rates})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="batch size", ylabel="best learning rate")
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(alpha=0.3)


def _names(lines: Lines) -> list[str]:
    return list(dict.fromkeys(name for sizes in lines.values() for cells in sizes.values() for name in cells))


def _panels(lines: Lines, columns: Sequence[int]) -> tuple[Figure, Any]:
    figure = Figure(figsize=(3.5 * len(columns) + 0.4, 2.9 * len(lines) + 0.7), layout="constrained")
    panels = figure.subplots(len(lines), len(columns), sharex=True, sharey=True, squeeze=False)
    for row, title in zip(panels, lines, strict=True):
        for axes, size in zip(row, columns, strict=True):
            axes.set_title(f"{title}, batch {size}" if title else f"batch {size}", fontsize="medium")
        row[0].set_ylabel("test accuracy")
    return figure, panels


def _draw(axes: Axes, x: np.ndarray, runs: np.ndarray, name: str, style: dict[str, Any]) -> np.ndarray:
    """A mean over runs (runs, points) and its band; returns the mean."""
    mean, low, high = np.array([mean_interval(column) for column in runs.T]).T
    axes.plot(x, mean, lw=1.3, label=name, **{**style, "ms": 3.5})
    if len(runs) > 1:
        axes.fill_between(x, np.clip(low, 0, 1), np.clip(high, 0, 1), color=style["color"], alpha=0.13, lw=0)
    return mean


def _legend(figure: Figure, panels: Any, names: Sequence[str]) -> Figure:
    found = {}
    for axes in panels.flat:
        found |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    named = [name for name in names if name in found]
    handles = [found[name] for name in named]
    figure.legend(handles, named, loc="outside lower center", ncols=min(len(named), 4) or 1, fontsize="small")
    return figure
