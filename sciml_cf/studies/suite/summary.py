"""Ratios of test errors by problem in a result of the suite, their verdicts, and sentences made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from sciml_cf.studies.harness.intervals import Errors, Interval, compare_runs_by_seed, mean_cell, resampled_interval
from sciml_cf.studies.harness.results import merge_results
from sciml_cf.studies.suite.flags import METHODS

Result = dict[str, Any]
_CASE = ("problem", "samples", "model", "optimizer")
_USUAL = "none"  # the name of no change


@dataclass(frozen=True)
class Comparison:
    """Gradients and the closed-form head on one problem, with the same model, optimizer and samples.

    Attributes:
        case: values of problem, samples, model and optimizer.
        gradients, closed: the cells of both, as the result file has them; an empty one was not run.
        linear: test errors of the best linear map.
        peers: cells by the names of other methods.
    """

    case: tuple[Any, ...]
    gradients: dict[str, Any]
    closed: dict[str, Any]
    linear: dict[str, float] | None
    peers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def errors(self, which: str, metric: str = "relative_l2") -> Errors:
        """Test errors by seed of "gradients", "closed", "re-fit" (of gradients), "closed re-fit", or of a peer."""
        if which in self.peers:
            return _errors(self.peers[which], "test", metric)
        cell = self.closed if which.startswith("closed") else self.gradients
        return _errors(cell, "fitted_after" if which.endswith("re-fit") else "test", metric)

    def ratio(self, of: str, over: str = "gradients", metric: str = "relative_l2") -> tuple[Interval | None, str]:
        """The ratio of the errors, same seeds, and its verdict on the first."""
        return compare_runs_by_seed(self.errors(of, metric), self.errors(over, metric))

    @property
    def mean(self) -> float:
        """The ratio closed form / gradients; NaN where there is none."""
        interval, _ = self.ratio("closed")
        return float("nan") if interval is None else interval.mean

    @property
    def explained_by_refit(self) -> float | None:
        """The share of the gain, in logarithms, that the re-fit reaches; None where the head is not clearly better."""
        interval, words = self.ratio("closed")
        refit, _ = self.ratio("re-fit")
        if interval is None or refit is None or words != "better":
            return None
        return float(np.log(refit.mean) / np.log(interval.mean))

    def over_training(self, which: str) -> float | None:
        """Test errors of "gradients" or "closed" over those on the training samples; None where these are missing."""
        cell = self.closed if which == "closed" else self.gradients
        found = [
            run["test"]["relative_l2"] / run["training"]["relative_l2"] for run in _ended(cell) if "training" in run
        ]
        return float(np.exp(np.mean(np.log(found)))) if found else None

    def seconds(self, which: str) -> float | None:
        """Mean processor seconds of a training, by the names of ``errors``; None where none ended."""
        runs = _ended(self.peers.get(which, self.closed if which == "closed" else self.gradients))
        return _mean_of([run["seconds"][-1] for run in runs]) if runs else None

    @property
    def cost(self) -> float | None:
        """The processor seconds of the closed form over those of gradients; None where none of either ended."""
        ours, theirs = self.seconds("closed"), self.seconds("gradients")
        return ours / theirs if ours and theirs else None

    def mean_of(self, key: str, which: str = "closed") -> float | None:
        """The mean of a number over the runs that ended; None where they have none."""
        cell = self.closed if which == "closed" else self.gradients
        found = [run[key] for run in cell.get("runs", ()) if run.get(key) is not None]
        return float(np.mean(found)) if found else None

    def mean_error(self, which: str) -> float | str:
        """The geometric mean of the test errors, for a table."""
        return mean_cell(self.errors(which).values())

    def until_gradients(self) -> tuple[float, float] | None:
        """Means over seeds, each over that of whole runs of gradients, of the epochs and the processor seconds until
        the validation error of the closed form is below the final one of gradients for good; None if it never is.
        """
        theirs, ours = _ended(self.gradients), _ended(self.closed)
        if not theirs or not ours:
            return None
        goal = _mean_of([run["validation_mse"][-1] for run in theirs])
        counts = [epochs_below(run["validation_mse"], goal) or 0 for run in ours]
        if not all(counts):
            return None
        reached = [run["seconds"][count - 1] for run, count in zip(ours, counts, strict=True)]
        epochs = _mean_of(counts) / len(theirs[0]["validation_mse"])
        return epochs, _mean_of(reached) / _mean_of([run["seconds"][-1] for run in theirs])


@dataclass(frozen=True)
class Change:
    """A change of the training on one problem.

    Attributes:
        name: of the change.
        usual: both methods without it.
        changed: both with it; the gradients of a change of the head alone are those without it.
    """

    name: str
    usual: Comparison
    changed: Comparison

    def ratio(self, which: str) -> tuple[Interval | None, str]:
        """The errors of "gradients" or "closed" with the change over those without, and the verdict on the change."""
        return compare_runs_by_seed(self.changed.errors(which), self.usual.errors(which))


def _errors(cell: dict[str, Any], key: str, metric: str) -> Errors:
    return {run["seed"]: None if "diverged" in run else run[key][metric] for run in cell.get("runs", ())}


def _ended(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in cell.get("runs", ()) if "diverged" not in run]


def _mean_of(values: Sequence[float]) -> float:
    return float(np.mean(values))


def epochs_below(errors: Sequence[float], goal: float) -> int | None:
    """The epoch, from 1, from which all errors are below the goal; None where the last is not."""
    above = [epoch for epoch, error in enumerate(errors, 1) if not error < goal]
    first = (above[-1] if above else 0) + 1
    return first if first <= len(errors) else None


def comparisons(result: Result) -> list[Comparison]:
    """Both methods on each problem, trained as usual, the lowest ratio first."""
    found = [one for (_, change), one in _by_case(result).items() if change == _USUAL]
    return sorted(found, key=lambda one: (np.isnan(one.mean), one.mean))


def changes(result: Result) -> list[Change]:
    """The changes of the training, by their names and then in the order of ``comparisons``."""
    by_case, order = _by_case(result), [one.case for one in comparisons(result)]
    found = []
    for (case, name), one in by_case.items():
        usual = by_case.get((case, _USUAL))
        if name != _USUAL and usual is not None:
            found.append(Change(name, usual, one if one.gradients else replace(one, gradients=usual.gradients)))
    return sorted(found, key=lambda change: (change.name, order.index(change.usual.case)))


def _by_case(result: Result) -> dict[tuple[tuple[Any, ...], str], Comparison]:
    """Both methods by problem, samples, model and optimizer, and by the name of the change."""
    cells, linear = result["figures"]["cells"], result["figures"]["linear"]
    by_case: dict[tuple[tuple[Any, ...], str], dict[str, Any]] = {}
    for cell in cells.values():
        key = (tuple(cell[name] for name in _CASE), cell.get("change", _USUAL))
        by_case.setdefault(key, {})[cell["method"]] = cell
    return {
        (case, change): Comparison(
            case,
            of.get("l2", {}),
            of.get("proximal", {}),
            linear.get(f"{case[0]} {case[1]}", {}).get("test"),
            {method: cell for method, cell in of.items() if method not in METHODS},
        )
        for (case, change), of in by_case.items()
    }


def parted(found: Sequence[Comparison]) -> tuple[list[Comparison], list[list[Comparison]]]:
    """Those of the samples, model and optimizer that the most problems have, and groups of the others, alike in these.

    Where several have as many problems, all belong to the first.
    """
    groups: dict[tuple[Any, ...], list[Comparison]] = {}
    for one in found:
        groups.setdefault(one.case[1:], []).append(one)
    by_size = sorted(groups.values(), key=len, reverse=True)
    if len(by_size) > 1 and len(by_size[0]) == len(by_size[1]):
        return list(found), []
    return by_size[0] if by_size else [], sorted(by_size[1:], key=lambda group: group[0].case[1:])


def labels(found: Sequence[Comparison], among: Sequence[Comparison] | None = None) -> list[str]:
    """Names of the comparisons: the problem, and what else differs between them, or among others of which they are."""
    differs = [len({one.case[place] for one in among or found}) > 1 for place in range(len(_CASE))]
    units = ("", " samples", "", "")
    return [
        ", ".join(
            f"{value}{unit}"
            for place, (value, unit) in enumerate(zip(one.case, units, strict=True))
            if place == 0 or differs[place]
        )
        for one in found
    ]


def overall(found: Sequence[Comparison], of: str = "closed", over: str = "gradients") -> Interval | None:
    """The geometric mean of the ratios over problems, with an interval by resampling the problems."""
    groups: dict[str, list[float]] = {}
    for one in found:
        ours, theirs = one.errors(of), one.errors(over)
        pairs = [(error, theirs.get(seed)) for seed, error in ours.items()]
        groups.setdefault(one.case[0], []).extend(a / b for a, b in pairs if a is not None and b is not None)
    whole = [group for group in groups.values() if group]
    return resampled_interval(whole) if whole else None


def headline(found: Sequence[Comparison]) -> list[str]:
    """Paragraphs that say what came out, the most important one first."""
    usual, further = parted(found)
    others = [one for group in further for one in group]
    named = list(zip(usual, labels(usual), strict=True))
    by_refit = [name for one, name in named if (one.explained_by_refit or 0.0) > 0.5]
    linear = [name for one, name in named if _linear_wins(one)]
    every = [*named, *zip(others, labels(others, found), strict=True)]
    refit = f"A re-fitted last layer explains most of the gain on {_listed(by_refit)}: there it is the cheaper way to "
    optional = (
        (by_refit, f"{refit}the same."),
        (named, _counts(named)),
        (named, _means(usual)),
        (named, _pace(usual)),
        (named, _after_solving(usual)),
        (further, " ".join(filter(None, [_of_group(group, usual) for group in further]))),
        (linear, f"The best linear map has a lower error than both on {_listed(linear)}."),
        (every, _lost(every)),
    )
    return [words for names, words in optional if names and words]


def _lost(named: Sequence[tuple[Comparison, str]]) -> str:
    """On which problems runs diverged."""
    names = [name for one, name in named if "diverged" in one.ratio("closed")[1]]
    return f"Runs diverged on {_listed(names)}." if names else ""


def _judged(found: Sequence[Comparison]) -> list[Comparison]:
    """Those with a ratio of both methods."""
    return [one for one in found if not np.isnan(one.mean)]


def _counts(named: Sequence[tuple[Comparison, str]]) -> str:
    """On which problems the error is lower, higher, or not distinguishable."""
    verdicts: dict[str, list[str]] = {word: [] for word in _VERDICTS}
    for one, name in named:
        verdicts.setdefault(one.ratio("closed")[1], []).append(name)
    judged = sum(len(verdicts[word]) for word in _VERDICTS)
    cases = "case" if judged == 1 else "cases"
    counts = ", ".join(
        f"{phrase} in {len(names)}" + (f" ({_listed(names)})" if names else "")
        for word, phrase in _VERDICTS.items()
        for names in [verdicts[word]]
    )
    return f"Test errors of the closed-form head, compared with gradients in {judged} {cases}: {counts}."


def _means(found: Sequence[Comparison]) -> str:
    """The geometric means over problems; nothing of one problem, or where none was run with both methods."""
    judged = _judged(found)
    mean, refit = overall(judged), overall(judged, "re-fit")
    problems = len({one.case[0] for one in judged})
    if mean is None or refit is None or problems == 1:
        return ""
    return (
        f"Geometric mean of the ratios over {problems} problems: {_short(mean)} for the "
        f"closed-form head, {_short(refit)} for a last layer re-fitted after gradients (95 % intervals by resampling "
        "the problems)."
    )


def _pace(found: Sequence[Comparison]) -> str:
    """After which share of the epochs the closed form is as good as gradients are in the end, and what a step costs."""
    run = [one for one in found if _ended(one.gradients) and one.closed.get("runs")]
    shares = sorted(reached[0] for one in run if (reached := one.until_gradients()) is not None)
    costs = sorted(cost for one in run if (cost := one.cost) is not None)
    if len(run) < 2 or not costs:
        return ""
    cost = f"its training takes {costs[0]:.2f} to {costs[-1]:.2f} times the processor time."
    goal = "The closed form reaches the final validation error of gradients"
    if not shares:
        return f"{goal} on none of {_number(run)}; {cost}"
    often = f" on {len(shares)} of {_number(run)}" if len(shares) < len(run) else ""
    median = f"median {np.median(shares):.0%}"
    return f"{goal}{often} after {shares[0]:.0%} to {shares[-1]:.0%} of the epochs, {median}; {cost}"


def _after_solving(found: Sequence[Comparison]) -> str:
    """Whether a last layer fitted again is better than the one that the closed form ended with."""
    run = [one for one in found if _ended(one.closed)]
    words = [one.ratio("closed re-fit", "closed")[1] for one in run]
    better, worse = words.count("better"), words.count("worse")
    mean = overall(run, "closed re-fit", "closed")
    if mean is None or len(run) == 1 or not better + worse:
        return ""
    return (
        "After the closed-form training, fitting its last layer once more to all training samples lowers the error on "
        f"{better} of {_number(run)} and raises it on {worse}; geometric mean {mean.mean:.2f}: `sciml-cf adapt` does "
        "it."
    )


def _number(found: Sequence[Comparison]) -> str:
    """How many problems these are, or cases where a problem is there more than once."""
    return f"{len(found)} {'problems' if len({one.case[0] for one in found}) == len(found) else 'cases'}"


def _of_group(group: Sequence[Comparison], usual: Sequence[Comparison]) -> str:
    """How the ratios are with other samples, another model or optimizer, and as usual; of the problems with both."""
    as_usual = {one.case[0]: one for one in _judged(usual)}
    both = [one for one in _judged(group) if one.case[0] in as_usual]
    mean, same = overall(both), overall([as_usual[one.case[0]] for one in both])
    if mean is None or same is None:
        return ""
    differs = [place for place in range(1, len(_CASE)) if group[0].case[place] != usual[0].case[place]]
    names = ", ".join(f"{group[0].case[place]}{' samples' if place == 1 else ''}" for place in differs)
    where = both[0].case[0] if len(both) == 1 else f"{len(both)} problems"
    return f"With {names}: {where}, mean ratio {mean.mean:.2f}, as usual {same.mean:.2f}."


def sentence(file: str, one: Comparison, *, several: bool = False) -> str:
    """The verdict on one file in a sentence.

    Args:
        file: its name.
        one: both methods on it.
        several: whether to name model and optimizer.
    """
    interval, words = one.ratio("closed")
    if interval is None:
        return f"On {file} the methods cannot be compared: {words}."
    where = f" ({one.case[2]}, {one.case[3]})" if several else ""
    refit, _ = one.ratio("re-fit")
    most = ", most of the gain" if (one.explained_by_refit or 0.0) > 0.5 else ""
    after = "" if refit is None else f"; re-fitting the last layer after training gives {refit.mean:.2f}{most}"
    verdict = f"is {words}" if words in ("better", "worse") else f"is {words} from gradients"
    first = "cannot be judged" if words not in _VERDICTS else verdict
    why = f" ({words})" if words not in _VERDICTS else ""
    return (
        f"On {file}{where} the closed-form head {first}{why}: it reaches {_short(interval)} times the error of "
        f"gradients{after}."
    )


_VERDICTS = {"better": "lower", "worse": "higher", "not distinguishable": "not distinguishable"}


def _short(interval: Interval) -> str:
    return f"{interval.mean:.2f} ({interval.low:.2f}-{interval.high:.2f})"


def _linear_wins(one: Comparison) -> bool:
    errors = [one.mean_error(which) for which in ("gradients", "closed")]
    numbers = [error for error in errors if isinstance(error, float)]
    return (
        one.linear is not None
        and bool(one.gradients and one.closed and numbers)
        and one.linear["relative_l2"] < min(numbers)
    )


def _listed(names: Sequence[str]) -> str:
    return "".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def merged(results: Sequence[Result]) -> Result:
    """One result of several files, each of some problems; those of the full preset where there is any.

    Of the same case in two files the later one counts.

    Raises:
        ValueError: there is none, or their seeds, rates or shares of epochs differ.
    """
    full = [one for one in results if one["config"]["preset"] == "full"] or list(results)
    whole = merge_results(full, ("preset", "rates", "share", "held_out"))
    sizes = reduce(or_, (one["config"]["sizes"] for one in full))
    return {**whole, "config": {**whole["config"], "sizes": sizes}}
