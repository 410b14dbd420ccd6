"""Predictions of a trained model: of a run folder or in hand, with error bars or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from data_gen.grids.periodic import resample
from data_gen.header import Boundary
from sciml_cf.errors import check_count
from sciml_cf.evaluate.odd_grids import warn_of_odd_grids
from sciml_cf.evaluate.parameters import Parameters, with_parameters
from sciml_cf.evaluate.problem import Problem, check_problem
from sciml_cf.head.features import accepted
from sciml_cf.head.posterior import Posterior, apply_with_std
from sciml_cf.model_outputs import Entry, entry_of, predicted
from sciml_cf.normalization import dtype_of, normalization_of, warn_far_outside
from sciml_cf.training.run_folder import Which, load, read_posterior, read_settings

_FEW = 4  # points along an axis, below which an axis may be one of channels


@overload
def predict(
    run: Path | str | nn.Module,
    fields: np.ndarray,
    *,
    resolution: int | None = None,
    batch_size: int = 32,
    num_dims: int | None = None,
    boundary: Boundary | None = None,
    which: Which = "best",
    std: Literal[False] = False,
    prediction: Entry | None = None,
    parameters: Parameters | None = None,
) -> np.ndarray: ...
@overload
def predict(
    run: Path | str | nn.Module,
    fields: np.ndarray,
    *,
    resolution: int | None = None,
    batch_size: int = 32,
    num_dims: int | None = None,
    boundary: Boundary | None = None,
    which: Which = "best",
    std: Literal[True] | Posterior,
    prediction: Entry | None = None,
    parameters: Parameters | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def predict(
    run: Path | str | nn.Module,
    fields: np.ndarray,
    *,
    resolution: int | None = None,
    batch_size: int = 32,
    num_dims: int | None = None,
    boundary: Boundary | None = None,
    which: Which = "best",
    std: bool | Posterior = False,
    prediction: Entry | None = None,
    parameters: Parameters | None = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Apply a trained model to input fields on a grid.

    Args:
        run: a run folder, or a model.
        fields: ``(B, *N)`` for one channel or ``(B, C, *N)``, N the points along each axis.
        resolution: points along each axis to run the model at; the inputs are Fourier-interpolated to it. None keeps
            their own.
        batch_size: samples a forward pass.
        num_dims: spatial dimensions of ``fields``. None takes the run's; for a model in hand 1, or as many as four or
            more axes leave for them.
        boundary: kind of boundary of ``fields``. None takes that of the run's data; "periodic" for a model in hand.
        which: weights of a run folder with the lowest validation error, or those of the last epoch.
        std: return the predictive standard deviation too: True for that of a run folder, or a model's ``posterior``.
        prediction: which entry of the model's return value is the prediction, see ``fit``; by default the one that it
            was trained with.
        parameters: of a run that was trained with ``--condition``, its scalars by name, one number or ``(B,)`` of each.

    Returns:
        ``(B, *N')`` or ``(B, C', *N')`` like the input, in the data's own units; float32, or float64 where float32
        would round the fluctuations away; with ``std`` a pair of them.

    Raises:
        TypeError: the model returns no tensor, and no entry of what it returns is named.
        ValueError: wrong shape, other dimensions, channels or parameters than the run's, values that are not finite, or
            ends that Fourier interpolation would mistake for periodic ones.
        CheckpointError: ``std`` is asked of a run that has no posterior.
    """
    fields = np.asarray(fields)
    model, settings = _opened(run, which)
    own = (settings.get("model") or {}).get("arguments", {}).get("num_dims", max(1, fields.ndim - 2))
    dims = int(own if num_dims is None else num_dims)
    inputs = _checked(fields, dims, wide=normalization_of(model) is not None)
    inputs = with_parameters("predict", inputs, parameters, settings)
    if not isinstance(run, nn.Module):
        found = Problem(num_dims=dims, in_channels=inputs.shape[1])
        check_problem("predict", found, run, settings, argument="fields")
    known = _posterior_of(run, std, which)
    if resolution is not None and inputs.shape[2:] != (resolution,) * dims:
        ends = str(boundary or (settings.get("data") or {}).get("boundary", "periodic"))
        inputs = _resampled(inputs, resolution, ends)
    trained = (settings.get("data") or {}).get("resolution") or inputs.shape[-1]
    warn_of_odd_grids("predict", model, {inputs.shape[-1], trained})
    pair = _outputs(model, inputs, known, batch_size, prediction)
    alike = fields.ndim == dims + 1 and pair[0].shape[1] == 1
    results = tuple(outputs.numpy()[:, 0] if alike else outputs.numpy() for outputs in pair)
    return results if len(results) == 2 else results[0]


