"""The page of the study parameters: test error by viscosity."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import geometric_interval

Cell = dict[str, Any]
_LABELS = {"l2": "gradients", "proximal": "closed-form head"}
_TOLD = {
    "own": "one for each viscosity",
    "told": "one, viscosity as input",
    "told, short": "one, viscosity as input, a fifth of the steps",
    "not told": "one, viscosity not given",
}
_STYLES = {"own": "o", "told": "s", "told, short": "^", "not told": "x"}


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], list(result["figures"].values())
    seen, between = ", ".join(f"{v:g}" for v in config["seen"]), ", ".join(f"{v:g}" for v in config["between"])
    rates = ", ".join(f"{rate:g}" for rate in config["rates"])
    introduction = [
        f"Burgers' equation at {config['resolution']} points, {config['samples']} samples for each of the viscosities "
        f"{seen}, tested on {config['test_samples']} others at each and at {between}, which no training saw. A model "
        "of its own learns from the samples of one viscosity; the others learn from all, for as many epochs, which is "
        "as much computing as the five models of their own together, or for a fifth of them, as much as one.",
        f"Everything chose its rate among {rates} on its validation samples with seed 0; seeds {result['seeds']} "
        "report. Means over seeds are geometric. Between the viscosities of the training the model of its own is that "
        "of the nearest one, by ratio.",
    ]
    found = _errors(config, cells)
    words = "Relative L2 error on test samples; grey lines: viscosities not trained on."
    parts: list[Table | Picture] = [Picture("parameters", _figure(found, config["between"]), words)]
    return "Parameters as inputs", introduction, [*parts, error_table(config, found), ratio_table(config, cells)]


Found = dict[tuple[str, str], dict[float, list[float]]]


def _errors(config: dict[str, Any], cells: list[Cell]) -> Found:
    """(variant, method): viscosity: relative L2 errors by seed."""
    every = [*config["seen"], *config["between"]]
    found: Found = {}
    for cell in cells:
        runs = [run["test"] for run in cell["runs"] if "diverged" not in run]
        own = cell["arm"].startswith("own")
        arm = "own" if own else cell["arm"]
        for viscosity in every:
            nearest = min(config["seen"], key=lambda known: abs(np.log(known / viscosity)))
            if not own or f"own {nearest:g}" == cell["arm"]:
                place = found.setdefault((arm, cell["method"]), {})
                place[viscosity] = [run[f"{viscosity:g}"] for run in runs]
    return found


def error_table(config: dict[str, Any], found: Found) -> Table:
    """One row a variant and method: the mean error at each viscosity."""
    every = sorted([*config["seen"], *config["between"]])
    rows = [
        (_TOLD[arm], _LABELS[method], *(geometric_interval(errors[v]).mean if errors.get(v) else "-" for v in every))
        for (arm, method), errors in found.items()
    ]
    names = [f"{v:g}" + ("*" if v in config["between"] else "") for v in every]
    return Table("Relative L2 error by viscosity (* not trained on)", ("models", "head", *names), tuple(rows))


def ratio_table(config: dict[str, Any], cells: list[Cell]) -> Table:
    """Error of the closed-form head over that of gradients, seed by seed, all viscosities of the training together."""
    rows = []
    found = _errors(config, cells)
    for arm in _TOLD:
        pair = [found.get((arm, method)) for method in ("proximal", "l2")]
        if None in pair:
            continue
        ours, theirs = ([errors[v] for v in config["seen"]] for errors in pair if errors is not None)
        if len({len(values) for values in (*ours, *theirs)}) != 1:
            rows.append((_TOLD[arm], "-", "runs were lost"))
            continue
        ratios = np.exp((np.log(np.array(ours)) - np.log(np.array(theirs))).mean(0))
        interval = geometric_interval(ratios.tolist())
        rows.append((_TOLD[arm], interval.cell, interval.verdict))
    return Table(
        "Closed-form head over gradients, same seeds", ("models", "ratio of errors", "the head is"), tuple(rows)
    )


def _figure(found: Found, between: list[float]) -> Figure:
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    arms = list(_TOLD)
    for (arm, method), errors in found.items():
        places = sorted(v for v, values in errors.items() if values)
        means = [geometric_interval(errors[v]).mean for v in places]
        style = {"color": f"C{arms.index(arm)}", "marker": _STYLES[arm], "ls": "-" if method == "proximal" else "--"}
        axes.loglog(places, means, label=f"{_TOLD[arm]}, {_LABELS[method]}", lw=1.4, ms=5, **style)
    for viscosity in between:
        axes.axvline(viscosity, color="0.8", lw=1, zorder=0)
    axes.set(xlabel="viscosity", ylabel="relative L2 error")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
