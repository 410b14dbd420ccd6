"""Trajectories: a model of one step applied to its own output, and its error against time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils.data import ConcatDataset

from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset, Split
from sciml_cf.datasets.steps import Steps, arranged_by
from sciml_cf.errors import check_count
from sciml_cf.evaluate.linear_map import fit_linear_map
from sciml_cf.evaluate.parameters import conditions_of
from sciml_cf.evaluate.prediction import apply_in_batches
from sciml_cf.evaluate.problem import loaded_for
from sciml_cf.evaluate.rollout_errors import Measured, summary
from sciml_cf.evaluate.trajectories import Block, Trajectories, opened_trajectories, window
from sciml_cf.head.features import accepted
from sciml_cf.models.coordinates import positions
from sciml_cf.training.run_folder import Which
from sciml_cf.training.versions import versions

_POINTS_PER_BATCH = 2**17
_LINEAR_PAIRS = 1024  # at most, that the linear baseline is fitted to


def rollout(model: nn.Module, u0: Tensor, steps: int, *, arranged: Steps | None = None) -> Tensor:
    """A model of one step applied to its own output again and again.

    ::

        u_0 given,   u_{i+1} = f(u_i)

    Args:
        model: ``(B, C, *N)`` -> ``(B, C, *N)``, the state one step later; with windows ``(B, n C + K, *N)`` ->
            ``(B, m C, *N)``.
        u0: ``(B, C, *N)``, states to start from; with windows ``(B, n C + K, *N)``, the states and what is constant.
        steps: how many new states, at least 1.
        arranged: how the states of a window are arranged; by default one state is mapped to the next.

    Returns:
        ``(B, steps + 1, C, *N)`` on the CPU, the start first; with windows ``(B, n + steps, C, *N)``, all n of the
        start.

    Raises:
        ValueError: ``u0`` is no batch of fields, or the model returns another shape.
    """
    check_count("rollout", "steps", steps)
    if u0.ndim < 3 or 0 in u0.shape:
        raise ValueError(f"rollout: `u0` must be (samples, channels, *points); got {tuple(u0.shape)}.")
    arranged = Steps(components=u0.shape[1]) if arranged is None else arranged
    if u0.shape[1] < arranged.states:
        raise ValueError(
            f"rollout: `u0` must have the {arranged.states} channels of {arranged.inputs} states; got {u0.shape[1]}."
        )
    start = u0.detach().cpu()
    new = rolled("rollout", "u0", model, start, arranged, steps)
    return torch.cat([start[:, : arranged.states].unflatten(1, (arranged.inputs, -1)), new], dim=1)


def one_step_pairs(
    path: str | Path,
    split: Split,
    *,
    resolution: int | None = None,
    split_seed: int = 0,
    facts: Facts | None = None,
    format: str | None = None,
) -> ConcatDataset[dict[str, Tensor]]:
    """All pairs of neighbouring states of a file of trajectories, as items ``{"x": u(t_i), "y": u(t_{i+1})}``.

    The split is by trajectories: no state of a test trajectory is seen in training.

    Args:
        path: see FieldDataset.
        split: see FieldDataset.
        resolution: see FieldDataset.
        split_seed: see FieldDataset.
        facts: see FieldDataset.
        format: see FieldDataset.

    Raises:
        ValueError: the file holds no trajectories, or its times are not equally spaced.
    """
    with opened_trajectories(path, facts, format) as source:
        times = Trajectories("one_step_pairs", source, split=split, split_seed=split_seed, resolution=resolution).times
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
    arranged: Steps | None = None,
    time_step: float | None = None,
    baselines: bool = True,
    which: Which = "best",
) -> xr.Dataset:
    """Errors of a model of one step against time, started from the true states at the first times.

    Samples are computed and compared some at a time, so the memory is that of a few trajectories.

    Args:
        model: ``(B, C, *N)`` -> ``(B, C, *N)``, the state one step later, or the run folder of one; of windows
            ``(B, n C + K, *N)`` -> ``(B, m C, *N)``.
        path: a file of trajectories (``sciml-cf generate ... --times``) or of pairs, see FieldDataset.
        resolution: points to run at, a divisor of the stored ones; states are compared at the same points.
        split: see FieldDataset.
        split_seed: see FieldDataset.
        facts: see FieldDataset. A run's own windows and conditions are known.
        format: see FieldDataset.
        arranged: how states are arranged, for a model in hand; by default by ``facts``, or one state to the next.
        time_step: that the model makes; by default the run's, or that of the file. The file's may be finer.
        baselines: whether to roll out the best linear map as well, see ``fit_linear_map``.
        which: weights of a run folder with the lowest validation error, or those of the last epoch.

    Returns:
        A dataset over ``time``, without the n states of the start, with the variables

        - mse, relative_l2, vrmse, correlation, max_error (time): mean over samples (max_error: the largest) of the
          roll-out, see sciml_cf.metrics
        - sample_relative_l2, sample_correlation (time, sample)
        - correlation_time (sample): the first time at which the correlation is below 0.8; infinite if there is none
        - finite_until (sample): the last time at which the roll-out is finite
        - window_vrmse (window): mean of vrmse over the steps 6 to 12 and 13 to 30, as far as there are as many
        - one_step_relative_l2 (time): of one step from the true states before
        - persistence_relative_l2 (time): of the last state of the start, unchanged
        - linear_relative_l2 (time): of the best linear map, rolled out alike; missing without ``baselines``
        - mean, energy, true_mean, true_energy (time): mean over samples of the space's mean of u and of u^2, all
          channels together
        - band_mse (time, band), power (curve, picked_time, wavenumber): where the grid is periodic; the second are mean
          squared Fourier coefficients of "target" and "prediction" at the first, a middle and the last time

        and the attributes time_step and conserved: which of mean and energy the true states keep to 1e-3. A roll-out
        that leaves the finite numbers has infinite errors from there on.

    Raises:
        ValueError: times are not equally spaced, the states have other dimensions or channels than the run's, or the
            model does not map states to states.

    References:
        windows of VRMSE: Ohana et al., The Well (arXiv:2412.00568), Table 3. Correlation: arXiv:2102.01010.
    """
    if facts is not None and facts.mask is not None:
        raise ValueError("evaluate_rollout: `facts` must have no mask: a roll-out needs whole states.")
    names: tuple[str, ...] = () if facts is None else facts.condition
    if not isinstance(model, nn.Module):
        model, settings, facts = loaded_for("evaluate_rollout", model, path, facts, format, which)
        names = tuple(conditions_of(settings))
        time_step = (settings.get("data") or {}).get("time_step") if time_step is None else time_step
    with opened_trajectories(path, facts, format) as source:
        how: dict[str, Any] = {"resolution": resolution, "split_seed": split_seed}
        how |= {"names": names, "time_step": time_step}
        data = Trajectories("evaluate_rollout", source, split=split, **how)
        steps = arranged or arranged_by(facts, data.components)
        _check_times(data, steps, path)
        linear = None
        if baselines:
            linear = _linear_map(Trajectories("evaluate_rollout", source, split="train", **how), steps)
        with positions(model, data.geometry.positions):
            blocks = [_measure(model, data, block, steps, linear) for block in data.blocks()]
        result = summary(blocks, data, steps)
        checksum = source.checksum
    attributes = {
        "data": Path(path).name,
        "data_checksum": checksum,
        "split": split,
        "split_seed": split_seed,
        "num_samples": len(data.rows),
        "resolution": data.geometry.resolution,
        "time_step": data.times[1] - data.times[0],
        **{f"version_{name}": value for name, value in versions().items()},
    }
    return result.assign_attrs(attributes)


def _check_times(data: Trajectories, steps: Steps, path: str | Path) -> None:
    if len(data.times) <= steps.inputs:
        raise ValueError(
            f"evaluate_rollout: `path` must have more than the {steps.inputs} times of the model's input; got "
            f"{len(data.times)} in {path}."
        )


def _measure(model: nn.Module, data: Trajectories, block: Block, steps: Steps, linear: Any) -> Measured:
    """The errors of a block of samples."""
    start, truth = steps.inputs, block.states[:, steps.inputs :]
    count = truth.shape[1]
    first = window(block, start - 1, steps)
    predicted = rolled("evaluate_rollout", "path", model, first, steps, count)
    singles = [
        _step("evaluate_rollout", "path", model, window(block, start - 1 + step, steps), steps)[:, : steps.components]
        for step in range(count)
    ]
    others = {
        "one_step": torch.stack(singles, dim=1),
        "persistence": block.states[:, start - 1 : start].expand_as(truth),
    }
    if linear is not None:
        with np.errstate(all="ignore"):
            others["linear"] = _states(steps.roll(linear, first.double(), _rounds(count, steps)), steps, count)
    return Measured.of(predicted, truth, others, periodic=data.geometry.periodic)


def _linear_map(data: Trajectories, steps: Steps) -> Callable[[Tensor], Tensor]:
    """The best affine map of one step, fitted to windows of training trajectories."""
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    last = len(data.times) - steps.outputs
    ends = range(steps.inputs - 1, last)
    if not ends:
        ends = range(steps.inputs - 1, steps.inputs)
    each = max(1, _LINEAR_PAIRS // max(1, len(data.rows)))
    chosen = [*ends][:: -(-len(ends) // each)]
    for block in data.blocks(most=_LINEAR_PAIRS):
        for end in chosen:
            inputs.append(window(block, end, steps))
            targets.append(block.states[:, end + 1 : end + 1 + steps.outputs].flatten(1, 2))
    return fit_linear_map(torch.cat(inputs), torch.cat(targets))


def _rounds(count: int, steps: Steps) -> int:
    return -(-count // steps.outputs)


def _states(outputs: Tensor, steps: Steps, count: int) -> Tensor:
    """``(B, count, C, *N)`` of outputs one after the other, ``(B, more than count C, *N)``."""
    return outputs.unflatten(1, (-1, steps.components))[:, :count]


def rolled(function: str, argument: str, model: nn.Module, first: Tensor, steps: Steps, count: int) -> Tensor:
    """The next ``count`` states ``(B, count, C, *N)``."""
    step = partial(_step, function, argument, model, steps=steps)
    return _states(steps.roll(step, first, _rounds(count, steps)), steps, count)


def _step(function: str, argument: str, model: nn.Module, inputs: Tensor, steps: Steps) -> Tensor:
    """The states of one output; function and argument are what messages call model and inputs."""
    batch_size = max(1, _POINTS_PER_BATCH // inputs[0, 0].numel())
    with accepted(function, argument, inputs):
        after = apply_in_batches(model, inputs.contiguous(), batch_size=batch_size)
    shape = (len(inputs), steps.outputs * steps.components, *inputs.shape[2:])
    if after.shape != shape:
        raise ValueError(
            f"{function}: `model` must return states of the shape {shape[1:]}; got {tuple(after.shape[1:])}."
        )
    return after.to(inputs.dtype)
