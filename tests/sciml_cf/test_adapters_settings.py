"""Settings of a head in the Trainers of neuralop and Lightning: each takes the steps of a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sciml_cf.adapters.neuralop import NeuralopLoss
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, CrossEntropy, OneHot, Proximal
from sciml_cf.training.units import Units
from tests.loops import RULE, backbone, neuralop_trainer

L = pytest.importorskip("lightning.pytorch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 with torch 2.13
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]
SAMPLES, CLASSES, POINTS = 20, 3, 6
# name: (arguments of the adapter, what the samples have beside x and y)
SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "free bias": ({"penalise_bias": False}, ""),
    "weights of samples": ({}, "samples"),
    "mask of points": ({"penalise_bias": False}, "mask"),
    "weights of outputs": ({}, "outputs"),
    "relative": ({"loss": "relative"}, ""),
    "relative, with weights of samples": ({"loss": "relative"}, "samples"),
    "relative, with a mask": ({"loss": "relative", "penalise_bias": False}, "mask"),
    "relative, with weights of outputs": ({"loss": "relative"}, "outputs"),
    "one-hot": ({"objective": OneHot()}, "labels"),
    "cross-entropy of classes that count apart": ({"objective": CrossEntropy(0.1, (1.0, 2.0, 0.5))}, "labels"),
}


class Net(nn.Module):
    """Fields ``(B, 2, N)`` to ``(B, 3, N)``; neuralop's Trainer calls it with all that a sample has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.readout = nn.Conv1d(2, 16, 1), nn.Conv1d(16, CLASSES, 1)
        self.double()

    def forward(self, x: Tensor, **sample: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.body(x)))


