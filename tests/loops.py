"""The same training in a plain loop and in neuralop's own Trainer."""

import warnings

import torch
from torch import nn

from sciml_cf import ClosedFormLoss, FNOConfig, Proximal
from sciml_cf.adapters.neuralop import NeuralopLoss
from sciml_cf.head import find_head

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # neuralop's dependencies warn at import
    import neuralop

RULE = Proximal(strength=1e-2)
SMALL = FNOConfig(width=8, modes=8, layers=2)


def backbone(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class Recorded(nn.Module):
    """A loss that remembers its values."""

    def __init__(self, loss):
        super().__init__()
        self.loss, self.values = loss, []

    def forward(self, *args, **sample):
        value = self.loss(*args, **sample)
        self.values.append(value.item())
        return value


def plain_loop(model, loader, epochs=4, *, return_head=False):
    loss = Recorded(ClosedFormLoss(find_head(model), RULE))
    optimizer = torch.optim.Adam(backbone(model), lr=3e-3)
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            loss(model(batch["x"]), batch["y"]).backward()
            optimizer.step()
    return (loss.values, loss.loss.head.state()["head"]) if return_head else loss.values


def neuralop_trainer(model, loader, epochs=4, *, processor=None, tests=None, loss=None, cosine=False, **settings):
    loss = loss or NeuralopLoss(model, RULE)
    recorded = Recorded(loss)
    optimizer = torch.optim.Adam(backbone(model), lr=3e-3)
    schedulers = torch.optim.lr_scheduler
    scheduler = schedulers.CosineAnnealingLR(optimizer, epochs) if cosine else schedulers.ConstantLR(optimizer, 1.0)
    trainer = neuralop.Trainer(model=model, n_epochs=epochs, data_processor=processor)
    report = trainer.train(
        loader, tests or {}, optimizer, scheduler, training_loss=recorded, eval_losses={"mse": loss}, **settings
    )
    return recorded.values, report
