"""The page of the study optimizers: errors of each optimizer and each way to train the head."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import Errors, mean_cell, ratio_cells
from sciml_cf.studies.harness.selection import edge_sentence

Cell = dict[str, Any]
_LABELS = {"l2": "gradients", "proximal": "proximal head", "automatic": "automatic head"}
_STYLES = {"l2": "--", "proximal": "-", "automatic": ":"}
_NAMES = {"adam": "Adam", "adamw": "AdamW", "soap": "SOAP"}
_BUDGETS = {"runs": "equal steps", "runs_of_equal_seconds": "equal seconds"}


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], list(result["figures"].values())
    rates = ", ".join(f"{rate:g}" for rate in config["rates"])
    introduction = [
        f"Each combination chose its rate among {rates} on the validation samples with seed 0, in "
        f"{config['share']:.0%} of the epochs; seeds {result['seeds']} report the last weights on the test samples at "
        "the stored resolution. Means over seeds are geometric.",
        "Equal seconds: as many epochs as fit into the processor time of Adam with gradients. Fitted after: the same "
        "model after its last layer is fitted to all training samples, with the strength chosen by cross-validation.",
        *edge_sentence(cells),
    ]
    parts: list[Table | Picture] = []
    for problem in dict.fromkeys(cell["problem"] for cell in cells):
        own = [cell for cell in cells if cell["problem"] == problem]
        words = "Mean squared error on the validation samples against processor seconds, one line a seed."
        parts += [Picture(f"optimizers-{problem}", _figure(own), words), error_table(problem, own)]
        parts += [ratio_table(problem, own), movement_table(problem, own)]
    return "Optimizers and the head", introduction, [part for part in parts if not _is_empty(part)]


def error_table(problem: str, cells: list[Cell]) -> Table:
    """One row an optimizer and method: the errors at both budgets."""
    rows = []
    for cell in cells:
        epochs = [len(run["steps"]) for run in cell["runs_of_equal_seconds"] if "steps" in run]
        ended = [run for run in cell["runs"] if "diverged" not in run]
        rows.append(
            (
                _NAMES[cell["optimizer"]],
                _LABELS[cell["method"]],
                cell["chosen"].get("learning_rate", "-"),
                mean_cell(_errors(cell, "runs").values()),
                mean_cell(_errors(cell, "runs", "head_fitted_after").values()),
                float(np.mean([run["seconds"] for run in ended])) if ended else "-",
                epochs[0] if epochs else "-",
                mean_cell(_errors(cell, "runs_of_equal_seconds").values()),
                sum("diverged" in run for run in (*cell["runs"], *cell["runs_of_equal_seconds"])),
            )
        )
    columns = (
        "optimizer", "head", "rate", "rel. L2, equal steps", "fitted after", "seconds", "epochs of equal seconds",
        "rel. L2, equal seconds", "diverged",
    )  # fmt: skip
    return Table(f"{problem}: test errors", columns, tuple(rows))


def ratio_table(problem: str, cells: list[Cell]) -> Table:
    """What the head does with each optimizer, and each optimizer with each head."""
    by_name = {(cell["optimizer"], cell["method"]): cell for cell in cells}
    pairs = [((o, m), (o, "l2")) for o in _NAMES for m in ("proximal", "automatic")]
    pairs += [((o, m), ("adam", m)) for m in _LABELS for o in ("adamw", "soap")]
    pairs += [(("soap", "l2"), ("adam", "proximal")), (("soap", "proximal"), ("adam", "l2"))]
    rows = []
    for ours, theirs in pairs:
        if ours in by_name and theirs in by_name:
            row = tuple(f"{_NAMES[o]}, {_LABELS[m]}" for o, m in (ours, theirs))
            for budget in _BUDGETS:
                row += ratio_cells(_errors(by_name[ours], budget), _errors(by_name[theirs], budget))
            rows.append(row)
    columns = ("of", "over", "equal steps", "the first is", "equal seconds", "the first is")
    return Table(f"{problem}: ratios of test errors, same seeds", columns, tuple(rows))


def movement_table(problem: str, cells: list[Cell]) -> Table:
    """How far the solved head moves in an epoch, relative to its final norm."""
    rows = []
    for cell in cells:
        moved = [
            np.array(run["head_change"]) / run["head_norm"]
            for run in cell["runs"]
            if "diverged" not in run and run["head_change"]
        ]
        if moved:
            mean = np.exp(np.mean([np.log(np.maximum(one, 1e-300)) for one in moved], axis=0))
            where = (0, len(mean) // 2, len(mean) - 1)
            rows.append((_NAMES[cell["optimizer"]], _LABELS[cell["method"]], *(float(mean[i]) for i in where)))
    columns = ("optimizer", "head", "first epoch", "middle", "last epoch")
    return Table(f"{problem}: change of the head in an epoch over its final norm", columns, tuple(rows))


def _errors(cell: Cell, budget: str, key: str = "test") -> Errors:
    """Relative L2 errors by seed; None of a run that diverged."""
    return {run["seed"]: None if "diverged" in run else run[key]["relative_l2"] for run in cell[budget]}


def _is_empty(part: Table | Picture) -> bool:
    return isinstance(part, Table) and not part.rows


def _figure(cells: list[Cell]) -> Figure:
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    names = list(_NAMES)
    for cell in cells:
        style = {"color": f"C{names.index(cell['optimizer'])}", "ls": _STYLES[cell["method"]]}
        label: str | None = f"{_NAMES[cell['optimizer']]}, {_LABELS[cell['method']]}"
        for run in cell["runs"]:
            if "diverged" not in run:
                steps = np.array(run["steps"])
                axes.semilogy(steps / steps[-1] * run["seconds"], run["validation_mse"], lw=1.1, label=label, **style)
                label = None
    axes.set(xlabel="processor seconds", ylabel="validation mse")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
