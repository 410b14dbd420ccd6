"""Sentences on the histories of trainings: overfitting, instability, early ends, and unequal budgets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from sciml_cf.plots.evaluation import judged, judged_at, native_errors
from sciml_cf.training.progress import percent

Rows = Sequence[Mapping[str, float]]
_CHANGED = 1.1  # errors within 10 % of each other count as equal
_LASTING = 3  # epochs: errors of single ones go up and down
_UNSTABLE = 3.0  # training and validation error at the end over their lowest
_EQUAL = 1.1  # budgets within 10 % of each other


def losses(row: Mapping[str, float]) -> tuple[float, float]:
    """Training and validation error of an epoch on one scale: train_loss is that of normalized fields if there are."""
    names = ("validation_loss_normalized", "validation_mse", "validation_loss")
    validation = next((row[name] for name in names if name in row), math.nan)
    return row.get("train_loss", math.nan), validation


def training_sentences(rows: Rows, settings: Mapping[str, Any]) -> list[str]:
    """What a reader must know of a training before its error is believed; nothing where all went well.

    - Overfitting: from the epoch with the lowest validation error to the last one, the validation error rose by more
      than 10 % and the training error fell by more than 10 %. That epoch is at least a tenth of all epochs, and three,
      before the last one, and the validation error is as much above its lowest in each of the last three epochs.
    - Instability: at the end both are more than 3 times their lowest, or an epoch has an error that is not finite.
    - An early end: fewer epochs than the settings ask for, and no ``patience`` that explains it.

    Args:
        rows: of history.csv, oldest first.
        settings: of run.json.
    """
    pairs = [losses(row) for row in rows]
    found = [_finiteness(pairs), _overfitting(pairs), _instability(pairs), _early_end(rows, settings)]
    return [sentence for sentence in found if sentence]


def _finiteness(pairs: Sequence[tuple[float, float]]) -> str:
    broken = [number for number, pair in enumerate(pairs, start=1) if not all(map(math.isfinite, pair))]
    return f"The training diverged: the errors of epoch {broken[0]} are not finite numbers." if broken else ""


def _overfitting(pairs: Sequence[tuple[float, float]]) -> str:
    best = _best(pairs)
    if best is None:
        return ""
    (trained, lowest), (now, validation) = pairs[best], pairs[-1]
    since, least = len(pairs) - 1 - best, max(_LASTING, len(pairs) // 10)
    lasting = since >= least and all(pair[1] > _CHANGED * lowest > 0 for pair in pairs[-_LASTING:])
    if not (lasting and trained > _CHANGED * now > 0):
        return ""
    return (
        f"Overfitting: after epoch {best + 1} the validation error rose by {_percent(validation / lowest - 1)} while "
        f"the training error fell by {_percent(1 - now / trained)}. The weights of epoch {best + 1} are kept as the "
        "best."
    )


def _instability(pairs: Sequence[tuple[float, float]]) -> str:
    best = _best(pairs)
    if best is None:
        return ""
    lowest = [min(pair[kind] for pair in pairs) for kind in (0, 1)]
    if not all(now > _UNSTABLE * low > 0 for now, low in zip(pairs[-1], lowest, strict=True)):
        return ""
    ratio = pairs[-1][1] / lowest[1]
    return (
        f"The training became unstable: at its end the validation error is {_short(ratio)} times its lowest, that of "
        f"epoch {best + 1}, and the training error rose too. Lower the learning rate."
    )


def _early_end(rows: Rows, settings: Mapping[str, Any]) -> str:
    fit = settings.get("fit", {})
    planned = fit.get("epochs")
    if not planned or len(rows) >= planned or fit.get("patience") is not None:
        return ""
    return (
        f"The training ended after {len(rows)} of {planned} epochs: it was interrupted, stopped by `until`, or it "
        "diverged. `--resume` goes on."
    )


def _best(pairs: Sequence[tuple[float, float]]) -> int | None:
    """Index of the epoch with the lowest validation error; None where an error is not finite."""
    if not pairs or not all(math.isfinite(value) for pair in pairs for value in pair):
        return None
    return min(range(len(pairs)), key=lambda index: pairs[index][1])


def comparison_sentences(
    evaluations: Mapping[str, xr.Dataset], settings: Mapping[str, Mapping[str, Any]], histories: Mapping[str, Rows]
) -> list[str]:
    """Which of several runs has the lowest error, by how much, and whether their budgets were equal.

    Args:
        evaluations: evaluation of each run, by name.
        settings: settings of each run, by name.
        histories: history of each run, by name.

    Returns:
        One to four sentences; none for a single run.
    """
    if len(evaluations) < 2:
        return []
    found = [_ranking(evaluations), _budgets(settings, histories), _models(settings), _resolutions(evaluations)]
    return [sentence for sentence in found if sentence]


def _ranking(evaluations: Mapping[str, xr.Dataset]) -> str:
    metric = "relative_l2"
    if any(judged(evaluation) != metric for evaluation in evaluations.values()):
        metric = "mse"
    errors = {name: native_errors(one, metric)[judged_at(one)] for name, one in evaluations.items()}
    finite = {name: error for name, error in errors.items() if math.isfinite(error)}
    if not finite:
        return "No run returns finite numbers."
    return _lowest(sorted(finite.items(), key=lambda item: item[1]), metric)


def _lowest(ranked: Sequence[tuple[str, float]], metric: str) -> str:
    """The first of the runs by error, and how far the others are behind."""
    (first, lowest), *others = ranked
    what = "relative L2 error" if metric == "relative_l2" else "root mean square error"
    shown = percent(lowest) if metric == "relative_l2" else f"{lowest:.2g}"
    text = f"{first} has the lowest {what}, {shown}"
    if not others:
        return f"{text}; the others do not return finite numbers."
    (second, error), close = others[0], [name for name, error in others if error <= _CHANGED * lowest]
    if close:
        return f"{text}, but {_listed(close)} {_is(close)} within 10 % of it: another seed may change their order."
    ratio = f"{_short(error / lowest)} times lower" if lowest > 0 else "infinitely lower"
    return f"{text}, {ratio} than {second}{' (the next)' if len(others) > 1 else ''}."


def _budgets(settings: Mapping[str, Mapping[str, Any]], histories: Mapping[str, Rows]) -> str:
    """Samples that the trainings saw, each counted as often as it was seen."""
    seen = {}
    for name, rows in histories.items():
        steps, batch = (rows[-1].get("steps") if rows else None), settings[name]["fit"].get("batch_size")
        if steps and batch:
            seen[name] = (int(steps), int(steps) * int(batch))
    if len(seen) < len(histories):
        return ""
    numbers = {name: (steps, samples, len(histories[name])) for name, (steps, samples) in seen.items()}
    spread = [max(column) / min(column) for column in zip(*numbers.values(), strict=True)]
    if max(spread[:2]) <= _EQUAL:
        return ""
    each = "; ".join(
        f"{name} {epochs} epochs, {steps} steps, {samples} samples seen"
        for name, (steps, samples, epochs) in numbers.items()
    )
    return f"The budgets are unequal: {each}. Part of the difference may come from that."


def _models(settings: Mapping[str, Mapping[str, Any]]) -> str:
    models = {name: json.dumps(one.get("model"), sort_keys=True) for name, one in settings.items()}
    known = all(model != "null" for model in models.values())
    return "The models are not alike: see the settings." if known and len(set(models.values())) > 1 else ""


def _resolutions(evaluations: Mapping[str, xr.Dataset]) -> str:
    trained = {name: int(one.attrs.get("trained_at", 0)) for name, one in evaluations.items()}
    if len(set(trained.values())) < 2 or 0 in trained.values():
        return ""
    each = ", ".join(f"{name} at {points}" for name, points in trained.items())
    return f"The runs were trained at different resolutions ({each} points); each is judged at its own."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g} %"


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
