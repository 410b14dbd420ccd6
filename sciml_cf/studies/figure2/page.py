"""The page of the benchmark figure2: test error against iteration, every method, for every batch size."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, StrMethodFormatter

from sciml_cf.plots.style import name_curves, nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import Interval, compare_runs_by_seed, geometric_interval, smoothed_intervals
from sciml_cf.studies.harness.selection import edge_sentence

Cell = dict[str, Any]
_WINDOW = 5
# Pairs of methods to compare: closed form with the same training by gradients, and ridge with a rule that pulls.
_PAIRS = (
    *((method, "l2-SGD") for method in ("ridge", "proximal-1", "proximal-2", "proximal-Adam", "kalman-Adam")),
    *((method, "l2-Adam") for method in ("proximal-Adam", "kalman-Adam")),
    ("proximal-SOAP", "l2-SOAP"),
    *((f"{head}-SOAP", f"{head}-Adam") for head in ("l2", "proximal")),
    *(("ridge", method) for method in ("proximal-1", "proximal-2")),
)


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], list(result["figures"].values())
    full = config["stored_resolution"]
    introduction = [
        f"Viscous Burgers at viscosity 0.1, {config['samples']} samples on {full} points; a Fourier neural operator is "
        f"trained on {config['resolution']} points for {config['epochs']} epochs and measured on all {full}.",
        f"{_selection(config, cells)} Seeds {result['seeds']} report. A mean is geometric, and an "
        f"interval is Student's 95 % interval of the logarithms over those seeds. SGD has Nesterov momentum 0.9 and a "
        f"constant rate after a warm-up, Adam a cosine schedule.",
    ]
    again = [f"{cell['method']} at {cell['batch_size']}" for cell in cells if _tried_again(cell, config["rungs"])]
    if again:
        introduction.append(
            f"The best of one round all diverged in the next, and the next best were tried there: {', '.join(again)}."
        )
    introduction += edge_sentence(cells)
    present = sorted({cell["batch_size"] for cell in cells})
    missing = [size for size in config["batch_sizes"] if size not in present]
    if missing:
        sizes = "batch size" if len(missing) == 1 else "batch sizes"
        introduction.append(f"Not measured yet: {sizes} {', '.join(map(str, missing))}.")
    curves = "A line is the geometric mean over seeds, a band the 95 % interval."
    subset = f"the first {config['curve_samples']} test samples"
    parts: list[Table | Picture] = [
        Picture("figure2", _curves(cells, 1, full), f"Test error at {full} points over {subset}. {curves}"),
        Picture(
            "figure2-rolling",
            _curves(cells, _WINDOW, full),
            f"Test error at {full} points over {subset}, as a rolling mean of {_WINDOW} measurements. {curves}",
        ),
    ]
    if len(cells) > 1:
        words = "Test error after the last epoch over all test samples. A dot is a seed."
        parts.append(Picture("figure2-final", _final(cells, full), words))
    tables = (results_table(cells, full), ratio_table(cells, full))
    parts += [table for table in tables if table.rows]
    return "Burgers: test error against iteration", introduction, parts


def _selection(config: Cell, cells: list[Cell]) -> str:
    """How the settings were chosen."""
    rungs = config["rungs"]
    few = sorted({cell["batch_size"] for cell in cells if len(cell.get("selection_seeds", ())) > 1})
    if not rungs:
        return "The settings were given by the command, and none was chosen."
    rounds = " and ".join(f"{rung['epochs']} epochs" for rung in rungs)
    several = f", at batch sizes of {few[0]} or more with three seeds" if few else ""
    return (
        "Every method got nine candidates for its learning rate and strength at every batch size, chosen on the "
        f"validation set in rounds of {rounds} with seed 0{several}."
    )


def _tried_again(cell: Cell, rungs: list[dict[str, int]]) -> bool:
    """Whether a later round of the selection took more candidates than the round before it keeps."""
    epochs = [entry["epochs"] for entry in cell["selection"] if not entry.get("beyond_the_edge")]
    return any(epochs.count(later["epochs"]) > rung["keep"] for rung, later in pairwise(rungs))


def results_table(cells: list[Cell], full: int) -> Table:
    """The error after the last epoch of every method at every batch size."""
    rows = []
    for cell in cells:
        errors, interval = _errors(cell, full), None
        if errors:
            interval = geometric_interval(errors)
        rows.append(
            (
                cell["method"],
                cell["batch_size"],
                _chosen(cell),
                *_shown(interval),
                sum("diverged" in run for run in cell["runs"]),
                float(np.mean([run["seconds"] for run in cell["runs"] if "seconds" in run])) if errors else "-",
            )
        )
    columns = ("method", "batch", "chosen", "test mse", "low", "high", "diverged", "seconds")
    return Table(f"Test error at {full} points after the last epoch", columns, tuple(rows))


def ratio_table(cells: list[Cell], full: int) -> Table:
    """One method's error over another's at the same batch size, seed by seed."""
    at = {(cell["method"], cell["batch_size"]): cell for cell in cells}
    rows = []
    for method, other in _PAIRS:
        for size in sorted({cell["batch_size"] for cell in cells if (other, cell["batch_size"]) in at}):
            if (method, size) not in at:
                continue
            interval, words = compare_runs_by_seed(*(_by_seed(at[name, size], full) for name in (method, other)))
            rows.append((method, other, size, *_shown(interval), words))
    columns = ("method", "over", "batch", "ratio of mse", "low", "high", "verdict")
    return Table("One method over another, the same seeds", columns, tuple(rows))


def _shown(interval: Interval | None) -> tuple[float | str, ...]:
    """Mean and bounds; one seed has no bounds."""
    if interval is None:
        return "-", "-", "-"
    return interval if math.isfinite(interval.high) else (interval.mean, "-", "-")


def _by_seed(cell: Cell, full: int) -> dict[int, float | None]:
    return {run["seed"]: None if "diverged" in run else _at(run, full) for run in cell["runs"]}


def _chosen(cell: Cell) -> str:
    if not cell["chosen"]:
        return "every candidate diverged"
    words = [f"{key.replace('learning_rate', 'rate')} {value:g}" for key, value in cell["chosen"].items()]
    edge = [key.replace("learning_rate", "rate") for key in cell["at_edge"]]
    return ", ".join(words) + (f" (edge of the grid: {', '.join(edge)})" if edge else "")


def _errors(cell: Cell, full: int) -> list[float]:
    return [_at(run, full) for run in cell["runs"] if "diverged" not in run]


def _at(run: dict[str, Any], resolution: int) -> float:
    (found,) = [row["mse"] for row in run["test"] if row["resolution"] == resolution]
    return found


def _panels(cells: list[Cell]) -> tuple[Figure, dict[int, Axes], dict[str, str]]:
    """A figure with one panel a batch size, below each other as on a phone, and a color for every method."""
    sizes = sorted({cell["batch_size"] for cell in cells})
    methods = list(dict.fromkeys(cell["method"] for cell in cells))
    figure = Figure(figsize=(5.6, 3.6 * len(sizes)), layout="constrained")
    axes = figure.subplots(len(sizes), 1, squeeze=False).ravel()
    return figure, dict(zip(sizes, axes, strict=False)), {name: f"C{index}" for index, name in enumerate(methods)}


def _curves(cells: list[Cell], window: int, full: int) -> Figure:
    figure, panels, colors = _panels(cells)
    named: dict[int, list[tuple[Line2D, str]]] = {size: [] for size in panels}
    for cell in cells:
        axes, runs = panels[cell["batch_size"]], [run["curve"] for run in cell["runs"] if "diverged" not in run]
        if not runs:
            continue
        mean, low, high = smoothed_intervals([run["test_mse"] for run in runs], window)
        style = {**nth_curve(list(colors).index(cell["method"]), len(mean)), "color": colors[cell["method"]]}
        (line,) = axes.loglog(runs[0]["steps"], mean, lw=1.6, **style)
        named[cell["batch_size"]].append((line, cell["method"]))
        if len(runs) > 1:
            axes.fill_between(runs[0]["steps"], low, high, color=colors[cell["method"]], alpha=0.1, lw=0)
    for size, axes in panels.items():
        axes.set(title=f"batch size {size}", xlabel="iteration", ylabel=f"test mse at {full} points")
        axes.grid(alpha=0.3)
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))  # few enough to be read where a panel spans one decade
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
        _limit(axes, cells, size)
        name_curves(axes, named[size])
    return figure


def _limit(axes: Axes, cells: list[Cell], size: int) -> None:
    """No room for intervals beyond all means: three seeds can give very wide ones."""
    values = [
        value for cell in cells if cell["batch_size"] == size
        for run in cell["runs"] if "diverged" not in run
        for value in run["curve"]["test_mse"]
    ]  # fmt: skip
    if values:
        axes.set_ylim(min(values) / 2, max(values) * 2)


def _final(cells: list[Cell], full: int) -> Figure:
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(cell["method"] for cell in cells))
    named: list[tuple[Line2D, str]] = []
    for index, method in enumerate(methods):
        points: list[tuple[float, Interval]] = []
        for cell in cells:
            errors = _errors(cell, full)
            if cell["method"] == method and errors:
                shift = 1.045 ** (index - len(methods) / 2)
                points.append((cell["batch_size"] * shift, geometric_interval(errors)))
                axes.plot([points[-1][0]] * len(errors), errors, ".", color=f"C{index}", ms=3, alpha=0.6)
        if points:
            sizes, means = [x for x, _ in points], [interval.mean for _, interval in points]
            named += [(line, method) for line in axes.plot(sizes, means, lw=1.2, **nth_curve(index))]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({cell["batch_size"] for cell in cells})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="batch size", ylabel=f"test mse at {full} points", title="After the last epoch")
    axes.grid(alpha=0.3)
    name_curves(axes, named)
    return figure