def _opened(run: Path | str | nn.Module, which: Which) -> tuple[nn.Module, dict[str, Any]]:
    """The model, and the settings of its run folder."""
    return (run, {}) if isinstance(run, nn.Module) else (load(run, which=which), read_settings(run))


def _posterior_of(run: Path | str | nn.Module, std: bool | Posterior, which: Which) -> Posterior | None:
    """The posterior that error bars are asked of."""
    if std is True and isinstance(run, nn.Module):
        raise ValueError("predict: `std` must be the posterior of a model that is given itself; got True. Pass std=...")
    if std and which != "best":
        raise ValueError(f"predict: `std` must go with the best weights, whose error bars they are; got {which!r}.")
    if isinstance(std, Posterior):
        return std
    return read_posterior(run) if std and not isinstance(run, nn.Module) else None


def _outputs(
    model: nn.Module, inputs: np.ndarray, known: Posterior | None, batch_size: int, entry: Entry | None
) -> tuple[Tensor, ...]:
    """Outputs for inputs ``(B, C, *N)``, and with a posterior their standard deviations."""
    given = torch.as_tensor(np.ascontiguousarray(inputs))
    normalization = normalization_of(model)
    if normalization is not None and given.shape[1] == len(normalization.input_mean):
        warn_far_outside("predict", normalization, given)
    if known is not None:
        return apply_with_std(model, given, known, batch_size=batch_size, prediction=entry)
    with accepted("predict", "fields", given):
        return (apply_in_batches(model, given, batch_size=batch_size, prediction=entry),)


def _checked(fields: np.ndarray, num_dims: int, *, wide: bool = False) -> np.ndarray:
    """``(B, C, *N)`` in float64, of fields with or without an axis of channels; ``wide`` fields may exceed float32."""
    if fields.ndim not in (num_dims + 1, num_dims + 2) or fields.dtype.kind not in "iuf" or 0 in fields.shape:
        points = ", ".join(["points"] * num_dims)
        raise ValueError(
            f"predict: `fields` must be real (samples, {points}) or (samples, channels, {points}); "
            f"got {fields.dtype} {fields.shape}."
        )
    fields = fields.astype(np.float64)
    with np.errstate(over="ignore"):
        unusable = ~np.isfinite(fields if wide else fields.astype(np.float32))
    if unusable.any():
        bad = int(np.argwhere(unusable)[0][0])
        raise ValueError(
            f"predict: `fields` must be finite; got NaN, Inf or a value beyond float32 in sample {bad}. A run that was "
            "trained with --mask takes missing values with --mask fill."
        )
    if fields.ndim == num_dims + 2:
        return fields
    if num_dims > 1 and min(fields.shape[1:]) < _FEW:
        raise ValueError(
            f"predict: `fields` must have an axis of channels where there are less than {_FEW} points along an axis, "
            f"which could be channels; got {fields.shape} for {num_dims} dimensions. Give (samples, channels, *points)."
        )
    return fields[:, None]


def _resampled(inputs: np.ndarray, resolution: int, boundary: str) -> np.ndarray:
    """Inputs ``(B, C, *N)`` on ``resolution`` points along each axis, where Fourier interpolation may do that."""
    check_count("predict", "resolution", resolution)
    shape = inputs.shape[2:]
    points = " x ".join(map(str, shape))
    if boundary != "periodic":
        raise ValueError(
            f"predict: `resolution` must be that of the input, {points}, where boundaries are not periodic; got "
            f"{resolution} and {boundary} boundaries. Interpolate the inputs yourself."
        )
    if len(set(shape)) > 1:
        raise ValueError(
            f"predict: `resolution` must be None for axes of unlike points; got {resolution} for {points}. "
            "Interpolate the inputs yourself."
        )
    return resample(inputs, resolution, len(shape))


def apply_in_batches(model: nn.Module, inputs: Tensor, *, batch_size: int, prediction: Entry | None = None) -> Tensor:
    """Outputs of ``model`` in evaluation mode for inputs ``(B, C, *N)``, computed ``batch_size`` samples at a time.

    They are in the model's precision, float32 at least; ``prediction`` as in ``predict``.
    """
    entry = entry_of(model) if prediction is None else prediction
    parameter = next(iter(model.parameters()))
    # a normalization casts after it has subtracted the mean
    dtype = dtype_of(model) if normalization_of(model) is None else inputs.dtype
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            parts = [
                predicted("predict", model(part.to(parameter.device, dtype)), entry).cpu()
                for part in inputs.split(batch_size)
            ]
    finally:
        model.train(was_training)
    outputs = torch.cat(parts)
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
