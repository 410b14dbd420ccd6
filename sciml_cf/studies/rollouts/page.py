"""The page of the study rollouts: how long each way of training follows the solution."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml_cf.plots.style import nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import Interval, geometric_interval, mean_interval
from sciml_cf.studies.harness.selection import edge_sentence

Cell = dict[str, Any]
_LABELS = {"l2": "gradients", "proximal": "closed-form head"}
_STYLES = {"l2": "--", "proximal": "-"}


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], list(result["figures"].values())
    problems = list(dict.fromkeys(cell["problem"] for cell in cells))
    introduction = [
        "A model of one step learns increments from pairs of states of the first 8 steps of the training trajectories; "
        "then it is rolled out from the start of the test trajectories over more. Noise: normal noise on the input "
        "states. Pushforward: the inputs are states that the model has made itself, taken as data. Unrolled: gradients "
        "pass through these states too. All rows of k consecutive steps enter one solve of the head.",
        f"Every method chose among {config['candidates']} candidates (rates, and noise or the number of steps) by the "
        f"roll-out of the validation trajectories with seed 0; seeds {result['seeds']} report on the test "
        "trajectories. All methods have the same number of passes of a state through the model; the last weights are "
        "measured. A relative error above 10 counts as 10.",
        *edge_sentence(cells),
    ]
    parts: list[Table | Picture] = []
    for problem in problems:
        own = [cell for cell in cells if cell["problem"] == problem]
        words = "Relative L2 error against time, mean over test trajectories and seeds; dotted: persistence; grey: the "
        parts.append(Picture(f"rollouts-{problem}", _curves(own), words + "best linear map."))
        parts.append(summary_table(problem, own, config["lyapunov"].get(problem)))
        parts.append(ratio_table(problem, own))
    return "Roll-outs", introduction, parts


def summary_table(problem: str, cells: list[Cell], lyapunov: float | None) -> Table:
    """One row a variant and method: errors, and the time until the correlation falls below 0.8."""
    rows = []
    for cell in cells:
        runs = [run for run in cell["runs"] if "diverged" not in run]
        start = (cell["arm"], _LABELS[cell["method"]], _told(cell["chosen"]))
        if not runs:
            rows.append((*start, *["-"] * 6, len(cell["runs"])))
            continue
        times = [float(np.mean(run["correlation_time"])) for run in runs]
        interval = mean_interval(times)
        rows.append(
            (
                *start,
                float(np.mean([run["one_step"] for run in runs])),
                float(np.mean([run["rollout"] for run in runs])),
                _time_to_loss(times, interval, runs[0]["curves"]["time"][-1]),
                "-" if lyapunov is None else f"{interval.mean * lyapunov:.2f}",
                float(np.mean([run["curves"]["relative_l2"][-1] for run in runs])),
                float(np.mean([run["seconds"] for run in runs])),
                len(cell["runs"]) - len(runs),
            )
        )
    columns = (
        *(
            "training",
            "head",
            "chosen",
            "one step",
            "mean of roll-out",
            "time to 0.8",
            "in Lyapunov times",
            "at the end",
        ),
        *("seconds", "diverged"),
    )
    return Table(f"{problem}: relative L2 errors, means over seeds", columns, tuple(rows))


def _time_to_loss(times: list[float], interval: Interval, end: float) -> str:
    """The mean time with its interval, or that no run of them lost its correlation before the end."""
    if min(times) >= end:
        return f"> {end:.3g}"
    return f"{interval.mean:.3g}" + (f" -+ {interval.high - interval.mean:.2g}" if len(times) > 1 else "")


def ratio_table(problem: str, cells: list[Cell]) -> Table:
    """Error of the closed-form head over that of gradients, seed by seed, with 95 % intervals."""
    rows = []
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        found = {cell["method"]: cell["runs"] for cell in cells if cell["arm"] == arm}
        if set(found) != set(_LABELS):
            continue
        row: list[Any] = [arm]
        for name in ("one_step", "rollout"):
            theirs = {run["seed"]: run.get(name) for run in found["l2"]}
            ratios = [r[name] / theirs[r["seed"]] for r in found["proximal"] if name in r and theirs.get(r["seed"])]
            if not ratios:
                row += ["-", "-"]
                continue
            interval = geometric_interval(ratios)
            row += [interval.cell, interval.verdict]
        rows.append(tuple(row))
    columns = ("training", "one step", "the head is", "mean of roll-out", "the head is there")
    return Table(f"{problem}: closed-form head over gradients", columns, tuple(rows))


def _told(chosen: dict[str, Any]) -> str:
    words = {"learning_rate": "rate", "noise": "noise", "unroll": "steps"}
    return ", ".join(f"{words[name]} {value:g}" for name, value in chosen.items() if name in words) or "-"


def _curves(cells: list[Cell]) -> Figure:
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    arms = list(dict.fromkeys(cell["arm"] for cell in cells))
    others: dict[str, Any] = {}
    for cell in cells:
        runs = [run for run in cell["runs"] if "diverged" not in run]
        if not runs:
            continue
        mean = np.mean([run["curves"]["relative_l2"] for run in runs], axis=0)
        label = f"{cell['arm']}, {_LABELS[cell['method']]}"
        style = {**nth_curve(arms.index(cell["arm"]), len(mean)), "ls": _STYLES[cell["method"]]}
        axes.semilogy(runs[0]["curves"]["time"], mean, lw=1.6, label=label, **style)
        others = runs[0]["curves"]
    if others:
        axes.semilogy(others["time"], others["persistence_relative_l2"], ":", color="0.3", label="persistence")
        axes.semilogy(others["time"], others["linear_relative_l2"], "-.", color="0.6", label="best linear map")
    axes.set(xlabel="time", ylabel="relative L2 error")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
