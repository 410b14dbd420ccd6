"""The page of the benchmark recipe: relative error on the full grid, against the baseline and published results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sciml_cf.plots.style import DASHES, REFERENCE, nth_style
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import geometric_interval

Cells = dict[str, dict[str, Any]]
_NAMES = {"adam": "Adam", "soap": "SOAP"}
# Mean relative L2 errors in print for Burgers at viscosity 0.1, at the resolution of training: what, from, to.
PUBLISHED = (
    ("Fourier neural operators (arXiv:2010.08895 and works that compare with it)", 1.8e-3, 3.3e-3),
    ("Multiwavelets (arXiv:2109.13459)", 1.8e-3, 1.8e-3),
    ("Galerkin transformer (arXiv:2105.14995)", 1e-3, 1e-3),
)
_SHORT = [(name.partition(" (")[0], low, high) for name, low, high in PUBLISHED]


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], result["figures"]
    full, trained = config["stored_resolution"], config["resolution"]
    common = ", ".join(f"{key} {value}" for key, value in config["recipe"].items())
    introduction = [
        f"Viscous Burgers, {config['samples']} samples; a Fourier neural operator of width {config['width']} and "
        f"{config['modes']} modes is trained on {trained} points for {_epochs(config, cells)}, measured on {full}.",
        f"In common: {common}. {_choice(config, cells)} Seeds {result['seeds']} report; means are geometric, with "
        "Student's 95 % interval of the logarithms.",
        *_words_on_published_split(cells),
        "Symmetrised: the mean of the model's output and of its reflected output for the reflected input, u(x) -> "
        "-u(-x), which costs a second forward pass and no training.",
        *_words_on_models_together(config, cells),
    ]
    caption = f"Mean relative L2 error at {full} points; a marker is a seed. Gray: errors published for viscosity 0.1."
    parts: list[Table | Picture] = [Picture("recipe", _figure(cells, full), caption), results_table(cells, config)]
    return "Burgers: the most accurate recipe", introduction, parts


def results_table(cells: Cells, config: dict[str, Any]) -> Table:
    """Errors on the full grid, what the step from the training grid costs, and the time."""
    full, trained = config["stored_resolution"], config["resolution"]
    rows = []
    for cell in cells.values():
        sound = _sound(cell)
        name = (cell["viscosity"], cell["split"], _method(cell), _rate(cell))
        if not sound:
            rows.append((*name, *["-"] * 11, len(cell["runs"])))
            continue
        errors = [_at(run, full, "relative_l2") for run in sound]
        loss = max(_at(run, full, "relative_l2") / _at(run, trained, "relative_l2") - 1 for run in sound)
        both = statistics.geometric_mean(_at(run, full, "relative_l2_symmetrised") for run in sound)
        worst = max(_at(run, full, "relative_l2_max") for run in sound)
        worst_share = _mean([_at(run, full, "relative_l2_worst") for run in sound])
        together: list[Any] = ["-", "-"]
        if cell.get("together"):
            one_head = {"test": cell["together"]["one_head"]}
            together = [_at(one_head, full, metric) for metric in ("relative_l2", "relative_l2_symmetrised")]
        squares = statistics.fmean(_at(run, full, "mse") for run in sound)
        seconds = statistics.fmean(run["seconds"] for run in sound)
        diverged = len(cell["runs"]) - len(sound)
        rows.append(
            (
                *name,
                *geometric_interval(errors),
                both,
                *together,
                worst_share,
                worst,
                f"{100 * loss:.2f} %",
                squares,
                seconds,
                diverged,
            )
        )
    columns = (
        "viscosity", "split", "method", "rate", f"rel. L2 at {full}", "low", "high", "symmetrised", "one head of all",
        "one head, symmetrised",
        f"worst {config.get('worst', 0.01):.0%}", "worst sample", f"worst loss from {trained}", "mse", "seconds",
        "diverged",
    )  # fmt: skip
    return Table(f"Errors over the test samples at {full} points", columns, tuple(rows))


def _rate(cell: dict[str, Any]) -> str:
    """The learning rate, and whether it is the lowest or the highest of those tried."""
    tried = [float(rate) for rate in cell["selection"]]
    edge = len(tried) > 1 and cell["learning_rate"] in (min(tried), max(tried))
    return f"{cell['learning_rate']:g}" + (" (edge)" if edge else "")


def _method(cell: dict[str, Any]) -> str:
    """The method, and the optimizer where a result has others than Adam."""
    return f"{cell['method']}, {_NAMES[cell.get('optimizer', 'adam')]}"


def _epochs(config: dict[str, Any], cells: Cells) -> str:
    """Of the reported trainings, by optimizer where these differ; cells of version 0.1 have none of their own."""
    counts = {cell.get("optimizer", "adam"): cell.get("epochs", config["epochs"]) for cell in cells.values()}
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} epochs"
    return " and ".join(f"{epochs} epochs of {_NAMES[name]}" for name, epochs in counts.items())


def _choice(config: dict[str, Any], cells: Cells) -> str:
    """How the learning rates were chosen."""
    counts = {len(cell["selection"]) for cell in cells.values()}
    if counts == {1}:
        return "One learning rate was given, so none was chosen."
    rates = "three" if counts == {3} else " or ".join(map(str, sorted(counts)))
    return (
        f"Each method chose its learning rate among {rates} with seed 0 and {config['selection_epochs']} epochs, by "
        f"the {_score(cells)} on the validation set."
    )


def _words_on_published_split(cells: Cells) -> list[str]:
    if not any(cell["split"] == "published" for cell in cells.values()):
        return []
    return [
        "The published split trains on the first samples of the file and tests on its last ones. The data are of the "
        "same law as the published file, not the file itself, and published figures were measured at the resolution "
        "of training: the lines in the figure are for orientation."
    ]


def _words_on_models_together(config: dict[str, Any], cells: Cells) -> list[str]:
    if not any(cell.get("together") for cell in cells.values()):
        return []
    return [
        f"One head of all: one last layer over the features of the {len(config['seeds'])} models, solved on the "
        "training samples and their reflections."
    ]


def _mean(values: Sequence[float | None]) -> float | str:
    """The geometric mean; results of version 0.1 lack the metric."""
    known = [value for value in values if value is not None]
    return statistics.geometric_mean(known) if known else "-"


def _at(run: dict[str, Any], resolution: int, metric: str) -> Any:
    (found,) = [row.get(metric) for row in run["test"] if row["resolution"] == resolution]
    return found


def _figure(cells: Cells, full: int) -> Figure:
    """Errors of the seeds, a row a method, with the published errors as named lines and bands."""
    figure = Figure(figsize=(8.4, 2.0 + 0.5 * len(cells)), layout="constrained")
    axes = figure.subplots()
    names, every = list(cells), []
    for row, name in enumerate(names):
        errors = [_at(run, full, "relative_l2") for run in cells[name]["runs"] if "diverged" not in run]
        style = nth_style(0 if cells[name]["method"] == "l2" else 1)
        axes.semilogx(errors, [row] * len(errors), ls="none", **style)
        every += errors
    for index, (label, low, high) in enumerate(_SHORT):
        if high > low:
            axes.axvspan(low, high, color=REFERENCE, alpha=0.15, lw=0)
        for value in {low, high}:
            axes.axvline(value, color=REFERENCE, lw=1, ls=DASHES[1 + index])
        axes.annotate(
            label, (math.sqrt(low * high), 1), xycoords=axes.get_xaxis_transform(), xytext=(0, 4 + 13 * index),
            textcoords="offset points", ha="center", fontsize="small", annotation_clip=False,
        )  # fmt: skip
    _ticks(axes, [*every, *(value for _, low, high in _SHORT for value in (low, high))])
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlabel=f"mean relative L2 error at {full} points")
    axes.grid(alpha=0.3, axis="x")
    return figure


def _ticks(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis around the values, with ticks at 1, 2 and 5 times powers of ten, as plain numbers."""
    low, high = 0.8 * min(values), 1.25 * max(values)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [tick for decade in decades for factor in (1, 2, 5) if low <= (tick := factor * 10.0**decade) <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _score(cells: Cells) -> str:
    """The error by which rates were chosen: version 0.1 took the loss of `fit`'s best epoch."""
    relative = all("validation_relative_l2" in run for cell in cells.values() for run in _sound(cell))
    return "relative L2 error" if relative else "mean squared error"


def _sound(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in cell["runs"] if "diverged" not in run]
