"""Inputs of the last linear layer of a trained model, batch by batch, without gradients or side effects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sciml_cf.datasets.items import check_batch
from sciml_cf.head.binding.arrangement import Arrangement, Arrangements
from sciml_cf.head.binding.capture import Capture
from sciml_cf.head.binding.find import layer_of
from sciml_cf.head.binding.layer import (
    Layer,
    check_layer,
    check_real,
    features_last,
    num_inputs,
    num_outputs,
    read_head,
)
from sciml_cf.model_outputs import Entry, entry_of, predicted
from sciml_cf.normalization import core_units, dtype_of, normalization_of

_AS_TRAINED = "have the channels and dimensions that the model was trained with"


class HeadView:
    """A model seen as ``prediction = W^T phi(x)``: its features, and the layout of targets that matches them.

    Use it inside ``with HeadView(...).open() as view``: the model is in evaluation mode there, and is as it was
    afterwards. One batch of features is alive at a time. A normalization that the model carries is taken off inside:
    inputs are normalized, and predictions, targets and heads are those of normalized fields.

    Args:
        function: the function that messages name.
        argument: its name for the inputs in messages.
        model: any module whose prediction, samples first, is the output of its last linear layer, at most with its
            numbers in other places (axes moved, joined or split, patches put together).
        head: that layer, or its name; by default the last one that is linear at each grid point.
        example: ``(B, C, *N)``, inputs that show which layer runs last where ``head`` is left out.
        prediction: which entry of the model's return value is the prediction; by default the one that it carries.

    Raises:
        ValueError, TypeError: there is no such layer.
    """

    def __init__(
        self,
        function: str,
        model: nn.Module,
        head: nn.Module | str | None = None,
        *,
        argument: str = "data",
        example: Tensor | None = None,
        prediction: Entry | None = None,
    ) -> None:
        self.function, self.model, self.argument = function, model, argument
        self.entry = entry_of(model) if prediction is None else prediction
        layer = layer_of(function, model, head, example=example)
        check_layer(layer)
        self.layer: Layer = layer
        parameter = next(iter(model.parameters()))
        self.device = parameter.device
        self.dtype = dtype_of(model)
        self.normalization = normalization_of(model)
        self._arrangements = Arrangements(fixed=True)
        self._layout: RowLayout | None = None  # of the last prediction
        self._seen: list[Capture] = []
        self._probing = False

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
        """The layer's present weights ``(F, C)`` float64."""
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
        """Features ``(B, *N, F')`` without the constant one, often a view, and the prediction, of physical inputs.

        Args:
            x: ``(B, C, *N)``.

        Raises:
            ValueError: the model refuses the inputs, or its prediction is not the output of its head.
        """
        check_real(self.function, **{self.argument: x})
        x = self._normalized(x.to(self.device))
        if self._layout is None:
            self._prove(x[:1])
        prediction, seen = self._run(x)
        arrangement = self._arranged(prediction, seen)
        if self._layout is None or self._layout.arrangement is not arrangement:
            self._layout = RowLayout(self.function, arrangement, self.layer)
        return self._layout.by_sample(features_last(seen.features, self.layer)), prediction.detach()

    def in_rows(self, values: Tensor) -> Tensor:
        """Values shaped like the last prediction, laid out like its features: ``(B, *N, C)``."""
        self._check_shape(values)
        return self._last.rows(values.to(self.device))

    def like_prediction(self, rows: Tensor) -> Tensor:
        """Values ``(B, *N, C)``, one for each of the last feature rows and outputs, arranged like the prediction."""
        return self._last.values(rows)

    def for_each_batch(
        self,
        data: Dataset[dict[str, Tensor]],
        work: Callable[[int, Tensor, Tensor, Tensor], None],
        *,
        batch_size: int,
        share: tuple[int, int] = (0, 1),
    ) -> int:
        """Call ``work(first sample, features, prediction, targets)`` for each batch, in order; the number of samples.

        Features are ``(B, *N, F')``, prediction and targets ``(B, *N, C)``. ``work`` must not keep the features. With a
        share (k, n) it is called for batches k, k + n, k + 2 n and so on alone.
        """
        count = len(cast(Sized, data))
        starts = range(0, count, batch_size)[share[0] :: share[1]]
        batches = [list(range(start, min(start + batch_size, count))) for start in starts]
        loader = DataLoader(data, batch_sampler=batches, generator=torch.Generator())
        for start, batch in zip(starts, loader, strict=True):
            self._work_on(batch, start, work)
        return count

    def _work_on(self, batch: dict[str, Tensor], first: int, work: Callable[..., None]) -> None:
        check_batch(self.function, self.argument, batch["x"], "x", first)
        features, prediction = self.features(batch["x"])
        targets = batch["y"]
        check_real(self.function, targets=targets, prediction=prediction)
        self._check_shape(targets)
        if self.normalization is not None:
            targets = self.normalization.targets(targets, torch.float64, x=batch["x"])
        work(first, features, self.in_rows(prediction), self.in_rows(targets))

    def _normalized(self, x: Tensor) -> Tensor:
        if self.normalization is None:
            return x.to(self.dtype)
        with accepted(self.function, self.argument, x):
            return self.normalization.inputs(x, self.dtype)

    @property
    def _last(self) -> RowLayout:
        if self._layout is None:
            raise RuntimeError(f"{self.function}: `features` must have been called before; got no batch yet.")
        return self._layout

    def _check_shape(self, values: Tensor) -> None:
        shape = self._last.arrangement.prediction
        if values.shape != shape:
            raise ValueError(
                f"{self.function}: `data` must hold targets shaped like the model's predictions {tuple(shape[1:])}; "
                f"got {tuple(values.shape[1:])}. Is it another problem's data?"
            )

    def _run(self, x: Tensor) -> tuple[Tensor, Capture]:
        """The prediction, its graph beginning at the layer's output, and what the layer saw."""
        with accepted(self.function, self.argument, x), torch.no_grad():  # the hook turns gradients on behind the layer
            returned = self.model(x)
        prediction = predicted(self.function, returned, self.entry)
        seen = list(self._seen)
        self._seen.clear()
        if len(seen) != 1:
            raise ValueError(
                f"{self.function}: `model` must run its head once in a forward pass; got {len(seen)} passes "
                "through it. Name the last linear layer with `head`."
            )
        return prediction, seen[0]

    def _arranged(self, prediction: Tensor, seen: Capture) -> Arrangement:
        found = self._arrangements.find(prediction, seen.output) if seen.intact else None
        if found is None:
            raise ValueError(
                f"{self.function}: `model` must return its head's output; got a prediction that something after the "
                "head changes (a residual, mask, activation or de-normalizer). Leave it to the targets."
            )
        return found

    def _prove(self, x: Tensor) -> None:
        """Put random numbers in the place of the layer's output: the prediction must be those, and nothing else.

        The output itself could hide an activation that is the identity for such values.
        """
        self._probing = True
        try:
            self._arranged(*self._run(x))
        finally:
            self._probing = False

    def _watch(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor:
        """Remember the pass, and hand on a copy of its output (or the probe) from which a graph is recorded."""
        if self._probing:
            output = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output)
        with torch.enable_grad():
            known = output.detach().requires_grad_().clone()
        self._seen.append(Capture(inputs[0] if inputs else named["input"], known))
        torch.set_grad_enabled(True)
        return known


