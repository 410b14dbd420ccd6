"""Choice of settings by successive halving: many candidates for a few epochs, the better ones for more.

Every method gets as many candidates and epochs, judged on the validation set with a seed that reports nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sciml_cf.studies.harness.extension import at_edge, extend_selection
from sciml_cf.studies.harness.grid import RunTrials, Trial
from sciml_cf.studies.harness.intervals import geometric_interval

_SCORE = "best_validation_mse"
SELECTION_SEED = 0  # of every selection; it reports nothing
Settings = Mapping[str, Any]
Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Rung:
    """One round of a selection: train up to ``epochs``, keep the best ``keep`` candidates."""

    epochs: int
    keep: int


def select(
    cells: Mapping[str, Sequence[Mapping[str, Any]]],
    rungs: Sequence[Rung],
    trial: Callable[[str, Mapping[str, Any], int], Trial],
    run: Callable[[Sequence[Trial], str], Results],
    *,
    score: str = _SCORE,
) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """The best candidate of each cell, and what every rung measured.

    A rung whose every candidate of a cell diverged is run again with as many of the next best, those that earlier rungs
    put aside: a rate that is fast for a few epochs and then lost does not cost a method its sound, slower ones.

    Args:
        cells: for each cell of the grid (a method at a batch size) its candidates, plain settings.
        rungs: with falling ``keep``; the last one keeps one.
        trial: (cell, candidate, epochs) -> the training up to so many epochs, which goes on where an earlier one of the
            same cell and candidate stopped.
        run: (trials, label) -> their results, in order; a diverged one has the key "diverged".
        score: the key of a result that is to be low.

    Returns:
        The chosen settings of each cell, {} where all its candidates diverged, and a log. The log has for each cell one
        entry a candidate and rung: its settings, epochs, and best_validation_mse (infinite if it diverged).
    """
    racing = {cell: _Cell(list(candidates)) for cell, candidates in cells.items()}
    for number, rung in enumerate(rungs, 1):
        open_cells = {cell: one for cell, one in racing.items() if one.left}
        while open_cells:
            trials = [trial(cell, candidate, rung.epochs) for cell, one in open_cells.items() for candidate in one.left]
            results = run(trials, f"select, round {number}")
            open_cells = _ranked(open_cells, results, rung, score)
    return {cell: one.best for cell, one in racing.items()}, {cell: one.log for cell, one in racing.items()}


def _ranked(cells: Mapping[str, _Cell], results: Results, rung: Rung, score: str) -> dict[str, _Cell]:
    """Rank what was run of each cell; the cells of which others are to be run, for all of these diverged."""
    values = iter([math.inf if "diverged" in found else float(found[score]) for found in results])
    open_cells = {}
    for cell, one in cells.items():
        if one.rank([next(values) for _ in one.left], rung, score):
            open_cells[cell] = one
    return open_cells


@dataclass
class _Cell:
    """A cell in a selection: the candidates to run next, those put aside, and all that was measured."""

    left: list[Settings]
    aside: list[Settings] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any]:
        return dict(self.left[0]) if self.left else {}

    def rank(self, values: Sequence[float], rung: Rung, score: str) -> bool:
        """Keep the best of what was run; whether all of it diverged, and those put aside are to be run instead."""
        pairs = list(zip(values, self.left, strict=True))
        self.log += [{"settings": dict(one), "epochs": rung.epochs, score: value} for value, one in pairs]
        sound = sorted((pair for pair in pairs if math.isfinite(pair[0])), key=lambda pair: pair[0])
        ranked = [candidate for _, candidate in sound]
        if not ranked and self.aside:
            self.left, self.aside = self.aside[: len(pairs)], self.aside[len(pairs) :]
            return True
        self.left, self.aside = ranked[: rung.keep], ranked[rung.keep :] + self.aside
        return False


def select_and_report(
    cells: Mapping[str, Sequence[Settings]],
    rungs: Sequence[Rung],
    trial: Callable[[str, Settings, int], Trial],
    reports: Callable[[str, Settings], Sequence[tuple[dict[str, Any], Trial]]],
    run: RunTrials,
    *,
    scored: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
    extend: int = 0,
    earlier: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """Choose the settings of each cell, then train it with them.

    Args:
        cells: as in ``select``.
        rungs: as in ``select``.
        trial: as in ``select``.
        run: as in ``select``.
        reports: (cell, chosen settings) -> for each training to report what names it among the runs, and its trial.
        scored: of a result in the selection, with ``best_validation_mse`` unless it diverged.
        extend: how often to try settings beyond the edge of the candidates where the best one lies there.
        earlier: cells as an earlier call returned them. Their selection counts, unless its log is empty: then it is
            made anew. Their runs count where the choice stays the same.

    Returns:
        for each cell what was "chosen", of that "at_edge", the log of the "selection", and the "runs", none of them
        where every candidate diverged.
    """

    def scores(trials: Sequence[Trial], label: str) -> Results:
        return [scored(one) for one in run(trials, label)]

    cells = {cell: list(candidates) for cell, candidates in cells.items()}
    known = {cell: earlier[cell] for cell in cells if cell in earlier}
    open_cells = {cell: tried for cell, tried in cells.items() if not known.get(cell, {}).get("selection")}
    chosen, log = select(open_cells, rungs, trial, scores)
    for cell in sorted(cells.keys() - open_cells.keys()):
        chosen[cell], log[cell] = dict(known[cell]["chosen"]), [dict(entry) for entry in known[cell]["selection"]]
        cells[cell] += [entry["settings"] for entry in log[cell] if entry["settings"] not in cells[cell]]
    if rungs:
        extend_selection(
            cells, chosen, log, epochs=rungs[-1].epochs, times=extend, trial=trial, run=scores, score=_SCORE
        )
    before = {cell: list(one["runs"]) for cell, one in known.items() if one["chosen"] == chosen[cell]}
    asked = {cell: chosen[cell] for cell in cells if chosen[cell] in cells[cell] and not before.get(cell)}
    runs = before | _reported(asked, reports, run)
    return {
        cell: {
            "chosen": chosen[cell],
            "at_edge": at_edge(chosen[cell], cells[cell]),
            "selection": log[cell],
            "runs": runs.get(cell, []),
        }
        for cell in cells
    }


def is_found(cell: Any, candidates: Sequence[Settings], epochs: int) -> bool:
    """Whether this is a cell as ``select_and_report`` returns it, as from a file that any hand may have changed.

    Args:
        cell: what was read.
        candidates: of this cell now.
        epochs: of the last round of the selection, which must have measured what was chosen.
    """
    try:
        log = [(entry["settings"], entry["epochs"], float(entry[_SCORE])) for entry in cell["selection"]]
        chosen, seeds = dict(cell["chosen"]), [run["seed"] for run in cell["runs"]]
        others = [settings for settings, *_ in log if settings.keys() != candidates[0].keys()]
        judged = [settings for settings, last, _ in log if last == epochs]
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return not others and (chosen in judged if chosen else not seeds)


def _reported(
    chosen: Mapping[str, Settings],
    reports: Callable[[str, Settings], Sequence[tuple[dict[str, Any], Trial]]],
    run: RunTrials,
) -> dict[str, list[dict[str, Any]]]:
    """The runs of each cell with its settings."""
    named = [(cell, *report) for cell, settings in chosen.items() for report in reports(cell, settings)]
    runs: dict[str, list[dict[str, Any]]] = {cell: [] for cell in chosen}
    for (cell, names, _), result in zip(named, run([one for _, _, one in named], "report"), strict=True):
        runs[cell].append({**names, **result})
    return runs


def over_seeds(run: RunTrials, repeats: Callable[[Trial], Sequence[Trial]]) -> RunTrials:
    """A runner in which a candidate is judged by several trainings: the geometric mean of their scores.

    Args:
        run: what runs the trials.
        repeats: the trials to run for one, such as the same with other seeds; the trial alone where it is not judged.

    Returns:
        the runner; a candidate of which one training diverged has diverged.
    """

    def run_all(trials: Sequence[Trial], label: str) -> list[dict[str, Any]]:
        groups = [list(repeats(trial)) for trial in trials]
        results = iter(run([trial for group in groups for trial in group], label))
        return [_together([next(results) for _ in group]) for group in groups]

    return run_all


def _together(results: list[dict[str, Any]]) -> dict[str, Any]:
    if len(results) == 1:
        return results[0]
    lost = [one for one in results if "diverged" in one]
    return lost[0] if lost else {_SCORE: geometric_interval([one[_SCORE] for one in results]).mean}


def edge_sentence(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on how many cells chose the first or last of their candidates, and how many were sought beyond."""
    beyond = sum(any(entry.get("beyond_the_edge") for entry in cell.get("selection", ())) for cell in cells)
    count = sum(bool(cell["at_edge"]) for cell in cells)
    sentences = [f"In {beyond} of {len(cells)} rows candidates beyond the edge were tried too."] if beyond else []
    if count:
        sentences.append(
            f"In {count} of {len(cells)} rows the choice is at an edge of the candidates: others may do better there."
        )
    return sentences
