"""The page of the study dfiv-demand: one table of estimators with intervals, and one figure."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import compare_runs_by_seed, geometric_interval

Cells = dict[str, dict[str, Any]]
_OURS = "DFIV proximal"


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], result["figures"]
    tried = max(len(cell["selection"]) for cell in cells.values())
    spoken = " and ".join(f"{noise:g}" for noise in config["noises"])
    introduction = [
        f"Demand for airline tickets: {config['samples']} samples of each seed, correlation {config['correlation']:g} "
        f"of the hidden cause; price is the treatment, the cost of fuel the instrument, time and group are covariates. "
        f"Errors are mean squares against the structural function on the points of the test grid.",
        f"The noise of the outcome, which holds what is hidden, has a standard deviation of {spoken}. 1 is the design "
        f"of Xu et al. (arXiv:2010.07154): sales deviate by about 158, so that next to nothing is hidden, and what is "
        f"compared is how well each method fits a function. 158 is that of the program of Hartford et al. (2017), "
        f"which adds unit noise to sales of unit deviation: there regression takes association for effect.",
        f"Every method got {tried} candidates in each design, chosen on {config['validation_points']} other points of "
        f"the grid with seed 0; kernel IV also has its own validation among them. That needs the truth, which practice "
        f"does not have: the table says what methods can do, not what they do untuned. Seeds {result['seeds']} report, "
        f"each with samples and weights of its own; means are geometric, intervals Student's 95 % of the logarithms.",
    ]
    parts: list[Table | Picture] = [
        Picture("dfiv-demand", _figure(cells), "Test error; dots are seeds, crosses geometric means."),
        results_table(cells),
        ratio_table(cells),
    ]
    return "Instrumental variables on the demand design", introduction, parts


def results_table(cells: Cells) -> Table:
    """The test error of every method with its interval, with the heads that were chosen."""
    rows = []
    for cell in cells.values():
        errors = _errors(cell)
        interval = geometric_interval(errors) if errors else ("-", "-", "-")
        lost = sum("diverged" in run for run in cell["runs"])
        rows.append((cell["noise"], cell["method"], _chosen(cell), *interval, lost))
    return Table("Test error", ("noise", "method", "chosen", "test mse", "low", "high", "diverged"), tuple(rows))


def ratio_table(cells: Cells) -> Table:
    """DFIV proximal over every other method of the same design, seed by seed."""
    rows = []
    for cell in cells.values():
        ours = _by_seed([one for one in cells.values() if (one["method"], one["noise"]) == (_OURS, cell["noise"])])
        if cell["method"] == _OURS or not ours:
            continue
        interval, words = compare_runs_by_seed(ours, _by_seed([cell]))
        rows.append((cell["noise"], cell["method"], *(interval or ("-", "-", "-")), words))
    columns = ("noise", "method", "ratio", "low", "high", "verdict")
    return Table(f"{_OURS} over other methods, the same seeds", columns, tuple(rows))


def _by_seed(cells: list[dict[str, Any]]) -> dict[int, float | None]:
    return {run["seed"]: None if "diverged" in run else run["test_mse"] for cell in cells for run in cell["runs"]}


def _errors(cell: dict[str, Any]) -> list[float]:
    return [run["test_mse"] for run in cell["runs"] if "diverged" not in run]


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
    noises = list(dict.fromkeys(cell["noise"] for cell in cells.values()))
    methods = list(dict.fromkeys(cell["method"] for cell in cells.values()))
    figure = Figure(figsize=(5.6, (1.0 + 0.36 * len(methods)) * len(noises) + 0.4), layout="constrained")
    for axes, noise in zip(figure.subplots(len(noises), squeeze=False)[:, 0], noises, strict=True):
        for cell in cells.values():
            errors, place = _errors(cell), methods.index(cell["method"])
            if cell["noise"] == noise and errors:
                axes.plot(errors, [place] * len(errors), ".", color="C0", alpha=0.6)
                axes.plot(geometric_interval(errors).mean, place, "x", color="C0")
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set(xscale="log", xlabel="test mse", title=f"noise {noise:g}")
        axes.grid(alpha=0.3)
    return figure
