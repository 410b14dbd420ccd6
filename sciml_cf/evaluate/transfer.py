"""Resolution transfer: one trained model, applied at many resolutions, measured natively and on the full grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

import sciml_cf.metrics as metrics
from data_gen.formats import Facts, open_source
from data_gen.grids.positions import coarser, stride_to
from data_gen.info import error_of_data
from sciml_cf.datasets import FieldDataset, Split
from sciml_cf.datasets.choices import Lazy, Sampling
from sciml_cf.datasets.laziness import choose_lazy
from sciml_cf.errors import check_choice, check_count
from sciml_cf.evaluate.baselines import baseline_errors
from sciml_cf.evaluate.grids import Grids
from sciml_cf.evaluate.odd_grids import warn_of_odd_grids
from sciml_cf.evaluate.parts import PARTS, consistency, error_parts
from sciml_cf.evaluate.prediction import apply_in_batches
from sciml_cf.evaluate.problem import loaded_for
from sciml_cf.evaluate.shares import in_turn, own_blocks
from sciml_cf.head.features import accepted
from sciml_cf.models.coordinates import positions
from sciml_cf.training.run_folder import Which
from sciml_cf.training.versions import versions

Metric = Callable[[Tensor, Tensor], Tensor]
_POINTS_PER_BATCH = 2**17  # bounds the memory of a forward pass at any resolution
_POINTS_PER_BLOCK = 2**19  # bounds that of everything else: predictions of a block of samples at all resolutions
_NUM_EXAMPLES = 4
_AXES = ("z", "y", "x")


def evaluate_transfer(
    model: nn.Module | Path | str,
    path: str | Path,
    *,
    resolutions: int | Sequence[int],
    reference: int | None = None,
    sampling: Sampling = "strided",
    split: Split = "test",
    split_seed: int = 0,
    facts: Facts | None = None,
    format: str | None = None,
    fitted_baselines: bool = True,
    lazy: Lazy | bool = "auto",
    which: Which = "best",
) -> xr.Dataset:
    """Errors of a model over (resolution, output), their causes, and baselines.

    At each resolution n the model sees the inputs at n points along the last axis. Its output is measured in three
    ways: "native", against the solution at the same n points, and brought to the reference grid and measured against
    the solution there: "fourier", by Fourier interpolation, and "linear", piecewise linearly. On the reference grid
    itself they agree. Under torchrun each process takes its share of the samples, and all return the same.

    Where boundaries are not periodic, or axes are unlike, there is no Fourier interpolation: the output "fourier" and
    the variables h1, relative_h1, band_mse, part_mse and spectrum are missing.

    Args:
        model: ``(B, C, *n)`` -> ``(B, C', *n)``, for any n; or the run folder of one.
        path: a data file, see FieldDataset.
        resolutions: one, or several; each a divisor of the reference resolution.
        reference: the grid that "fourier" and "linear" are measured on; None takes the file's own.
        sampling: how inputs, and native solutions, are taken to n points: "strided", every k-th point, or "fourier", by
            cutting the spectrum.
        split: which samples, see FieldDataset.
        split_seed: seed of the split, see FieldDataset.
        facts: metadata that a file of another format lacks, see FieldDataset. A run's own windows and conditions are
            known.
        format: its format, see FieldDataset.
        fitted_baselines: whether to fit the best linear map and to look for the nearest training samples, which takes
            some seconds a resolution.
        lazy: read samples when they are needed, see ``FieldDataset``; "auto" where they and the training samples would
            take more than a quarter of the free memory.
        which: weights of a run folder with the lowest validation error, or those of the last epoch.

    Returns:
        A dataset with the variables

        - mse, rmse, relative_l2, relative_l2_std, nmse, vrmse, h1, relative_h1, max_error (resolution, output): mean
          over samples of the metric of that name in sciml_cf.metrics (max_error: the largest; relative_l2_std: over
          samples)
        - sample_relative_l2 (resolution, output, sample)
        - band_mse (resolution, output, band)
        - part_mse (resolution, part): the mse of "fourier" as a sum of model, sampling, aliasing and cross, see
          sciml_cf.evaluate.parts.error_parts
        - floor_mse (resolution, output): mse of the solution itself, taken to n points and brought back
        - consistency (resolution, other): relative difference between the model's outputs at two resolutions, see
          sciml_cf.evaluate.parts.consistency
        - baseline_mse, baseline_relative_l2 (baseline), native_baseline_mse, native_baseline_relative_l2 (resolution,
          baseline): zero, the training mean, the input, the equation's linear part (for Burgers the heat kernel), the
          nearest training sample and the best linear map, on the reference grid and at n points; linear_map_rank,
          linear_map_strength (resolution). See sciml_cf.evaluate.baselines
        - example_input, example_target, example_prediction (example, channel, and the axes of space): samples from the
          lowest to the highest error, on the reference grid
        - spectrum (curve, wavenumber): mean squared Fourier coefficients of target, prediction and error; in several
          dimensions their sum over all wave vectors of about that length

    Raises:
        DatasetError, ValueError: the file cannot be used; a resolution does not divide the reference.
    """
    check_choice("evaluate_transfer", "sampling", sampling, ("strided", "fourier"))
    asked = _listed(resolutions)
    if not isinstance(model, nn.Module):
        model, _, facts = loaded_for("evaluate_transfer", model, path, facts, format, which)
    words: dict[str, Any] = {"resolution": reference, "split_seed": split_seed, "facts": facts, "format": format}
    together = tuple(dict.fromkeys((split, "train")))
    words["lazy"] = choose_lazy("evaluate_transfer", lazy, Path(path), together, quiet=True, **words)
    truth = FieldDataset(path, split, **words)
    grids = Grids.of(truth)
    _check_sampling(grids, sampling)
    for resolution in asked:
        _check_divides(resolution, truth)
    _check_channels(model, truth)
    sizes = sorted({int(resolution) for resolution in asked})
    warn_of_odd_grids("evaluate_transfer", model, sizes)
    blocks = in_turn([_measure(model, grids, *block, sizes, sampling) for block in _blocks(truth)])
    measured = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0] if name != "spectrum"}
    result = xr.Dataset(
        _summarised(measured),
        coords={
            "resolution": sizes,
            "output": list(grids.outputs),
            "sample": truth.indices,
            "other": sizes,
            **({"band": np.array(metrics.BAND_EDGES), "part": list(PARTS)} if grids.fourier else {}),
        },
        attrs={
            "data": Path(path).name,
            "data_checksum": truth.checksum,
            "split": split,
            "split_seed": split_seed,
            "sampling": sampling,
            "num_samples": len(truth),
            "reference_resolution": truth.resolution,
            **_error_of_data(truth),
            **{f"version_{name}": value for name, value in versions().items()},
        },
    )
    if grids.fourier:
        result["band"].attrs["long_name"] = "lowest wavenumber of the band; the next entry bounds it"
        spectrum = np.sum([block["spectrum"] for block in blocks], axis=0) / len(truth)
        result = result.merge(_spectrum(spectrum))
    baselines = baseline_errors(truth, sizes, sampling, fitted=fitted_baselines)
    result.attrs.update(baselines.attrs)
    return result.merge(baselines).merge(_examples(model, truth, measured["full_relative_l2"]))


def _error_of_data(truth: FieldDataset) -> dict[str, float]:
    """The relative error that the targets may have by themselves, where it is known."""
    with open_source(truth.path, format=truth.format, overrides=truth.facts) as source:
        found = error_of_data(source)
    return {} if found is None else {"data_error": found}


def _check_sampling(grids: Grids, sampling: Sampling) -> None:
    if sampling == "fourier" and not grids.fourier:
        raise ValueError(
            "evaluate_transfer: `sampling` must be 'strided' for fields without periodic boundaries, or whose axes are "
            "unlike; got 'fourier'. Say --boundary periodic if the file does not tell that it is."
        )


def _listed(resolutions: int | Sequence[int]) -> Sequence[int]:
    """One resolution, or several, as a list.

    Raises:
        ValueError: there is none.
    """
    given: Any = resolutions
    found: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not found:
        raise ValueError("evaluate_transfer: `resolutions` must name at least one; got none. For instance 256 8192.")
    return found


def _check_divides(resolution: int, truth: FieldDataset) -> None:
    check_count("evaluate_transfer", "resolutions", resolution)
    shape = [points.size for points in truth.coordinates]
    if stride_to(shape[-1:], resolution, truth.placements[-1:]) is None:
        raise ValueError(
            f"evaluate_transfer: `resolutions` must divide the reference resolution {truth.resolution}; "
            f"got {resolution}."
        )
    stride = stride_to(shape, resolution, truth.placements)
    if stride is None or (not truth.wraps and any(coarser(points, stride) < 2 for points in shape)):
        raise ValueError(
            f"evaluate_transfer: `resolutions` must leave whole grids of more than one point of all axes of "
            f"{' x '.join(map(str, shape))} points; got {resolution}."
        )


def _check_channels(model: nn.Module, truth: FieldDataset) -> None:
    try:
        shape = tuple(apply_in_batches(model, truth.x[:1], batch_size=1).shape[1:])
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"evaluate_transfer: `model` must accept inputs {tuple(truth.x.shape[1:])}, (channels, points) of "
            f"{truth.path}; it failed ({reason})."
        ) from error
    if shape != tuple(truth.y.shape[1:]):
        raise ValueError(
            f"evaluate_transfer: `model` must return {tuple(truth.y.shape[1:])}, (channels, points) of the targets; "
            f"got {shape}."
        )


def _blocks(truth: FieldDataset) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Inputs, targets, and where these are known, if not everywhere, of this process's blocks of samples."""
    size = max(1, _POINTS_PER_BLOCK // truth.x[0, 0].numel())
    for rows in own_blocks(len(truth), size):
        yield truth.x[rows], truth.y[rows], None if truth.known is None else truth.known[rows]


def _metrics(grids: Grids) -> dict[str, Metric]:
    chosen: dict[str, Metric] = {metric.__name__: metric for metric in metrics.FIELD_METRICS}
    if grids.fourier:
        chosen |= {metric.__name__: partial(metric, extent=grids.extents) for metric in metrics.PERIODIC_METRICS}
        chosen["band_mse"] = metrics.band_mse
    return chosen


def _measure(
    model: nn.Module,
    grids: Grids,
    x: Tensor,
    y: Tensor,
    known: Tensor | None,
    resolutions: Sequence[int],
    sampling: Sampling,
) -> dict[str, np.ndarray]:
    """Everything about a block of samples, each (sample, resolution, ...); the spectrum is a sum over samples."""
    target, full = y.double(), grids.resolution
    predictions: dict[int, Tensor] = {}
    rows: dict[str, list[Tensor]] = {}
    for n in resolutions:
        prediction = predictions[n] = _apply(model, grids.take(x, n, sampling), grids.positions(n))
        masks = (None, None) if known is None else (grids.take(known, n, "strided"), known)
        found = _errors_at(grids, prediction, grids.take(target, n, sampling), target, n, masks)
        if grids.fourier:
            same = sampling == "fourier" or n == full
            cut = prediction if same else _apply(model, grids.take(x, n, "fourier"), grids.positions(n))
            found = {"part_mse": error_parts(grids, prediction, cut, target, n), **found}
        for name, values in found.items():
            rows.setdefault(name, []).append(values)
    result = {name: torch.stack(entries, dim=1).numpy() for name, entries in rows.items()}
    result["consistency"] = consistency(grids, predictions)
    at_full = predictions[full] if full in predictions else _apply(model, x, grids.positions(full))
    result["full_relative_l2"] = metrics.over_known(metrics.relative_l2, at_full, target, known).numpy()
    if grids.fourier:
        result["spectrum"] = np.stack([_power(field) for field in (target, at_full, at_full - target)])
    return result


def _errors_at(
    grids: Grids,
    prediction: Tensor,
    solution: Tensor,
    target: Tensor,
    n: int,
    known: tuple[Tensor | None, Tensor | None],
) -> dict[str, Tensor]:
    """Each metric of a prediction at n points, and the floor, (sample, output): natively and on the full grid.

    ``known`` says where targets are known at n points and on the full grid, if not everywhere.
    """
    pairs = [(prediction, solution)]
    floors = [torch.zeros(len(target), dtype=torch.float64)]
    for how in grids.outputs[1:]:
        pairs.append((grids.interpolate(prediction, n, grids.resolution, how), target))
        floor = grids.interpolate(solution, n, grids.resolution, how)
        floors.append(metrics.over_known(metrics.mse, floor, target, known[1]))
    masks = [known[0], *[known[1]] * (len(pairs) - 1)]
    errors = {
        name: [metrics.over_known(metric, *pair, mask) for pair, mask in zip(pairs, masks, strict=True)]
        for name, metric in _metrics(grids).items()
    }
    return {name: torch.stack(values, dim=1) for name, values in {"floor_mse": floors, **errors}.items()}


def _summarised(measured: dict[str, np.ndarray]) -> dict[str, Any]:
    """Variables over (resolution, ...) from arrays over (sample, resolution, ...)."""
    dims = ("resolution", "output")
    last = {"band_mse": (*dims, "band"), "part_mse": ("resolution", "part"), "consistency": ("resolution", "other")}
    variables: dict[str, Any] = {}
    for name, values in measured.items():
        if name == "full_relative_l2":
            continue
        variables[name] = (last.get(name, dims), values.max(0) if name == "max_error" else values.mean(0))
        if name == "relative_l2":
            variables["relative_l2_std"] = (dims, values.std(0))
            variables["sample_relative_l2"] = ((*dims, "sample"), np.moveaxis(values, 0, -1))
    return variables


def _apply(model: nn.Module, inputs: Tensor, axes: Sequence[np.ndarray]) -> Tensor:
    """The model's outputs in float64, for inputs at these positions along each axis."""
    batch_size = max(1, _POINTS_PER_BATCH // inputs[0, 0].numel())
    checked = accepted("evaluate_transfer", "resolutions", inputs, "be some that the model can be run at")
    with positions(model, axes), checked:
        return apply_in_batches(model, inputs.contiguous(), batch_size=batch_size).double()


def _examples(model: nn.Module, truth: FieldDataset, errors: np.ndarray) -> xr.Dataset:
    order = np.argsort(errors)
    chosen = order[np.unique(np.linspace(0, len(order) - 1, _NUM_EXAMPLES).round().astype(int))]
    x, y = truth.x[chosen], truth.y[chosen]
    axes = _AXES[-len(truth.coordinates) :]
    dims = ("example", "channel", *axes)
    return xr.Dataset(
        {
            "example_input": (("example", "input_channel", *axes), x.numpy(), _last_states(truth)),
            "example_target": (dims, y.numpy()),
            "example_prediction": (dims, _apply(model, x, truth.positions).to(y.dtype).numpy()),
        },
        coords={"example": truth.indices[chosen], **dict(zip(axes, truth.coordinates, strict=True))},
    )


def _last_states(truth: FieldDataset) -> dict[str, Any]:
    """Of windows of trajectories: which input channel is the last state of each output's component, and the number of
    windows of a trajectory.
    """
    if not truth.windows or truth.steps is None:
        return {}
    return {"last_state": list(truth.steps.residual), "windows_of_a_trajectory": truth.windows_of_a_trajectory}


def _power(fields: Tensor) -> np.ndarray:
    """``|c_k|^2`` over wavenumbers, the mean over channels and the sum over samples."""
    if fields.ndim == 3:
        return torch.fft.rfft(fields, norm="forward").abs().square().mean(1).sum(0).numpy()
    power = metrics.mode_power(fields).mean(1).sum(0).flatten()
    length = metrics.mode_lengths(fields).flatten().round().long()
    return torch.bincount(length, weights=power)[: fields.shape[-1] // 2 + 1].numpy()


def _spectrum(power: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {"spectrum": (("curve", "wavenumber"), power)},
        coords={"curve": ["target", "prediction", "error"], "wavenumber": np.arange(power.shape[1])},
    )
