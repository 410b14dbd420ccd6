"""Claims of the paper's ablations on CIFAR-100, next to our results on digits in benchmarks/results/ablations.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sciml_cf.studies.ablations import page as ablations
from sciml_cf.studies.ablations.figures import finals

CLOSE = 0.01  # two accuracies are alike: four of the 400 test samples
LARGEST_LAMBDA = 1000.0  # of the paper's sweep on CIFAR, on sums over a batch
Claim = tuple[str, str, bool]


def judged(result: dict[str, Any]) -> list[Claim]:
    """(what the paper found, what was measured, whether it holds)."""
    figures, config = result["figures"], result["config"]
    found = [_bias(figures["design"], config)]
    for algorithm in (1, 2):
        found += [_zeros(figures["design"], config, algorithm), _adam(figures["design"], config, algorithm)]
    found.append(_algorithms(figures["methods"], config))
    return [*found, *_strengths(figures["strength"], config), *_rates(figures["methods"], config)]


def gaps(cells: ablations.Cells, config: dict[str, Any], pair: tuple[str, str], mark: int | None) -> list[float]:
    """Mean difference of two cells, NAME, at each batch size."""
    return [
        statistics.fmean(ablations.paired(*(cells[f"{name}, {size}"] for name in pair), config, mark))
        for size in config["batch_sizes"]
    ]


def mean_of(cells: ablations.Cells, config: dict[str, Any], name: str) -> float:
    """Mean accuracy over iterations, seeds and batch sizes."""
    sizes = config["batch_sizes"]
    return statistics.fmean(
        value for size in sizes for value in ablations.at_mark(cells[f"{name}, {size}"], config, None)
    )


def _at(sizes: Sequence[int], values: Sequence[float], form: str = "+.3f") -> str:
    return ", ".join(f"{value:{form}} at {size}" for size, value in zip(sizes, values, strict=True))


def _bias(cells: ablations.Cells, config: dict[str, Any]) -> Claim:
    last = config["marks"][-1]
    pairs = [(f"no bias, Alg. {n}", f"proximal, Alg. {n}") for n in (1, 2)]
    largest = max((gap for pair in pairs for gap in gaps(cells, config, pair, last)), key=abs)
    early = max((gap for pair in pairs for gap in gaps(cells, config, pair, None)), key=abs)
    words = f"largest difference without one {largest:+.3f} at iteration {last}, {early:+.3f} in the mean"
    return "a bias makes no difference (F.1, F.5)", words, max(abs(largest), abs(early)) <= CLOSE


def _zeros(cells: ablations.Cells, config: dict[str, Any], algorithm: int) -> Claim:
    arms = [arm for name, arm in config["questions"]["initial"].items() if name != "first batch"]  # the paper has none
    means = {arm: mean_of(cells, config, f"{arm}, Alg. {algorithm}") for arm in arms}
    zeros, *_ = means.values()
    other, best = max(list(means.items())[1:], key=lambda item: item[1])
    words = f"mean {zeros:.3f}, next to it {other} {best:.3f}"
    what = f"a head of zeros is the best to start from, Algorithm {algorithm} ({'F.2' if algorithm == 1 else 'F.7'})"
    return what, words, zeros > best


def _adam(cells: ablations.Cells, config: dict[str, Any], algorithm: int) -> Claim:
    pair = (f"adam, Alg. {algorithm}", f"proximal, Alg. {algorithm}")
    found = gaps(cells, config, pair, None)
    what = f"Adam is worse than SGD, Algorithm {algorithm} ({'F.3' if algorithm == 1 else 'F.6'})"
    return what, f"Adam less SGD in the mean: {_at(config['batch_sizes'], found)}", max(found) < 0


def _algorithms(cells: ablations.Cells, config: dict[str, Any]) -> Claim:
    found = gaps(cells, config, ("proximal, Alg. 1", "proximal, Alg. 2"), None)
    words = f"1 less 2 in the mean: {_at(config['batch_sizes'], found)}"
    return "Algorithm 1 is better than Algorithm 2 (Figure 7)", words, min(found) > 0


def _strengths(cells: ablations.Cells, config: dict[str, Any]) -> list[Claim]:
    sizes = config["batch_sizes"]

    def means(rule: str, algorithm: int, size: int) -> dict[float, float]:
        cell = cells[f"{rule}, Alg. {algorithm}, {size}"]
        return dict(zip(cell["values"], finals(cell, config["classes"]).mean(1), strict=True))

    def spread(rule: str, size: int) -> float:
        return max(max(found.values()) - min(found.values()) for found in (means(rule, n, size) for n in (1, 2)))

    def beyond(size: int) -> float:
        """How far proximal falls behind its best at strengths above that, up to the paper's largest lambda."""
        drops = []
        for algorithm in (1, 2):
            found = means("proximal", algorithm, size)
            best = max(found, key=lambda strength: found[strength])
            most = max(best, LARGEST_LAMBDA / size)
            drops.append(found[best] - min(value for strength, value in found.items() if best <= strength <= most))
        return max(drops)

    drops, ridges, proximals = ([f(size) for size in sizes] for f in (
        beyond, lambda size: spread("ridge", size), lambda size: spread("proximal", size)
    ))  # fmt: skip
    tops = [max(max(means("ridge", n, size).values()) for n in (1, 2)) for size in sizes]
    spreads = f"spread over the strengths: ridge {_at(sizes, ridges, '.3f')}; proximal {_at(sizes, proximals, '.3f')}"
    return [
        (
            "proximal is robust to lambda once it is large enough, less so for small batches (Figure 6)",
            f"lost at most from the best strength to lambda = {LARGEST_LAMBDA:g}: {_at(sizes, drops, '.3f')}",
            bool(max(drops[1:]) <= 2 * CLOSE and drops[0] == max(drops)),
        ),
        (
            "ridge is more sensitive to beta than proximal to lambda (Figure 6)",
            spreads,
            all(one > two for one, two in zip(ridges, proximals, strict=True)),
        ),
        (
            "ridge works better for larger batches (Figure 6)",
            f"its best: {_at(sizes, tops, '.3f')}",
            tops[0] < tops[-1] - CLOSE and all(b > a - CLOSE for a, b in pairwise(tops)),
        ),
    ]


def _rates(cells: ablations.Cells, config: dict[str, Any]) -> list[Claim]:
    best = ablations.best_rates(cells)
    found = []
    for name in ("proximal, Alg. 1", "proximal, Alg. 2", "ridge, Alg. 1", "ridge, Alg. 2"):
        rates = [best[name][size] for size in config["batch_sizes"]]
        grows = rates == sorted(rates) and rates[0] < rates[-1]
        what = f"the best rate of {name} grows with the batch (Figure 6)"
        found.append((what, _at([*best[name]], rates, "g"), grows))
    largest = config["batch_sizes"][-1]
    closed = min(best[f"{rule}, Alg. {n}"][largest] for rule in ("proximal", "ridge") for n in (1, 2))
    for name in ("l2", "cross-entropy"):
        rates = [best[name][size] for size in config["batch_sizes"]]
        what = f"{name} needs lower rates than closed form where batches are large (Figure 6)"
        words = f"{_at([*best[name]], rates, 'g')}; closed form at least {closed:g} at {largest}"
        found.append((what, words, rates[-1] < closed))
    return found
