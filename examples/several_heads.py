"""Two equations on one backbone: an FNO with a head for each, solved exactly on the batches that are its own."""

import torch
from torch import nn

from data_gen import DatasetSpec, generate
from sciml_cf import ClosedFormLosses, FieldDataset, FNOConfig, Proximal

EQUATIONS, STEPS = ("burgers", "heat"), 120


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = FNOConfig(width=24, modes=12, layers=3, out_channels=48).build()
        self.heads = nn.ModuleDict({name: nn.Conv1d(48, 1, 1) for name in EQUATIONS})

    def forward(self, x, name):
        return self.heads[name](torch.tanh(self.body(x)))


def relative_error(model, data, name):
    model.eval()
    with torch.no_grad():
        error = model(data.x, name) - data.y
    return (error.norm() / data.y.norm()).item()


torch.manual_seed(0)
train, test = {}, {}
for name in EQUATIONS:
    generate(DatasetSpec(equation=name, samples=128, resolution=256), f"{name}.h5", overwrite=True, progress=False)
    train[name] = FieldDataset(f"{name}.h5", "train", resolution=64)
    test[name] = FieldDataset(f"{name}.h5", "test", resolution=64)

model = TwoHeads()
losses = ClosedFormLosses(model.heads, Proximal(strength=1e-2), shares={"heat": 0.5})
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for step in range(STEPS):
    # Every third batch has samples of Burgers alone, and leaves the other head as it is.
    present = EQUATIONS[:1] if step % 3 == 2 else EQUATIONS
    rows = {name: torch.randint(len(train[name]), (16,)) for name in present}
    predictions = {name: model(train[name].x[rows[name]], name) for name in present}
    optimizer.zero_grad()
    losses(predictions, {name: train[name].y[rows[name]] for name in present}).backward()
    optimizer.step()
    schedule.step()

for name, figures in losses.diagnostics().items():
    error = relative_error(model, test[name], name)
    print(f"{name}: relative error {error:.2e}, {figures.degrees_of_freedom:.1f} degrees of freedom")
