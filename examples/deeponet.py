"""A DeepONet whose last layer is solved: branch times trunk are the features of one linear layer."""

import torch
from torch import nn

from sciml_cf import ClosedFormLoss, Proximal

SENSORS, FEATURES = 32, 48


class DeepONet(nn.Module):
    """u(y) = sum_k w_k branch_k(f) trunk_k(y) + b: the sum over k is an nn.Linear, which can be solved."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(SENSORS, 64), nn.Tanh(), nn.Linear(64, FEATURES))
        self.trunk = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, FEATURES), nn.Tanh())
        self.readout = nn.Linear(FEATURES, 1)

    def forward(self, f, y):
        """Functions (B, sensors) at points ``(N, 1)``: values ``(B, N, 1)``."""
        return self.readout(self.branch(f)[:, None, :] * self.trunk(y)[None, :, :])


def functions(samples):
    """Sums of sines f (B, sensors), and their integrals from 0 to y at the sensors (B, sensors, 1)."""
    k, grid = torch.arange(1, 4), torch.linspace(0, 1, SENSORS)
    a = torch.randn(samples, 3)
    f = a @ torch.sin(torch.pi * k[:, None] * grid)
    integral = a @ ((1 - torch.cos(torch.pi * k[:, None] * grid)) / (torch.pi * k[:, None]))
    return f, integral[..., None]


def train(closed_form):
    torch.manual_seed(0)
    model, y = DeepONet(), torch.linspace(0, 1, SENSORS)[:, None]
    loss_of = ClosedFormLoss(model.readout, Proximal(strength=1e-3)) if closed_form else nn.MSELoss()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(250):
        f, u = functions(64)
        optimizer.zero_grad()
        loss_of(model(f, y), u).backward()
        optimizer.step()
    model.eval()
    f, u = functions(1000)
    with torch.no_grad():
        return ((model(f, y) - u).square().mean() / u.square().mean()).item()


print(
    f"relative mean squared error: {train(False):.2e} with every layer trained, {train(True):.2e} with the last solved"
)
