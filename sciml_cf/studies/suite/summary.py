"""Ratios of test errors by problem in a result of the suite, and their verdicts."""

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
CASE = ("problem", "samples", "model", "optimizer")
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
            run["test"]["relative_l2"] / run["training"]["relative_l2"] for run in ended(cell) if "training" in run
        ]
        return float(np.exp(np.mean(np.log(found)))) if found else None

    def seconds(self, which: str) -> float | None:
        """Mean processor seconds of a training, by the names of ``errors``; None where none ended."""
        runs = ended(self.peers.get(which, self.closed if which == "closed" else self.gradients))
        return _mean_of([run["seconds"][-1] for run in runs]) if runs else None

    def cost(self, over: str = "gradients") -> float | None:
        """The processor seconds of the closed form over those of "gradients" or a peer.

        None where none of either ended, or where they were measured on different processors.
        """
        ours, theirs = self.seconds("closed"), self.seconds(over)
        return ours / theirs if ours and theirs and self._timed_alike(over) else None

    def _timed_alike(self, over: str = "gradients") -> bool:
        return self.closed.get("processor") == self.peers.get(over, self.gradients).get("processor")

    def mean_of(self, key: str, which: str = "closed") -> float | None:
        """The mean of a number over the runs that ended; None where they have none."""
        cell = self.closed if which == "closed" else self.gradients
        found = [run[key] for run in cell.get("runs", ()) if run.get(key) is not None]
        return float(np.mean(found)) if found else None

    def mean_error(self, which: str) -> float | str:
        """The geometric mean of the test errors, for a table."""
        return mean_cell(self.errors(which).values())

    def until_gradients(self) -> tuple[float, float | None] | None:
        """Means over seeds, each over that of whole runs of gradients, of the epochs and the processor seconds until
        the validation error of the closed form is below the final one of gradients for good; None if it never is.
        The seconds are None where those of both were measured on different processors.
        """
        theirs, ours = ended(self.gradients), ended(self.closed)
        if not theirs or not ours:
            return None
        goal = _mean_of([run["validation_mse"][-1] for run in theirs])
        counts = [epochs_below(run["validation_mse"], goal) or 0 for run in ours]
        if not all(counts):
            return None
        reached = [run["seconds"][count - 1] for run, count in zip(ours, counts, strict=True)]
        epochs = _mean_of(counts) / len(theirs[0]["validation_mse"])
        seconds = _mean_of(reached) / _mean_of([run["seconds"][-1] for run in theirs])
        return epochs, seconds if self._timed_alike() else None


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


def ended(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a cell that did not diverge."""
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
        key = (tuple(cell[name] for name in CASE), cell.get("change", _USUAL))
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
    """Names of the comparisons: the problem, and in brackets what else differs, among them or among given others."""
    differs = [len({one.case[place] for one in among or found}) > 1 for place in range(len(CASE))]
    units = ("", " samples", "", "")
    names = []
    for one in found:
        parts = [f"{value}{unit}" for value, unit in zip(one.case, units, strict=True)]
        more = ", ".join(part for part, shown in zip(parts[1:], differs[1:], strict=True) if shown)
        names.append(f"{parts[0]} ({more})" if more else parts[0])
    return names


def overall(found: Sequence[Comparison], of: str = "closed", over: str = "gradients") -> Interval | None:
    """The geometric mean of the ratios over problems, with an interval by resampling the problems."""
    groups: dict[str, list[float]] = {}
    for one in found:
        ours, theirs = one.errors(of), one.errors(over)
        pairs = [(error, theirs.get(seed)) for seed, error in ours.items()]
        groups.setdefault(one.case[0], []).extend(a / b for a, b in pairs if a is not None and b is not None)
    whole = [group for group in groups.values() if group]
    return resampled_interval(whole) if whole else None


def merged(results: Sequence[Result]) -> Result:
    """One result of several files, each of some problems; those of the full preset where there is any.

    Of the same case in two files the later one counts.

    Raises:
        ValueError: there is none, or their seeds, rates or shares of epochs differ.
    """
    full = [one for one in results if one["config"]["preset"] == "full"] or list(results)
    whole = merge_results([_with_processor(one) for one in full], ("preset", "rates", "share", "held_out"))
    sizes = reduce(or_, (one["config"]["sizes"] for one in full))
    return {**whole, "config": {**whole["config"], "sizes": sizes}}


def _with_processor(result: Result) -> Result:
    """The result with the processor in each cell: times of different ones do not compare."""
    cells = {name: {**cell, "processor": result["machine"]["cpu"]} for name, cell in result["figures"]["cells"].items()}
    return {**result, "figures": {**result["figures"], "cells": cells}}
