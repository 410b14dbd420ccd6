"""The page of the benchmark transfer: heat-maps, curves, the parts of the error, bands, and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from sciml_cf.plots.style import REFERENCE, name_curves, nth_curve, nth_style
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import geometric_interval

Cell = dict[str, Any]
_OUTPUTS = ("native", "fourier", "linear")
_PARTS = ("model", "sampling", "aliasing")
_FLOOR = 1e-16  # a part that is zero cannot be drawn on a log axis


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, cells = result["config"], list(result["figures"].values())
    introduction = [
        f"Each model is trained with the closed-form head (proximal, Algorithm 2, Adam, cosine) for "
        f"{config['line']['epochs']} epochs ({config['plane']['epochs']} in two dimensions) at several "
        f"resolutions, and measured at many, natively and brought to the full grid by "
        f"Fourier and by linear interpolation. Seeds {result['seeds']} report; means are geometric.",
        "On every problem every model got the same learning rates, chosen on the validation set at one resolution with "
        "seed 0. Nothing else was tuned: the strength is fit's default, and the models are equally wide, not equally "
        "large.",
    ]
    parts: list[Table | Picture] = [
        Picture(
            "transfer-heat",
            _heat(cells),
            "Relative L2 error at the resolution of evaluation (native): rows are the resolutions of training. "
            "A model that transfers has rows of one color.",
        ),
        Picture(
            "transfer-curves",
            _curves(cells),
            "Relative L2 error against resolution, trained at the resolution in the title (dotted line): solid "
            "natively, dashed by Fourier interpolation to the full grid, faint by linear interpolation. Gray: the best "
            "baseline, which needs no trained model.",
        ),
        Picture(
            "transfer-parts",
            _parts(cells),
            "Where the mean squared error on the full grid comes from: the model on inputs that the points hold; what "
            "they cannot hold of the solution (sampling); what striding folds onto lower wavenumbers (aliasing). With "
            "a cross term of model and aliasing they add up to the total.",
        ),
        Picture(
            "transfer-bands",
            _bands(cells),
            "Mean squared error at the full resolution in octaves of the wavenumber.",
        ),
        summary_table(cells),
    ]
    return "Resolution transfer", introduction, parts


def summary_table(cells: list[Cell]) -> Table:
    """One row a problem, model and training resolution: the error there, and on the full grid in two ways."""
    rows = []
    for cell in cells:
        for train in _trained(cell):
            runs = _runs(cell, train)
            diverged = sum(run["resolution"] == train and "diverged" in run for run in cell["runs"])
            start = (cell["problem"], cell["model"], train, _rate(cell))
            if not runs:
                rows.append((*start, "-", "-", "-", "-", "-", diverged, "-"))
                continue
            full = runs[0]["evaluation"]["reference"]
            there, far = (_mean(runs, "relative_l2", n, "native") for n in (train, full))
            rows.append(
                (
                    *start,
                    there,
                    far,
                    far / there,
                    _mean(runs, "relative_l2", train, "fourier"),
                    float(np.mean([_consistency(run, train, full) for run in runs])),
                    diverged,
                    float(np.mean([run["seconds"] for run in runs])),
                )
            )
    columns = (
        "problem", "model", "trained at", "rate", "rel. L2 there", "rel. L2 at full", "ratio", "there, fourier to full",
        "inconsistency", "diverged", "seconds",
    )  # fmt: skip
    return Table("Trained at one resolution, run on the full grid", columns, tuple(rows))


def long_table(result: dict[str, Any]) -> Table:
    """Every mean over seeds: one row a problem, model, training and evaluation resolution, and output."""
    rows = []
    for cell in result["figures"].values():
        for train in _trained(cell):
            runs = _runs(cell, train)
            for n in runs[0]["evaluation"]["resolution"] if runs else ():
                for output in runs[0]["evaluation"]["output"]:
                    values = [_at(run, "relative_l2", n, output) for run in runs]
                    sound = bool(np.all(np.isfinite(values)))
                    interval = geometric_interval(values) if sound else (float(np.mean(values)), 0.0, np.inf)
                    others = [
                        _mean(runs, name, n, output)
                        for name in ("mse", "vrmse", "relative_h1", "max_error", "floor_mse")
                    ]
                    parts = [_part(runs, part, n) for part in (*_PARTS, "cross")] if output == "fourier" else [""] * 4
                    rows.append(
                        (cell["problem"], cell["model"], train, n, output, len(runs), *interval, *others, *parts)
                    )
    columns = (
        "problem", "model", "trained_at", "resolution", "output", "runs", "relative_l2", "low", "high", "mse", "vrmse",
        "relative_h1", "max_error", "floor_mse", "part_model", "part_sampling", "part_aliasing", "part_cross",
    )  # fmt: skip
    return Table("Resolution transfer", columns, tuple(rows))


def _trained(cell: Cell) -> list[int]:
    return sorted({run["resolution"] for run in cell["runs"]})


def _runs(cell: Cell, train: int) -> list[Cell]:
    return [run for run in cell["runs"] if run["resolution"] == train and "diverged" not in run]


def _rate(cell: Cell) -> str:
    if not cell["chosen"]:
        return "every candidate diverged"
    return f"{cell['chosen']['learning_rate']:g}" + (" (edge)" if cell["at_edge"] else "")


def _at(run: Cell, name: str, resolution: int, output: str) -> float:
    """A figure of a run; NaN where it was not measured."""
    evaluation = run["evaluation"]
    if name not in evaluation or output not in evaluation["output"] or resolution not in evaluation["resolution"]:
        return float("nan")
    return evaluation[name][evaluation["resolution"].index(resolution)][evaluation["output"].index(output)]


def _mean(runs: list[Cell], name: str, resolution: int, output: str) -> float:
    """Geometric mean over seeds of errors; zero if one of them is."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log([_at(run, name, resolution, output) for run in runs]))))


