"""The page of the study dfiv-dsprites: error against iteration for every batch size, both kinds of heads."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from sciml_cf.plots.style import nth_curve, nth_style
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import compare_runs_by_seed, geometric_interval, smoothed_intervals

Cell = dict[str, Any]
_WINDOW = 5
_STYLES = {"current": "--", "refit": "-"}
_REFERENCE = "ridge"
_BASELINES: dict[str, Any] = {"constant": ":", "direct": "-.", "direct-truth": (0, (5, 5))}


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], list(result["figures"].values())
    rungs = " and ".join(f"{rung['epochs']} iterations" for rung in config["rungs"])
    introduction = [
        f"Images of hearts, {config['samples']} samples of each seed, half of them for each stage; "
        f"{config['iterations']} iterations, each of 20 updates of the instruments' features and one of the images'. "
        "Errors are mean squares against the structural function on the 488 test images.",
        f"Every method got twelve candidates at every batch size and for either kind of heads, chosen on the 100 "
        f"validation images in rounds of {rungs} with seed 0. Direct regression had twelve as well, chosen on "
        f"held-out outcomes, or, as direct-truth, on the validation images. Seeds {result['seeds']} report, "
        "each with its own samples and weights. What a training ends at is the median of its last four "
        "measurements. A mean is geometric, an interval Student's 95 % interval of the logarithms over the seeds.",
        "Current heads are those of the last batch; refit heads are solved again by ridge on all samples. Coefficients "
        "are on sums over a batch, as in the paper: a strength on means is the coefficient over the batch size.",
        *verdicts(cells),
    ]
    lines = f"Dashed: current heads; solid: refit. Geometric means over seeds, rolling over {_WINDOW} measurements."
    final = "What trainings end at, by batch size. Dots are seeds; dotted lines are the baselines."
    parts: list[Table | Picture] = [
        Picture("dfiv-dsprites", _curves(cells, _WINDOW), f"Test error against iteration. {lines}"),
        Picture("dfiv-dsprites-final", _final(cells), final),
        results_table(cells),
        ratio_table(cells),
        heads_table(cells),
    ]
    return "Instrumental variables on images of hearts", introduction, parts


def verdicts(cells: list[Cell]) -> list[str]:
    """Where proximal stages win over ridge and where they do not, in a sentence a kind of heads."""
    found = []
    for heads in _STYLES:
        rows = [row for row in ratio_table(cells).rows if row[0] == "proximal" and row[2] == heads]
        if rows:
            said = ", ".join(f"{row[1]}: {row[-1]} ({_times(row[3])})" for row in rows)
            found.append(f"Proximal against ridge with {heads} heads, by batch size: {said}.")
    return found


def _times(value: Any) -> str:
    return f"{value:.2g} of its error" if isinstance(value, float) else str(value)


def results_table(cells: list[Cell]) -> Table:
    """The error at the end of every method at every batch size, and as a share of the baselines'."""
    baselines = {name: _mean(_only(cells, name)) for name in _BASELINES}
    rows = []
    for cell in cells:
        errors = end_errors(cell)
        mean = _mean(cell)
        shares = [mean / other if mean and other else "-" for other in baselines.values()]
        rows.append(
            (
                cell["method"],
                cell["batch_size"] or "-",
                cell["heads"] or "-",
                _chosen(cell),
                *(geometric_interval(errors) if errors else ("-", "-", "-")),
                *shares,
                sum("diverged" in run for run in cell["runs"]),
            )
        )
    columns = (
        "method",
        "batch",
        "heads",
        "chosen",
        "test mse",
        "low",
        "high",
        *(f"of {name}" for name in _BASELINES),
        "diverged",
    )
    return Table("Test error at the end", columns, tuple(rows))


def ratio_table(cells: list[Cell]) -> Table:
    """Every method over ridge at the same batch size and with the same heads, seed by seed."""
    rows = []
    for cell in cells:
        same = [
            one for one in cells
            if (one["batch_size"], one["heads"], one["method"]) == (cell["batch_size"], cell["heads"], _REFERENCE)
        ]  # fmt: skip
        if cell["method"] == _REFERENCE or not same:
            continue
        name = (cell["method"], cell["batch_size"], cell["heads"])
        interval, words = compare_runs_by_seed(_by_seed(cell), _by_seed(same[0]))
        rows.append((*name, *(interval or ("-", "-", "-")), words))
    columns = ("method", "batch", "heads", f"mse over {_REFERENCE}'s", "low", "high", "verdict")
    return Table(f"Test error over that of {_REFERENCE}, the same seeds", columns, tuple(rows))


def heads_table(cells: list[Cell]) -> Table:
    """Within one training: the error of its current heads over that of its refit heads."""
    rows = []
    for cell in cells:
        runs = [run for run in cell["runs"] if "curve" in run]
        if runs and cell["heads"] == "current":
            ratios = [_end(run["curve"]["test_current"]) / _end(run["curve"]["test_refit"]) for run in runs]
            rows.append((cell["method"], cell["batch_size"], *geometric_interval(ratios)))
    columns = ("method", "batch", "current over refit", "low", "high")
    return Table("Current heads over refit ones, of trainings tuned for current heads", columns, tuple(rows))


