"""Measured numbers of the README: the demo's table, the suite's verdict and the benchmark's table, from their files.

python -m benchmarks.readme            # after `make demo`: copies its table and figure to docs/demo, draws the
                                       # suite's figure, fills README
python -m benchmarks.readme --check    # says whether the README shows what the files hold
"""

from __future__ import annotations

import json
import shutil
import sys

from benchmarks import suite_docs
from benchmarks.common import RESULTS, ROOT, between, fill_pages
from sciml_cf.report.tables import Table
from sciml_cf.studies.suite.figures import ratio_figure
from sciml_cf.studies.suite.sentences import headline
from sciml_cf.studies.suite.summary import comparisons, parted

DEMO = ROOT / "docs" / "demo"
FIGURE = DEMO / "suite.png"


def filled(text: str) -> str:
    """The README with the text between each pair of markers made anew from the files."""
    demo = (DEMO / "comparison.md").read_text().strip()
    text = between(between(text, "demo table", demo), "benchmark table", benchmark_table())
    return between(text, "suite", "\n\n".join(headline(comparisons(suite_docs.result()))[:3]))


def benchmark_table() -> str:
    """The summary of benchmarks/results/burgers_optimisers.json in words and a table."""
    result = json.loads((RESULTS / "burgers_optimisers.json").read_text())
    figures, config = result["figures"], result["config"]
    rows = []
    for method, chosen in figures["selected"].items():
        entry = figures["summary"][method]
        strength = chosen["strength"] if chosen["strength"] is not None else "-"
        spread = f"{min(entry['mse_8192']):.2g} to {max(entry['mse_8192']):.2g}"
        seconds = [run["seconds"] for run in figures["reports"][method] if "diverged" not in run]
        rows.append(
            (
                method,
                chosen["learning_rate"],
                strength,
                entry["mse_8192_mean"],
                spread,
                entry["diverged"],
                round(sum(seconds) / len(seconds)),
            )
        )
    columns = (
        "method",
        "rate",
        "strength",
        "mse at 8192",
        f"range of {len(result['seeds'])} seeds",
        "diverged",
        "seconds",
    )
    table = Table(
        f"{config['samples']} samples, {config['epochs']} epochs, batch {config['batch_size']}", columns, tuple(rows)
    )
    ratios = {name: value for name, value in figures["summary"].items() if name.endswith("over l2")}
    words = "; ".join(
        f"{name.removesuffix(' over l2')} has {value:.2g} times the error of l2" for name, value in ratios.items()
    )
    note = (
        "Every method has its own best settings, chosen on the validation set from the same number of trials for each "
        "optimizer, with a seed of its own; mean squared error over the 400 test samples on the full grid. "
        f"In short: {words}. Seconds are of one run on one core of the machine named in the file; "
        "other programs shared that machine. Three seeds are few, so read ratios, not digits."
    )
    return f"{table.markdown()}\n{note}"


def main() -> None:
    source = ROOT / "demo" / "comparison"
    if source.is_dir() and "--check" not in sys.argv:
        DEMO.mkdir(parents=True, exist_ok=True)
        for name in ("comparison.md", "comparison.csv", "training.png"):
            shutil.copy(source / name, DEMO / name)
    if "--check" not in sys.argv:
        usual, _ = parted(comparisons(suite_docs.result()))
        ratio_figure(usual).savefig(FIGURE, dpi=110)
    fill_pages({ROOT / "README.md": filled})


if __name__ == "__main__":
    main()