def _part(runs: list[Cell], part: str, resolution: int) -> float:
    """Mean over seeds of a part of the error."""
    evaluations = [run["evaluation"] for run in runs]
    return float(
        np.mean([e["part_mse"][e["resolution"].index(resolution)][e["part"].index(part)] for e in evaluations])
    )


def _consistency(run: Cell, one: int, other: int) -> float:
    evaluation = run["evaluation"]
    sizes = evaluation["resolution"]
    return (
        evaluation["consistency"][sizes.index(one)][sizes.index(other)] if one in sizes and other in sizes else np.nan
    )


def _middle(cells: list[Cell], problem: str) -> int:
    """The training resolution that a problem's curves show: the middle one of those that most models have."""
    found = [set(_trained(cell)) for cell in cells if cell["problem"] == problem and _trained(cell)]
    shared = sorted(set.intersection(*found) or set.union(*found)) if found else [0]
    return shared[len(shared) // 2]


def _grid(cells: list[Cell], width: float, height: float) -> Iterator[tuple[Figure, Axes, str, str]]:
    """One panel a problem (rows) and model (columns)."""
    problems, models = (list(dict.fromkeys(cell[key] for cell in cells)) for key in ("problem", "model"))
    figure = Figure(figsize=(0.8 + width * len(models), 0.5 + height * len(problems)), layout="constrained")
    axes = figure.subplots(len(problems), len(models), squeeze=False, sharey="row")
    for row, problem in enumerate(problems):
        for column, model in enumerate(models):
            yield figure, axes[row][column], problem, model


def _heat(cells: list[Cell]) -> Figure:
    """Training resolution against evaluation resolution, one map a problem and model, one color scale a problem."""
    figure = Figure()
    for figure, axes, problem, model in _grid(cells, 3.1, 2.3):
        tables = {cell["model"]: _table(cell) for cell in cells if cell["problem"] == problem and _trained(cell)}
        axes.set_title(f"{problem}, {model}", fontsize="medium")
        values = np.concatenate([table[2].ravel() for table in tables.values()]) if tables else np.array([])
        values = values[np.isfinite(values) & (values > 0)]
        if model not in tables or not values.size:
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
            continue
        train, test, errors = tables[model]
        norm = LogNorm(values.min(), max(values.max(), 1.01 * values.min()))
        image = axes.imshow(errors, norm=norm, cmap="viridis_r", aspect="auto", origin="lower")
        _write_values(axes, errors, norm)
        axes.set_xticks(range(len(test)), [str(n) for n in test], rotation=45, fontsize="small")
        axes.set_yticks(range(len(train)), [str(n) for n in train], fontsize="small")
        if model == list(tables)[-1]:
            figure.colorbar(image, ax=axes, shrink=0.85)
    figure.supxlabel("resolution of evaluation", fontsize="medium")
    figure.supylabel("resolution of training", fontsize="medium")
    return figure


def _write_values(axes: Axes, errors: np.ndarray, norm: LogNorm) -> None:
    for row, column in np.ndindex(errors.shape):
        value = float(errors[row, column])
        color = "white" if np.isfinite(value) and norm(value) > 0.6 else "black"
        axes.text(column, row, _short(value), ha="center", va="center", fontsize=6, color=color)


def _short(value: float) -> str:
    """Two digits in little room."""
    if not np.isfinite(value) or 0.01 <= value < 100:
        return f"{value:.2g}"
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def _table(cell: Cell) -> tuple[list[int], list[int], np.ndarray]:
    train = [n for n in _trained(cell) if _runs(cell, n)]
    test = _runs(cell, train[0])[0]["evaluation"]["resolution"] if train else []
    errors = [[_mean(_runs(cell, n), "relative_l2", m, "native") for m in test] for n in train]
    return train, test, np.array(errors).reshape(len(train), len(test))


def _panels(cells: list[Cell], draw: Callable[[Axes, str, list[Cell], int], None]) -> Figure:
    """One panel a problem, two in a row."""
    problems = list(dict.fromkeys(cell["problem"] for cell in cells))
    rows = (len(problems) + 1) // 2
    figure = Figure(figsize=(10.4, 3.9 * rows), layout="constrained")
    panels = figure.subplots(rows, min(2, len(problems)), squeeze=False).ravel()
    for spare in panels[len(problems) :]:
        spare.set_visible(False)
    for axes, problem in zip(panels, problems, strict=False):
        train = _middle(cells, problem)
        draw(axes, problem, [cell for cell in cells if cell["problem"] == problem], train)
        axes.set_title(f"{problem}, trained at {train}", fontsize="medium")
        axes.grid(alpha=0.3)
        named = [(line, str(line.get_label())) for line in axes.get_lines()]
        name_curves(axes, [(line, name) for line, name in named if not name.startswith("_")])
    return figure


def _curves(cells: list[Cell]) -> Figure:
    def draw(axes: Axes, problem: str, mine: list[Cell], train: int) -> None:
        ticks: list[int] = []
        for index, cell in enumerate(mine):
            runs = _runs(cell, train)
            if not runs:
                continue
            ticks = runs[0]["evaluation"]["resolution"]
            for output, style in zip(_OUTPUTS, ({"ls": "-"}, {"ls": "--"}, {"alpha": 0.4}), strict=True):
                values = [_mean(runs, "relative_l2", n, output) for n in ticks]
                label = cell["model"] if output == "native" else None
                axes.loglog(ticks, values, lw=1.3, label=label, **{**nth_style(index), "ms": 3.5, **style})
        best = _best_baseline([run for cell in mine for run in _runs(cell, train)])
        if best is not None:
            axes.axhline(best[1], color=REFERENCE, ls=(0, (1, 1)), lw=1.2, label=best[0])
        axes.axvline(train, color=REFERENCE, ls=":", lw=1)
        axes.annotate(
            "trained here", (train, 1), xycoords=axes.get_xaxis_transform(), xytext=(3, -4), va="top",
            textcoords="offset points", fontsize="small", color="0.15",
        )  # fmt: skip
        _resolution_axis(axes, ticks)
        axes.set(ylabel="relative L2 error")

    return _panels(cells, draw)


def _best_baseline(runs: list[Cell]) -> tuple[str, float] | None:
    """The baseline that has the lowest error on the full grid, and that error."""
    found = [run["evaluation"] for run in runs if "baseline_relative_l2" in run["evaluation"]]
    errors = [pair for one in found for pair in zip(one["baseline"], one["baseline_relative_l2"], strict=True)]
    if not errors:
        return None
    name, error = min(errors, key=lambda pair: pair[1])
    return name.replace("_", " "), error


def _resolution_axis(axes: Axes, ticks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(n) for n in ticks], fontsize="small")
    axes.minorticks_off()
    axes.set_xlabel("resolution")


