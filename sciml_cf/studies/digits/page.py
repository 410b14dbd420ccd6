"""The page of the benchmark digits: classification with closed-form heads, every method at its own best settings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from scipy.stats import t as students_t

from sciml_cf.plots.style import nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.class_figures import confusion_figure, reliability_figure

Cells = dict[str, dict[str, Any]]
_REACHED = 0.95  # the accuracy whose first iteration is counted


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    figures, config = result["figures"], result["config"]
    marks = ", ".join(map(str, config["marks"]))
    introduction = [
        "scikit-learn's digits (1797 images of 8 x 8 points; 1097 train, 300 choose, 400 report), a perceptron "
        "64-128-64-10. Squared losses are against one-hot targets, summed over classes; the class is that of the "
        "largest output.",
        f"Each cell chose among {config['candidates']} settings (rate, and strength where the rule has one) by "
        f"the mean validation accuracy at iterations {marks} with seed 0; seeds {result['seeds']} report. A setting at "
        "the edge of what was tried is marked *. Sgd has Nesterov momentum 0.9; every method takes Algorithm 2 where "
        "nothing else is said.",
    ]
    parts: list[Table | Picture] = []
    if "accuracy" in figures:
        cells = figures["accuracy"]
        parts += [
            Picture("accuracy", accuracy_figure(cells), "Test accuracy against iteration, means over the seeds."),
            *[accuracy_table(cells, config, size) for size in config["batch_sizes"]],
            *_calibration(cells),
        ]
    if "stability" in figures:
        parts += [stability_table(figures["stability"]), kalman_table(figures["stability"])]
    if "optimizers" in figures:
        parts += [
            optimizers_table(figures["optimizers"]),
            Picture("movement", movement_figure(figures["optimizers"]), "How far heads move at each step, first seed."),
        ]
    if "gap" in figures:
        parts.append(gap_table(figures["gap"]))
    if "cost" in figures:
        parts.append(cost_table(figures["cost"]))
    return "Classification with closed-form heads", introduction, parts


def at_mark(run: dict[str, Any], mark: int) -> float:
    """Accuracy at an iteration; that of a guess among ten once a run has diverged."""
    return run["accuracy"][run["iteration"].index(mark)] if mark in run["iteration"] else 0.1


def mean_at(cell: dict[str, Any], mark: int) -> float:
    """Its mean over the runs."""
    return statistics.fmean(at_mark(run, mark) for run in cell["runs"])


def first_reaching(run: dict[str, Any], level: float = _REACHED) -> float:
    """The first iteration looked at with at least this accuracy; infinite if none."""
    pairs = zip(run["iteration"], run["accuracy"], strict=True)
    return next((float(iteration) for iteration, accuracy in pairs if accuracy >= level), math.inf)


def accuracy_table(cells: Cells, config: dict[str, Any], size: int) -> Table:
    """Accuracies at the milestones, and the iterations until .95, at one batch size."""
    rows = []
    for cell in cells.values():
        if cell["batch_size"] != size:
            continue
        means = [f"{mean_at(cell, mark):.3f}" for mark in config["marks"]]
        reached = statistics.fmean(first_reaching(run) for run in cell["runs"])
        until = "not by all" if math.isinf(reached) else f"{reached:.0f}"
        rows.append((cell["arm"], cell["optimizer"], *_chosen(cell["chosen"]), *means, until))
    columns = ("method", "optimizer", "rate", "strength", *(f"at {mark}" for mark in config["marks"]), "until .95")
    return Table(f"Digits, batch {size}: mean test accuracy at its own best settings", columns, tuple(rows))


def _chosen(chosen: dict[str, Any]) -> tuple[str, str]:
    def told(name: str) -> str:
        value = chosen.get(name)
        return "-" if value is None else f"{value:g}{'*' if name in chosen.get('at_edge', ()) else ''}"

    return told("learning_rate"), told("strength")


def stability_table(cells: Cells) -> Table:
    """Least and largest accuracy at the last iteration over the seeds, by rate."""
    rates = sorted({cell["learning_rate"] for cell in cells.values() if cell["optimizer"] == "sgd"})
    found: dict[tuple[str, int], dict[float, str]] = {}
    for cell in cells.values():
        if cell["optimizer"] == "sgd":
            found.setdefault((cell["arm"], cell["batch_size"]), {})[cell["learning_rate"]] = _range(cell["runs"])
    rows = tuple((*key, *(row[rate] for rate in rates)) for key, row in found.items())
    columns = ("method", "batch", *(f"rate {rate:g}" for rate in rates))
    return Table(
        "Digits, sgd at fixed rates: accuracy after the last iteration, least to most of the seeds", columns, rows
    )


def kalman_table(cells: Cells) -> Table:
    """Kalman with Adam, nothing tuned but the rate."""
    rows = tuple(
        (f"{cell['learning_rate']:g}", cell["batch_size"], _range(cell["runs"]))
        for cell in cells.values()
        if cell["optimizer"] == "adam"
    )
    return Table(
        "Digits, Kalman at its defaults with Adam: accuracy after the last iteration",
        ("rate", "batch", "accuracy"),
        rows,
    )


def _range(runs: Sequence[dict[str, Any]]) -> str:
    sound = sorted(run["accuracy"] for run in runs if "diverged" not in run)
    lost = len(runs) - len(sound)
    words = [f"{sound[0]:.3f} to {sound[-1]:.3f}"] if sound else []
    return ", ".join([*words, *([f"{lost} diverged"] if lost else [])])


def optimizers_table(cells: Cells) -> Table:
    """Rules under optimizers: mean accuracy at iteration 25 and the last, and the head's movement late in training."""
    rows = []
    for cell in cells.values():
        runs = cell["runs"]
        sound = [run for run in runs if "diverged" not in run]
        late = [statistics.median(run["movement"][-50:]) for run in sound if run.get("movement")]
        figures = [f"{statistics.fmean(at_mark(run, mark) for run in runs):.3f}" for mark in (25, 200)]
        moved = f"{late[0]:.3f}" if late else "-"
        rate = _chosen(cell["chosen"])[0]
        rows.append((cell["optimizer"], cell["rule"], rate, *figures, moved, len(runs) - len(sound)))
    columns = ("optimizer", "rule", "rate", "at 25", "at 200", "|dW|/|W| late", "diverged")
    return Table("Digits, batch 128: rules under optimizers, each at its own best of five rates", columns, tuple(rows))


