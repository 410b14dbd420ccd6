"""Tables of docs/results_layerwise.md, from benchmarks/results/layerwise.json and softmax.json.

Those are the results of `sciml-cf study layerwise --preset full` and `sciml-cf study softmax --preset full`.

python -m benchmarks.layerwise_docs            # fills the tables
python -m benchmarks.layerwise_docs --check    # says whether the page shows what the files hold
"""

from __future__ import annotations

import math
import statistics
from typing import Any

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from benchmarks.data_measured import table
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.layerwise import page as layerwise
from sciml_cf.studies.softmax import page as softmax

PAGE = ROOT / "docs" / "results_layerwise.md"
GRADIENTS = ("adam", "sgd", "nag", "adagrad")
Claim = tuple[str, bool, str]


def filled(text: str) -> str:
    """The page with its tables made anew."""
    sweeps, explicit = (read_result(RESULTS / f"{name}.json") for name in ("layerwise", "softmax"))
    for name, page, result in (("layerwise", layerwise, sweeps), ("softmax", softmax, explicit)):
        tables = [part for part in page.page(result)[2] if isinstance(part, Table)]
        text = between(text, f"{name} tables", "\n".join(part.markdown() for part in tables))
    text = between(text, "layerwise claims", claims_table(sweep_claims(sweeps["figures"])))
    return between(text, "softmax claims", claims_table(softmax_claims(explicit["figures"])))


def claims_table(claims: list[Claim]) -> str:
    """What is claimed, whether it holds here, and the figures that say so."""
    return table(
        ("claim", "here", "numbers"), [(c, "holds" if yes else "does not hold", why) for c, yes, why in claims]
    )


def sweep_claims(figures: dict[str, Any]) -> list[Claim]:
    """Claims of arXiv:2401.06699."""
    linear = next(toy["rows"] for toy in figures["toys"] if toy["toy"] == "linear")
    worst = {
        mode: max(row["worst_error"] for row in linear if row["targets"] == mode) for mode in ("closest", "minnorm")
    }
    sigmoid = next(toy["rows"] for toy in figures["toys"] if toy["toy"] == "sigmoid")
    over = {row["targets"]: row["over_random_features"] for row in sigmoid}
    last = {one["form"]: _mean(figures["forms"], "last_sweep", one["form"], 100) for one in figures["forms"]}
    test = {one["form"]: _mean(figures["forms"], "test", one["form"], 100) for one in figures["forms"]}
    train = {one["form"]: _mean(figures["forms"], "train", one["form"], 100) for one in figures["forms"]}
    solves: dict[int, set[int]] = {}
    for one in figures["depths"]:
        if one["mode"] != "random features":
            solves.setdefault(one["depth"], set()).add(one["weight_solves"])
    times = {one["width"]: arm_times(one["runs"]) for one in figures["time"]}
    ratios = {w: min(found[arm] for arm in GRADIENTS) / found["sweep"] for w, found in times.items()}
    shares = {one["width"]: arm_accuracies(one["runs"]) for one in figures["time"]}
    deep = {mode: _by_depth(figures["depths"], mode) for mode in ("closest", "minnorm", "random features")}
    return [
        ("one sweep recovers a linear teacher, shortest targets (the paper's)", worst["minnorm"] < 1e-5,
         f"worst relative error {worst['minnorm']:.1e}"),
        ("the same with the closest targets", worst["closest"] < 1e-5,
         f"worst {worst['closest']:.1e}: not where a narrow layer lies below a wider one"),
        ("the paper's form is competitive on digits", test["shortest"] > test["closest and top"] - 0.01,
         f"test {test['shortest']:.3f} against {test['closest and top']:.3f} with closest targets and the top re-fit, "
         f"100 units"),
        ("solving the layers below gains over random features", all(
            found["sweep"] > found["random features"] + 0.005 for found in shares.values()),
         ", ".join(f"{found['sweep']:.3f} against {found['random features']:.3f} at {w} units"
                   for w, found in shares.items())
         + f"; sigmoid teachers: {over['closest']:.2f} times their error, shortest {over['minnorm']:.1f} times"),
        ("further sweeps on misclassified rows alone raise training accuracy",
         last["misclassified"] > train["closest and top"],
         f"{train['closest and top']:.3f} after one sweep, {last['misclassified']:.3f} after ten more"),
        ("with doubled weights instead", train["reweight"] > train["closest and top"] + 0.01,
         f"training {train['closest and top']:.3f} to {train['reweight']:.3f}, test {test['closest and top']:.3f} to "
         f"{test['reweight']:.3f}"),
        ("more than 1000 times faster than gradient methods", min(ratios.values()) > 1000,
         "; ".join(f"{ratio:.1f} times faster to the threshold than the best tuned one, {w} units"
                   for w, ratio in ratios.items())
         + "; random features are faster still: "
         + ", ".join(f"{found['sweep'] / found['random features']:.1f} times" for found in times.values())),
        ("the cost is known beforehand", all(found == {depth + 2} for depth, found in solves.items()),
         "solves of weights by hidden layers: "
         + ", ".join(f"{depth}: {', '.join(map(str, counts))}" for depth, counts in solves.items())),
        ("depth helps", max(deep["closest"].values()) > deep["closest"][1] + 0.005,
         "; ".join(f"{mode} {', '.join(f'{share:.3f}' for share in by.values())}" for mode, by in deep.items())
         + f", for {', '.join(map(str, solves))} hidden layers and the better bound of each"),
    ]  # fmt: skip


