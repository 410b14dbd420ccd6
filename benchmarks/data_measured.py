"""The measured part of docs/results_data.md: the cost of a sample here and by other packages, from the result files."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.common import RESULTS

OURS = ("cole-hopf", "lawson7", "adams6", "etdrk4")


def measured() -> str:
    """Tables and sentences of figures, none typed by hand."""
    burgers, line, plane, workers = (
        json.loads((RESULTS / f"{name}.json").read_text())["figures"]
        for name in ("data_generation", "data_generation_1d", "navier_stokes", "data_workers")
    )
    parts = [_burgers_table(burgers), _datasets(burgers), _race_table(line), _plane(plane), _workers(workers)]
    files = sorted(RESULTS.glob("equation_rates_?d.json"))
    rates = [
        (name, row) for file in files for name, row in json.loads(file.read_text())["figures"]["equations"].items()
    ]
    return "\n\n".join([*parts, *([_rates(rates)] if rates else [])])


def _burgers_table(figures: dict[str, Any]) -> str:
    rows = []
    for viscosity, found in figures["burgers"].items():
        for name, row in found.items():
            if isinstance(row, str):
                rows.append((viscosity, name, "-", "-", row.split(":")[0]))
            else:
                cells = (f"{row['ms_per_sample']:.3g}", f"{row['max_error']:.1e}", row["settings"])
                rows.append((viscosity, name, *cells))
    return "Burgers, 8192 points, t = 1:\n\n" + table(("viscosity", "by", "ms a sample", "max error", "settings"), rows)


def _datasets(figures: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{row['process_seconds']:.2f}",
            f"{row['max_error']:.1e}",
            f"{row['peak_memory_mb']:.0f}",
            f"{row['bytes_per_process_second'] / 1e6:.0f}",
        )
        for name, row in figures["datasets"].items()
    ]
    head = "Whole files of it at viscosity 0.1, every sample compared with the truth:"
    return f"{head}\n\n" + table(("dataset", "process s", "max error", "peak MB", "MB a process s"), rows)


def _race_table(figures: dict[str, Any]) -> str:
    rows = []
    for problem in ("ks", "kdv", "kdv-solitons"):
        for name, row in figures[problem].items():
            target, _, by = name.partition(": ")
            if isinstance(row, dict) and "ms_per_sample" in row:
                cells = (f"{row['ms_per_sample']:.3g}", f"{row['max_error']:.1e}", row["settings"])
                rows.append((problem, target, by, *cells))
            elif by and isinstance(row, str):
                rows.append((problem, target, by, "-", "-", row))
    head = (
        "Kuramoto-Sivashinsky and KdV at equal error. Ours are asked for the error and find grid and step by "
        "themselves; the others are handed the cheapest grid and number of steps that reach it, found beforehand:"
    )
    return f"{head}\n\n" + table(("problem", "error wanted", "by", "ms a sample", "max error", "settings"), rows)


def _rates(rows: list[tuple[str, dict[str, Any]]]) -> str:
    """Every equation at its defaults, next to exponax at equal error."""
    lines: list[tuple[str, ...]] = []
    slower: dict[str, list[str]] = {"exact": [], "steps": []}
    for name, row in rows:
        label = f"`{name.split()[0]}`"
        if "refused" in row:
            lines.append((label, str(row["dims"]), str(row["resolution"]), "-", "-", row["refused"], "-"))
            continue
        peer = row.get("exponax", "not measured")
        settings = peer if isinstance(peer, str) else _settings(peer)
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
        if row.get("ratio", 1.0) < 0.95 and not isinstance(peer, str):
            slower["exact" if peer["steps"] == 1 else "steps"].append(f"{label} in {row['dims']}-D")
        cells = (f"{row['seconds_per_sample'] * 1e3:.3g}", f"{1 / row['seconds_per_sample']:.3g}", settings, ratio)
        lines.append((label, str(row["dims"]), str(row["resolution"]), *cells))
    head = (
        "Every equation at its defaults, one thread. exponax is handed the grid and steps of least work that reach our "
        "measured error, or a tenth of our tolerance; the ratio is its time over ours:"
    )
    columns = ("equation", "dimensions", "points", "ms a sample", "samples a second", "exponax", "ratio")
    return "\n\n".join([head, table(columns, lines), *_reasons(slower)])


def _reasons(slower: dict[str, list[str]]) -> list[str]:
    """Why some equations are slower than by exponax."""
    reasons = {
        "exact": "both are exact in one multiplication of the modes. The rest is Fourier transforms, by numpy or scipy "
        "and by XLA, and checks of our input.",
        "steps": "a fourth-order method reaches the error in few steps, which exponax is handed. Our time includes "
        "the search for the grid and the steps, and we call numpy several times an evaluation, where XLA compiles "
        "the whole loop.",
    }
    words = "Slower than exponax by more than a twentieth"
    return [f"{words}: {', '.join(slower[kind])}. Here {why}" for kind, why in reasons.items() if slower[kind]]


def _settings(peer: dict[str, Any]) -> str:
    """What exponax was handed, or why it was not."""
    if "no_reference" in peer:
        return f"not measured: {peer['no_reference']}"
    if "not_reached" in peer:
        return f"{peer['goal']:.0e} not reached (at best {peer['not_reached']:.0e})"
    return f"{peer['points']} points, {peer['steps']} step" + ("s" if peer["steps"] > 1 else "")


def _plane(figures: dict[str, Any]) -> str:
    rows = []
    for viscosity, found in figures["race"].items():
        for name in ("lawson7", "etdrk4", "exponax order 4"):
            row = found[name]
            if isinstance(row, dict):
                told = (
                    f"handed {row['points']} points, {row['steps']} steps" if "points" in row else "asked for the error"
                )
                cells = (f"{row['seconds_per_trajectory'] * 1e3:.3g}", f"{row['max_error']:.1e}", told)
                rows.append((viscosity, f"{found['time']:g}", name, *cells))
    forced = figures["forced"]["lawson7"]
    step = figures["step"]
    ratios = ", ".join(f"{name} {value:.2f}" for name, value in step.get("ratios", {}).items())
    words = (
        f"One ETDRK4 step on 256 x 256 points costs, as a ratio: {ratios}. A forced trajectory of Li et al. (2021) to "
        f"t = 50 on 256 x 256 points takes {forced['seconds_per_trajectory']:.2f} s with an error of "
        f"{forced['max_error']:.1e}; Crank-Nicolson with Euler at their step costs {forced['split / ours']:.0f} times "
        f"as much (scaled from {forced['split_steps_timed']} steps). On a GPU: {figures['device']}."
    )
    head = "Decaying Navier-Stokes flow, 256 x 256 points:"
    columns = ("viscosity", "to t", "by", "ms a trajectory", "max error", "settings")
    return f"{head}\n\n{table(columns, rows)}\n\n{words}"


def _workers(figures: dict[str, Any]) -> str:
    gains = ", ".join(
        f"{name} {row['times_as_fast_as_one_worker']['two workers']:.2f}"
        for name, row in figures.items()
        if "load" in row
    )
    return f"Two workers on two cores are as many times as fast as one: {gains} (by the clock, start-up included)."


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
