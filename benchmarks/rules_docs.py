"""Contents of docs/rules.md from the code, and of docs/results_rules.md from benchmarks/results/rules.json.

python -m benchmarks.rules_docs            # fills the tables
python -m benchmarks.rules_docs --check    # says whether they show what the code and the file hold
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from benchmarks.data_measured import table
from sciml_cf import head
from sciml_cf.head import Rule
from sciml_cf.head.registry import name_of
from sciml_cf.studies.harness.intervals import Interval, compare_runs_by_seed
from sciml_cf.studies.harness.results import read_parts
from sciml_cf.training.config import FitConfig

_PROBLEMS = {"burgers": "Burgers", "darcy": "Darcy", "navier_stokes": "Navier-Stokes"}
_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "soap": "SOAP"}
PAGE = ROOT / "docs" / "rules.md"
MEASURED = ROOT / "docs" / "results_rules.md"


def filled(text: str) -> str:
    """A page with its tables made anew."""
    result = json.loads((RESULTS / "rules.json").read_text())
    figures = result["figures"]
    text = between(text, "rules", rule_table())
    text = between(text, "optimizers", optimizers())
    text = between(text, "burgers", burgers(figures["burgers"]["summary"], result["config"]))
    text = between(text, "scales", scales(figures["scales"], result["config"]))
    return between(text, "few rows", few_rows(figures["few_rows"]))


def rule_table() -> str:
    """A row a rule: its name in `fit`, what its first sentence says, and its defaults."""
    rows = []
    for name in head.__all__:
        rule = getattr(head, name)
        if isinstance(rule, type) and issubclass(rule, Rule) and rule is not Rule:
            defaults = [f"{f.name}={f.default}" for f in fields(rule) if isinstance(f.default, float)]
            first = (rule.__doc__ or "").split("\n\n")[0].replace("\n", " ")
            method = f"`{known}`" if (known := name_of(rule)) else "-"
            rows.append((f"`{name}`", method, " ".join(first.split()), ", ".join(defaults) or "-"))
    return table(("rule", "method", "what it is", "defaults"), rows)


def optimizers() -> str:
    """What the head does with each optimizer, a line a problem, of every result of the study of optimizers."""
    lines = []
    for name in dict.fromkeys(re.sub(r"_\d$", "", path.stem) for path in sorted(RESULTS.glob("optimizers_*.json"))):
        result = read_parts(RESULTS, name)
        cells = [] if result is None else list(result["figures"].values())
        for problem in dict.fromkeys(cell["problem"] for cell in cells):
            by_name = {(cell["optimizer"], cell["method"]): cell for cell in cells if cell["problem"] == problem}
            said = [words for one in _OPTIMIZERS if (words := _gain(by_name, one))]
            lines.append(f"- {_PROBLEMS.get(problem, problem)}: {'; '.join(said)}.")
    head = (
        "Test error with the head over that of gradients alone, same optimizer, equal steps and equal seconds; in "
        "brackets where the two are not distinguishable:"
    )
    return "\n".join([head, "", *lines])


def _gain(cells: dict[tuple[str, str], dict[str, Any]], optimizer: str) -> str:
    """The ratios of one optimizer, at both budgets; nothing where it was not run with and without the head."""
    plain, said = cells.get((optimizer, "l2")), []
    for method, words in (("proximal", ""), ("automatic", "automatic ")):
        solved = cells.get((optimizer, method))
        if solved is not None and plain is not None:
            pairs = [(_errors(solved[budget]), _errors(plain[budget])) for budget in ("runs", "runs_of_equal_seconds")]
            said.append(words + " and ".join(_ratio(*compare_runs_by_seed(*pair)) for pair in pairs))
    return f"{_OPTIMIZERS[optimizer]} {', '.join(said)}" if said else ""


def _errors(runs: list[dict[str, Any]]) -> dict[int, float | None]:
    return {run["seed"]: _l2(run) for run in runs}


def _ratio(interval: Interval | None, verdict: str) -> str:
    if interval is None:
        return "-"
    number = f"{interval.mean:.2f}"
    return {"better": number, "worse": f"{number} (worse)"}.get(verdict, f"({number})")


def _l2(run: dict[str, Any]) -> float | None:
    return None if "diverged" in run else run["test"]["relative_l2"]


def burgers(summary: list[dict[str, Any]], config: dict[str, Any]) -> str:
    """Test errors by rule and learning rate, the best of them, and the default beside it."""
    rates = sorted({row["learning_rate"] for row in summary})
    kinds: dict[tuple[str, float | None], dict[float, dict[str, Any]]] = {}
    for row in summary:
        kinds.setdefault((row["method"], row["strength"]), {})[row["learning_rate"]] = row
    rows = []
    for (method, strength), found in sorted(kinds.items(), key=lambda item: (item[0][0], item[0][1] or 0.0)):
        cells = [_error(found.get(rate)) for rate in rates]
        rows.append((method, "-" if strength is None else f"{strength:g}", *cells))
    head_line = (
        f"Burgers, {config['samples']} samples, {config['epochs']} epochs of Adam with a cosine rate, batch "
        f"{config['batch_size']}, trained at {config['resolution']} points, Algorithm 2. Mean squared error over the "
        "400 test samples at 8192 points, by the peak learning rate: mean over the seeds, their number in brackets."
    )
    full = max(row["runs"] for row in summary)
    sound = [row for row in summary if "test_mse_8192" in row]
    best = min(sound, key=lambda row: row["validation_mse"])
    least: dict[str, dict[str, Any]] = {}
    for row in sorted(sound, key=lambda row: row["validation_mse"]):
        least.setdefault(row["method"], row)
    ratios = ", ".join(
        f"{name} {row['test_mse_8192'] / best['test_mse_8192']:.2g}" for name, row in least.items() if row is not best
    )
    words = (
        f"Lowest validation error: {_named(best)}. Each rule at its own lowest validation error, as a multiple of the "
        f"best one's test error: {ratios}. "
        + ("" if full > 1 else "One seed only, so differences below a factor of two say little. ")
        + f"The default of `FitConfig` is {_named_default()}."
    )
    return f"{head_line}\n\n{table(('rule', 'strength', *(f'{rate:g}' for rate in rates)), rows)}\n\n{words}"


def _error(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    lost = f", {row['diverged']} diverged" if row["diverged"] else ""
    return f"{row['test_mse_8192']:.2g} ({row['runs']}{lost})" if "test_mse_8192" in row else "diverged"


def _named(row: dict[str, Any]) -> str:
    strength = "" if row["strength"] is None else f" with strength {row['strength']:g}"
    return f"{row['method']}{strength} at rate {row['learning_rate']:g}"


def _named_default() -> str:
    config = FitConfig().resolved()
    return f"{config.method} with strength {config.strength:g} at rate {config.learning_rate:g}"


def scales(rows: list[dict[str, Any]], config: dict[str, Any]) -> str:
    """The rules without a strength in absolute units, over the best fixed strength of a grid."""
    names = list(rows[0]["over_best"])
    cells = [
        (
            f"{row['noise']:g}",
            f"{row['scale']:g}",
            row["best"].removeprefix("proximal "),
            f"{row['test_mse_over_variance'][row['best']]:.2g}",
            *(f"{row['over_best'][name]:.2f}" for name in names),
        )
        for row in rows
    ]
    columns = ("noise", "features times", "best strength / scale²", "its error", *names)
    line = (
        f"A small perceptron with {config['width']} features, {config['steps']} steps of Adam on {config['rows']} "
        f"fresh rows each, {len(config['seeds'])} seeds. The best of the fixed strengths "
        f"{', '.join(f'{s:g}' for s in config['strengths'])} (times the square of the scale) with its test error "
        "over the variance, and the errors of rules at their defaults as multiples of it:"
    )
    worst = max(row["over_best"]["automatic"] for row in rows)
    return (
        f"{line}\n\n{table(columns, cells)}\n\n`Automatic` is within {worst:.2f} times the best fixed strength in each."
    )


def few_rows(figures: dict[str, Any]) -> str:
    """The cost of the two systems in a sentence."""
    return (
        f"{figures['rows']} rows of {figures['features']} features, moments and solve together: the system of the "
        f"features takes {figures['over_rows']['features']:.0f} times as long as that of the rows (processor time, one "
        f"core); the heads differ by {figures['relative_difference']:.0e} of their norm."
    )


def main() -> None:
    fill_pages({PAGE: filled, MEASURED: filled})


if __name__ == "__main__":
    main()