def softmax_claims(figures: dict[str, Any]) -> list[Claim]:
    """Claims of arXiv:2311.07498."""
    starts = figures["start"]
    ends = {start: max(_curve(starts, start, b, r)[-1] for b in (32, 128) for r in (1e-3, 1e-2)) for start in
            ("warm", "cold")}  # fmt: skip
    least = {
        start: min(_least(starts, start, batch, rate) for batch in (32, 128) for rate in (1e-3, 1e-2)) for start in ends
    }
    ahead = {batch: _curve(starts, "warm", batch, 0.01)[0] - _curve(starts, "cold", batch, 0.01)[1] for batch in
             (32, 128)}  # fmt: skip
    cosine, distance = (_curve(starts, "cold", 32, 0.01, name) for name in ("cosine", "distance"))
    best = {
        (row["context"], row["start"]): _best_text(figures["text start"], row["context"], row["start"])
        for row in figures["text start"]
    }
    text = {
        (row["aggregate"], row["context"]): _perplexity(figures["text"], row["aggregate"], row["context"])
        for row in figures["text"]
    }
    slopes = [row["slope"] for row in figures["laws"] if row["law"] == "zipf"]
    flat = [row["slope"] for row in figures["laws"] if row["law"] == "uniform"]
    explicit_start = _curve(starts, "warm", 32, 0.01)[0]
    return [
        ("the explicit solution is near the optimum: a language model of one token",
         best[1, "cold"] > 0.97 * text["sum", 1],
         f"perplexity {text['sum', 1]:.1f}; the best epoch of Adam {min(best[1, 'cold'], best[1, 'warm']):.1f}"),
        ("the same of four tokens, summed", best[4, "cold"] > 0.97 * text["sum", 4],
         f"{text['sum', 4]:.1f}; trained from random weights {best[4, 'cold']:.1f}"),
        ("the same on digits", explicit_start > ends["cold"] - 0.01,
         f"accuracy {explicit_start:.3f}; trained {ends['cold']:.3f}"),
        ("random weights train towards the explicit ones", cosine[-1] > 0.95,
         f"cosine {cosine[0]:.2f}, at most {max(cosine):.2f} (epoch {cosine.index(max(cosine))}), "
         f"{cosine[-1]:.2f} at the end; least distance {min(distance):.2f}"),
        ("a warm start is ahead by more than .05 of an epoch from a cold one", min(ahead.values()) > 0.05,
         ", ".join(f"by {value:.3f} with batches of {batch}" for batch, value in ahead.items())),
        ("and ends in a better optimum", ends["warm"] > ends["cold"] + 0.005 or best[4, "warm"] < best[4, "cold"],
         f"best end {ends['warm']:.3f} and {ends['cold']:.3f}; least test cross-entropy {least['warm']:.3f} and "
         f"{least['cold']:.3f}; text, four tokens: {best[4, 'warm']:.1f} from the explicit weights, "
         f"{best[4, 'cold']:.1f} from random ones"),
        ("longer sums of tokens raise the perplexity",
         text["sum", 8] > text["sum", 4] > text["sum", 2] > text["sum", 1],
         ", ".join(f"K={k}: {text['sum', k]:.0f}" for k in (1, 2, 4, 8))),
        ("concatenation is no worse than the sum", all(text["concat", k] <= text["sum", k] for k in (2, 4, 8)),
         ", ".join(f"K={k}: {text['concat', k]:.0f}" for k in (2, 4, 8)) + ", each at its own smoothing"),
        ("co-occurrences scale with counts, tokens by Zipf's law", max(abs(slope - 1) for slope in slopes) < 0.1,
         f"slopes {min(slopes):.2f} to {max(slopes):.2f}"),
        ("the same, tokens uniform", max(abs(slope - 1) for slope in flat) < 0.1,
         f"slopes {min(flat):.2f} to {max(flat):.2f}"),
    ]  # fmt: skip


