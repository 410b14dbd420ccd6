"""The page of the benchmark layerwise: known answers, forms of a sweep, time to an accuracy, and depth."""

from __future__ import annotations

import math
import statistics
from typing import Any

from matplotlib.figure import Figure

from sciml_cf.plots.style import nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table

Rows = list[dict[str, Any]]


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, figures = result["config"], result["figures"]
    data = _data(config)
    introduction = [
        "One sweep of least squares through all layers (arXiv:2401.06699), compared with gradient methods and random "
        f"features, on {data}. Hidden units are sigmoids; weights drawn from -1 to 1 unless a table says so.",
        "Every method chose among as many settings, twice: for the least time to the threshold and for the highest "
        "accuracy at "
        "the end, on a validation part and three splits of its own. Reported runs came one after another, seed by seed "
        "and method by method, on one thread, three times each, of which the quickest counts; seconds are those of the "
        "processor. "
        f"Seeds {result['seeds']}.",
        "Random features are the same first layer left as drawn, with the last one solved by the same solve.",
    ]
    parts: list[Table | Picture] = [linear_table(figures["toys"]), teacher_table(figures["toys"])]
    parts.append(forms_table(figures["forms"], data))
    parts += [time_table(one, config["mark"]) for one in figures["time"]]
    parts.append(Picture("layerwise-time", _curves(figures["time"], config["mark"]), "A line or a dot is one seed."))
    parts += [depth_table(figures["depths"], data), conditions_table(figures["depths"])]
    return "Whole networks by least squares", introduction, parts


def linear_table(toys: Rows) -> Table:
    """Linear teachers and the exclusive or."""
    found = {toy["toy"]: toy for toy in toys}
    count = found["linear"]["count"]
    rows = [
        ("linear teacher " + "-".join(map(str, row["widths"])), row["targets"], f"worst error {row['worst_error']:.1e}")
        for row in found["linear"]["rows"]
    ]
    xor = found["xor"]["rows"][0]
    rows.append(("exclusive or, 2-4-1", "closest", f"solved {xor['solved']} of {xor['of']}"))
    return Table(f"Known answers after one sweep, {count} draws", ("problem", "targets", "outcome"), tuple(rows))


def teacher_table(toys: Rows) -> Table:
    """Error over that of random features, for teachers of one hidden layer."""
    rows = [
        (toy["toy"], row["targets"], row["over_random_features"], row["worst"])
        for toy in toys if toy["toy"] not in ("linear", "xor") for row in toy["rows"]
    ]  # fmt: skip
    columns = ("activation", "targets", "error over random features", "worst draw")
    return Table("Non-linear teachers 5-20-3: mean squared error on unseen rows", columns, tuple(rows))


def forms_table(forms: Rows, data: str) -> Table:
    """Accuracy of each form of a sweep."""
    rows = []
    for width, form in dict.fromkeys((one["width"], one["form"]) for one in forms):
        some = [one for one in forms if (one["width"], one["form"]) == (width, form)]
        solves = sorted({(one["weight_solves"], one["target_solves"], one["sweeps"]) for one in some})
        counts = [f"{low} to {high}" if low != high else str(low) for low, high in _ranges(solves)]
        last = [one["last_sweep"] for one in some if one["last_sweep"] is not None]
        ending = f"{statistics.fmean(last):.3f}" if last else "-"
        rows.append((form, width, _mean(some, "train"), ending, _mean(some, "test"), *counts))
    columns = ("form", "width", "training", "last sweep", "test", "weight solves", "target solves", "sweeps")
    return Table(f"Accuracy on {data}, one hidden layer (means over seeds)", columns, tuple(rows))


def time_table(one: dict[str, Any], mark: float) -> Table:
    """Time to the threshold and final accuracy of each method, and of the sweep."""
    rows = []
    for end in ("time", "accuracy"):
        sweep = _median(one["runs"], end, "sweep")
        for arm, chosen in one["chosen"][end].items():
            runs = [run for run in one["runs"] if (run["end"], run["arm"]) == (end, arm)]
            taken = _median(one["runs"], end, arm)
            passed = f"{sum(run['passed'] for run in runs)} of {len(runs)}"
            words = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
            edge = " (edge: " + ", ".join(one["at_edge"][end][arm]) + ")" if one["at_edge"][end][arm] else ""
            share = f"{1 - statistics.fmean(run['lost'] for run in runs):.3f}"
            total = 1e3 * statistics.median(run["seconds"] for run in runs)
            rows.append((end, arm, words + edge, passed, 1e3 * taken, _ratio(taken, sweep), share, total))
    columns = (
        "chosen for", "method", "settings", "passed", "ms to threshold", "over the sweep", "accuracy", "ms in all",
    )  # fmt: skip
    return Table(f"Time to accuracy {mark:g}, {one['width']} hidden units (medians over seeds)", columns, tuple(rows))


