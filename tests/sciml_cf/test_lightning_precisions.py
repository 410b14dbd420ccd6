"""The head in Lightning at every precision that a CPU has, each step against the same loop by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sciml_cf.head import ClosedFormLoss, Proximal
from tests.dense import DenseLoop, close
from tests.problems import mlp

L = pytest.importorskip("lightning.pytorch")
from sciml_cf.adapters.lightning import ClosedFormCallback  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 with torch 2.13
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]

STRENGTH = 0.05
# Of each precision: that of the weights, of autocast, and how far two right answers may differ.
PRECISIONS = {
    "64-true": (torch.float64, None, 1e-9),
    "32-true": (torch.float32, None, 2e-4),
    "bf16-mixed": (torch.float32, torch.bfloat16, 2e-3),
    "bf16-true": (torch.bfloat16, None, 3e-2),
    "16-true": (torch.float16, None, 1e-2),
}


class Module(L.LightningModule):
    """A regression by one's own loss or, without a rule, by the mean squared error."""

    def __init__(self, model, rule=None):
        super().__init__()
        self.model = model
        self.loss = nn.MSELoss() if rule is None else ClosedFormLoss(model[-1], rule)
        self.values = []

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, index):
        value = self.loss(self(batch[0]), batch[1])
        self.values.append(value.item())
        return value

    def configure_optimizers(self):
        return torch.optim.SGD(self.model.parameters(), lr=0.1)


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, dtype=torch.float64, generator=generator)
    return TensorDataset(x, torch.stack([torch.sin(x.sum(1)), x[:, 0] * x[:, 1] + 0.3], dim=1))


class Watch(L.Callback):
    """What a step leaves: compared at once, before the next one.

    The module's own mean squared error is that of the prediction, which autocast has rounded (``rounds``).
    """

    def __init__(self, dense, dtype, autocast, rtol, *, rounds):
        self.dense, self.dtype, self.autocast, self.rtol, self.rounds = dense, dtype, autocast, rtol, rounds
        self.optimizer = torch.optim.SGD(dense.parameters(), lr=0.1)
        self.losses = []

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        x, y = (one.to(self.dtype) for one in batch)
        with torch.autocast("cpu", dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            phi = self.dense.solve(x, y)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast is not None and self.rounds):
            loss = self.dense.loss(phi, y)
        self.losses.append(loss.item())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.dense.check(module.model[-1], module.model, self.rtol)
        assert module.model[-1].weight.dtype == self.dtype


def train(module, precision, callbacks):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, precision=precision, callbacks=callbacks, enable_model_summary=False, **quiet
    )
    dtype = PRECISIONS.get(precision, (torch.float32,))[0]
    pairs = TensorDataset(*(one.to(dtype) for one in data().tensors))
    trainer.fit(module, DataLoader(pairs, batch_size=16))


def test_lightning_says_that_it_replaces_16_mixed_which_then_trains_as_bf16_mixed():
    models = [mlp().float() for _ in range(2)]
    with pytest.warns(UserWarning, match="AMP with fp16 is not supported on CPU. Using `precision='bf16-mixed'`"):
        train(Module(models[0], Proximal(STRENGTH)), "16-mixed", [])
    train(Module(models[1], Proximal(STRENGTH)), "bf16-mixed", [])
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        close(one, other, 1e-5)


@pytest.mark.parametrize("seam", ["loss", "callback"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_lightning_takes_the_steps_of_the_loop_by_hand_at_each_precision(precision, seam):
    dtype, autocast, rtol = PRECISIONS[precision]
    model, rule = mlp().to(dtype), Proximal(STRENGTH)
    rtol = 1e-2 if autocast and seam == "callback" else rtol  # two orders of rounding to bfloat16
    watch = Watch(DenseLoop(model, STRENGTH), dtype, autocast, rtol, rounds=seam == "callback")
    module = Module(model, rule if seam == "loss" else None)
    train(module, precision, [*([ClosedFormCallback(rule)] if seam == "callback" else []), watch])
    assert len(watch.losses) == 4
    assert module.values == pytest.approx(watch.losses, rel=10 * rtol)
