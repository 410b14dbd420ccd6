"""Normalization: fields of mean 0 and order one for the model, in the data's own units for everybody else.

::

    z = (x - mean_x) / (2 std_x)        model: z -> w        y = mean_y + std_y w (+ x)

The means and deviations are one number for each channel, over all samples and grid points of the training split, in
float64; the mean is subtracted before any cast to float32. Inputs are divided by two deviations, so that most lie
between -1 and 1. Where the model learns the increment from a state x to the next, the targets' mean and deviation are
those of y - x, and x is added to its output. A model carries its normalization as a pair of hooks, so that it maps
physical fields to physical fields while its ``state_dict`` stays that of the model alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.channel_statistics import ChannelStatistics
from sciml_cf.datasets.items import as_items, check_batch, items_at
from sciml_cf.model_outputs import entry_of, predicted, replaced

__all__ = [
    "ChannelStatistics",
    "Normalization",
    "attach_normalization",
    "core_units",
    "detach_normalization",
    "measure_normalization",
    "normalization_of",
]

Normalize = Literal["auto", "none"]
_LOG = logging.getLogger(__name__)
_BLOCK = 64  # samples read at once
# Inputs further outside the training range than this share of its width are warned of.
_FAR_OUTSIDE = 0.5
# Where |mean| / deviation exceeds this, float32 holds a field to fewer than three digits of its fluctuations.
_OFFSET = 1e3
# What inputs are divided by, in deviations: then they lie between -1 and 1, where a network is nearly linear at first.
_INPUT_DEVIATIONS = 2.0
_ATTRIBUTE = "_sciml_cf_normalization"


@dataclass(frozen=True)
class Normalization:
    """One affine map for each channel of the inputs and of the targets.

    Args:
        input_mean: ``(C,)``, subtracted from the inputs.
        input_scale: ``(C,)``, above 0, by which the inputs are divided.
        target_mean: ``(C',)``, subtracted from the targets.
        target_scale: ``(C',)``, above 0, by which the targets are divided.
        input_low: ``(C,)``, lowest values of the training inputs, empty if they are not known.
        input_high: ``(C,)``, highest values, likewise.
        residual: ``(C',)`` where the targets are increments: the input channel that is added to each channel of the
            output; empty where they are the fields themselves.

    Raises:
        ValueError: numbers that are not finite, scales that are not above 0, entries of other lengths, or no such
            input channel.
    """

    input_mean: tuple[float, ...]
    input_scale: tuple[float, ...]
    target_mean: tuple[float, ...]
    target_scale: tuple[float, ...]
    input_low: tuple[float, ...] = field(default=())
    input_high: tuple[float, ...] = field(default=())
    residual: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        self._check_residual()
        for one in fields(self):
            if one.name == "residual":
                continue
            values = tuple(float(value) for value in getattr(self, one.name))
            object.__setattr__(self, one.name, values)
            if not all(map(math.isfinite, values)) or (one.name.endswith("scale") and not all(v > 0 for v in values)):
                raise ValueError(
                    f"Normalization: `{one.name}` must be finite, a scale above 0; got {values}. "
                    "Leave a constant channel its scale of 1."
                )
        for kind in ("input", "target"):
            mean, std = getattr(self, f"{kind}_mean"), getattr(self, f"{kind}_scale")
            if len(mean) != len(std) or not mean:
                raise ValueError(
                    f"Normalization: `{kind}_scale` must have an entry for each channel of `{kind}_mean`; got "
                    f"{len(std)} and {len(mean)}."
                )

    def inputs(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Normalized inputs ``(B, C, *N)`` of physical ones; subtracted in float64, then cast."""
        _check_channels("inputs", "x", x, self.input_mean)
        return ((x.double() - _channels(self.input_mean, x)) / _channels(self.input_scale, x)).to(dtype)

    def targets(self, y: Tensor, dtype: torch.dtype = torch.float32, *, x: Tensor | None = None) -> Tensor:
        """Normalized targets ``(B, C', *N)`` of physical ones, and of physical inputs x where these are increments."""
        _check_channels("targets", "y", y, self.target_mean)
        increment = y.double() - self._states("targets", x)
        return ((increment - _channels(self.target_mean, y)) / _channels(self.target_scale, y)).to(dtype)

    def in_deviations(self, y: Tensor) -> Tensor:
        """Physical targets divided by the deviations, their mean kept, float64: what a relative error divides by."""
        _check_channels("targets", "y", y, self.target_mean)
        return y.double() / _channels(self.target_scale, y)

    def outputs(self, prediction: Tensor, x: Tensor | None = None) -> Tensor:
        """Physical fields of a model's normalized ones, and of physical inputs x where these are increments.

        In the prediction's precision, but in float64 where float32 would round the fluctuations away.
        """
        _check_channels("outputs", "prediction", prediction, self.target_mean)
        physical = prediction.double() * _channels(self.target_scale, prediction)
        physical = physical + _channels(self.target_mean, prediction) + self._states("outputs", x)
        return physical if self.needs_double else physical.to(prediction.dtype)

    def input_deviations(self, x: Tensor) -> Tensor:
        """``(1, C, 1, ...)`` float64, deviations of the channels of inputs ``(B, C, *N)`` over the training samples."""
        return _channels(self.input_scale, x) / _INPUT_DEVIATIONS

    def physical_inputs(self, z: Tensor) -> Tensor:
        """Physical inputs ``(B, C, *N)`` of normalized ones, float64; the inverse of ``inputs`` but for rounding."""
        return z.double() * _channels(self.input_scale, z) + _channels(self.input_mean, z)

    def scaled(self, deviation: Tensor) -> Tensor:
        """Deviations ``(B, C', *N)`` of normalized outputs, in the target's units."""
        return (deviation.double() * _channels(self.target_scale, deviation)).to(deviation.dtype)

    @property
    def needs_double(self) -> bool:
        """Whether physical outputs do not fit float32: a mean far above the deviation, or values out of its range."""
        pairs = [*zip(self.target_mean, self.target_scale, strict=True)]
        pairs += [(self.input_mean[c], self.input_scale[c] / _INPUT_DEVIATIONS) for c in self.residual]
        return any(abs(mean) > _OFFSET * std or not 1e-30 < std < 1e30 for mean, std in pairs)

    @property
    def loss_scale(self) -> float:
        """Mean variance of the target's channels: a mean squared error of normalized fields times it is physical."""
        return sum(std**2 for std in self.target_scale) / len(self.target_scale)

    def far_outside(self, x: Tensor) -> list[tuple[int, float, float]]:
        """(channel, lowest, highest) of the inputs ``(B, C, *N)`` that lie far outside the range of the training
        inputs.
        """
        if not self.input_low:
            return []
        rows = x.detach().double().movedim(1, 0).flatten(1)
        found = []
        for number, (low, high) in enumerate(zip(self.input_low, self.input_high, strict=True)):
            margin = _FAR_OUTSIDE * max(high - low, self.input_scale[number])
            least, most = rows[number].min().item(), rows[number].max().item()
            if least < low - margin or most > high + margin:
                found.append((number, least, most))
        return found

    def _check_residual(self) -> None:
        object.__setattr__(self, "residual", tuple(int(channel) for channel in self.residual))
        known = range(len(self.input_mean))
        if self.residual and (len(self.residual) != len(self.target_mean) or not {*self.residual} <= {*known}):
            raise ValueError(
                f"Normalization: `residual` must name one of {len(known)} input channels, from 0, for each of "
                f"{len(self.target_mean)} target channels; got {self.residual}."
            )

    def _states(self, function: str, x: Tensor | None) -> Tensor | float:
        """What increments are added to: channels of physical inputs, float64; 0 for targets that are no increments."""
        if not self.residual:
            return 0.0
        if x is None:
            raise ValueError(f"Normalization.{function}: `x` must be given, the inputs of the increments; got none.")
        _check_channels(function, "x", x, self.input_mean)
        return x[:, list(self.residual)].double()

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, exact in JSON."""
        return {name: list(values) for name, values in asdict(self).items()}

    @staticmethod
    def from_dict(values: Mapping[str, Sequence[float]]) -> Normalization:
        """The normalization that ``to_dict`` wrote."""
        given: dict[str, Any] = {
            one.name: tuple(values.get(one.name, values.get(one.name.replace("scale", "std"), ())))
            for one in fields(Normalization)
        }
        return Normalization(**given)

    def summary(self) -> str:
        """One line for a person: what was subtracted and divided by."""
        learned = "increments" if self.residual else "targets"
        parts = (("inputs", self.input_mean, self.input_scale), (learned, self.target_mean, self.target_scale))
        return "; ".join(
            f"{name}: mean {', '.join(f'{m:.4g}' for m in mean)}, divided by {', '.join(f'{s:.4g}' for s in std)}"
            for name, mean, std in parts
        )


def measure_normalization(
    data: Dataset[Any],
    *,
    residual: Sequence[int] = (),
    function: str = "measure_normalization",
    argument: str = "data",
) -> Normalization:
    """The normalization of a dataset, in one pass over it.

    A constant channel keeps a scale of 1, and one line of the log says so.

    Args:
        data: items ``{"x": (C, *N), "y": (C', *N)}`` or (x, y).
        residual: ``(C',)`` where increments are learned: the input channel that each target channel starts from.
        function: the function that messages name.
        argument: its name for the data in messages.

    Raises:
        ValueError: the dataset is empty, or holds values that are complex or not finite; the sample is named.
        TypeError: it has other items.
    """
    statistics = {"x": ChannelStatistics(), "y": ChannelStatistics()}
    with torch.random.fork_rng(devices=[]):  # a dataset may draw its items
        for start, block in _blocks(as_items(function, argument, data), function, argument):
            for name, one in statistics.items():
                _check_real(function, argument, block[name])
                check_batch(function, argument, block[name], name, start)
                of = residual if name == "y" else ()
                one.update(block[name].double() - block["x"][:, list(of)].double() if of else block[name])
    x, y = statistics.values()
    if not x.count:
        raise ValueError(f"{function}: `{argument}` must hold at least one sample; got an empty dataset.")
    stds = {name: _without_zeros(name, one) for name, one in (("input", x), ("target", y))}
    return Normalization(
        tuple(x.mean.tolist()), stds["input"], tuple(y.mean.tolist()), stds["target"],
        tuple(x.low.tolist()), tuple(x.high.tolist()), tuple(residual),
    )  # fmt: skip


def _without_zeros(name: str, statistics: ChannelStatistics) -> tuple[float, ...]:
    stds = statistics.std.tolist()
    for number, std in enumerate(stds):
        if std == 0:
            value = statistics.mean[number].item()
            _LOG.info("fit: %s channel %d is constant (%.6g) over the training samples; its mean is subtracted, and "
                      "it is divided by 1.", name, number, value)  # fmt: skip
    share = _INPUT_DEVIATIONS if name == "input" else 1.0
    return tuple(share * std if std > 0 else 1.0 for std in stds)


def _blocks(data: Dataset[Any], function: str, argument: str) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Inputs and targets, some samples at a time, and the number of the first of them."""
    count = len(cast(Sized, data))
    for start in range(0, count, _BLOCK):
        items = items_at(data, range(start, min(start + _BLOCK, count)))
        for name in ("x", "y"):
            shapes: dict[tuple[int, ...], int] = {}
            for index, item in enumerate(items):
                shapes.setdefault(tuple(item[name].shape), start + index)
            if len(shapes) > 1:
                raise ValueError(
                    f"{function}: `{argument}` must have samples of one shape; got {name} "
                    + " and ".join(f"{shape} in sample {index}" for shape, index in [*shapes.items()][:2])
                    + ". Bring them to one grid."
                )
            if () in shapes:
                raise ValueError(
                    f"{function}: `{argument}` must have samples with an axis of channels; got a single number "
                    f"as {name} of sample {start}. Use {name}[:, None]."
                )
        yield start, {name: torch.stack([item[name] for item in items]) for name in ("x", "y")}


def _check_real(function: str, argument: str, values: Tensor) -> None:
    if values.is_complex():
        raise ValueError(
            f"{function}: `{argument}` must hold real fields; got complex ones. Pass real and imaginary parts as "
            "channels (torch.view_as_real)."
        )


class _IntoCore:
    """Forward pre-hook: physical inputs become normalized ones, in the model's precision."""

    def __init__(self, normalization: Normalization) -> None:
        self.normalization = normalization

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        try:
            x = self.normalization.inputs(arguments[0], dtype_of(module))
        except ValueError as error:
            raise RuntimeError(str(error)) from error  # as the model itself refuses other channels
        return (x, *arguments[1:])


class _OutOfCore:
    """Forward hook: the model's normalized outputs become physical ones."""

    def __init__(self, normalization: Normalization) -> None:
        self.normalization = normalization

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        prediction = predicted(type(module).__name__, output, entry_of(module))
        norm = self.normalization
        physical = norm.outputs(prediction, norm.physical_inputs(arguments[0]) if norm.residual else None)
        return physical if prediction is output else replaced(output, prediction, physical)


def attach_normalization(model: nn.Module, normalization: Normalization) -> None:
    """Let a model map physical fields to physical fields; one that it had is replaced. Its weights stay."""
    detach_normalization(model)
    into, out_of = _IntoCore(normalization), _OutOfCore(normalization)
    handles = (model.register_forward_pre_hook(into), model.register_forward_hook(out_of))
    object.__setattr__(model, _ATTRIBUTE, (normalization, *(handle.id for handle in handles)))


def detach_normalization(model: nn.Module) -> Normalization | None:
    """Take a model's normalization off; returns it, or None if there was none."""
    found = getattr(model, _ATTRIBUTE, None)
    if found is None:
        return None
    normalization, into, out_of = found
    model._forward_pre_hooks.pop(into, None)
    model._forward_hooks.pop(out_of, None)
    object.__delattr__(model, _ATTRIBUTE)
    return normalization


def normalization_of(model: nn.Module) -> Normalization | None:
    """The normalization that a model carries, as ``sciml_cf.load`` attaches it; None if it has none."""
    found = getattr(model, _ATTRIBUTE, None)
    return None if found is None else found[0]


@contextmanager
def core_units(model: nn.Module) -> Iterator[Normalization | None]:
    """Inside this block the model maps normalized fields to normalized fields; gives its normalization, or None."""
    normalization = detach_normalization(model)
    try:
        yield normalization
    finally:
        if normalization is not None:
            attach_normalization(model, normalization)


@contextmanager
def physical_units(model: nn.Module, normalization: Normalization | None) -> Iterator[None]:
    """Inside this block the model carries this normalization."""
    if normalization is not None:
        attach_normalization(model, normalization)
    try:
        yield
    finally:
        if normalization is not None:
            detach_normalization(model)


def warn_far_outside(function: str, normalization: Normalization, x: Tensor) -> None:
    """One line of warning for each channel of inputs far outside the range that the model was trained on."""
    for number, least, most in normalization.far_outside(x):
        _LOG.warning(
            "%s: `fields` should lie in the range of the training inputs; channel %d goes from %.4g to %.4g, and "
            "training had %.4g to %.4g. Expect large errors, or check the units.",
            function, number, least, most, normalization.input_low[number], normalization.input_high[number],
        )  # fmt: skip


def dtype_of(module: nn.Module) -> torch.dtype:
    """Precision of a module's floating-point parameters; the default one without any."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.get_default_dtype()


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    shape = (1, len(values), *[1] * (like.ndim - 2))
    return torch.tensor(values, dtype=torch.float64, device=like.device).reshape(shape)


def _check_channels(function: str, name: str, fields: Tensor, values: tuple[float, ...]) -> None:
    if fields.ndim < 2 or fields.shape[1] != len(values):
        raise ValueError(
            f"Normalization.{function}: `{name}` must have the {len(values)} channels of the training data, (samples, "
            f"channels, *points); got shape {tuple(fields.shape)}."
        )