def batches(extra: str) -> DataLoader[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    options: Any = {"generator": generator, "dtype": torch.float64}
    x = torch.randn(SAMPLES, 2, POINTS, **options)
    size = torch.logspace(-1, 1, SAMPLES, dtype=torch.float64)[:, None, None]
    y = size * (3 + torch.stack([torch.sin(3 * x[:, 0]), x.prod(1), x[:, 1]], 1))
    known = torch.rand(SAMPLES, POINTS, **options) > 0.3
    if extra == "labels":
        y = torch.randint(CLASSES, (SAMPLES, POINTS), generator=generator)
    weights = {
        "samples": torch.rand(SAMPLES, **options),
        "mask": known.double(),
        "outputs": (torch.rand(SAMPLES, CLASSES, POINTS, **options) > 0.3).double(),
    }.get(extra)
    if extra == "mask" and weights is not None:
        y = torch.where(known[:, None], y, torch.nan)
    items = [{"x": x[i], "y": y[i], **({} if weights is None else {"weights": weights[i]})} for i in range(SAMPLES)]
    return DataLoader(items, batch_size=8)  # pyright: ignore[reportArgumentType]


def by_hand(y: Tensor, weights: Tensor | None, loss: str) -> Tensor | None:
    """Weights that make the squared error relative, sample by sample."""
    if loss == "mse":
        return weights
    result = []
    for index, one in enumerate(y):
        own = torch.ones((), dtype=one.dtype) if weights is None else weights[index]
        whole = own.double().expand(one.shape) if own.ndim else torch.ones_like(one)
        norm = sum(v * u**2 for v, u in zip(whole.flatten().tolist(), one.flatten().tolist(), strict=True) if v > 0)
        result.append(own * one.numel() / norm)
    scale = torch.stack(result)
    return scale.reshape(-1, 1, 1).double() if weights is None else scale


def plain_loop(settings: dict[str, Any], loader: DataLoader[Any]) -> tuple[list[float], Net]:
    """The same training with ClosedFormLoss, and no adapter."""
    model, arguments = Net(), dict(settings)
    loss = arguments.pop("loss", "mse")
    loss_of = ClosedFormLoss(model.readout, RULE, **arguments)
    optimizer, values = torch.optim.Adam(backbone(model), lr=3e-3), []
    for _ in range(4):
        for batch in loader:
            value = loss_of(model(batch["x"]), batch["y"], by_hand(batch["y"], batch.get("weights"), loss))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
    return values, model


@pytest.mark.parametrize("name", SETTINGS)
def test_neuralop_takes_every_setting_of_a_plain_loop(name: str) -> None:
    settings, extra = SETTINGS[name]
    loader, model = batches(extra), Net()
    expected, reference = plain_loop(settings, loader)
    values, _ = neuralop_trainer(model, loader, loss=NeuralopLoss(model, RULE, **settings))
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    torch.testing.assert_close(model.readout.bias, reference.readout.bias, rtol=1e-8, atol=1e-10)


class Module(L.LightningModule):
    """Somebody's module, whose own loss is the one that the head is solved for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.values = Net(), []
        arguments = dict(settings)
        self.kind = arguments.pop("loss", "mse")
        plain = nn.Conv1d(16, CLASSES, 1)
        self.measure = ClosedFormLoss(plain.double(), RULE, **arguments)
        self.measure.head.frozen = True  # the loss of any prediction, and nothing is solved

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        weights = by_hand(batch["y"], batch.get("weights"), self.kind)
        value = self.measure.value(self(batch["x"]), batch["y"], weights)
        self.values.append(value.item())
        return value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.body.parameters(), lr=3e-3)


@pytest.mark.parametrize("name", SETTINGS)
def test_lightning_takes_every_setting_of_a_plain_loop(name: str) -> None:
    from sciml_cf.adapters.lightning import ClosedFormCallback

    settings, extra = SETTINGS[name]
    loader, module = batches(extra), Module(settings)
    expected, _ = plain_loop(settings, loader)
    callback = ClosedFormCallback(RULE, head="model.readout", **settings)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=4, callbacks=[callback], enable_model_summary=False, **silent)
    trainer.fit(module, loader)
    np.testing.assert_allclose(module.values, expected, rtol=1e-9)


@pytest.mark.parametrize("extra", ["", "samples", "mask", "outputs"])
@pytest.mark.parametrize("loss", ["mse", "relative"])
def test_neuralop_reports_the_mean_over_samples_of_what_is_known(loss: Any, extra: str) -> None:
    model = Net()
    loss_of = NeuralopLoss(model, RULE, loss=loss)
    model.eval()
    batch = next(iter(batches(extra)))
    prediction, y, weights = model(batch["x"]), batch["y"], batch.get("weights")
    if extra == "mask" and weights is not None:
        weights[3] = 0  # a sample of which nothing is known counts as one without an error
    errors = []
    for index in range(len(y)):
        own = torch.ones(POINTS) if weights is None else weights[index].expand(y[index].shape)
        own = own.expand(y[index].shape)
        square = torch.where(own > 0, prediction[index] - y[index], 0.0).square()
        errors.append(((own * square).sum() / own.sum()).item() if own.sum() > 0 else 0.0)
    assert loss_of(prediction, y, weights=weights, x=batch["x"]).item() == pytest.approx(math.fsum(errors), rel=1e-6)
    if extra == "mask" and weights is not None:  # one mask for all samples
        same = weights[0].expand(len(y), POINTS)
        first = loss_of(prediction, torch.nan_to_num(y), weights=weights[0]).item()
        assert first == pytest.approx(loss_of(prediction, torch.nan_to_num(y), weights=same).item(), rel=1e-9)


def test_relative_weights_are_those_of_fit() -> None:
    from sciml_cf.head.relative import training_weights

    for extra in ("", "mask"):
        batch = next(iter(batches(extra)))
        batch["y"] = torch.nan_to_num(batch["y"])
        expected = Units(None, "relative", torch.float64).batch(batch).weights
        found = training_weights("f", batch["y"], batch.get("weights"), "relative", Net().readout)
        torch.testing.assert_close(found, expected)
    y, known = torch.randn(4, 3, 3, 2), (torch.rand(4, 3, 3) > 0.5).float()  # outputs last, and as many as points
    linear = training_weights("f", y, known, "relative", nn.Linear(5, 2))
    moved = training_weights("f", y.movedim(-1, 1), known, "relative", nn.Conv2d(5, 2, 1))
    torch.testing.assert_close(linear, moved)


@pytest.mark.parametrize("adapter", ["NeuralopLoss", "ClosedFormCallback"])
def test_settings_that_do_not_go_together_are_one_line(adapter: str) -> None:
    from sciml_cf.adapters.lightning import ClosedFormCallback

    def make(**settings: Any) -> Any:
        if adapter == "NeuralopLoss":
            return NeuralopLoss(Net(), Proximal(), **settings)
        return ClosedFormCallback(Proximal(), **settings)

    with pytest.raises(ValueError, match=f"^{adapter}: `loss` must be one of 'mse', 'relative'; got 'l1'"):
        make(loss="l1")
    with pytest.raises(ValueError, match=f"^{adapter}: `loss` must be 'mse' with the objective OneHot"):
        make(loss="relative", objective=OneHot())


def test_weights_and_targets_that_have_no_relative_error_are_one_line() -> None:
    model = Net()
    loss_of = NeuralopLoss(model, RULE, loss="relative")
    batch = next(iter(batches("mask")))
    with pytest.raises(ValueError, match=r"^NeuralopLoss: `weights` must be \(B,\), \(B, \*N\) or .* got \(5,\)"):
        loss_of(model(batch["x"]), batch["y"], weights=torch.ones(5))
    with pytest.raises(ValueError, match="^NeuralopLoss: `loss` must be 'mse' where the targets of a sample"):
        loss_of(model(batch["x"]), 0 * torch.nan_to_num(batch["y"]), weights=batch["weights"])
    assert isinstance(loss_of.closed_form.head, ClosedFormHead) and not loss_of.closed_form.head.solved
