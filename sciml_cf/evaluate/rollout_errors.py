"""Errors of a roll-out against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import sciml_cf.metrics as metrics
from sciml_cf.datasets.steps import Steps
from sciml_cf.evaluate.trajectories import Trajectories

#: Below this correlation a roll-out no longer follows the solution.
CORRELATED = 0.8
#: Steps, from the first new state, over which The Well averages its error.
WINDOWS = {"6:12": (6, 12), "13:30": (13, 30)}
_METRICS = ("mse", "relative_l2", "vrmse", "max_error")
_CONSERVED = 1e-3


@dataclass(frozen=True)
class Measured:
    """Measures of a block of samples, ``(B, T)`` each; powers of the chosen times are sums over samples.

    Attributes:
        errors: by name.
        power: ``(2, P, K)`` of target and prediction at P chosen times; None where the grid is not periodic.
    """

    errors: dict[str, np.ndarray]
    power: np.ndarray | None

    @classmethod
    def of(cls, predicted: Tensor, truth: Tensor, others: Mapping[str, Tensor], *, periodic: bool) -> Measured:
        """Those of states ``(B, T, C, *N)`` and of other predictions of them, by name."""
        count, times = truth.shape[:2]
        target = truth.double().flatten(0, 1)
        names = (*_METRICS, "band_mse") if periodic else _METRICS
        flat = predicted.double().flatten(0, 1)
        errors = {name: _bounded(getattr(metrics, name)(flat, target)) for name in names}
        errors["correlation"] = torch.nan_to_num(metrics.correlation(flat, target), nan=0.0)
        for name, states in others.items():
            errors[f"{name}_relative_l2"] = _bounded(metrics.relative_l2(states.double().flatten(0, 1), target))
        for name, fields in (("", flat), ("true_", target)):
            errors[f"{name}mean"] = fields.flatten(1).mean(1)
            errors[f"{name}energy"] = fields.flatten(1).square().mean(1)
        errors["finite"] = torch.isfinite(flat).flatten(1).all(1)
        arrays = {name: values.unflatten(0, (count, times)).numpy() for name, values in errors.items()}
        picked = list(picked_times(times))
        power = None
        if periodic:
            power = np.stack([_power(states.double()[:, picked]) for states in (truth, predicted)])
        return cls(arrays, power)


def picked_times(count: int) -> tuple[int, ...]:
    """The first, a middle and the last of so many times."""
    return tuple(dict.fromkeys((0, count // 2, count - 1)))


def summary(blocks: Sequence[Measured], data: Trajectories, steps: Steps) -> xr.Dataset:
    """All blocks as one dataset; see ``evaluate_rollout``."""
    whole = {name: np.concatenate([block.errors[name] for block in blocks]) for name in blocks[0].errors}
    times = np.array(data.times[steps.inputs :])
    variables: dict[str, object] = {
        name: ("time", values.max(0) if name == "max_error" else values.mean(0))
        for name, values in whole.items()
        if name not in ("band_mse", "finite")
    }
    variables["sample_relative_l2"] = (("time", "sample"), whole["relative_l2"].T)
    variables["sample_correlation"] = (("time", "sample"), whole["correlation"].T)
    variables["correlation_time"] = ("sample", _first_below(whole["correlation"], times))
    variables["finite_until"] = ("sample", _last_finite(whole["finite"], times, data.times[steps.inputs - 1]))
    kept = [name for name in ("mean", "energy") if _is_kept(whole[f"true_{name}"], whole["true_energy"], name)]
    coords = {"time": times, "sample": data.rows}
    result = xr.Dataset(variables, coords=coords, attrs={"conserved": ", ".join(kept)})
    return result.merge(_over_windows(whole["vrmse"])).merge(_spectra(blocks, whole, times))


def _over_windows(vrmse: np.ndarray) -> xr.Dataset:
    """Means of VRMSE over the windows of steps that there are."""
    windows = {name: (first, last) for name, (first, last) in WINDOWS.items() if last <= vrmse.shape[1]}
    means = [vrmse[:, first - 1 : last].mean() for first, last in windows.values()]
    return xr.Dataset(
        {"window_vrmse": ("window", means)} if windows else {}, {"window": list(windows)} if windows else {}
    )


def _spectra(blocks: Sequence[Measured], whole: dict[str, np.ndarray], times: np.ndarray) -> xr.Dataset:
    """Errors by bands of wavenumbers and spectra at the picked times; nothing where the grid is not periodic."""
    powers = [block.power for block in blocks if block.power is not None]
    if not powers:
        return xr.Dataset()
    power = np.sum(powers, axis=0) / sum(len(block.errors["mse"]) for block in blocks)
    return xr.Dataset(
        {
            "band_mse": (("time", "band"), whole["band_mse"].mean(0)),
            "power": (("curve", "picked_time", "wavenumber"), power),
        },
        coords={
            "time": times,
            "band": np.array(metrics.BAND_EDGES),
            "curve": ["target", "prediction"],
            "picked_time": times[list(picked_times(len(times)))],
            "wavenumber": np.arange(power.shape[-1]),
        },
    )


def _bounded(values: Tensor) -> Tensor:
    """Errors with infinity in the place of what is no number."""
    return torch.where(torch.isnan(values), torch.inf, values)


def _first_below(correlation: np.ndarray, times: np.ndarray) -> np.ndarray:
    below = correlation < CORRELATED
    return np.where(below.any(1), times[below.argmax(1)], np.inf)


def _last_finite(finite: np.ndarray, times: np.ndarray, start: float) -> np.ndarray:
    """The last time up to which all states are finite."""
    count = np.cumprod(finite, axis=1).sum(1)
    return np.concatenate([[start], times])[count]


def _is_kept(values: np.ndarray, energy: np.ndarray, name: str) -> bool:
    """Whether a quantity of the true states stays constant, relative to the size of the fields."""
    scale = np.sqrt(energy.mean()) if name == "mean" else energy.mean()
    return bool(scale > 0 and np.ptp(values, axis=1).max() <= _CONSERVED * scale)


def _power(states: Tensor) -> np.ndarray:
    """Sum over samples of ``|u_k|^2`` by the length of the wave vector, mean over channels, of ``(B, P, C, *N)``:
    ``(P, K)``.
    """
    fields = states.flatten(0, 1)
    power = torch.nan_to_num(metrics.mode_power(fields).mean(1), nan=torch.inf)
    length = metrics.mode_lengths(fields).round().long()
    last = fields.shape[-1] // 2
    bins = torch.zeros(len(fields), last + 1, dtype=torch.float64)
    inside = (length <= last).flatten()
    bins.index_add_(1, length.flatten()[inside], power.flatten(1)[:, inside])
    return bins.unflatten(0, states.shape[:2]).sum(0).numpy()
