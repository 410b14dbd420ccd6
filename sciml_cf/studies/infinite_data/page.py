"""The page of the study infinite-data: errors of the same samples again and again, and of new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml_cf.plots.style import nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import mean_cell, ratio_cells

Cell = dict[str, Any]
_LABELS = {"l2": "gradients", "proximal": "closed-form head"}


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], list(result["figures"].values())
    rates = ", ".join(f"{rate:g}" for rate in config["rates"])
    told = {
        "finite": "on these samples again and again",
        "more": f"on {config['more']} samples",
        "infinite": "on samples that the solver makes anew for each epoch",
    }
    where = [words for arm, words in told.items() if any(cell["arm"] == arm for cell in cells)]
    introduction = [
        f"Burgers' equation with viscosity 0.1, trained at {config['resolution']} points for the steps of "
        f"{config['epochs']} epochs of {config['training_samples']} samples, batches of {config['batch_size']}: "
        f"{', '.join(where)}. New samples show what model and optimizer reach in these steps when data do not limit "
        "them.",
        f"Everything chose its rate among {rates} on the same validation samples with seed 0, in {config['share']:.0%} "
        f"of the steps; seeds {result['seeds']} report the last weights. Means over seeds are geometric.",
    ]
    words = "Mean squared error on the validation samples against steps, one line a seed."
    parts: list[Table | Picture] = [Picture("infinite-data", _figure(config, cells), words)]
    return "Infinite data", introduction, [*parts, error_table(config, cells), ratio_table(config, cells)]


def _told(config: dict[str, Any]) -> dict[str, str]:
    return {
        "finite": f"{config['training_samples']}, again and again",
        "more": f"{config['more']}, again and again",
        "infinite": "new in each epoch",
    }


def _errors(cell: Cell, place: int, key: str = "relative_l2") -> dict[int, float | None]:
    """Errors by seed at one of the resolutions of the test; None of a run that diverged."""
    return {run["seed"]: None if "diverged" in run else run["test"][place][key] for run in cell["runs"]}


def error_table(config: dict[str, Any], cells: list[Cell]) -> Table:
    """One row a variant and method: the errors of the test, and that on the training samples of the file."""
    rows = []
    for cell in cells:
        seen = [run.get("on_the_files_training_samples") for run in cell["runs"]]
        rows.append(
            (
                _told(config)[cell["arm"]],
                _LABELS[cell["method"]],
                cell["chosen"].get("learning_rate", "-"),
                mean_cell(seen),
                *(mean_cell(_errors(cell, place).values()) for place in (0, 1)),
                mean_cell(_errors(cell, 1, "mse").values()),
                sum("diverged" in run for run in cell["runs"]),
            )
        )
    small, full = config["resolution"], config["stored"]
    columns = (
        "training samples", "head", "rate", f"rel. L2 on the {config['training_samples']} samples",
        f"rel. L2 on test, {small}", f"on test, {full}", f"test mse, {full}", "diverged",
    )  # fmt: skip
    return Table("Errors after as many steps", columns, tuple(rows))


def ratio_table(config: dict[str, Any], cells: list[Cell]) -> Table:
    """What more data do to the test error of each method, and what the head does with each kind of data."""
    by_name = {(cell["arm"], cell["method"]): _errors(cell, 1) for cell in cells}
    rows = []
    for method, label in _LABELS.items():
        for arm in ("more", "infinite"):
            rows.append((f"{label}: {_told(config)[arm]}", f"{config['training_samples']} samples"))
            rows[-1] += ratio_cells(by_name.get((arm, method)), by_name.get(("finite", method)))
    for arm, told in _told(config).items():
        row = (f"closed-form head: {told}", "gradients")
        rows.append(row + ratio_cells(by_name.get((arm, "proximal")), by_name.get((arm, "l2"))))
    measured = tuple(row for row in rows if row[2] != "-")
    return Table("Ratios of test errors, same seeds", ("of", "over", "ratio", "the first is"), measured)


def _figure(config: dict[str, Any], cells: list[Cell]) -> Figure:
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    arms = list(_told(config))
    for cell in cells:
        style = {**nth_curve(arms.index(cell["arm"]), 60), "ls": "-" if cell["method"] == "proximal" else "--"}
        label = f"{_told(config)[cell['arm']]}, {_LABELS[cell['method']]}"
        for run in cell["runs"]:
            if "diverged" not in run:
                axes.semilogy(np.array(run["steps"]), run["validation_mse"], lw=1.1, label=label, **style)
                label = None
    axes.set(xlabel="steps", ylabel="validation mse")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
