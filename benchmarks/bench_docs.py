"""Measured tables in the pages of the guide, from benchmarks/results.

sciml-cf study figure2 --preset full       # its results.json becomes benchmarks/results/figure2.json
sciml-cf study time-to-accuracy --preset full          # and so on for time, recipe and transfer
python -m benchmarks.bench_docs            # fills the tables
python -m benchmarks.bench_docs --check    # says whether the pages show what the files hold
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from sciml_cf.report.tables import Table
from sciml_cf.studies import page_of
from sciml_cf.studies.harness.results import read_parts

# page: the benchmarks whose tables it shows
SHOWN = {
    ROOT / "docs" / "results_burgers.md": (
        "figure2",
        "time",
        "time_soap",
        "recipe",
        "recipe_soap",
        "recipe_soap_long",
        "limits",
    ),
    ROOT / "docs" / "results_rules.md": ("optimizers_burgers", "optimizers_darcy", "optimizers_navier_stokes"),
    ROOT / "docs" / "results_transfer.md": ("transfer",),
    ROOT / "docs" / "training.md": ("normalization",),
    ROOT / "docs" / "trajectories.md": ("rollouts", "rollouts_navier_stokes"),
    ROOT / "docs" / "parameters.md": ("parameters",),
    ROOT / "docs" / "large_data.md": ("infinite_data",),
}


def filled(text: str, names: tuple[str, ...], results: Path = RESULTS) -> str:
    """A page with its tables made anew; a benchmark without a result file is said not to be measured."""
    for name in names:
        found = read_parts(results, name)
        text = between(text, name, measured(found) if found else "Not measured yet.")
    return text


def measured(result: dict[str, Any]) -> str:
    """What was run where, what the page of the benchmark says of it, and its tables."""
    if result["benchmark"] == "normalization":
        return normalization(result)
    _, introduction, parts = page_of(result["benchmark"])(result)
    origin = f"`{result['command']}`, seeds {result['seeds']}, {result['machine']['cpu']}, {result['date']}."
    tables = [part.markdown() for part in parts if isinstance(part, Table)]
    return "\n".join([f"{origin} {introduction[0]}", "", *[f"{line}\n" for line in introduction[1:]], *tables]).rstrip()


def normalization(result: dict[str, Any]) -> str:
    """What normalized fields cost or gain on fields of order one, seed by seed."""
    config, figures = result["config"], result["figures"]
    ratios, mean = [row[0] for row in figures["mse_ratio_by_seed"]], figures["mean_mse_ratio"][0]
    errors = {
        kind: sum(figures["runs"][f"{kind}_{seed}"]["relative_l2"][0] for seed in result["seeds"]) / len(ratios)
        for kind in ("auto", "none")
    }
    first = "Normalization costs nothing on fields of order one. "
    if mean > 1.1:
        first = "Fields of order one need no normalization, and can end with larger errors with it. "
    return (
        f"{first}On periodic Burgers with {config['samples']} samples, {config['epochs']} epochs and the default "
        f"method, the test mse with `auto` is {mean:.2g} times that with `none` (mean of {len(ratios)} seeds, "
        f"{min(ratios):.2g} to {max(ratios):.2g}); mean relative L2 errors are {100 * errors['auto']:.2g} % and "
        f"{100 * errors['none']:.2g} % (`{result['command']}`)."
    )


def main() -> None:
    fill_pages({page: partial(filled, names=names) for page, names in SHOWN.items()})


if __name__ == "__main__":
    main()
