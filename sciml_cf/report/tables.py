"""Tables as rows of cells; one writer for the terminal, one for Markdown, one for CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from sciml_cf.plots.evaluation import counted, upsampling


@dataclass(frozen=True)
class Table:
    """A title, column names, and rows of numbers or words."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def text(self) -> str:
        """Aligned columns for a terminal."""
        cells = [self.columns, *[tuple(_cell(value) for value in row) for row in self.rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([self.title, lines[0], "-" * len(lines[0]), *lines[1:]])

    def markdown(self) -> str:
        """A Markdown table under its title."""
        rule = "|" + "---:|" * len(self.columns)
        cells = [self.columns, *[tuple(_cell(value) for value in row) for row in self.rows]]
        lines = ["| " + " | ".join(map(_plain, row)) + " |" for row in cells]
        lines.insert(1, rule)
        return "\n".join([f"**{self.title}**", "", *lines, ""])

    def csv(self) -> str:
        """Full precision, with a header; a text that a spreadsheet would take for a formula gets an apostrophe."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerows([_harmless(value) for value in row] for row in (self.columns, *self.rows))
        return buffer.getvalue()


def _harmless(value: Any) -> Any:
    """A cell of a CSV file: a text that begins as a formula does, and is no number, gets an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def _plain(cell: str) -> str:
    """A cell of a Markdown table, on one line and without an end of the cell in it."""
    return " ".join(cell.replace("|", "\\|").split("\n"))


def rollout_table(rolled: xr.Dataset) -> Table:
    """Errors of a roll-out at up to eight times, and those of persistence and of the best linear map."""
    names = ["relative_l2", "vrmse", "correlation", "one_step_relative_l2", "persistence_relative_l2"]
    words = ["relative L2", "VRMSE", "correlation", "one step", "persistence"]
    if "linear_relative_l2" in rolled:
        names, words = [*names, "linear_relative_l2"], [*words, "linear map"]
    count = rolled.sizes["time"]
    chosen = sorted({round(place * (count - 1) / 7) for place in range(8)})
    rows = [(float(rolled["time"][at]), at + 1, *(float(rolled[name][at]) for name in names)) for at in chosen]
    title = f"Rolled out from the true start: {rolled.attrs['num_samples']} {rolled.attrs['split']} samples"
    return Table(title, ("time", "step", *words), tuple(rows))


def transfer_table(evaluation: xr.Dataset) -> Table:
    """Errors at each resolution, native and upsampled (by Fourier where the grid allows it) side by side."""
    full, upsampled = evaluation.attrs["reference_resolution"], upsampling(evaluation)
    rows = []
    for resolution in evaluation["resolution"].values:
        native, fourier = (evaluation.sel(resolution=resolution, output=output) for output in ("native", upsampled))
        rows.append(
            (
                int(resolution),
                float(native["mse"]),
                float(fourier["mse"]),
                float(native["relative_l2"]),
                float(native["relative_l2_std"]),
                float(fourier["relative_l2"]),
                float(native["max_error"]),
            )
        )
    columns = (
        "resolution",
        "mse native",
        f"mse {upsampled} to {full}",
        "rel. L2 native",
        "(std)",
        f"rel. L2 {upsampled} to {full}",
        "max error native",
    )
    return Table(f"Error over {counted(evaluation)}", columns, tuple(rows))


def baseline_table(evaluation: xr.Dataset) -> Table:
    """What predictions without a trained model reach, on the reference grid and at the evaluated resolutions."""
    full = int(evaluation.attrs["reference_resolution"])
    columns = {"mse": evaluation["baseline_mse"], "rel. L2": evaluation["baseline_relative_l2"]}
    if "native_baseline_relative_l2" in evaluation:
        native = evaluation["native_baseline_relative_l2"]
        sizes = [int(n) for n in evaluation["resolution"].values]
        columns |= {f"rel. L2 at {n}": native.sel(resolution=n) for n in sizes if n != full}
    rows = [
        (str(name).replace("_", " "), *(float(values.sel(baseline=name)) for values in columns.values()))
        for name in evaluation["baseline"].values
    ]
    return Table(f"Baselines at {full} points", ("prediction", *columns), tuple(rows))


def comparison_table(evaluations: dict[str, xr.Dataset], settings: dict[str, dict[str, Any]]) -> Table:
    """Several runs at the resolutions they share, native and Fourier-upsampled side by side."""
    shared = sorted(set.intersection(*[{int(n) for n in e["resolution"].values} for e in evaluations.values()]))
    first = next(iter(evaluations.values()))
    full, upsampled = first.attrs["reference_resolution"], upsampling(first)
    rows = []
    for name, evaluation in evaluations.items():
        fit = settings[name]["fit"]
        for n in shared:
            native, fourier = (evaluation.sel(resolution=n, output=output) for output in ("native", upsampled))
            errors = (float(native["mse"]), float(fourier["mse"]), float(native["relative_l2"]))
            rows.append((name, method_label(fit), fit["optimizer"], fit["learning_rate"], fit["epochs"], n, *errors))
    columns = ("run", "method", "optimizer", "rate", "epochs", "resolution", "mse native", f"mse {upsampled} to {full}")
    return Table("Comparison of runs", (*columns, "rel. L2 native"), tuple(rows))


def settings_table(settings: dict[str, dict[str, Any]]) -> Table:
    """Every setting in run.json of one run or several, a column a run; in several first those that differ."""
    flat = {name: dict(_flat(one)) for name, one in settings.items()}
    keys = list(dict.fromkeys(key for one in flat.values() for key in one))
    rows = [(key, *(one.get(key, "") for one in flat.values())) for key in keys]
    rows.sort(key=lambda row: len(set(row[1:])) == 1 < len(flat))  # stable: equal settings come last
    return Table("Settings", ("setting", *flat), tuple(rows))


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names joined by points, and values as text."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", json.dumps(value) if isinstance(value, list) else str(value)


def method_label(fit: dict[str, Any]) -> str:
    """How tables and legends name the method of a run."""
    if fit["method"] == "l2":
        return "l2"
    name, strength = fit["method"], fit["strength"]
    if isinstance(name, dict):  # a rule that was given as an object
        name, strength = name["rule"].rpartition(".")[2], name["settings"].get("strength")
    shown = f" s={strength:g}" if isinstance(strength, int | float) else ""  # some methods find their own
    return f"{name}{shown}, Alg. {fit['algorithm']}"


def same_samples(evaluations: Sequence[xr.Dataset]) -> bool:
    """Whether all evaluations measured the same samples of the same data."""
    keys = ("data_checksum", "split", "split_seed", "num_samples", "reference_resolution")
    return len({tuple(evaluation.attrs[key] for key in keys) for evaluation in evaluations}) == 1


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)
