"""Resolution transfer: one trained model, applied at many resolutions, measured natively and on the full grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from data_gen.formats import Facts
from data_gen.grid import resample
from sciml_cf.datasets import FieldDataset, Split
from sciml_cf.errors import check_count
from sciml_cf.metrics import BAND_EDGES, band_mse, max_error, mse, nmse, relative_l2
from sciml_cf.runs import apply_in_batches, versions

OUTPUTS = ("native", "fourier")
_METRICS = {"mse": mse, "relative_l2": relative_l2, "nmse": nmse, "max_error": max_error}
_POINTS_PER_BATCH = 2**17  # bounds the memory of a forward pass at any resolution
_NUM_EXAMPLES = 4


def evaluate_transfer(
    model: nn.Module,
    path: str | Path,
    *,
    resolutions: Sequence[int],
    reference: int | None = None,
    split: Split = "test",
    split_seed: int = 0,
    facts: Facts | None = None,
    format: str | None = None,
) -> xr.Dataset:
    """Errors of a model over (resolution, output), beside trivial baselines.

    At each resolution n the model sees every (N/n)-th point of the inputs. Its output is measured twice: "native"
    against the stored solution at the same n points, and "fourier", interpolated to the reference grid, against the
    solution there. On the reference grid itself the two agree.

    Args:
        model: (B, C, n) -> (B, C', n), for any n.
        path: a data file, see FieldDataset.
        resolutions: each a divisor of the reference resolution.
        reference: the grid that "fourier" is measured on; None takes the file's own.
        split, split_seed: which samples, see FieldDataset.
        facts, format: what a file of another format does not say about itself, and its format; see FieldDataset.
    Returns:
        Dataset with
            mse, relative_l2, relative_l2_std, nmse, max_error  (resolution, output): mean over samples of the metric
                of that name in sciml_cf.metrics (max_error: the largest; relative_l2_std: over samples)
            sample_relative_l2  (resolution, output, sample)
            band_mse  (resolution, output, band)
            baseline_mse, baseline_relative_l2  (baseline): predict zero, the training mean, and the exact solution of
                the equation's linear part (for Burgers the heat kernel), on the reference grid
            example_input, example_target, example_prediction  (example, channel, x): samples from the lowest to the
                highest error, on the reference grid
            spectrum  (curve, wavenumber): mean squared Fourier coefficients of target, prediction and error
    Raises:
        DatasetError, ValueError: the file cannot be used; a resolution does not divide the reference.
    """
    if not resolutions:
        raise ValueError("evaluate_transfer: `resolutions` must name at least one; got none. For instance 256 8192.")
    truth = FieldDataset(path, split, resolution=reference, split_seed=split_seed, facts=facts, format=format)
    _check_grid(truth)
    for resolution in resolutions:
        _check_divides(resolution, truth.resolution)
    _check_channels(model, truth)
    resolutions = sorted({int(resolution) for resolution in resolutions})
    errors = [_errors_at(model, truth, resolution) for resolution in resolutions]
    dims = ("resolution", "output")
    variables: dict[str, Any] = {}
    for name in _METRICS:
        samples = np.stack([entry[name] for entry in errors])  # (resolution, output, sample)
        variables[name] = (dims, samples.max(-1) if name == "max_error" else samples.mean(-1))
        if name == "relative_l2":
            variables["relative_l2_std"] = (dims, samples.std(-1))
            variables["sample_relative_l2"] = ((*dims, "sample"), samples)
    variables["band_mse"] = ((*dims, "band"), np.stack([entry["band_mse"] for entry in errors]))
    result = xr.Dataset(
        variables,
        coords={
            "resolution": list(resolutions),
            "output": list(OUTPUTS),
            "sample": truth.indices,
            "band": np.array(BAND_EDGES),
        },
        attrs={
            "data": Path(path).name,
            "data_checksum": truth.checksum,
            "split": split,
            "split_seed": split_seed,
            "num_samples": len(truth),
            "reference_resolution": truth.resolution,
            **{f"version_{name}": value for name, value in versions().items()},
        },
    )
    result["band"].attrs["long_name"] = "lowest wavenumber of the band; the next entry bounds it"
    return result.merge(_baselines(truth, split_seed)).merge(_examples(model, truth))


def _check_grid(truth: FieldDataset) -> None:
    if truth.x.ndim != 3 or not truth.periodic:
        ends = "periodic" if truth.periodic else "other than periodic"
        raise ValueError(
            f"evaluate_transfer: `path` must hold fields on a periodic grid of one dimension, as outputs are "
            f"interpolated by Fourier; got {truth.x.ndim - 2} dimensions and ends {ends}. "
            "Say --boundary periodic if the file does not tell that it is."
        )


def _check_divides(resolution: int, reference: int) -> None:
    check_count("evaluate_transfer", "resolutions", resolution)
    if reference % resolution:
        raise ValueError(
            f"evaluate_transfer: `resolutions` must divide the reference resolution {reference}; got {resolution}."
        )


def _check_channels(model: nn.Module, truth: FieldDataset) -> None:
    try:
        shape = tuple(apply_in_batches(model, truth.x[:1], batch_size=1).shape[1:])
    except RuntimeError as error:
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


def _errors_at(model: nn.Module, truth: FieldDataset, resolution: int) -> dict[str, np.ndarray]:
    """Each metric as (output, sample), and band_mse as (output, band)."""
    stride = truth.resolution // resolution
    prediction = _apply(model, truth.x[..., ::stride])
    pairs = {
        "native": (prediction, truth.y[..., ::stride]),
        "fourier": (torch.from_numpy(resample(prediction.numpy(), truth.resolution)), truth.y),
    }
    result: dict[str, np.ndarray] = {}
    for name, metric in _METRICS.items():
        result[name] = np.stack([_in_float64(metric, *pairs[output]) for output in OUTPUTS])
    result["band_mse"] = np.stack([_in_float64(band_mse, *pairs[output]).mean(0) for output in OUTPUTS])
    return result


def _apply(model: nn.Module, inputs: Tensor) -> Tensor:
    batch_size = max(1, _POINTS_PER_BATCH // inputs[0, 0].numel())
    return apply_in_batches(model, inputs.contiguous(), batch_size=batch_size)


def _in_float64(metric: Any, prediction: Tensor, target: Tensor) -> np.ndarray:
    """The metric with its sums in float64, a block of samples at a time."""
    blocks = zip(prediction.split(64), target.split(64), strict=True)
    return torch.cat([metric(p.double(), t.double()) for p, t in blocks]).numpy()


def _baselines(truth: FieldDataset, split_seed: int) -> xr.Dataset:
    same: dict[str, Any] = {"split_seed": split_seed, "facts": truth.facts, "format": truth.format}
    train = FieldDataset(truth.path, "train", resolution=truth.resolution, **same)
    guesses = {"zero": torch.zeros_like(truth.y), "training_mean": train.y.mean(0).expand_as(truth.y)}
    linear = truth.linear_solution()
    if linear is not None:
        guesses["linear_part"] = linear
    return xr.Dataset(
        {
            f"baseline_{name}": ("baseline", [_in_float64(_METRICS[name], g, truth.y).mean() for g in guesses.values()])
            for name in ("mse", "relative_l2")
        },
        coords={"baseline": list(guesses)},
    )


def _examples(model: nn.Module, truth: FieldDataset) -> xr.Dataset:
    prediction = _apply(model, truth.x)
    order = np.argsort(_in_float64(relative_l2, prediction, truth.y))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, _NUM_EXAMPLES).round().astype(int))]
    dims = ("example", "channel", "x")
    curves = {"target": truth.y, "prediction": prediction, "error": prediction - truth.y}
    power = [_mean_power(curve) for curve in curves.values()]
    return xr.Dataset(
        {
            "example_input": (("example", "input_channel", "x"), truth.x[chosen].numpy()),
            "example_target": (dims, truth.y[chosen].numpy()),
            "example_prediction": (dims, prediction[chosen].numpy()),
            "spectrum": (("curve", "wavenumber"), np.stack(power)),
        },
        coords={
            "example": truth.indices[chosen],
            "x": truth.points,
            "curve": list(curves),
            "wavenumber": np.arange(power[0].size),
        },
    )


def _mean_power(fields: Tensor) -> np.ndarray:
    blocks = [torch.fft.rfft(part.double(), norm="forward").abs().square().sum((0, 1)) for part in fields.split(64)]
    return (torch.stack(blocks).sum(0) / fields[..., 0].numel()).numpy()