class RowLayout:
    """How values shaped like a prediction are laid out as rows of features, sample by sample, and back.

    Args:
        function: who asks, for messages.
        arrangement: of the prediction ``(B, *)`` and the layer's output.
        layer: its axes say which numbers make a row.

    Raises:
        ValueError: a row belongs to several samples.
    """

    def __init__(self, function: str, arrangement: Arrangement, layer: Layer) -> None:
        self.arrangement, self._layer = arrangement, layer
        self._rows = features_last(torch.empty(arrangement.output, device="meta"), layer).shape  # (*, C)
        self._by_sample: tuple[int, int] | None = None  # (B, rows of a sample), where the layer's own axes differ
        self._order: Tensor | None = None  # of its rows, where those of a sample are not together
        samples, places = arrangement.prediction[0], arrangement.places
        if places is None and self._rows[0] == samples:
            return
        size = arrangement.output.numel()
        places = torch.arange(size).reshape(arrangement.output) if places is None else places
        owners = features_last(places // (size // samples), layer).flatten(0, -2)
        if not bool((owners == owners[:, :1]).all()):
            raise ValueError(
                f"{function}: `model` must compute each sample from feature rows of its own; got a head whose output "
                f"{tuple(arrangement.output)} has rows that enter several of {samples} samples."
            )
        per_sample = len(owners) // samples
        together = bool((owners[:, 0].diff() >= 0).all())
        if self._rows[0] != samples or not together:
            self._by_sample = samples, per_sample
        if not together:
            self._order = owners[:, 0].argsort(stable=True)

    def by_sample(self, rows: Tensor) -> Tensor:
        """Rows ``(*, F)`` of the layer as ``(B, *N, F)``."""
        if self._by_sample is None:
            return rows
        flat = rows.reshape(-1, rows.shape[-1])
        return (flat if self._order is None else flat[self._order.to(flat.device)]).reshape(*self._by_sample, -1)

    def rows(self, values: Tensor) -> Tensor:
        """Values shaped like the prediction as ``(B, *N, C)``."""
        return self.by_sample(features_last(self.arrangement.to_output(values), self._layer))

    def values(self, rows: Tensor) -> Tensor:
        """Values ``(B, *N, C)`` shaped like the prediction."""
        if self._order is not None:
            flat = rows.flatten(0, -2)
            rows = torch.empty_like(flat)
            rows[self._order.to(flat.device)] = flat
        rows = rows.reshape(self._rows)
        channels = rows if isinstance(self._layer, nn.Linear) else rows.movedim(-1, 1)
        return self.arrangement.to_prediction(channels.reshape(self.arrangement.output))


@contextmanager
def accepted(function: str, argument: str, x: Tensor, must: str = _AS_TRAINED) -> Iterator[None]:
    """Inside this block a model is run on inputs x ``(B, C, *N)``; its failure becomes one line.

    Args:
        function: the function that messages name.
        argument: its name for the inputs, or for the argument that they follow from.
        x: the inputs.
        must: what the argument must do.

    Raises:
        ValueError: the model failed.
    """
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        points = " x ".join(map(str, x.shape[2:]))
        raise ValueError(
            f"{function}: `{argument}` must {must}; got {x.shape[1]} channels of {points or 'no'} points "
            f"({' '.join(str(error).split())[:120]})."
        ) from error
