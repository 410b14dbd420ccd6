"""Measured tables of docs/results_classification.md, from benchmarks/results/digits.json and ablations.json.

sciml-cf study digits --preset full --out digits      # about half an hour of one core; then copy digits/results.json
sciml-cf study ablations --preset full --out ablations    # twelve minutes; then copy ablations/results.json
python -m benchmarks.classification_docs              # fills the tables
python -m benchmarks.classification_docs --check      # says whether they show what the file holds
"""

from __future__ import annotations

import json
import statistics
from typing import Any

from benchmarks import ablation_claims
from benchmarks.common import RESULTS, ROOT, between, fill_pages
from benchmarks.data_measured import table
from sciml_cf.report.tables import Table
from sciml_cf.studies.ablations import page as ablations
from sciml_cf.studies.digits import page as digits

PAGE = ROOT / "docs" / "results_classification.md"


def read(name: str = "digits") -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def filled(text: str) -> str:
    """The page with its tables made anew."""
    result = read()
    figures, config = result["figures"], result["config"]
    tables = [_plain(digits.accuracy_table(figures["accuracy"], config, size)) for size in config["batch_sizes"]]
    text = between(text, "accuracy", "\n\n".join(tables))
    text = between(text, "claims", claims(figures))
    text = between(text, "stability", _plain(digits.stability_table(figures["stability"])))
    text = between(text, "kalman", _plain(digits.kalman_table(figures["stability"])))
    text = between(text, "optimizers", _plain(digits.optimizers_table(figures["optimizers"])))
    text = between(text, "gap", _plain(digits.gap_table(figures["gap"])))
    text = between(text, "cost", _plain(digits.cost_table(figures["cost"])))
    return ablated(text, read("ablations"))


def ablated(text: str, result: dict[str, Any]) -> str:
    """The page with the tables of the ablations made anew."""
    figures, config = result["figures"], result["config"]
    rows = [(what, got, "yes" if holds else "no") for what, got, holds in ablation_claims.judged(result)]
    text = between(text, "ablation claims", table(("the paper, on CIFAR-100", "here, on digits", "holds"), rows))
    marks = (None, config["marks"][-1])
    found = [_plain(ablations.difference_table(figures["design"], config, mark)) for mark in marks]
    text = between(text, "ablation design", "\n\n".join(found))
    text = between(text, "ablation algorithms", _plain(ablations.algorithm_table(figures["methods"], config)))
    text = between(text, "ablation strengths", _plain(ablations.sweep_table(figures["strength"], config, "strength")))
    text = between(text, "ablation rates", _plain(ablations.sweep_table(figures["rate"], config, "rate")))
    return between(text, "ablation best rates", _plain(ablations.rate_table(figures["methods"], config)))


def claims(figures: dict[str, Any]) -> str:
    """What was expected of digits beside what came out; each line is counted from the file."""
    rows = [(what, wanted, got, "yes" if holds else "no") for what, wanted, got, holds in judged(figures)]
    return table(("what", "expected", "measured", "holds"), rows)


def judged(figures: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """(what, expected, measured, whether it holds)."""
    cells = figures["accuracy"]

    def at(arm: str, mark: int, size: int, optimizer: str = "sgd") -> float:
        return digits.mean_at(cells[f"{arm}, {optimizer}, {size}"], mark)

    def until(arm: str, size: int) -> float:
        return statistics.fmean(digits.first_reaching(run) for run in cells[f"{arm}, sgd, {size}"]["runs"])

    proximal, l2 = at("proximal", 25, 128), at("l2", 25, 128)
    found = [
        ("batch 128, iteration 25, sgd: proximal", "at least .94", f"{proximal:.3f}", proximal >= 0.94),
        ("the same over l2", "at least +.03", f"{proximal - l2:+.3f}", proximal - l2 >= 0.03),
    ]
    for size in (128, 1024):
        share = until("proximal", size) / until("l2", size)
        found.append((f"batch {size}, sgd: iterations to .95 over l2's", "at most 0.6", f"{share:.2f}", share <= 0.6))
    below = at("proximal", 200, 32) - at("ridge", 200, 32)
    found.append(("batch 32, iteration 200, sgd: ridge below proximal", "at least .08", f"{below:.3f}", below >= 0.08))
    apart = abs(at("proximal", 200, 1024) - at("ridge", 200, 1024))
    found.append(("batch 1024: ridge and proximal apart", "at most .015", f"{apart:.3f}", apart <= 0.015))
    for size in (128, 1024):
        found += _at_three_tenths(figures["stability"], size)
    gain = at("cross-entropy closed form", 10, 128, "adam") - at("cross-entropy", 10, 128, "adam")
    what = "batch 128, iteration 10, Adam: cross-entropy in closed form over plain"
    found.append((what, "at least +.03", f"{gain:+.3f}", gain >= 0.03))
    runs = [cell["runs"] for cell in figures["stability"].values() if cell["optimizer"] == "adam"]
    finals = [run.get("accuracy", 0.1) for each in runs for run in each]
    means = [statistics.fmean(run.get("accuracy", 0.1) for run in each) for each in runs]
    what = "batch 32, Kalman with Adam at rates 1e-3, 3e-3, 1e-2: worst"
    found.append((what, "at least .97", f"{min(finals):.3f}", min(finals) >= 0.97))
    spread = max(finals) - min(finals)
    told = f"{spread:.3f} over all runs, {max(means) - min(means):.3f} of the means"
    found.append(("the same: spread", "at most .02", told, spread <= 0.02))
    for arm, most in (("proximal", 1.6), ("proximal, Alg. 1", 2.0)):
        ratio = figures["cost"][arm]["over_l2"]
        what = f"a step of {'Algorithm 2' if arm == 'proximal' else 'Algorithm 1'} over l2's"
        found.append((what, f"at most {most:g}", f"{ratio:.2f}", ratio <= most))
    return found


def _at_three_tenths(cells: dict[str, Any], size: int) -> list[tuple[str, str, str, bool]]:
    """Rate 0.3 with sgd: who is lost, and who stays."""
    l2, proximal = (cells[f"{arm}, sgd, {size}, 0.3"]["runs"] for arm in ("l2", "proximal"))
    worst = max(run.get("accuracy", 0.0) for run in l2)
    least = min(run.get("accuracy", 0.0) for run in proximal)
    fell = sum(run.get("accuracy", 0.0) < 0.95 for run in l2)
    return [
        (f"batch {size}, sgd at rate 0.3: best seed of l2", "lost: below .2", f"{worst:.3f}", worst < 0.2),
        ("the same: seeds of l2 below .95", "all", f"{fell} of {len(l2)}", fell == len(l2)),
        (f"batch {size}, sgd at rate 0.3: worst seed of proximal", "above .97", f"{least:.3f}", least > 0.97),
    ]


def _plain(found: Table) -> str:
    return f"{found.title}\n\n{table(found.columns, [tuple(map(str, row)) for row in found.rows])}"


def main() -> None:
    fill_pages({PAGE: filled})


if __name__ == "__main__":
    main()
