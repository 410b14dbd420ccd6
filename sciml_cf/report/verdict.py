"""The verdict of an evaluation, in a sentence that can be quoted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from sciml_cf.plots.evaluation import BASELINES, baseline_errors, counted, judged, judged_at, native_errors, quoted
from sciml_cf.report.training_words import losses
from sciml_cf.training.run_folder import HISTORY_FILE, read_evaluation, read_history

_ALIKE = 1.1  # errors within 10 % of each other
_OVERFITTED = 10.0  # validation over training error
_FALLING = 2.0  # training error a quarter of the epochs ago over the last
_FEW_EPOCHS = 8
_OWN = 10.0  # times the error of the data, from where on the error is the model's
_ROUNDING = 1e-12
_OFFSET = 2.0  # the error over the fluctuations is reported where it is this many times the relative error
_NOT_LEARNED = "it has learned little, check the data and the learning rate"
_ADVICE = {
    "linear_map": "use it (`fit_linear_map`), or train this model longer, on more samples or with other settings",
    "linear_part": "use it, or train this model longer, on more samples or with other settings",
    "nearest_sample": "train it longer, on more samples or with other settings",
}


def verdict(evaluation: xr.Dataset, history: Sequence[Mapping[str, float]] | None = None) -> str:
    """How good a model is, against which baselines, and what would help, from the numbers of its result files alone.

    A clause is there only if its numbers are. In this order:

    - The mean relative L2 error of the model, ``native``, at the resolution that it was trained at, or else at the
      highest that was evaluated; the root mean squared error where targets are zero. Where the targets have a large
      mean, which makes every relative error small, also its ratio to the error of the training mean (or the mean VRMSE,
      where that is not known).
    - How many times lower that is than the error of the training mean, of the best linear map, and of the best baseline
      if that is another, at the same points; "about that of" where the two are within 10 %. Where zero is a better
      guess than the training mean or the linear map, it stands in their place.
    - Its change over the evaluated resolutions: "unchanged" if all are within 10 % of each other.
    - A warning if a baseline has a lower error by more than 10 %; of several the lowest is named.
    - Whether the error is the model's or may be the data's, where the accuracy of the data is known (``data_error``).
    - Where baselines and model learned from different samples, which.
    - "More samples" would help if the validation error (mean squared) is more than 10 times the training error, at the
      epoch whose weights were evaluated. Else "more epochs", if there are 8 epochs or more and the training error fell
      by a factor of 2 or more in the last quarter of them, and the validation error by more than 10 %.

    Args:
        evaluation: of ``evaluate_transfer``, or read from evaluation.nc; one of an older version will do.
        history: the rows of history.csv, oldest first; None for a model without.

    Returns:
        One to five sentences.
    """
    resolution, name = judged_at(evaluation), judged(evaluation)
    errors = native_errors(evaluation, name)
    error, baselines = errors[resolution], baseline_errors(evaluation, resolution, name)
    size = (
        f"Relative L2 error {_percent(error)}" if name == "relative_l2" else f"Root mean square error {_short(error)}"
    )
    told = _of_fluctuations(evaluation, resolution, error, baselines) if name == "relative_l2" else ""
    first = f"{size}{told} on {counted(evaluation)} at {_points(evaluation, resolution)}"
    if not math.isfinite(error):
        return f"{first}: this model does not return finite numbers."
    against = [_against(baseline, error, baselines[baseline]) for baseline in quoted(baselines)]
    clauses = [", ".join(filter(None, against)), _change(evaluation, resolution, errors)]
    clauses = "; ".join(filter(None, clauses))
    sentences = [
        f"{first}: {clauses}." if clauses else f"{first}.",
        _warning(error, baselines),
        _of_the_data(evaluation, error) if name == "relative_l2" else "",
        _other_samples(evaluation),
        _training(evaluation, history),
    ]
    return " ".join(filter(None, sentences))


def run_verdict(run: Path | str) -> str:
    """The ``verdict`` on a run folder that was evaluated.

    Raises:
        CheckpointError: the run has no evaluation, or a file of it is unreadable.
    """
    history = read_history(run) if (Path(run) / HISTORY_FILE).is_file() else None
    return verdict(read_evaluation(run), history)


def _of_fluctuations(evaluation: xr.Dataset, resolution: int, error: float, baselines: Mapping[str, float]) -> str:
    """The error relative to the variation of the targets, where that is small compared with their mean."""
    if "training_mean" in baselines:
        share = error / baselines["training_mean"] if baselines["training_mean"] > 0 else 0.0
    else:
        share = native_errors(evaluation, "vrmse")[resolution] if "vrmse" in evaluation else 0.0
    return f" ({_percent(share)} of the targets' fluctuations)" if share > _OFFSET * error else ""


def _against(name: str, error: float, baseline: float) -> str:
    """How much lower the error is than a baseline's; nothing where the baseline wins."""
    if baseline > _ALIKE * error:
        return f"{_times(baseline, error)} lower than {_name(name)}"
    return f"about that of {_name(name)}" if error <= _ALIKE * baseline else ""


def _warning(error: float, baselines: Mapping[str, float]) -> str:
    better = {name: value for name, value in baselines.items() if error > _ALIKE * value}
    if not better:
        return ""
    name = min(better, key=better.__getitem__)
    label, advice = _name(name), _ADVICE.get(name, _NOT_LEARNED)
    if better[name] == 0:
        return f"Warning: {label} is exact and this model is not: {advice}."
    return f"Warning: {label} is {_times(error, better[name])} better than this model: {advice}."


