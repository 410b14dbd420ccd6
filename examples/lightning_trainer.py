"""Lightning's Trainer: ClosedFormLoss in your own training step, or a callback around any module."""

import logging
import warnings

import lightning.pytorch as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sciml_cf import ClosedFormLoss, Proximal
from sciml_cf.adapters.lightning import ClosedFormCallback

warnings.filterwarnings("ignore", module="lightning")
warnings.filterwarnings("ignore", category=FutureWarning)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

x = 2 * torch.rand(2048, 2, generator=torch.Generator().manual_seed(0)) - 1
y = torch.sin(4 * x[:, :1]) * torch.cos(3 * x[:, 1:])


class Regression(L.LightningModule):
    """A module as you may have it already."""

    def __init__(self, loss_of=None):
        super().__init__()
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.loss_of = loss_of(self.model[-1]) if loss_of else nn.MSELoss()

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, index):
        return self.loss_of(self(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)]


def train(module, callbacks=()):
    loader = DataLoader(TensorDataset(x, y), batch_size=256, shuffle=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    L.Trainer(max_epochs=40, accelerator="cpu", enable_checkpointing=False, callbacks=list(callbacks), **quiet).fit(
        module, loader
    )
    with torch.no_grad():
        return (module(x) - y).square().mean().item()


print(f"every layer trained:                {train(Regression()):.2e}")
print(f"ClosedFormLoss in the step:         {train(Regression(lambda head: ClosedFormLoss(head, Proximal()))):.2e}")
print(f"ClosedFormCallback, module as is:   {train(Regression(), [ClosedFormCallback(Proximal())]):.2e}")