def depth_table(depths: Rows, data: str) -> Table:
    """Accuracy and solves by depth, by the bound of the first weights."""
    bounds = sorted({one["bound"] for one in depths})
    rows = []
    for depth, mode in dict.fromkeys((one["depth"], one["mode"]) for one in depths):
        some = [one for one in depths if (one["depth"], one["mode"]) == (depth, mode)]
        cells = [_mean([one for one in some if one["bound"] == bound], "test") for bound in bounds]
        rows.append((depth, mode, *cells, str(some[0]["weight_solves"])))
    columns = ("hidden layers", "targets", *(f"test, from {bound:g}" for bound in bounds), "weight solves")
    return Table(f"Hidden layers of 100 units on {data}, by the bound of the first weights", columns, tuple(rows))


def conditions_table(depths: Rows) -> Table:
    """Condition numbers of the solved systems, by the layer they belong to."""
    deepest, bound = (max(one[name] for one in depths) for name in ("depth", "bound"))
    rows = []
    for depth in sorted({one["depth"] for one in depths}):
        cells: list[Any] = ["-"] * (deepest + 2)
        some = [
            one["solves"] for one in depths
            if (one["depth"], one["mode"], one["bound"]) == (depth, "closest", bound)
        ]  # fmt: skip
        for place, solve in enumerate(some[0]):
            column = solve["layer"] if place <= depth else deepest + 1  # the last solve is the re-fit
            cells[column] = f"{statistics.median(solves[place]['condition'] for solves in some):.1e}"
        rows.append((depth, *cells))
    columns = ("hidden layers", *(f"layer {number}" for number in range(1, deepest + 2)), "top re-fit")
    return Table(
        f"Condition number of each solved system, closest targets, weights from {bound:g} (medians)",
        columns,
        tuple(rows),
    )


def _data(config: dict[str, Any]) -> str:
    return "digits" if config["images"] is None else "the pictures of the folder"


def _mean(rows: Rows, figure: str) -> str:
    return f"{statistics.fmean(row[figure] for row in rows):.3f}"


def _ranges(solves: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    return [(min(values), max(values)) for values in zip(*solves, strict=True)]


def _median(runs: Rows, end: str, arm: str) -> float:
    """Median seconds to the threshold; a run that never passes it counts as infinite."""
    return statistics.median(
        run["seconds_to_mark"] if run["passed"] else math.inf for run in runs if (run["end"], run["arm"]) == (end, arm)
    )


def _ratio(theirs: float, sweep: float) -> float | str:
    return theirs / sweep if math.isfinite(sweep) else "the sweep does not pass"


def _curves(widths: list[dict[str, Any]], mark: float) -> Figure:
    figure = Figure(figsize=(5.6, 3.6 * len(widths)), layout="constrained")
    for place, one in zip(figure.subplots(len(widths), squeeze=False)[:, 0], widths, strict=True):
        for index, arm in enumerate(one["chosen"]["time"]):
            runs = [run for run in one["runs"] if (run["end"], run["arm"]) == ("time", arm)]
            for number, run in enumerate(runs):
                rows = [row for row in run["rows"] if row["seconds"] > 0]
                place.semilogx(
                    [1e3 * row["seconds"] for row in rows], [row["accuracy"] for row in rows], lw=1.0,
                    label=None if number else arm, **nth_curve(index, len(rows)),
                )  # fmt: skip
        place.axhline(mark, color="0.5", lw=0.8, ls=":")
        place.set(ylim=(0.8, 1.0), ylabel="test accuracy", title=f"{one['width']} hidden units")
        place.set(xlabel="processor milliseconds")
        place.legend(fontsize="small", frameon=False)
        place.grid(alpha=0.3)
    return figure