def _of_the_data(evaluation: xr.Dataset, error: float) -> str:
    """Whose the error is: the model's, or perhaps that of the targets."""
    known = float(evaluation.attrs.get("data_error", math.nan))
    if not math.isfinite(known):
        return ""
    accuracy = "exact up to rounding" if known < _ROUNDING else f"accurate to about {known:.0e}"
    if error > _OWN * known:
        return f"The data are {accuracy}, so this error is the model's."
    return (
        f"The data are {accuracy} only, so part of this error may be theirs: generate them with a smaller tolerance or "
        "in float64."
    )


def _change(evaluation: xr.Dataset, resolution: int, errors: Mapping[int, float]) -> str:
    """How the error changes over the resolutions."""
    known = {n: error for n, error in errors.items() if math.isfinite(error)}
    error, low, high = errors[resolution], min(known.values()), max(known.values())
    if len(known) < 2:
        return ""
    if high <= _ALIKE * low:
        return f"unchanged from {_shape(evaluation, min(known))} to {_points(evaluation, max(known))}"
    if high > _ALIKE * error:
        worst = max(known, key=known.__getitem__)
        return f"{_times(high, error)} higher at {_points(evaluation, worst)}"
    best = min(known, key=known.__getitem__)
    return f"{_times(error, low)} lower at {_points(evaluation, best)}"


def _other_samples(evaluation: xr.Dataset) -> str:
    attrs = evaluation.attrs
    samples, adapted = attrs.get("baseline_samples"), attrs.get("adapted_samples")
    if samples is None:
        return ""
    if adapted not in (None, samples):
        return f"The baselines learned from {samples} samples, this model was adapted to {adapted}."
    if not attrs.get("own_data", 1):
        return f"The baselines learned from {samples} samples of {attrs['data']}, this model from another file."
    return ""


def _training(evaluation: xr.Dataset, history: Sequence[Mapping[str, float]] | None) -> str:
    """What would help, by the history."""
    rows = [losses(row) for row in history or ()]
    rows = [row for row in rows if all(map(math.isfinite, row))]
    if not rows:
        return ""
    last = evaluation.attrs.get("which") == "last"
    training, validation = rows[-1] if last else min(rows, key=lambda row: row[1])
    if validation > _OVERFITTED * training > 0:
        ratio = _times(validation, training)
        return f"Validation error is {ratio} the training error: more samples would help more than more epochs."
    quarter = len(rows) // 4
    (before, validated), (now, validation) = rows[-1 - quarter], rows[-1]
    if len(rows) < _FEW_EPOCHS or before < _FALLING * now or validated <= _ALIKE * validation or now <= 0:
        return ""
    fell = f"Training error still fell by a factor of {_short(before / now)} in the last {quarter} epochs"
    return f"{fell}: more epochs would help."


def _name(baseline: str) -> str:
    return BASELINES.get(baseline, baseline.replace("_", " "))


def _points(evaluation: xr.Dataset, resolution: int) -> str:
    return f"{_shape(evaluation, resolution)} points"


def _shape(evaluation: xr.Dataset, resolution: int) -> str:
    """The points of a grid along each axis: "256" or "64 x 64"."""
    stride = int(evaluation.attrs["reference_resolution"]) // resolution
    axes = [axis for axis in ("z", "y", "x") if axis in evaluation.sizes]
    shape = [evaluation.sizes[axis] // stride for axis in axes] or [resolution]
    return " x ".join(map(str, shape))


def _times(larger: float, smaller: float) -> str:
    return f"{_short(larger / smaller)} times" if smaller > 0 else "infinitely many times"


def _percent(error: float) -> str:
    return f"{_short(100 * error)} %" if error == 0 or error >= 1e-4 else f"{error:.1e}"


def _short(value: float) -> str:
    """Two digits, and no exponent where there is a plain way."""
    if not math.isfinite(value) or not 99.5 <= value < 1e6:
        return f"{value:.2g}"
    return f"{float(f'{value:.1e}'):.0f}"


def rollout_verdict(rolled: xr.Dataset) -> str:
    """How long a roll-out follows the solution, and against what, from the numbers of rollout.nc alone.

    Args:
        rolled: of ``evaluate_rollout``.

    Returns:
        Two to four sentences.
    """
    count, last = rolled.sizes["time"], float(rolled["time"][-1])
    errors = {
        "it": float(rolled["relative_l2"][-1]),
        "persistence": float(rolled["persistence_relative_l2"][-1]),
        **({"the best linear map": float(rolled["linear_relative_l2"][-1])} if "linear_relative_l2" in rolled else {}),
    }
    own = errors.pop("it")
    told = ", ".join(f"{name} {_figure(value)}" for name, value in errors.items())
    words = [
        f"Rolled out over {count} steps to t = {last:g}, it ends at a relative L2 error of {_figure(own)} ({told})."
    ]
    times = rolled["correlation_time"].values
    fallen = times[np.isfinite(times)]
    samples = len(times)
    if len(fallen):
        words.append(
            f"The correlation with the solution falls below 0.8 in {len(fallen)} of {samples} samples, at t = "
            f"{np.median(fallen):g} in the median of these."
        )
    else:
        words.append("The correlation with the solution stays above 0.8 to the end.")
    finite = rolled["finite_until"].values
    if (finite < last).any():
        words.append(
            f"{int((finite < last).sum())} of {samples} samples leave the finite numbers, the first after "
            f"t = {finite.min():g}."
        )
    return " ".join(words)


def _figure(value: float) -> str:
    return "infinity" if math.isinf(value) else f"{value:.3g}"
