"""What enters the last linear layer of a trained model, batch by batch, without gradients and without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sciml_cf.errors import check_choice
from sciml_cf.head.binding.arrangement import Arrangement, find_arrangement, rearrange
from sciml_cf.head.binding.layer import (
    Layer,
    check_layer,
    features_last,
    find_head,
    num_inputs,
    num_outputs,
    read_head,
    split_channel,
)
from sciml_cf.normalization import core_units, dtype_of, normalization_of

_INVERSE: dict[Arrangement, Arrangement] = {
    "same": "same",
    "channels_to_end": "channels_to_second",
    "channels_to_second": "channels_to_end",
}


class HeadView:
    """A model seen as ``prediction = W^T phi(x)``: its features, and how targets are laid out beside them.

    Use it inside ``with HeadView(...).open() as view``: the model is in evaluation mode there, and is as it was
    afterwards. One batch of features is alive at a time. A normalization that the model carries is taken off inside:
    inputs are normalized, and predictions, targets and heads are those of normalized fields.

    Args:
        function, argument: who asks, and what it calls the inputs, for messages.
        model: any module whose prediction is the output of its last linear layer, at most with the channel axis moved.
        head: that layer, or its name; by default the last one that is linear at each grid point.
    Raises:
        ValueError, TypeError: there is no such layer.
    """

    def __init__(
        self, function: str, model: nn.Module, head: nn.Module | str | None = None, *, argument: str = "data"
    ) -> None:
        self.function, self.model, self.argument = function, model, argument
        self.layer = _layer(function, model, head)
        parameter = next(iter(model.parameters()))
        self.device = parameter.device
        self.dtype = dtype_of(model)
        self.normalization = normalization_of(model)
        self._arrangement: Arrangement | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._probe: Tensor | None = None

    @property
    def num_features(self) -> int:
        """F, the constant feature of a bias included."""
        return num_inputs(self.layer) + self.has_constant

    @property
    def num_outputs(self) -> int:
        """C."""
        return num_outputs(self.layer)

    @property
    def has_constant(self) -> bool:
        """Whether the layer has a bias, the weight of a constant feature."""
        return self.layer.bias is not None

    @property
    def weights(self) -> Tensor:
        """The layer's present weights (F, C) float64."""
        return read_head(self.layer)

    @contextmanager
    def open(self) -> Iterator[HeadView]:
        """Evaluation mode, no gradients, and a hook on the layer, all undone at the end."""
        modes = {module: module.training for module in self.model.modules()}
        hook = self.layer.register_forward_hook(self._watch, with_kwargs=True)
        try:
            self.model.eval()
            with torch.no_grad(), core_units(self.model):
                yield self
        finally:
            hook.remove()
            self._seen.clear()
            for module, mode in modes.items():
                module.training = mode

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, *N, F'), a view without the constant one, and the prediction, of physical inputs x (B, C, *N).

        Raises:
            ValueError: the model refuses the inputs, or its prediction is not the output of its head.
        """
        x = self._normalized(x.to(self.device))
        if self._arrangement is None:
            self._prove(x[:1])
        prediction = self._run(x)
        ((features, _),) = self._seen
        self._seen.clear()
        return features_last(features, self.layer), prediction

    def in_rows(self, values: Tensor, prediction: Tensor) -> Tensor:
        """Values shaped like the prediction, laid out like the features: (B, *N, C)."""
        if values.shape != prediction.shape:
            raise ValueError(
                f"{self.function}: `data` must hold targets shaped like the model's predictions "
                f"{tuple(prediction.shape[1:])}; got {tuple(values.shape[1:])}. Is it another problem's data?"
            )
        values = rearrange(values.to(self.device), self._arrangement or "same")
        return features_last(split_channel(values, self.layer), self.layer)

    def like_prediction(self, rows: Tensor, prediction: Tensor) -> Tensor:
        """Values (B, *N, C), one for each feature row and output, arranged like the prediction."""
        values = rows if isinstance(self.layer, nn.Linear) else rows.movedim(-1, 1)
        return rearrange(values, _INVERSE[self._arrangement or "same"]).reshape(prediction.shape)

    def for_each_batch(
        self, data: Dataset[dict[str, Tensor]], work: Callable[[int, Tensor, Tensor, Tensor], None], *, batch_size: int
    ) -> int:
        """Call ``work(first sample, features, prediction, targets)`` for each batch, in order; the number of samples.

        Features are (B, *N, F'), prediction and targets (B, *N, C). ``work`` must not keep the features.
        """
        count = 0
        for batch in DataLoader(data, batch_size=batch_size, generator=torch.Generator()):
            self._work_on(batch, count, work)
            count += len(batch["x"])
        return count

    def _work_on(self, batch: dict[str, Tensor], first: int, work: Callable[..., None]) -> None:
        features, prediction = self.features(batch["x"])
        targets = batch["y"]
        if self.normalization is not None:
            targets = self.normalization.targets(targets, torch.float64)
        targets = self.in_rows(targets, prediction)
        work(first, features, self.in_rows(prediction, prediction), targets)

    def _normalized(self, x: Tensor) -> Tensor:
        if self.normalization is None:
            return x.to(self.dtype)
        try:
            return self.normalization.inputs(x, self.dtype)
        except ValueError as error:
            raise self._refused(x, error) from error

    def _refused(self, x: Tensor, error: Exception) -> ValueError:
        return ValueError(
            f"{self.function}: `{self.argument}` must have the channels that the model was trained with; got "
            f"{x.shape[1]} channels of {' x '.join(map(str, x.shape[2:])) or 'no'} points "
            f"({' '.join(str(error).split())[:120]})."
        )

    def _run(self, x: Tensor) -> Tensor:
        self._seen.clear()
        try:
            prediction = self.model(x)
        except RuntimeError as error:
            raise self._refused(x, error) from error
        if len(self._seen) != 1:
            raise ValueError(
                f"{self.function}: `model` must run its head once in a forward pass; got {len(self._seen)} passes "
                "through it. Name the last linear layer with `head`."
            )
        return prediction

    def _prove(self, x: Tensor) -> None:
        """Put random numbers in the place of the layer's output: the prediction must be those, and nothing else."""
        self._run(x)
        output = self._seen[0][1]
        generator = torch.Generator().manual_seed(0)
        self._probe = torch.randn(output.shape, generator=generator).to(output)
        try:
            prediction = self._run(x)
            found, _ = find_arrangement(prediction, self._probe)
        finally:
            self._probe = None
        if found is None:
            raise ValueError(
                f"{self.function}: `model` must return its head's output; got a prediction that something after the "
                "head changes (a residual, mask, activation or de-normaliser). Leave it to the targets."
            )
        self._arrangement = found

    def _watch(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Any:
        self._seen.append((inputs[0] if inputs else named["input"], output))
        return self._probe


def _layer(function: str, model: nn.Module, head: nn.Module | str | None) -> Layer:
    if head is None:
        return find_head(model)
    if isinstance(head, str):
        names = tuple(name for name, _ in model.named_modules() if name)
        check_choice(function, "head", head, names)
        head = model.get_submodule(head)
    check_layer(head)
    return head  # type: ignore[return-value]
