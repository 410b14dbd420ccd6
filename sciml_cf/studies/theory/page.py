"""The page of the study of the theorems: each table is one statement, where its premise holds and where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml_cf.plots.style import COLORS, nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table

Rows = list[dict[str, Any]]


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    figures = result["figures"]
    introduction = [
        "The theorems of Closed-Form Last Layer Optimization (arXiv:2510.04606), measured in float64 where their "
        "premise holds and where it is broken.",
    ]
    drawn = {picture.name: picture for picture in pictures(figures)}
    made = tables(figures)
    order: list[str] = [
        "theory-landscape", "paths", "gradients", "critical", "theory-segments", "convexity", "flows",
        "theory-eigenvalues", "saddle", "wide", "theory-width", "assumption", "penalty", "one step", "theory-one-step",
        "kalman",
    ]  # fmt: skip
    return "The theorems in numbers", introduction, [drawn[name] if name in drawn else made[name] for name in order]


def tables(figures: dict[str, Any]) -> dict[str, Table]:
    """Every table, by the name of its part."""
    return {
        "paths": paths_table(figures["landscape"]),
        "gradients": gradient_table(figures["gradients"]),
        "critical": critical_table(figures["critical"]),
        "convexity": convexity_table(figures["convexity"]),
        "flows": flow_table(figures["flows"]),
        "saddle": saddle_table(figures["saddle"]),
        "wide": wide_table(figures["wide"]),
        "assumption": assumption_table(figures["assumption"]),
        "penalty": penalty_table(figures["penalty"]),
        "one step": one_step_table(figures["one step"]),
        "kalman": kalman_table(figures["kalman"]),
    }


def pictures(figures: dict[str, Any]) -> list[Picture]:
    """Every figure."""
    return [
        Picture(
            "theory-landscape",
            landscape_figure(figures["landscape"]),
            "Loss of a network of two parameters on three points, darker is higher, on a log scale. Dashed: the best "
            "head W*(theta). Orange: gradient descent of both parameters; red: of theta, the head solved at each step.",
        ),
        Picture(
            "theory-segments", segment_figure(figures["convexity"]), "A convex loss stays below the dotted chords."
        ),
        Picture(
            "theory-eigenvalues",
            eigenvalue_figure(figures["flows"]),
            "Eigenvalues of the attained part in the flow where one falls most, and the residual.",
        ),
        Picture("theory-width", width_figure(figures["wide"]), "Medians; dotted: one over the root of the width."),
        Picture("theory-one-step", one_step_figure(figures["one step"]), "Medians over random problems."),
    ]


def paths_table(landscapes: Rows) -> Table:
    """Losses along the paths of Figure 1."""
    rows = []
    for one in landscapes:
        for path in one["paths"]:
            steps = path["steps"]
            tenth = min(range(len(steps)), key=lambda index: abs(steps[index] - 20))
            rows.append(
                (
                    one["activation"], f"{path['start'][0]:g}, {path['start'][1]:g}", path["joint_loss"][0],
                    path["joint_loss"][tenth], path["solved_loss"][tenth], path["joint_loss"][-1],
                    path["solved_loss"][-1], one["least"],
                )
            )  # fmt: skip
    near = min(landscapes[0]["paths"][0]["steps"], key=lambda step: abs(step - 20))
    last = landscapes[0]["paths"][0]["steps"][-1]
    columns = (
        "activation", "start theta, W", "joint, start", f"joint, {near} steps", f"solved, {near} steps",
        f"joint, {last} steps", f"solved, {last} steps", "least in the picture",
    )  # fmt: skip
    return Table("Figure 1: losses along the paths, the same rate", columns, tuple(rows))


def gradient_table(rows: Rows) -> Table:
    """Theorems 1 and 2."""
    cells = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        some = [row for row in rows if row["kind"] == kind]
        premise = "holds" if some[0]["holds"] else "broken"
        cells.append((kind, premise, min(row["least"] for row in some), max(row["worst"] for row in some)))
    sizes = "; ".join(
        f"{size[0]} rows, {size[1]} features, {size[2]} outputs"
        for size in dict.fromkeys((row["rows"], row["features"], row["outputs"]) for row in rows)
    )
    columns = ("head and loss", "premise", "least distance", "largest distance")
    return Table(f"Theorems 1, 2: gradient through the head and with it held ({sizes})", columns, tuple(cells))


def critical_table(rows: Rows) -> Table:
    """Theorem 3, critical points."""
    cells = [
        (row["point"], row["penalty"], row["gradient"], row["loss"], row["curvature"], row["along"]) for row in rows
    ]
    columns = ("features", "beta", "gradient", "loss", "lowest curvature", "loss along it")
    return Table("Theorem 3: points without a gradient (losses and gradients over |Y|^2)", columns, tuple(cells))


def convexity_table(one: dict[str, Any]) -> Table:
    """Theorem 3, convexity."""
    rows = [("head solved", one["above"], one["draws"]), ("head held", one["above_held"], one["draws"])]
    title = "Theorem 3: random segments of features whose middle is above the mean of its end points"
    return Table(title, ("loss", "above", "of"), tuple(rows))


def flow_table(rows: Rows) -> Table:
    """Theorem 4, kernel flows."""
    cells = [
        (
            row["outputs"], row["side"], row["draws"], row["indefinite"], row["falls"], row["smallest_falls"],
            row["worst_fall"], row["worst_residual"], row["drift"],
        )
        for row in rows
    ]  # fmt: skip
    columns = (
        "outputs", "kernel between", "flows", "AB + BA indefinite", "an eigenvalue falls", "the smallest falls",
        "largest fall", "largest residual at the end", "drift of the invariant",
    )  # fmt: skip
    return Table("Theorem 4, beta = 0: eigenvalues of the attained part under a constant kernel", columns, tuple(cells))


def saddle_table(rows: Rows) -> Table:
    """Theorem 4, the set of measure zero."""
    cells = [(row["change"], row["residual"], "never" if row["time"] is None else row["time"]) for row in rows]
    columns = ("change of the start", "residual at the end", "time until 1e-6")
    return Table("Theorem 4: a start that flows into a saddle, and its neighbours", columns, tuple(cells))


def wide_table(rows: Rows) -> Table:
    """Theorem 4, networks."""
    cells = [
        (
            row["outputs"], row["width"], row["worst_residual"], row["not_shared"], row["kernel_change"], row["apart"],
            f"{row['falls']} of {row['seeds']}", row["worst_fall"],
        )
        for row in rows
    ]  # fmt: skip
    columns = (
        "outputs", "width", "largest residual", "kernel not shared", "kernel moves by", "features apart",
        "an eigenvalue falls", "largest fall",
    )  # fmt: skip
    return Table("Theorem 4: networks under gradient flow, beta = 0 (medians over seeds)", columns, tuple(cells))


def assumption_table(rows: Rows) -> Table:
    """Theorem 4, broken assumptions."""
    cells = [(row["fails"], row["reached"], row["least"], row["worst_excess"]) for row in rows]
    columns = ("what fails", "residual reached", "least possible", "largest difference")
    return Table("Theorem 4: where an assumption fails (residuals are medians)", columns, tuple(cells))


def penalty_table(rows: Rows) -> Table:
    """Theorem 4, beta above zero."""
    cells = [
        (
            row["penalty"], row["early"], row["late"], row["bound"], row["growth"], row["overlap"],
            f"{row['fall']} of {row['draws']}",
        )
        for row in rows
    ]  # fmt: skip
    columns = (
        "beta", "residual at 1e2", "residual at 1e5", "it is at least", "features grow", "Y* with the rest",
        "Y* falls",
    )  # fmt: skip
    return Table("Theorem 4: a penalty above zero, one output (medians)", columns, tuple(cells))


def one_step_table(rows: Rows) -> Table:
    """What a step leaves."""
    cells = [
        (row["condition"], *row["left"].values(), row["bound"], "-" if row["steps"] is None else row["steps"])
        for row in rows
    ]
    columns = ("condition", *rows[0]["left"], "descent, at worst", "descents to 1e-3")
    return Table("One step of the head: share of the excess loss that is left", columns, tuple(cells))


def kalman_table(rows: Rows) -> Table:
    """The Kalman view."""
    cells = [(row["filter"], row["rule"], "holds" if row["holds"] else "broken", row["distance"]) for row in rows]
    return Table("The Kalman view: heads of a textbook's filter and of a rule", ("filter", "rule", "premise",
                 "largest difference"), tuple(cells))  # fmt: skip


def landscape_figure(landscapes: Rows) -> Figure:
    """Figure 1 for both activations."""
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    for axes, one in zip(figure.subplots(1, 2, sharey=True), landscapes, strict=True):
        grid = np.array(one["grid"])
        axes.contourf(grid, grid, np.log10(np.array(one["loss"])), levels=24, cmap="Greys")
        curve = np.array(one["curve"])
        axes.plot(*curve.T, "--", color="C0", lw=1.8, label="W*(theta)")
        for index, path in enumerate(one["paths"]):
            for kind, color, dash, words in (
                ("joint", "C1", "-", "both descend"),
                ("solved", "C3", "-.", "head solved"),
            ):
                points = np.array(path[kind])
                axes.plot(*points.T, dash, color=color, lw=1.6, label=None if index else words)
                axes.plot(*points[0], "o", color=color, ms=4)
                axes.plot(*points[-1], "*", color=color, ms=8)
        axes.set(xlabel="theta", title=f"W {one['activation']}(theta x)", xlim=(-3, 3), ylim=(-3, 3))
    figure.axes[0].set_ylabel("W")
    figure.axes[0].legend(fontsize="small", loc="lower left")
    return figure


def segment_figure(one: dict[str, Any]) -> Figure:
    """The solved loss along two segments."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, words) in enumerate((("through zero", "from Phi to -Phi"), ("random", "between two draws"))):
        values = one[name]
        axes.plot(one["places"], values, label=words, **nth_curve(index, len(values)))
        axes.plot([0, 1], [values[0], values[-1]], ":", color=COLORS[index])
    axes.set(xlabel="place on the segment", ylabel="solved loss / |Y|^2")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure


