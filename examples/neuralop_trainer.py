"""neuraloperator's own Trainer, unmodified, with the closed-form head as its training loss."""

import warnings

import torch
from neuralop import LpLoss, Trainer
from neuralop.models import FNO
from torch.utils.data import DataLoader

from data_gen import DatasetSpec, generate
from sciml_cf import FieldDataset, Proximal
from sciml_cf.adapters.neuralop import NeuralopLoss

# The Trainer hands models and losses the whole sample, and neuralop's own warn of what they do not use.
warnings.filterwarnings("ignore", message=".*received unexpected keyword arguments")
torch.manual_seed(0)
generate(DatasetSpec("burgers", samples=64, resolution=256), "burgers.h5", progress=False, overwrite=True)
train, test = (FieldDataset("burgers.h5", part, resolution=64) for part in ("train", "test"))

model = FNO(n_modes=(14,), in_channels=1, out_channels=1, hidden_channels=16, n_layers=2, positional_embedding=None)
loss = NeuralopLoss(model, Proximal(strength=1e-2))  # the head is the last layer of model.projection
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)

trainer = Trainer(model=model, n_epochs=30)
report = trainer.train(
    train_loader=DataLoader(train, batch_size=8, shuffle=True),
    test_loaders={"test": DataLoader(test, batch_size=8)},
    optimizer=optimizer,
    scheduler=scheduler,
    regularizer=loss,  # adds nothing to the loss: the Trainer's checkpoints then hold the rule's state
    training_loss=loss,
    eval_losses={"mse": loss, "relative_l2": LpLoss(d=1)},
)
print(f"test: mean squared error {report['test_mse']:.2e}, relative L2 {report['test_relative_l2']:.3f}")