def arm_times(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Median seconds to the mark of each arm at the settings chosen for it; infinite where a run never passes."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run["end"] == "time":
            found.setdefault(run["arm"], []).append(run["seconds_to_mark"] if run["passed"] else math.inf)
    return {arm: statistics.median(values) for arm, values in found.items()}


def arm_accuracies(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean accuracy of each arm at the settings chosen for that."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run["end"] == "accuracy":
            found.setdefault(run["arm"], []).append(1 - run["lost"])
    return {arm: statistics.fmean(values) for arm, values in found.items()}


def _mean(forms: list[dict[str, Any]], figure: str, form: str, width: int) -> float:
    values = [one[figure] for one in forms if (one["form"], one["width"]) == (form, width)]
    return statistics.fmean(values) if None not in values else math.nan


def _by_depth(depths: list[dict[str, Any]], mode: str) -> dict[int, float]:
    """Mean test accuracy by hidden layers, at the better bound of each."""
    found: dict[int, dict[float, list[float]]] = {}
    for one in depths:
        if one["mode"] == mode:
            found.setdefault(one["depth"], {}).setdefault(one["bound"], []).append(one["test"])
    return {depth: max(statistics.fmean(values) for values in by.values()) for depth, by in found.items()}


def _some(starts: list[dict[str, Any]], start: str, batch: int, rate: float) -> list[list[dict[str, float]]]:
    return [one["rows"] for one in starts if (one["start"], one["batch"], one["rate"]) == (start, batch, rate)]


def _curve(starts: list[dict[str, Any]], start: str, batch: int, rate: float, figure: str = "accuracy") -> list[float]:
    some = _some(starts, start, batch, rate)
    return [statistics.fmean(rows[epoch][figure] for rows in some) for epoch in range(len(some[0]))]


def _least(starts: list[dict[str, Any]], start: str, batch: int, rate: float) -> float:
    return statistics.fmean(
        min(row["test_cross_entropy"] for row in rows) for rows in _some(starts, start, batch, rate)
    )


def _best_text(rows: list[dict[str, Any]], context: int, start: str) -> float:
    """Test perplexity at the rate and epoch that validation likes best, geometric mean over seeds."""
    best: dict[int, dict[str, float]] = {}
    for one in rows:
        if (one["context"], one["start"]) == (context, start):
            for row in one["rows"]:
                kept = best.setdefault(one["seed"], row)
                best[one["seed"]] = min(kept, row, key=lambda entry: entry["validation"])
    return statistics.geometric_mean(row["test"] for row in best.values())


def _perplexity(rows: list[dict[str, Any]], aggregate: str, context: int) -> float:
    return statistics.geometric_mean(
        row["test"] for row in rows
        if (row["split"], row["aggregate"], row["context"]) == ("blocks", aggregate, context)
    )  # fmt: skip


def main() -> None:
    fill_pages({PAGE: filled})


if __name__ == "__main__":
    main()
