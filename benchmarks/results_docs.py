"""Numbers and verdicts of docs/results.md, from the result files.

python -m benchmarks.results_docs            # fills the tables
python -m benchmarks.results_docs --check    # says whether they show what the files hold
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from benchmarks.data_measured import table

PAGE = ROOT / "docs" / "results.md"


def filled(text: str) -> str:
    """The page with its figures made anew."""
    figures = {path.stem: json.loads(path.read_text())["figures"] for path in RESULTS.glob("*.json")}
    optimisers = figures["burgers_optimisers"]["summary"]
    text = between(text, "paper", paper(optimisers, figures["head_faults"]["runs"]))
    text = between(text, "resolution", resolution(optimisers))
    text = between(text, "cost", cost(figures["head"]))
    text = between(text, "memory", memory(figures["memory"]))
    text = between(text, "rules", rules(figures["rules"]))
    text = between(text, "adaptation", adaptation(figures["adaptation"]["proximal"]))
    text = between(text, "data", data(figures))
    text = between(text, "warnings", warnings(figures["head_faults"]["accuracy_lost_against_the_best"]))
    return between(text, "not measured", not_measured(figures))


def verdict(claimed_lower: list[float], claimed_higher: list[float]) -> str:
    """Whether errors bear a claim out: every run of the one below every run of the other, or the reverse."""
    if max(claimed_lower) < min(claimed_higher):
        return "reproduced"
    return "not reproduced: the other way round" if min(claimed_lower) > max(claimed_higher) else "not distinguishable"


def paper(summary: dict[str, Any], faults: list[dict[str, Any]]) -> str:
    """Claims of the paper beside the errors found here."""
    claims = [
        ("the solved head has a lower error than l2, with SGD", "sgd proximal", "sgd l2"),
        ("the solved head has a lower error than l2, with Adam", "adam proximal", "adam l2"),
        ("with the solved head, SGD ends lower than Adam", "sgd proximal", "adam proximal"),
    ]
    rows = []
    for claim, low, high in claims:
        found = [summary[name]["mse_8192"] for name in (low, high)]
        cells = [f"{name}: {_span(values)}" for name, values in zip((low, high), found, strict=True)]
        rows.append((claim, *cells, verdict(*found)))
    smallest = min(run["batch_size"] for run in faults)
    small = [run for run in faults if run["batch_size"] == smallest]
    seeds = sorted({run["seed"] for run in small})
    best = {
        rule: [max(run["accuracy"] for run in small if (run["rule"], run["seed"]) == (rule, seed)) for seed in seeds]
        for rule in ("Proximal", "Ridge")
    }
    lost = {rule: [1 - value for value in values] for rule, values in best.items()}
    rows.append(
        (
            f"ridge needs large batches: at {smallest} rows of digits it is worse than proximal, each at its best",
            *(f"{rule.lower()}: {_span(values)} wrong" for rule, values in lost.items()),
            verdict(lost["Proximal"], lost["Ridge"]),
        )
    )
    return table(("claim", "one side", "other side", "here"), rows)


def resolution(summary: dict[str, Any]) -> str:
    """The ratio of errors on the full grid and on the grid of training."""
    rows = [
        (name, _span(found["native_8192_over_native_256"], 6), _span(found["fourier_256_over_native_256"], 9))
        for name, found in summary.items()
        if isinstance(found, dict)
    ]
    columns = ("method", "error at 8192 points over that at 256, where it was trained", "interpolated over native")
    return table(columns, rows)


def cost(head: dict[str, Any]) -> str:
    """A step with the head over an l2 step, and what the alternatives take."""
    rows = []
    for network, found in head["training_step"].items():
        rows += [(f"{name} over l2, {network}", f"{value:.2f}") for name, value in found["over_l2"].items()]
    cells = [cell["over_l2"]["algorithm 2"] for cell in head["scaling"]["cells"]]
    rows.append(("algorithm 2 over l2, perceptrons of all widths and rows tried", _span(cells)))
    steps = [cell["seconds_over_solve"] for cell in head["inner_loop"] if cell["reached"]]
    lost = sum(not cell["reached"] for cell in head["inner_loop"])
    rows.append(
        (
            f"gradient steps on the head alone to the solve's loss, over the solve ({lost} did not get there)",
            _span(steps),
        )
    )
    return table(("time of", "ratio"), rows)


def memory(found: dict[str, dict[str, float]]) -> str:
    """A step of a process that gives memory back over one that keeps it."""
    rows = [
        (batch, *(f"{cell[name]:.2f}" for name in ("as_it_is_over_kept", "lowest", "highest")))
        for batch, cell in found.items()
    ]
    return table(("batch size", "freed over kept", "lowest round", "highest round"), rows)


def rules(found: dict[str, Any]) -> str:
    """Each rule at its lowest validation error beside the best."""
    least: dict[str, dict[str, Any]] = {}
    for row in sorted(found["burgers"]["summary"], key=lambda row: row["validation_mse"]):
        if "test_mse_8192" in row:
            least.setdefault(row["method"], row)
    best, *others = least.values()
    rows = [
        (
            row["method"],
            _span(list(row["test_mse_8192_of_seeds"].values())),
            f"{row['test_mse_8192'] / best['test_mse_8192']:.2g}",
            "-" if row is best else verdict(_seeds(best), _seeds(row)).replace("reproduced", "worse in every run"),
        )
        for row in (best, *others)
    ]
    return table(("Burgers, Adam", "mse at 8192 points", "over the best", "than the best"), rows)


def adaptation(found: dict[str, Any]) -> str:
    """What worked and what did not, in one table."""
    rows = [
        (
            f"error after over before, {row['samples']} samples of {row['law']}",
            f"{row['ratio_median']:.2g}",
            f"{row['ratio_max']:.3g}",
        )
        for row in found["adaptation"]
        if row["way"] == "default"
    ]
    closed = {row["samples"]: row["mse"] for row in found["peers"] if row["peer"] == "closed form"}
    longest: dict[tuple[int, str], dict[str, Any]] = {}
    for row in found["peers"]:
        if row["peer"] != "closed form":
            key = row["samples"], row["peer"]
            longest[key] = max(row, longest.get(key, row), key=lambda row: row["seconds"])
    for (samples, peer), row in longest.items():
        words = f"error of gradient descent over ours, {samples} samples, {peer}, {row['seconds']:.2g} s"
        rows.append((words, f"{row['mse'] / closed[samples]:.2g}", "-"))
    for row in found["error_bars"]:
        words = f"share of errors inside the 90 % interval, {row['inputs']}, {row['resolution']} points"
        rows.append((words, f"{100 * row['coverage']:.0f} %", "-"))
    return table(("metric", "median", "worst draw"), rows)


def data(figures: dict[str, Any]) -> str:
    """Generation beside others: a row a comparison, ours over theirs."""
    plane, workers = figures["navier_stokes"], figures["data_workers"]
    rows = [
        (f"Navier-Stokes at viscosity {viscosity}, time of {name}", f"{value:.2f}")
        for viscosity, race in plane["race"].items()
        for name, value in race["ratios"].items()
    ]
    rows += [(f"one ETDRK4 step, {name}", f"{value:.2f}") for name, value in plane["step"]["ratios"].items()]
    rows += [
        (f"two workers, times as fast as one ({scheme})", f"{found['times_as_fast_as_one_worker']['two workers']:.2f}")
        for scheme, found in workers.items()
    ]
    return table(("comparison", "ratio"), rows)


def warnings(lost: dict[str, Any]) -> str:
    """Accuracy lost against the best run, by what a run was told."""
    rows = [
        (name, str(found["runs"]), *(f"{100 * found[key]:.0f} %" for key in ("least", "mean", "most")))
        for name, found in lost.items()
    ]
    return table(("warning", "runs", "least accuracy lost", "mean", "most"), rows)


def not_measured(figures: dict[str, Any]) -> str:
    """Everything that a file says was not measured."""
    found = []

    def look(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                look(f"{name}, {key.replace('_', ' ')}", inner)
        elif isinstance(value, str) and value.startswith("not measured"):
            found.append(f"- {name}: {value.removeprefix('not measured: ')}")

    for name in sorted(figures):
        look(name.replace("_", " "), figures[name])
    return "\n".join(found) or "Every benchmark of the files measured what it set out to."


def _seeds(row: dict[str, Any]) -> list[float]:
    return list(row["test_mse_8192_of_seeds"].values())


def _span(values: list[float], digits: int = 2) -> str:
    return f"{min(values):.{digits}g} to {max(values):.{digits}g}"


def main() -> None:
    fill_pages({PAGE: filled})


if __name__ == "__main__":
    main()
