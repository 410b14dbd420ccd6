"""Candidates beyond the edge of a grid, where the best one lies at its edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sciml_cf.studies.harness.grid import Trial

Settings = Mapping[str, Any]
Log = dict[str, list[dict[str, Any]]]
_BELOW_ONE = ("forgetting", "factor", "average")  # settings between 0 and 1 whose distance to 1 counts


def at_edge(chosen: Settings, candidates: Sequence[Settings]) -> list[str]:
    """The numbers among the chosen settings that are the lowest or highest of those tried."""
    edges = []
    for key, value in chosen.items():
        tried = _tried(key, candidates)
        if len(tried) > 1 and value in (tried[0], tried[-1]):
            edges.append(key)
    return edges


def beyond(key: str, chosen: Settings, candidates: Sequence[Settings]) -> dict[str, Any] | None:
    """The chosen settings with the next value of ``key`` outside those tried, by the ratio of the outermost two.

    Returns:
        the settings, or None where the values are not positive.
    """
    tried, value = _tried(key, candidates), chosen[key]
    inner = tried[1] if value == tried[0] else tried[-2]
    if key in _BELOW_ONE:
        value, inner = 1 - value, 1 - inner
    if value <= 0 or inner <= 0:
        return None
    outer = float(f"{value * value / inner:.3g}")
    return {**chosen, key: round(1 - outer, 12) if key in _BELOW_ONE else outer}


def extend_selection(
    cells: dict[str, list[Settings]],
    chosen: dict[str, dict[str, Any]],
    log: Log,
    *,
    epochs: int,
    times: int,
    trial: Callable[[str, Settings, int], Trial],
    run: Callable[[Sequence[Trial], str], Sequence[Mapping[str, Any]]],
    score: str,
) -> None:
    """Try settings beyond the edges at which the best ones lie, and choose what is better; up to ``times`` times.

    A choice that no setting beyond the edge betters is no longer at an edge.

    Args:
        cells: for each cell its candidates, as in ``select``; changed in place.
        chosen: as ``select`` returns it; changed in place.
        log: as ``select`` returns it; changed in place.
        epochs: of the last round of the selection, in which the settings compare.
        times: how often the edge may be moved.
        trial: as in ``select``.
        run: as in ``select``.
        score: as in ``select``.
    """
    for number in range(times):
        asked = [
            (cell, settings)
            for cell, best in chosen.items()
            for key in at_edge(best, cells[cell])
            if (settings := beyond(key, best, cells[cell])) is not None
        ]
        results = run([trial(cell, settings, epochs) for cell, settings in asked], f"extend, round {number + 1}")
        for (cell, settings), found in zip(asked, results, strict=True):
            error = math.inf if "diverged" in found else float(found[score])
            before = [one[score] for one in log[cell] if one["settings"] == chosen[cell] and one["epochs"] == epochs]
            log[cell].append({"settings": dict(settings), "epochs": epochs, "beyond_the_edge": True, score: error})
            cells[cell].append(settings)
            if error < min(before):
                chosen[cell] = dict(settings)
        if not asked:
            return


def _tried(key: str, candidates: Sequence[Settings]) -> list[float]:
    values = [candidate[key] for candidate in candidates if isinstance(candidate[key], (int, float))]
    return sorted({value for value in values if not isinstance(value, bool)})