def gap_table(cells: Cells) -> Table:
    """Final accuracy with Student's 95 % interval, at cross-entropy's rate and at its own best settings."""
    rows = []
    for cell in cells.values():
        words = [interval(cell[name]) for name in ("at_rate_of_cross_entropy", "runs")]
        rows.append((cell["task"], cell["arm"], cell["optimizer"], *_chosen(cell["chosen"]), *words))
    columns = ("task", "method", "optimizer", "own rate", "own strength", "at cross-entropy's rate", "at its own best")
    return Table("Is it the loss or the tuning? Final accuracy, 95 % intervals over seeds", columns, tuple(rows))


def interval(runs: Sequence[dict[str, Any]]) -> str:
    """Mean and half-width; runs that diverged are listed with it."""
    sound = [run["accuracy"] for run in runs if "diverged" not in run]
    if len(sound) < 2:
        return f"{len(runs) - len(sound)} diverged"
    half = students_t.ppf(0.975, len(sound) - 1) * statistics.stdev(sound) / math.sqrt(len(sound))
    lost = len(runs) - len(sound)
    return f"{statistics.fmean(sound):.3f} -+ {half:.3f}" + (f", {lost} diverged" if lost else "")


def cost_table(costs: dict[str, dict[str, float]]) -> Table:
    """Processor time of a step over that of l2."""
    rows = tuple((arm, f"{cost['over_l2']:.2f}", f"{cost['milliseconds']:.2f}") for arm, cost in costs.items())
    return Table("A step at batch 128 on the digits perceptron, one thread", ("method", "over l2", "ms"), rows)


def _calibration(cells: Cells) -> list[Table | Picture]:
    """Reliability and confusion at the middle batch size with Adam."""
    found = {
        cell["arm"]: cell["runs"][0]["calibration"]
        for cell in cells.values()
        if cell["optimizer"] == "adam" and cell["batch_size"] == 128 and "calibration" in cell["runs"][0]
    }
    curves = {arm: one["reliability"] for arm, one in found.items() if "reliability" in one}
    parts: list[Table | Picture] = []
    if curves:
        rows = tuple((arm, f"{curve['ece']:.4f}", f"{found[arm]['log_loss']:.4f}") for arm, curve in curves.items())
        title = "Digits, batch 128, Adam: calibration after the last iteration, first seed"
        parts.append(Table(title, ("method", "expected calibration error", "log loss"), rows))
        caption = "Reliability on the 400 test samples, first seed, batch 128, Adam."
        parts.append(Picture("reliability", reliability_figure(curves), caption))
    if "proximal" in found:
        caption = "Digits taken for each other by the proximal head, first seed, batch 128, Adam."
        parts.append(Picture("confusion", confusion_figure(found["proximal"]["confusion"], range(10)), caption))
    return parts


def accuracy_figure(cells: Cells) -> Figure:
    """A panel for each optimizer and batch size."""
    sizes = sorted({cell["batch_size"] for cell in cells.values()})
    movers = sorted({cell["optimizer"] for cell in cells.values()}, reverse=True)
    arms = list(dict.fromkeys(cell["arm"] for cell in cells.values()))
    figure = Figure(figsize=(3.6 * len(sizes), 3.0 * len(movers) + 0.8), layout="constrained")
    panels = figure.subplots(len(movers), len(sizes), sharex=True, sharey=True, squeeze=False)
    for cell in cells.values():
        axes = panels[movers.index(cell["optimizer"])][sizes.index(cell["batch_size"])]
        axes.set_title(f"{cell['optimizer']}, batch {cell['batch_size']}", fontsize="medium")
        looked = [run["iteration"] for run in cell["runs"] if "diverged" not in run]
        if looked:
            means = [mean_at(cell, mark) for mark in looked[0]]
            axes.plot(looked[0], means, lw=1.2, label=cell["arm"], **nth_curve(arms.index(cell["arm"]), len(means)))
    for axes in panels.flat:
        axes.set(xscale="log", ylim=(0.5, 1.0))
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("iteration")
    panels[0][0].set_ylabel("test accuracy")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def movement_figure(cells: Cells) -> Figure:
    """``|W_t - W_{t-1}| / |W_t|`` against iteration, a panel for each rule."""
    rules = list(dict.fromkeys(cell["rule"] for cell in cells.values()))
    movers = list(dict.fromkeys(cell["optimizer"] for cell in cells.values()))
    figure = Figure(figsize=(3.4 * len(rules), 3.8), layout="constrained")
    panels = figure.subplots(1, len(rules), sharex=True, sharey=True, squeeze=False)[0]
    for cell in cells.values():
        axes = panels[rules.index(cell["rule"])]
        axes.set_title(cell["rule"], fontsize="medium")
        moves = cell["runs"][0].get("movement", [])
        style = {**nth_curve(movers.index(cell["optimizer"])), "marker": ""}
        axes.loglog(range(1, len(moves) + 1), moves, lw=1, label=cell["optimizer"], **style)
    for axes in panels:
        axes.set_xlabel("iteration")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("|W_t - W_(t-1)| / |W_t|")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize="small")
    return figure
