"""Trajectories: a model of one step applied to its own output, and its error against time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils.data import ConcatDataset

import sciml_cf.metrics as metrics
from data_gen.formats import Facts, open_source
from sciml_cf.datasets import FieldDataset, Split
from sciml_cf.errors import check_count
from sciml_cf.evaluate.prediction import apply_in_batches
from sciml_cf.evaluate.problem import Problem, check_problem
from sciml_cf.head.features import accepted
from sciml_cf.models.coordinates import positions
from sciml_cf.training.run_folder import load, read_settings, versions

_METRICS = ("mse", "relative_l2", "vrmse", "max_error")
_POINTS_PER_BATCH = 2**17
_SPACING = 1e-6  # relative difference of two time steps that still count as equal


def rollout(model: nn.Module, u0: Tensor, steps: int) -> Tensor:
    """A model of one step applied to its own output again and again.

        u_0 given,   u_{i+1} = f(u_i)

    Args:
        model: (B, C, *N) -> (B, C, *N), the state one step later.
        u0: (B, C, *N), states to start from.
        steps: how many, at least 1.
    Returns:
        (B, steps + 1, C, *N) on the CPU, the start first.
    Raises:
        ValueError: ``u0`` is no batch of fields, or the model returns another shape.
    """
    check_count("rollout", "steps", steps)
    if u0.ndim < 3 or 0 in u0.shape:
        raise ValueError(f"rollout: `u0` must be (samples, channels, *points); got {tuple(u0.shape)}.")
    states = [u0.detach().cpu()]
    for _ in range(steps):
        states.append(_step("rollout", "u0", model, states[-1]).to(u0.dtype))
    return torch.stack(states, dim=1)


def one_step_pairs(
    path: str | Path,
    split: Split,
    *,
    resolution: int | None = None,
    split_seed: int = 0,
    facts: Facts | None = None,
    format: str | None = None,
) -> ConcatDataset[dict[str, Tensor]]:
    """All pairs of neighbouring states of a file of trajectories, as items {"x": u(t_i), "y": u(t_{i+1})}.

    The split is by trajectories: no state of a test trajectory is seen in training.

    Args:
        path, split, resolution, split_seed, facts, format: see FieldDataset.
    Raises:
        ValueError: the file holds no trajectories, or its times are not equally spaced.
    """
    times = _times("one_step_pairs", path, facts, format)
    kept: dict[str, Any] = {"resolution": resolution, "split_seed": split_seed, "facts": facts, "format": format}
    return ConcatDataset(
        [
            FieldDataset(path, split, input_time=start, target_time=end, **kept)
            for start, end in itertools.pairwise(times)
        ]
    )


def evaluate_rollout(
    model: nn.Module | Path | str,
    path: str | Path,
    *,
    resolution: int | None = None,
    split: Split = "test",
    split_seed: int = 0,
    facts: Facts | None = None,
    format: str | None = None,
) -> xr.Dataset:
    """Errors of a model of one step against time, started from the true state at the first time.

    States are computed and compared one time after the other, so the memory is that of a few times, not of all.

    Args:
        model: (B, C, *N) -> (B, C, *N), the state one step of the file's times later, or the run folder of one.
        path: a file of trajectories (``sciml-cf generate ... --times``) or of pairs, see FieldDataset.
        resolution: points to run at, a divisor of the stored ones; states are compared at the same points.
        split, split_seed, facts, format: see FieldDataset.
    Returns:
        Dataset over ``time``, without the start, with
            mse, relative_l2, vrmse, max_error  (time): mean over samples (max_error: the largest) of the roll-out
            sample_relative_l2  (time, sample)
            one_step_relative_l2  (time): of one step from the true state before
            persistence_relative_l2  (time): of the start, unchanged
            band_mse  (time, band), where the grid is periodic: see sciml_cf.metrics
        A roll-out that leaves the finite numbers has infinite errors from there on.
    Raises:
        ValueError: times are not equally spaced, the states have other dimensions or channels than the run's, or the
            model does not map states to states.
    """
    times = _times("evaluate_rollout", path, facts, format)
    if not isinstance(model, nn.Module):
        found = Problem.of_file(path, facts=facts, format=format)
        check_problem("evaluate_rollout", found, model, read_settings(model), argument="path")
        model = load(model)
    kept: dict[str, Any] = {"resolution": resolution, "split_seed": split_seed, "facts": facts, "format": format}
    rows: list[dict[str, np.ndarray]] = []
    if facts is not None and facts.mask is not None:
        raise ValueError("evaluate_rollout: `facts` must have no mask: a roll-out needs whole states.")
    truth = FieldDataset(path, split, input_time=times[0], target_time=times[1], **kept)
    state = start = truth.x
    for before, after in itertools.pairwise(times):
        if rows:
            truth = FieldDataset(path, split, input_time=before, target_time=after, **kept)
        with positions(model, truth.positions):
            state = _step("evaluate_rollout", "path", model, state).to(start.dtype)
            one_step = _step("evaluate_rollout", "path", model, truth.x)
        rows.append(_errors(state, one_step, start, truth.y, bands=truth.periodic))
    variables: dict[str, Any] = {name: ("time", _over(rows, name).mean(1)) for name in ("mse", "relative_l2", "vrmse")}
    variables["max_error"] = ("time", _over(rows, "max_error").max(1))
    variables["sample_relative_l2"] = (("time", "sample"), _over(rows, "relative_l2"))
    for name in ("one_step", "persistence"):
        variables[f"{name}_relative_l2"] = ("time", _over(rows, name).mean(1))
    coords: dict[str, Any] = {"time": list(times[1:]), "sample": truth.indices}
    if truth.periodic:
        variables["band_mse"] = (("time", "band"), _over(rows, "band_mse").mean(1))
        coords["band"] = np.array(metrics.BAND_EDGES)
    return xr.Dataset(
        variables,
        coords=coords,
        attrs={
            "data": Path(path).name,
            "data_checksum": truth.checksum,
            "split": split,
            "split_seed": split_seed,
            "num_samples": len(truth),
            "resolution": truth.resolution,
            "time_step": times[1] - times[0],
            **{f"version_{name}": value for name, value in versions().items()},
        },
    )


def _errors(state: Tensor, one_step: Tensor, start: Tensor, truth: Tensor, *, bands: bool) -> dict[str, np.ndarray]:
    names = (*_METRICS, "band_mse") if bands else _METRICS
    target = truth.double()
    result = {name: getattr(metrics, name)(state.double(), target) for name in names}
    result["one_step"] = metrics.relative_l2(one_step.double(), target)
    result["persistence"] = metrics.relative_l2(start.double(), target)
    return {name: torch.where(torch.isnan(values), torch.inf, values).numpy() for name, values in result.items()}


def _over(rows: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    return np.stack([row[name] for row in rows])


def _step(function: str, argument: str, model: nn.Module, states: Tensor) -> Tensor:
    """The states one step later; function and argument are what messages call them."""
    batch_size = max(1, _POINTS_PER_BATCH // states[0, 0].numel())
    with accepted(function, argument, states):
        after = apply_in_batches(model, states.contiguous(), batch_size=batch_size)
    if after.shape != states.shape:
        raise ValueError(
            f"{function}: `model` must return states of the shape that it is given, {tuple(states.shape[1:])}; got "
            f"{tuple(after.shape[1:])}."
        )
    return after


def _times(function: str, path: str | Path, facts: Facts | None, format: str | None) -> tuple[float, ...]:
    with open_source(Path(path), format=format, facts=facts) as data:
        times, trajectories = tuple(data.times), data.header.inputs == data.header.channels
    steps = np.diff(times)
    if len(times) < 2 or not trajectories:
        raise ValueError(
            f"{function}: `path` must hold the same field at two times or more; got {path} with "
            f"{len(times)} time(s). Generate it with --times."
        )
    if np.ptp(steps) > _SPACING * steps.max():
        raise ValueError(
            f"{function}: `path` must hold equally spaced times, the first being 0; got steps from {steps.min():g} to "
            f"{steps.max():g} in {path}. One model makes one step."
        )
    return times