def _parts(cells: list[Cell]) -> Figure:
    figure, drawn = Figure(), False
    for figure, axes, problem, model in _grid(cells, 2.9, 2.5):  # noqa: B007
        train = _middle(cells, problem)
        runs = _runs_of(cells, problem, model, train)
        axes.set_title(f"{problem}, {model}, at {train}", fontsize="small")
        if not runs or "part_mse" not in runs[0]["evaluation"]:
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
            continue
        ticks = runs[0]["evaluation"]["resolution"]
        total = [_mean(runs, "mse", n, "fourier") for n in ticks]
        axes.loglog(ticks, total, color="0.2", lw=2.4, alpha=0.5, label="total")
        for part, style in zip(_PARTS, ("o-", "s--", "^:"), strict=True):
            values = [_part(runs, part, n) for n in ticks]
            drawable = [value if value > _FLOOR else np.nan for value in values]
            axes.loglog(ticks, drawable, style, ms=3.5, lw=1.2, label=part)
        _resolution_axis(axes, ticks)
        axes.tick_params(axis="x", rotation=45)
        axes.grid(alpha=0.3)
        if not drawn:
            axes.legend(fontsize="x-small", frameon=False)
            drawn = True
    figure.supylabel("mean squared error on the full grid", fontsize="medium")
    return figure