def end_errors(cell: Cell) -> list[float]:
    """The test error that each run ends at."""
    runs = [run for run in cell["runs"] if "diverged" not in run]
    return [_end(run["test"] if "test" in run else run["curve"][f"test_{cell['heads']}"]) for run in runs]


def _end(values: list[float]) -> float:
    return float(np.median(values[-4:]))


def _mean(cell: Cell | None) -> float | None:
    errors = end_errors(cell) if cell else []
    return geometric_interval(errors).mean if errors else None


def _only(cells: list[Cell], method: str) -> Cell | None:
    return next((cell for cell in cells if cell["method"] == method), None)


def _by_seed(cell: Cell) -> dict[int, float | None]:
    key = f"test_{cell['heads']}"
    return {run["seed"]: None if "diverged" in run else _end(run["curve"][key]) for run in cell["runs"]}


def _chosen(cell: Cell) -> str:
    if not cell["chosen"]:
        return "-" if cell["method"] == "constant" else "every candidate diverged"
    words = [f"{key.replace('_', ' ')} {value:g}" for key, value in cell["chosen"].items()]
    edge = [key.replace("_", " ") for key in cell["at_edge"]]
    return ", ".join(words) + (f" (edge of the grid: {', '.join(edge)})" if edge else "")


def _methods(cells: list[Cell]) -> dict[str, str]:
    """A color for every method with batches."""
    names = dict.fromkeys(cell["method"] for cell in cells if cell["batch_size"])
    return {name: f"C{index}" for index, name in enumerate(names)}


def _baseline_lines(axes: Axes, cells: list[Cell]) -> None:
    for name, style in _BASELINES.items():
        mean = _mean(_only(cells, name))
        if mean:
            axes.axhline(mean, color="0.5", ls=style, lw=1, label=name)


def _plain_decades(axes: Axes) -> None:
    """Numbers as they are on a logarithmic axis, at 1, 2 and 5 of every decade."""
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))


def _curves(cells: list[Cell], window: int) -> Figure:
    sizes, colors = sorted({cell["batch_size"] for cell in cells if cell["batch_size"]}), _methods(cells)
    figure = Figure(figsize=(5.6, 3.6 * len(sizes)), layout="constrained")
    panels = dict(zip(sizes, figure.subplots(len(sizes), 1, squeeze=False).ravel(), strict=True))
    for cell in cells:
        runs = [run["curve"] for run in cell["runs"] if "curve" in run]
        if not runs:
            continue
        mean, low, high = smoothed_intervals([run[f"test_{cell['heads']}"] for run in runs], window)
        look = nth_curve(list(colors).index(cell["method"]), len(mean))
        axes, style = panels[cell["batch_size"]], {**look, "ls": _STYLES[cell["heads"]]}
        axes.semilogy(runs[0]["iteration"], mean, lw=1.6, label=f"{cell['method']}, {cell['heads']}", **style)
        if len(runs) > 1:
            axes.fill_between(runs[0]["iteration"], low, high, color=style["color"], alpha=0.08, lw=0)
    for size, axes in panels.items():
        _baseline_lines(axes, cells)
        axes.set(title=f"batch size {size}", xlabel="iteration", ylabel="test mse")
        axes.grid(alpha=0.3)
        _plain_decades(axes)
        _fit_to_lines(axes)
    lines = {line.get_label(): line for axes in panels.values() for line in axes.get_lines()}
    figure.legend(handles=list(lines.values()), loc="outside upper center", ncols=3, fontsize="x-small", frameon=False)
    return figure


def _fit_to_lines(axes: Axes) -> None:
    """No room for intervals beyond all means."""
    values = np.concatenate([np.ravel(np.asarray(line.get_ydata(), dtype=float)) for line in axes.get_lines()])
    axes.set_ylim(values.min() / 1.5, values.max() * 1.5)


def _final(cells: list[Cell]) -> Figure:
    figure, colors = Figure(figsize=(5.6, 4.2), layout="constrained"), _methods(cells)
    axes = figure.subplots()
    for index, (method, color) in enumerate(colors.items()):
        for heads, style in _STYLES.items():
            points = []
            for cell in cells:
                errors = end_errors(cell) if (cell["method"], cell["heads"]) == (method, heads) else []
                if errors:
                    place = cell["batch_size"] * 1.06 ** (index - len(colors) / 2)
                    points.append((place, geometric_interval(errors).mean))
                    axes.plot([place] * len(errors), errors, ".", color=color, ms=3, alpha=0.5)
            if points:
                places, means = zip(*sorted(points), strict=True)
                face = "white" if heads == "current" else color
                look = {**nth_style(index), "ls": style, "mfc": face}
                axes.plot(places, means, label=f"{method}, {heads}", **look)
    _baseline_lines(axes, cells)
    sizes = sorted({cell["batch_size"] for cell in cells if cell["batch_size"]})
    axes.set_xscale("log", base=2)
    _plain_decades(axes)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="batch size", ylabel="test mse", title="At the end")
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize="x-small", frameon=False)
    axes.grid(alpha=0.3)
    return figure
