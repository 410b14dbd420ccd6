"""Tables and the figure of docs/results_adaptation.md, from benchmarks/results/adaptation.json.

python -m benchmarks.adaptation_docs            # fills the tables, draws the figure
python -m benchmarks.adaptation_docs --check    # says whether the page shows what the file holds
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from benchmarks.data_measured import table as text_table
from sciml_cf.plots.style import COLORS

PAGE = ROOT / "docs" / "results_adaptation.md"
FIGURE = ROOT / "docs" / "adaptation.png"
_KINDS = ("as it is", "calibrated")
_BARS = {"ours": "`posterior`", "laplace": "laplace-torch, last layer", "vbll": "VBLL, regression"}
LABELS = {"default": "root of the training Gram", "identity": "identity", "gcv": "root, by GCV"}


def filled(text: str) -> str:
    """The page with its tables made anew."""
    figures = json.loads((RESULTS / "adaptation.json").read_text())["figures"]
    proximal = figures["proximal"]
    text = between(text, "adaptation", adaptation_table(proximal["adaptation"]))
    text = between(text, "other ways", ways_table(proximal["adaptation"]))
    text = between(text, "peers", peers_table(proximal["peers"]))
    text = between(text, "error bars", bars_table(figures))
    text = between(text, "forms", forms_table(proximal["forms"]))
    text = between(text, "last layers", last_layers())
    return between(text, "adapted error bars", adapted_table(proximal["adapted_error_bars"]))


def last_layers() -> str:
    """Last layers with error bars, ours and those of other libraries, on one problem."""
    path = RESULTS / "last_layers.json"
    if not path.exists():
        return "Not measured yet."
    result = json.loads(path.read_text())
    config, runs = result["config"], result["figures"]["runs"]
    rows = []
    for training in dict.fromkeys(run["training"] for run in runs):
        own = [run for run in runs if run["training"] == training]
        for name in own[0]["bars"]:
            bars = [run["bars"][name] for run in own]
            rows.append(
                (
                    training, _BARS[name], f"{_mean(bars, 'relative_l2'):.3g}",
                    *(f"{100 * _mean(bars, kind, 'coverage'):.0f} %" for kind in _KINDS),
                    f"{_mean(bars, 'calibrated', 'width'):.2g}",
                    *(f"{_mean(bars, kind, 'negative log-likelihood'):.2f}" for kind in _KINDS),
                    f"{float(np.mean([run['seconds'] for run in own])):.0f}", f"{_mean(bars, 'seconds'):.2g}",
                )
            )  # fmt: skip
    columns = (
        "training", "error bars", "rel. L2", "coverage", "coverage, calibrated", "width, calibrated",
        "negative log-likelihood", "the same, calibrated", "s of training", "s of error bars",
    )  # fmt: skip
    words = (
        f"{config['problem']} of the [suite](how_good.md), {config['samples'][0]} training samples, "
        f"{config['epochs']} epochs, seeds {result['seeds']}; rates by the error on validation samples "
        f"(`{result['command']}`). Coverage of 90 % intervals; their mean width, and the negative log-likelihood of a "
        "point, in deviations of the targets; calibrated: times the number that makes them right on the validation "
        "samples."
    )
    return f"{words}\n\n{table(columns, rows)}"


def _mean(bars: Sequence[dict[str, Any]], *keys: str) -> float:
    """The mean over the runs of an entry."""
    return float(np.mean([reduce(lambda found, key: found[key], keys, one) for one in bars]))


def adaptation_table(rows: list[dict[str, Any]]) -> str:
    """The default: how many times lower the error is, over the draws."""
    columns = ("data", "samples", "mse before", "median draw", "worst in 10", "worst", "draws", "left alone", "s")
    cells = [
        (
            row["law"],
            row["samples"],
            f"{row['mse_before']:.2g}",
            f"{row['mse_before'] * row['ratio_median']:.2g} ({1 / row['ratio_median']:.1f}x lower)",
            f"{1 / row['ratio_90']:.2f}x lower",
            _times(row["ratio_max"]),
            row["draws"],
            f"{100 * row['share_unchanged']:.1f} %",
            f"{row['seconds_median']:.2f}",
        )
        for row in rows
        if row["way"] == "default"
    ]
    return table(columns, cells)


def ways_table(rows: list[dict[str, Any]]) -> str:
    """The metrics and criteria side by side: error after over error before."""
    columns = ("pull", "data", "samples", "median ratio", "mean ratio", "worst ratio", "draws")
    cells = [
        (
            LABELS[row["way"]],
            row["law"],
            row["samples"],
            *(f"{row[key]:.3g}" for key in ("ratio_median", "ratio_mean", "ratio_max")),
            row["draws"],
        )
        for way in LABELS
        for row in rows
        if row["way"] == way
    ]
    return table(columns, cells)


def peers_table(rows: list[dict[str, Any]]) -> str:
    """Each peer at its better rate, with the time that it had."""
    columns = ("samples", "how", "rate", "process time, s", "mse")
    cells = [
        (row["samples"], row["peer"], row.get("rate", "-"), f"{row['seconds']:.2g}", f"{row['mse']:.2g}")
        for row in rows
    ]
    return table(columns, cells)


def bars_table(figures: dict[str, Any]) -> str:
    """Coverage and width of the 90 % interval."""
    columns = ("trained by", "inputs", "points", "coverage", "mean width", "rms error", "samples")
    cells = [
        (
            method,
            row["inputs"],
            row["resolution"],
            f"{100 * row['coverage']:.1f} %",
            f"{row['width']:.2g}",
            f"{row['rmse']:.2g}",
            row["samples"],
        )
        for method, found in figures.items()
        for row in found["error_bars"]
    ]
    return table(columns, cells)


def forms_table(rows: list[dict[str, Any]]) -> str:
    """What a constant beside the leverage does."""
    names = ("held out", "amplitude x2", "literal Laplacian")
    columns = ("c", "-log likelihood", *(f"coverage, {n}" for n in names), *(f"width, {n}" for n in names[1:]))
    cells = [
        (
            row["constant"],
            f"{row['negative log-likelihood']:.2f}",
            *(f"{100 * row[f'coverage {name}']:.1f} %" for name in names),
            *(f"{row[f'width {name}']:.2f}x" for name in names[1:]),
        )
        for row in rows
    ]
    return table(columns, cells)


def adapted_table(rows: list[dict[str, Any]]) -> str:
    """Coverage after adaptation."""
    columns = ("samples", "coverage", "mean width", "rms error")
    return table(
        columns,
        [(r["samples"], f"{100 * r['coverage']:.1f} %", f"{r['width']:.2g}", f"{r['rmse']:.2g}") for r in rows],
    )


def draw() -> None:
    """Coverage and width in the four cases, at the training resolution."""
    from matplotlib.figure import Figure

    figures = json.loads((RESULTS / "adaptation.json").read_text())["figures"]
    names = ("held out", "amplitude x2", "literal Laplacian", "viscosity 0.05")
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, method in enumerate(figures):
        found = {row["inputs"]: row for row in reversed(figures[method]["error_bars"])}  # the coarse grid wins
        at = [index + 0.36 * (place - 0.5) for index in range(len(names))]
        style = {"color": COLORS[place], "hatch": ("", "//")[place], "edgecolor": "white"}
        left.bar(at, [100 * found[name]["coverage"] for name in names], 0.34, label=method, **style)
        right.bar(at, [found[name]["width"] for name in names], 0.34, label=f"{method}, width", **style)
        needed = [2 * 1.645 * found[name]["rmse"] for name in names]
        right.plot(at, needed, "_", ms=18, color="k", label="3.29 rms errors" if place == 0 else None)
    left.axhline(90, color="k", lw=0.8, ls="--")
    left.set(ylabel="errors inside (%)", title="Coverage of the 90 % interval", ylim=(0, 100))
    right.set(yscale="log", ylabel="width", title="Mean width, and what the errors are")
    labels = [name.replace(" ", "\n", 1) for name in names]
    for axes in (left, right):
        axes.set_xticks(range(len(names)), labels, fontsize="small")
        axes.legend(fontsize="small", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=130)


def table(columns: tuple[str, ...], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown of cells of any type."""
    return text_table(columns, [tuple(map(str, row)) for row in rows])


def _times(ratio: float) -> str:
    return f"{1 / ratio:.2f}x lower" if ratio <= 1 else f"{ratio:.2f}x higher"


def main() -> None:
    fill_pages({PAGE: filled})
    draw()


if __name__ == "__main__":
    main()
