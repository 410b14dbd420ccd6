"""Errors of predictions without a trained model: the baselines of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import sciml_cf.metrics as metrics
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.field import Sampling
from sciml_cf.evaluate.grids import Grids
from sciml_cf.evaluate.linear_map import LinearMap, fit_linear_map
from sciml_cf.evaluate.shares import in_turn, own_blocks
from sciml_cf.training.distributed import process_rank, total

_METRICS = ("mse", "relative_l2")
_NUMBERS = 2**22  # float64 numbers at a time: 32 MB
_FITTED_BYTES = 2**29  # of the samples that are held for the nearest one and the best linear map, of a lazy dataset
_Guess = Callable[[slice], Tensor]  # of some of the samples


class _Found(NamedTuple):
    """At one resolution: the errors of each baseline, in the order of the metrics, and the linear map's settings."""

    errors: dict[str, list[float]]
    settings: dict[str, float]


def baseline_errors(
    truth: FieldDataset, resolutions: Sequence[int], sampling: Sampling, *, fitted: bool = True
) -> xr.Dataset:
    """Errors of predictions that need no training, on the reference grid and at every resolution.

    ::

        zero            0
        training_mean   the mean of the training outputs
        identity        the input, of windows its last state; where input and output are one field at several times
        linear_part     the exact solution of the equation's linear part; where the equation is known
        nearest_sample  the output of the training sample with the nearest input, |x - x_i| least
        linear_map      the best affine map, see ``fit_linear_map``

    At each resolution the training samples are taken to its grid as the inputs are, and the last two made anew there:
    a matrix belongs to its grid, and if it were made on one and interpolated to the others, its error would in part be
    that of the interpolation. ``linear_part`` is solved on the reference grid throughout. A training sample is not its
    own neighbor. Where samples are read when they are needed, the last two are made on training samples in equal steps,
    as many as 512 MB hold.

    Args:
        truth: the samples to predict, on the reference grid. The split "train" of the same file is trained on.
        resolutions: divisors of the reference resolution.
        sampling: how fields are taken to them.
        fitted: whether to make the last two, which take some seconds a resolution.

    Returns:
        A dataset with the variables

        - baseline_mse, baseline_relative_l2 (baseline): means over samples, on the reference grid
        - native_baseline_mse, native_baseline_relative_l2 (resolution, baseline): at the same n points as ``native``
        - linear_map_rank, linear_map_strength (resolution): see ``LinearMap``

        and the attributes baseline_samples, the number of training samples, and fitted_samples, the number of those
        that the last two are made of.
    """
    grids, full = Grids.of(truth), truth.resolution
    same = {"split_seed": truth.split_seed, "facts": truth.facts, "format": truth.format, "lazy": truth.lazy}
    train = FieldDataset(truth.path, "train", resolution=full, **cast(dict[str, Any], same))
    mean = _mean_of(train.y) if train.lazy else None
    some = _some_of(train) if train.lazy and fitted else np.arange(len(train))
    near_x, near_y = (train.x[some], train.y[some]) if train.lazy and fitted else (train.x, train.y)
    own, fields = _own_places(truth.indices, train.indices[some]), _guessed_fields(truth)
    found: dict[int, _Found] = {}
    for n in sorted({*resolutions, full}):
        x, y, seen_x, seen_y = (_taken(grids, part, n, sampling) for part in (truth.x, truth.y, near_x, near_y))
        guesses = _trivial_guesses(y, _mean_of(seen_y) if mean is None else grids.take(mean[None], n, sampling)[0])
        guesses |= {name: _taken(grids, one, n, sampling).__getitem__ for name, one in fields.items()}
        settings: dict[str, float] = {}
        if fitted:
            guesses["nearest_sample"] = _nearest(seen_x, seen_y, x, own)
            fit = fit_linear_map(seen_x, seen_y)
            guesses["linear_map"] = _applied(fit, x)
            settings = {"linear_map_rank": fit.rank, "linear_map_strength": fit.strength}
        known = None if truth.known is None else _known_at(grids, truth.known, n)
        found[n] = _Found({name: _errors(guess, y, known) for name, guess in guesses.items()}, settings)
    result = _as_dataset(found, sorted(set(resolutions)), full, len(train))
    return result.assign_attrs(fitted_samples=len(some)) if fitted else result


def _guessed_fields(truth: FieldDataset) -> dict[str, Tensor]:
    """Predictions that are fields of the reference grid."""
    fields = {} if truth.unchanged is None else {"identity": truth.unchanged}
    linear = truth.linear_solution()
    return fields if linear is None else {**fields, "linear_part": linear}


