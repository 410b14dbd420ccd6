"""The page of the study limits: one row a training, one row a combination of its models."""

from __future__ import annotations

import statistics
from typing import Any

from matplotlib.figure import Figure

from sciml_cf.plots.style import nth_style
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import Errors, compare_runs_by_seed, mean_cell, ratio_cells

Cell = dict[str, Any]
_FIRST = "recipe"


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], result["figures"]
    common = ", ".join(f"{key} {value}" for key, value in config["fit"].items())
    introduction = [
        *_headline(cells),
        f"Viscous Burgers at viscosity 0.1, {config['training_samples']} training samples at {config['resolution']} "
        f"points, {config['epochs']} epochs at batch {config['batch_size']}; test errors at {config['stored']} points. "
        f"In common, unless the name of a training says otherwise: {common}, random reflections.",
        f"Seeds {result['seeds']}, no choice of settings. Means over seeds are geometric, ratios are of the same seeds "
        "with Student's 95 % interval of the logarithms. A training on other samples makes as many steps.",
        f"Worst: mean relative L2 error of the worst {config['worst']:.0%} of the test samples. Fitted after: the same "
        "model after its last layer is solved on all training samples and their reflections, with the strength chosen "
        "by cross-validation. Symmetrised: the mean of the output and of the reflected output for the reflected input.",
    ]
    words = (
        "Relative L2 error on the test samples against that on the training samples of the file; a marker is a seed."
    )
    parts: list[Table | Picture] = [Picture("limits", _figure(cells), words), training_table(cells)]
    return "What limits the recipe", introduction, [*parts, after_table(cells), combination_table(cells)]


def _headline(cells: dict[str, Cell]) -> list[str]:
    """Which changes lower the error, the best first, and which do not."""
    if _FIRST not in cells:
        return []
    first = errors_of(cells[_FIRST], "test")
    ratios = {name: compare_runs_by_seed(errors_of(cell, "test"), first) for name, cell in cells.items()}
    known = {name: (interval.mean, words) for name, (interval, words) in ratios.items() if interval and name != _FIRST}
    phrases = {"better": "Lower test errors than the recipe's", "not distinguishable": "Not distinguishable from it",
               "worse": "Higher ones"}  # fmt: skip
    told = []
    for verdict, phrase in phrases.items():
        named = [f"{name} ({mean:.2f})" for name, (mean, words) in sorted(known.items(), key=lambda one: one[1][0])
                 if words == verdict]  # fmt: skip
        if named:
            told.append(f"{phrase}: {', '.join(named)}.")
    return [" ".join(told)] if told else []


def training_table(cells: dict[str, Cell]) -> Table:
    """One row a training: its errors on test and training samples, and the ratio to the recipe's."""
    first, rows = cells.get(_FIRST), []
    for name, cell in cells.items():
        test, training = errors_of(cell, "test"), errors_of(cell, "training")
        gap = [test[seed] / training[seed] for seed in test if test[seed] and training[seed]]  # type: ignore[operator]
        ratio = ("-", "-") if cell is first else ratio_cells(test, errors_of(first, "test") if first else None)
        sound = [run for run in cell["runs"] if "diverged" not in run]
        rows.append(
            (
                name,
                mean_cell(test.values()),
                *ratio,
                mean_cell(errors_of(cell, "test", "relative_l2_worst").values()),
                mean_cell(training.values()),
                statistics.geometric_mean(gap) if gap else "-",
                statistics.fmean(run["seconds"] for run in sound) if sound else "-",
                len(cell["runs"]) - len(sound),
            )
        )
    columns = (
        "training", "test rel. L2", "over the recipe", "it is", "worst", "training rel. L2", "test over training",
        "seconds", "diverged",
    )  # fmt: skip
    return Table("One change at a time", columns, tuple(rows))


def after_table(cells: dict[str, Cell]) -> Table:
    """What the trained model gains from a head of all samples, and from its symmetry."""
    rows = []
    for name, cell in cells.items():
        test = errors_of(cell, "test")
        row: list[Any] = [name, mean_cell(test.values())]
        for key in ("fitted_after", "symmetrised"):
            found = errors_of(cell, key)
            row += [mean_cell(found.values()), ratio_cells(found, test)[0]] if any(found.values()) else ["-", "-"]
        rows.append(tuple(row))
    columns = ("training", "test rel. L2", "fitted after", "over as trained", "symmetrised", "over as trained")
    return Table("The trained model, and what costs no training", columns, tuple(rows))


def combination_table(cells: dict[str, Cell]) -> Table:
    """The models of all seeds together, and one that was trained as long as all of them."""
    rows = []
    for name, cell in cells.items():
        if cell["combined"]:
            found = [cell["combined"][key] for key in ("mean", "one_head", "one_head_symmetrised")]
            single = mean_cell(errors_of(cell, "test").values())
            rows.append(
                (name, len(cell["runs"]), single, *(one["relative_l2"] for one in found), found[1]["relative_l2_worst"])
            )
    columns = (
        "training", "models", "one model", "mean of predictions", "one head", "one head, symmetrised",
        "worst of one head",
    )  # fmt: skip
    return Table("The models of all seeds together: test rel. L2", columns, tuple(rows))


def errors_of(cell: Cell, key: str, metric: str = "relative_l2") -> Errors:
    """Errors by seed; None of a run that diverged, or that has none."""
    return {run["seed"]: run.get(key, {}).get(metric) for run in cell["runs"]}


def _figure(cells: dict[str, Cell]) -> Figure:
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for place, (name, cell) in enumerate(cells.items()):
        points = [(run["training"]["relative_l2"], run["test"]["relative_l2"]) for run in cell["runs"] if "test" in run]
        if points:
            axes.loglog(*zip(*points, strict=True), label=name, **{**nth_style(place), "ls": "none"})
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="0.6", lw=0.8)
    axes.annotate("equal", (high, high), color="0.4", fontsize="small", ha="right", va="bottom")
    axes.set(xlabel="relative L2 error, training samples", ylabel="relative L2 error, test samples")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
