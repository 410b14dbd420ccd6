"""The page of the study dfiv-demand: one table of estimators with intervals, and one figure."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from sciml_cf.report.html import Picture
from sciml_cf.report.intervals import geometric_interval
from sciml_cf.report.tables import Table

Cells = dict[str, dict[str, Any]]
_OURS = "DFIV proximal"


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], result["figures"]
    introduction = [
        f"Demand for airline tickets: {config['samples']} samples of each seed, correlation {config['correlation']:g} "
        f"of the hidden cause; price is the treatment, the cost of fuel the instrument, time and group are covariates. "
        f"Errors are mean squares against the structural function on the points of the test grid.",
        f"Every method got twelve candidates, chosen on {config['validation_points']} other points of the grid with "
        f"seed 0; kernel IV also has its own validation among them. That needs the truth, which practice does not "
        f"have: the table says what methods can do, not what they do untuned. Seeds {result['seeds']} report, "
        f"each with samples and weights of its own; means are geometric, intervals Student's 95 % of the logarithms.",
    ]
    parts: list[Table | Picture] = [
        Picture("dfiv-demand", _figure(cells), "Test error; dots are seeds, crosses geometric means."),
        results_table(cells),
        ratio_table(cells),
    ]
    return "Instrumental variables on the demand design", introduction, parts


def results_table(cells: Cells) -> Table:
    """The test error of every method with its interval, deep ones with current and with refit heads."""
    rows = []
    for method, cell in cells.items():
        for heads, key in (("current", "test_mse"), ("refit", "test_refit_mse")):
            errors = _errors(cell, key)
            if errors or heads == "current":
                deep = any("test_refit_mse" in run for run in cell["runs"])
                interval = geometric_interval(errors) if errors else ("-", "-", "-")
                lost = sum("diverged" in run for run in cell["runs"])
                rows.append((method, heads if deep else "-", _chosen(cell), *interval, lost))
    return Table("Test error", ("method", "heads", "chosen", "test mse", "low", "high", "diverged"), tuple(rows))


def ratio_table(cells: Cells) -> Table:
    """DFIV proximal with current heads over every other method, seed by seed."""
    rows = []
    ours = {run["seed"]: run for run in cells.get(_OURS, {"runs": []})["runs"] if "diverged" not in run}
    for method, cell in cells.items():
        shared = [run for run in cell["runs"] if "diverged" not in run and run["seed"] in ours]
        if method == _OURS or not shared:
            continue
        interval = geometric_interval([ours[run["seed"]]["test_mse"] / run["test_mse"] for run in shared])
        verdict = "better" if interval.high < 1 else "worse" if interval.low > 1 else "not told apart"
        rows.append((method, *interval, verdict))
    return Table(
        f"{_OURS} over other methods, the same seeds", ("method", "ratio", "low", "high", "verdict"), tuple(rows)
    )


def _errors(cell: dict[str, Any], key: str) -> list[float]:
    return [run[key] for run in cell["runs"] if key in run]


def _chosen(cell: dict[str, Any]) -> str:
    if cell["chosen"] is None:
        return "every candidate diverged"
    words = [
        f"{key.replace('_', ' ')} {value if isinstance(value, str) else f'{value:g}'}"
        for key, value in cell["chosen"].items()
    ]
    edge = [key.replace("_", " ") for key in cell["at_edge"]]
    return (", ".join(words) or "its own") + (f" (edge of the grid: {', '.join(edge)})" if edge else "")


def _figure(cells: Cells) -> Figure:
    figure = Figure(figsize=(5.6, 1.4 + 0.5 * len(cells)), layout="constrained")
    axes = figure.subplots()
    for place, cell in enumerate(cells.values()):
        errors = _errors(cell, "test_mse")
        axes.plot(errors, [place] * len(errors), ".", color="C0", alpha=0.6)
        if errors:
            axes.plot(geometric_interval(errors).mean, place, "x", color="C0")
    axes.set_yticks(range(len(cells)), list(cells))
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="test mse")
    axes.grid(alpha=0.3)
    return figure