def eigenvalue_figure(rows: Rows) -> Figure:
    """Eigenvalues over time, of one output and of several."""
    shown = [row for row in rows if row["side"] == "points"]
    figure = Figure(figsize=(4.5 * len(shown), 3.4), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        example = row["example"]
        values = np.array(example["eigenvalues"])
        for index in range(values.shape[1]):
            axes.semilogx(example["times"], values[:, index], **nth_curve(index, len(values)))
        axes.semilogx(example["times"], example["residual"], "k--", lw=1, label="residual")
        axes.set(xlabel="time", title=f"{row['outputs']} output{'s' if row['outputs'] > 1 else ''}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("eigenvalues of Y* Y*^T, over |Y|^2")
    figure.axes[0].legend(fontsize="small", frameon=False)
    return figure


def width_figure(rows: Rows) -> Figure:
    """What vanishes with the width."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, outputs in enumerate(dict.fromkeys(row["outputs"] for row in rows)):
        some = [row for row in rows if row["outputs"] == outputs]
        widths = [row["width"] for row in some]
        for key, style, words in (
            ("kernel_change", "o-", "kernel moves by"),
            ("not_shared", "s--", "kernel not shared"),
        ):
            look = {"color": COLORS[place], "ms": 5, **({"mfc": "none"} if place else {})}
            axes.loglog(widths, [row[key] for row in some], style, label=f"{words}, {outputs} out", **look)
        if place == 0:
            axes.loglog(widths, [some[0]["not_shared"] * (widths[0] / w) ** 0.5 for w in widths], "k:", lw=1)
    axes.set(xlabel="width of the hidden layer", ylabel="relative to the kernel")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure


def one_step_figure(rows: Rows) -> Figure:
    """What a step takes off, by the condition number."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    conditions = [row["condition"] for row in rows]
    for index, step in enumerate(rows[0]["left"]):
        axes.semilogx(conditions, [1 - row["left"][step] for row in rows], label=step, **nth_curve(index))
    axes.semilogx(conditions, [1 - row["bound"] for row in rows], "k:", lw=1, label="steepest descent at worst")
    axes.set(xlabel="condition number of the Gram matrix", ylabel="share of the excess loss taken off")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure
