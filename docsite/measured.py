"""Figures of the results pages, drawn by the build from the result files in benchmarks/results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from docsite.staging import ROOT
from sciml_cf.plots.style import name_curves, nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.studies import page_of
from sciml_cf.studies.harness.results import read_parts

RESULTS = ROOT / "benchmarks" / "results"
FOLDER = "measured"
#: Result files, and the pictures of their studies that pages show.
STUDIES = {
    "figure2": ("figure2-final", "figure2-rolling"),
    "time": ("time-seconds",),
    "transfer": ("transfer-curves",),
}
#: Of the files on generating data: what is drawn, by its name there.
METHODS = {
    "etdrk4": "etdrk4",
    "lawson7": "lawson7",
    "adams6": "adams6",
    "textbook etdrk4": "textbook",
    "exponax order 4": "exponax",
    "exponax order 4, coarse": "exponax, coarse grid",
    "exponax default": "exponax, float32",
}

OURS = ("etdrk4", "lawson7", "adams6")
SPEED = (
    "Processor time of one sample against the largest error of any sample. Left and below is better. Solid lines and "
    "filled markers: methods of this package, which are given a tolerance. Dashed lines and open markers: textbook "
    "ETDRK4 and exponax, which are given a grid and a number of steps. For Kuramoto-Sivashinsky and KdV these are the "
    "cheapest that reach an error; exponax reached none of them for KdV."
)


def pictures(out: Path) -> dict[str, str]:
    """Draw everything into ``out``/measured; returns Markdown by the name of the picture.

    Args:
        out: folder that Sphinx reads.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, wanted in STUDIES.items():
        result = read_parts(RESULTS, name)
        if result is None:
            raise FileNotFoundError(f"pictures: {RESULTS} has no {name}.json; the build draws it.")
        _, _, parts = page_of(result["benchmark"])(result)
        for part in parts:
            if isinstance(part, Picture) and part.name in wanted:
                found[part.name] = _shown(folder, part.name, part.figure, part.caption)
    return found | {"speed": _shown(folder, "speed", speed(measured_speeds()), SPEED)}


def measured_speeds() -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Largest error and milliseconds a sample: for each problem and method the points that were measured."""
    burgers = json.loads((RESULTS / "data_generation.json").read_text())["figures"]["burgers"]
    line = json.loads((RESULTS / "data_generation_1d.json").read_text())["figures"]
    named = {f"Burgers, viscosity {value}": burgers[value] for value in ("0.1", "0.01")}
    named |= {"Kuramoto-Sivashinsky": line["ks"], "KdV": line["kdv"]}
    return {problem: _points(entries) for problem, entries in named.items()}


def _points(entries: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for key, entry in entries.items():
        method = METHODS.get(key.split(": ")[-1])
        if method and isinstance(entry, dict):
            found.setdefault(method, []).append((entry["max_error"], entry["ms_per_sample"]))
    return {method: sorted(found[method]) for method in METHODS.values() if method in found}


def speed(problems: dict[str, dict[str, list[tuple[float, float]]]]) -> Figure:
    """A panel a problem: time against error, a curve for each method, its name at its end."""
    figure = Figure(figsize=(9.0, 6.4), layout="constrained")
    for axes, (problem, methods) in zip(figure.subplots(2, 2).flat, problems.items(), strict=True):
        _draw(axes, methods)
        axes.set(title=problem, xlabel="largest error", ylabel="ms a sample")
    return figure


def _draw(axes: Axes, methods: dict[str, list[tuple[float, float]]]) -> None:
    lines = []
    for index, method in enumerate(METHODS.values()):
        if method in methods:
            errors, times = zip(*methods[method], strict=True)
            style = nth_curve(index, len(errors))
            face = {"ls": "-"} if method in OURS else {"ls": "--", "mfc": "none"}
            (line,) = axes.loglog(errors, times, lw=1.4, **{**style, **face})
            lines.append((line, method))
    axes.grid(alpha=0.3)
    axes.margins(0.12)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    name_curves(axes, lines)


def _shown(folder: Path, name: str, figure: Figure, caption: str) -> str:
    """Markdown with a picture and its caption."""
    figure.savefig(folder / f"{name}.png", dpi=130)
    return f"![{re.split('[.:,]', caption)[0]}]({FOLDER}/{name}.png)\n\n*{caption}*"
