"""Apply a trained model to fields: of a run folder or in hand, with error bars or without."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from data_gen.grid import resample
from sciml_cf.errors import check_count
from sciml_cf.head.posterior import Posterior, apply_with_std
from sciml_cf.runs import load, read_posterior


@overload
def predict(
    run: Path | str | nn.Module,
    fields: np.ndarray,
    *,
    resolution: int | None = None,
    batch_size: int = 32,
    std: Literal[False] = False,
) -> np.ndarray: ...
@overload
def predict(
    run: Path | str | nn.Module,
    fields: np.ndarray,
    *,
    resolution: int | None = None,
    batch_size: int = 32,
    std: Literal[True] | Posterior,
) -> tuple[np.ndarray, np.ndarray]: ...
def predict(
    run: Path | str | nn.Module,
    fields: np.ndarray,
    *,
    resolution: int | None = None,
    batch_size: int = 32,
    std: bool | Posterior = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Apply a trained model to input fields on a periodic 1-D grid.

    Args:
        run: a run folder, or a model.
        fields: (B, N) for one channel or (B, C, N).
        resolution: points to run the model at; the inputs are Fourier-interpolated to it. None keeps N.
        batch_size: samples a forward pass.
        std: return the predictive standard deviation too: True for that of a run folder, or a model's ``posterior``.
    Returns:
        (B, N') or (B, C', N') like the input, float32; with ``std`` a pair of them.
    Raises:
        ValueError: wrong shape, or values that are not finite.
        CheckpointError: ``std`` is asked of a run that has no posterior.
    """
    fields = np.asarray(fields)
    if fields.ndim not in (2, 3) or fields.dtype.kind not in "iuf" or 0 in fields.shape:
        raise ValueError(
            f"predict: `fields` must be real (samples, points) or (samples, channels, points); "
            f"got {fields.dtype} {fields.shape}."
        )
    fields = fields.astype(np.float64)
    with np.errstate(over="ignore"):
        unusable = ~np.isfinite(fields.astype(np.float32))
    if unusable.any():
        bad = int(np.argwhere(unusable)[0][0])
        raise ValueError(f"predict: `fields` must be finite; got NaN, Inf or a value beyond float32 in sample {bad}.")
    if resolution is not None:
        check_count("predict", "resolution", resolution)
    if std is True and isinstance(run, nn.Module):
        raise ValueError("predict: `std` must be the posterior of a model that is given itself; got True. Pass std=...")
    model = run if isinstance(run, nn.Module) else load(run)
    known = read_posterior(run) if std is True and not isinstance(run, nn.Module) else std
    inputs = fields[:, None, :] if fields.ndim == 2 else fields
    if resolution is not None and resolution != inputs.shape[-1]:
        inputs = resample(inputs, resolution)
    given = torch.as_tensor(np.ascontiguousarray(inputs))
    try:
        if isinstance(known, Posterior):
            pair = apply_with_std(model, given, known, batch_size=batch_size)
        else:
            pair = (apply_in_batches(model, given, batch_size=batch_size),)
    except RuntimeError as error:
        raise ValueError(
            f"predict: `fields` must have the channels that the model was trained with; got {inputs.shape[1]} channels "
            f"of {inputs.shape[2]} points ({' '.join(str(error).split())[:120]})."
        ) from error
    alike = fields.ndim == 2 and pair[0].shape[1] == 1
    results = tuple(outputs.numpy()[:, 0, :] if alike else outputs.numpy() for outputs in pair)
    return results if len(results) == 2 else results[0]


def apply_in_batches(model: nn.Module, inputs: Tensor, *, batch_size: int) -> Tensor:
    """Outputs of ``model`` in evaluation mode for inputs (B, C, *N), computed ``batch_size`` samples at a time."""
    parameter = next(iter(model.parameters()))
    dtype = parameter.dtype if parameter.is_floating_point() else torch.get_default_dtype()
    was_training = model.training
    model.eval()
    with torch.no_grad():
        parts = [model(part.to(parameter.device, dtype)).cpu() for part in inputs.split(batch_size)]
    model.train(was_training)
    return torch.cat(parts)
