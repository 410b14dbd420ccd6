"""Choose settings by successive halving: many candidates for a few epochs, the better ones for more.

Every method gets as many candidates and epochs, judged on the validation set with a seed that reports nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sciml_cf.studies.harness.grid import Trial

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
    score: str = "best_validation_mse",
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
        (chosen, log): chosen is {} for a cell whose candidates all diverged. The log has for each cell one entry a
        candidate and rung: its settings, epochs, and best_validation_mse (infinite if it diverged).
    """
    left: dict[str, Sequence[Mapping[str, Any]]] = dict(cells)
    aside: dict[str, list[Mapping[str, Any]]] = {cell: [] for cell in cells}
    log: dict[str, list[dict[str, Any]]] = {cell: [] for cell in cells}
    for number, rung in enumerate(rungs, 1):
        open_cells = {cell: candidates for cell, candidates in left.items() if candidates}
        while open_cells:
            pairs = [(cell, candidate) for cell, candidates in open_cells.items() for candidate in candidates]
            results = run([trial(cell, candidate, rung.epochs) for cell, candidate in pairs], f"select, round {number}")
            scores: dict[str, list[tuple[float, Mapping[str, Any]]]] = {cell: [] for cell in open_cells}
            for (cell, candidate), result in zip(pairs, results, strict=True):
                value = math.inf if "diverged" in result else float(result[score])
                scores[cell].append((value, candidate))
                log[cell].append({"settings": dict(candidate), "epochs": rung.epochs, score: value})
            again = {}
            for cell, scored in scores.items():
                sound = sorted((pair for pair in scored if math.isfinite(pair[0])), key=lambda pair: pair[0])
                ranked = [candidate for _, candidate in sound]
                left[cell], lower = ranked[: rung.keep], ranked[rung.keep :]
                if not ranked and aside[cell]:
                    again[cell], aside[cell] = aside[cell][: len(scored)], aside[cell][len(scored) :]
                aside[cell] = lower + aside[cell]
            open_cells = again
    return {cell: dict(candidates[0]) if candidates else {} for cell, candidates in left.items()}, log


def at_edge(chosen: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    """The numbers among the chosen settings that are the lowest or highest of those tried."""
    edges = []
    for key, value in chosen.items():
        numbers = [candidate[key] for candidate in candidates if isinstance(candidate[key], (int, float))]
        tried = sorted({number for number in numbers if not isinstance(number, bool)})
        if len(tried) > 1 and value in (tried[0], tried[-1]):
            edges.append(key)
    return edges