def nearest_samples(known: Tensor, x: Tensor, *, leave_out: np.ndarray | None = None) -> Tensor:
    """For each field the known one at the least distance in the L2 norm.

    Args:
        known: ``(S, C, *N)``.
        x: ``(B, C, *N)``.
        leave_out: ``(B,)``, for each field the number of the known one that is itself, or -1 for none.

    Returns:
        ``(B,)``, numbers of known fields, int64.
    """
    rows, fields = known.flatten(1), x.flatten(1)
    step = max(1, _NUMBERS // (len(rows) + len(fields)))
    square = torch.zeros(len(fields), len(rows), dtype=torch.float64)
    for start in range(0, rows.shape[1], step):
        theirs, ours = (part[:, start : start + step].double() for part in (rows, fields))
        center = theirs.mean(0)  # what all have in common would cancel
        theirs, ours = theirs - center, ours - center
        square += theirs.square().sum(1) - 2 * ours @ theirs.T
    if leave_out is not None and len(rows) > 1:
        same = np.flatnonzero(leave_out >= 0)
        square[same, leave_out[same]] = torch.inf
    return square.argmin(1)


def _mean_of(fields: Tensor) -> Tensor:
    """``(C, *N)``, the mean field, from each process's share of them."""
    mean = torch.zeros(fields.shape[1:], dtype=torch.float64)
    for rows in own_blocks(len(fields), max(1, _NUMBERS // fields.shape[1:].numel())):
        mean += fields[rows].double().sum(0) / len(fields)
    return total(mean)


def _some_of(data: FieldDataset) -> np.ndarray:
    """Numbers of samples in equal steps, as many as fit the memory for them."""
    each = sum(part.shape[1:].numel() * part.dtype.itemsize for part in (data.x, data.y))
    count = min(len(data), max(1, _FITTED_BYTES // each))
    return np.linspace(0, len(data) - 1, count).round().astype(np.int64)


def _trivial_guesses(y: Tensor, mean: Tensor) -> dict[str, _Guess]:
    return {
        "zero": lambda rows: torch.zeros_like(y[rows]),
        "training_mean": lambda rows: mean.expand_as(y[rows]),
    }


def _nearest(seen_x: Tensor, seen_y: Tensor, x: Tensor, own: np.ndarray) -> _Guess:
    """The outputs of the nearest samples, all found at once, or where they are read or shared out, block by block."""
    if isinstance(x, Tensor) and process_rank()[1] == 1:
        numbers = nearest_samples(seen_x, x, leave_out=own)
        return lambda rows: seen_y[numbers[rows]]
    return lambda rows: seen_y[nearest_samples(seen_x, x[rows], leave_out=own[rows])]


def _applied(fit: LinearMap, x: Tensor) -> _Guess:
    return lambda rows: fit(x[rows])


def _own_places(indices: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """For each sample its place among the training samples, or -1."""
    places = np.searchsorted(seen, indices).clip(max=len(seen) - 1)
    return np.where(seen[places] == indices, places, -1)


def _taken(grids: Grids, fields: Tensor, n: int, sampling: Sampling) -> Tensor:
    """Fields of the reference grid at n points, some samples at a time."""
    if n == grids.resolution:
        return fields
    if not isinstance(fields, Tensor):
        return fields.map(lambda part: grids.take(part, n, sampling).to(part.dtype))
    size = max(1, _NUMBERS // fields[0].numel())
    return torch.cat([grids.take(part, n, sampling).to(fields.dtype) for part in fields.split(size)])


def _known_at(grids: Grids, known: Tensor, n: int) -> Tensor:
    """Where targets are known at n points."""
    if isinstance(known, Tensor):
        return grids.take(known, n, "strided")
    return known.map(lambda part: grids.take(part, n, "strided"))


def _errors(guess: _Guess, y: Tensor, known: Tensor | None = None) -> list[float]:
    """Means over samples of the metrics, with sums in float64, a block of samples at a time."""
    values: list[list[Tensor]] = []
    for rows in own_blocks(len(y), max(1, _NUMBERS // y.shape[1:].numel())):
        prediction, target = guess(rows).double(), y[rows].double()
        mask = None if known is None else known[rows]
        values.append([metrics.over_known(getattr(metrics, name), prediction, target, mask) for name in _METRICS])
    return [torch.cat(column).mean().item() for column in zip(*in_turn(values), strict=True)]


def _as_dataset(found: dict[int, _Found], sizes: list[int], full: int, samples: int) -> xr.Dataset:
    variables: dict[str, Any] = {}
    for place, name in enumerate(_METRICS):
        table = {n: [errors[place] for errors in one.errors.values()] for n, one in found.items()}
        variables[f"baseline_{name}"] = ("baseline", table[full])
        variables[f"native_baseline_{name}"] = (("resolution", "baseline"), [table[n] for n in sizes])
    for name in found[full].settings:
        variables[name] = ("resolution", [found[n].settings[name] for n in sizes])
    coords = {"baseline": list(found[full].errors), "resolution": sizes}
    return xr.Dataset(variables, coords=coords, attrs={"baseline_samples": samples})
