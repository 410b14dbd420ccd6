"""The page of the benchmark time: validation error against seconds and steps, and when it passes the thresholds."""

from __future__ import annotations

import math
import statistics
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sciml_cf.plots.style import name_curves, nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table

Arms = dict[str, dict[str, Any]]
_PEERS = ("neuralop", "l2", "neuralop-soap", "l2-soap")


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, arms = result["config"], result["figures"]
    full, marks = config["stored_resolution"], [str(mark) for mark in config["marks"]]
    counts = sorted({len(arm["selection"]) for arm in arms.values()})
    count = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    introduction = [
        f"Viscous Burgers at viscosity 0.1, {config['samples']} samples; training on {config['resolution']} points, "
        f"the validation error measured after each epoch on all {full}. Time is that of the training, on one thread.",
        f"Each method chose among {count} settings (learning rate and length of the schedule) with seed 0 the one that "
        f"passes {marks[1]} after the fewest steps. Seeds {result['seeds']} report; numbers are medians, a run that "
        f"never passes a threshold counts as infinite.",
        *[f"{name}: {arm['what']}. Chosen: {chosen_words(arm)}." for name, arm in arms.items()],
    ]
    words = "A line is one seed; dotted lines are the thresholds."
    parts: list[Table | Picture] = [
        Picture("time-seconds", _curves(arms, "seconds", marks, full), f"Error against seconds of training. {words}"),
        Picture("time-steps", _curves(arms, "steps", marks, full), f"Error against optimiser steps. {words}"),
        marks_table(arms, marks),
        ratio_table(arms, marks),
    ]
    return "Burgers: time to accuracy", introduction, parts


def marks_table(arms: Arms, marks: list[str]) -> Table:
    """Median steps, seconds and processor seconds to each threshold, and how many runs passed it."""
    rows = [
        (
            name,
            float(mark),
            f"{sum(run['marks'][mark] is not None for run in arm['runs'])} of {len(arm['runs'])}",
            *[_median(arm, mark, figure) for figure in ("steps", "seconds", "cpu_seconds")],
        )
        for name, arm in arms.items()
        for mark in marks
    ]
    columns = ("method", "validation mse", "passed", "steps", "seconds", "processor seconds")
    return Table("When the error first passes each threshold (medians over seeds)", columns, tuple(rows))


def ratio_table(arms: Arms, marks: list[str]) -> Table:
    """How many times the median of each peer every other method's is."""
    rows = []
    for peer in _PEERS:
        for name, arm in arms.items():
            if peer not in arms or name in _PEERS[: _PEERS.index(peer) + 1]:
                continue
            for mark in marks:
                ratios = [
                    _ratio(_median(arms[peer], mark, figure), _median(arm, mark, figure))
                    for figure in ("steps", "seconds", "cpu_seconds")
                ]
                rows.append((f"{peer} over {name}", float(mark), *ratios))
    columns = ("medians", "validation mse", "steps", "seconds", "processor seconds")
    return Table("How many times faster", columns, tuple(rows))


def chosen_words(arm: dict[str, Any]) -> str:
    """The settings of a method, and which of them are the lowest or the highest of those it chose among."""
    chosen, edge = arm["chosen"], []
    for key, name in (("learning_rate", "rate"), ("epochs", "epochs")):
        tried = {entry["settings"][key] for entry in arm["selection"]}
        if len(tried) > 1 and chosen[key] in (min(tried), max(tried)):
            edge.append(name)
    words = f"rate {chosen['learning_rate']:g}, {chosen['epochs']} epochs"
    return words + (f" (edge of the grid: {', '.join(edge)})" if edge else "")


def _median(arm: dict[str, Any], mark: str, figure: str) -> float:
    passed = [run["marks"][mark] for run in arm["runs"]]
    return statistics.median([math.inf if entry is None else float(entry[figure]) for entry in passed])


def _ratio(theirs: float, ours: float) -> float | str:
    if math.isinf(ours):
        return "neither passes" if math.isinf(theirs) else "0 (does not pass)"
    return theirs / ours


def _curves(arms: Arms, against: str, marks: list[str], full: int) -> Figure:
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    named: list[tuple[Line2D, str]] = []
    for index, (name, arm) in enumerate(arms.items()):
        lines = []
        for run in arm["runs"]:
            rows = run["rows"]
            style = nth_curve(index, len(rows))
            lines += axes.semilogy([row[against] for row in rows], [row["mse"] for row in rows], lw=1.3, **style)
        if lines:  # the name is at the run that takes longest
            named.append((max(lines, key=lambda line: line.get_xdata()[-1]), name))
    for mark in marks:
        axes.axhline(float(mark), color="0.5", lw=0.8, ls=":")
    axes.set(xlabel=against, ylabel=f"validation mse at {full} points", title="Time to accuracy")
    axes.grid(alpha=0.3)
    name_curves(axes, named)
    return figure