def _runs_of(cells: list[Cell], problem: str, model: str, train: int) -> list[Any]:
    own = [cell for cell in cells if (cell["problem"], cell["model"]) == (problem, model)]
    return [run for cell in own for run in _runs(cell, train)]


def _bands(cells: list[Cell]) -> Figure:
    def draw(axes: Axes, problem: str, mine: list[Cell], train: int) -> None:
        labels: list[str] = []
        for index, cell in enumerate(mine):
            runs = _runs(cell, train)
            if not runs or "band_mse" not in runs[0]["evaluation"]:
                continue
            lower = runs[0]["evaluation"]["band"]
            uppers = [f"-{high - 1}" if high - low > 1 else "" for low, high in pairwise(lower)]
            labels = [f"{low}{upper}" for low, upper in zip(lower, [*uppers, "+"], strict=True)]
            errors = np.mean([_full_bands(run) for run in runs], axis=0)
            drawable = np.where(errors > _FLOOR, errors, np.nan)
            axes.semilogy(range(len(labels)), drawable, lw=1.3, label=cell["model"], **nth_curve(index))
        axes.set_xticks(range(len(labels)), labels, fontsize="small")
        axes.set(xlabel="wavenumber", ylabel="mse at the full resolution")

    return _panels(cells, draw)


def _full_bands(run: Cell) -> np.ndarray:
    evaluation = run["evaluation"]
    at = evaluation["resolution"].index(evaluation["reference"])
    return np.array(evaluation["band_mse"][at][evaluation["output"].index("native")])
