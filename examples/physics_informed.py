"""A physics-informed network: solve the head on the data first, then take all terms of the loss at the solved head."""

import torch
from torch import nn

from sciml_cf import ClosedFormLoss, Proximal


def truth(t):
    """The solution of u' + u = cos(3 t), u(0) = 1."""
    return (torch.cos(3 * t) + 3 * torch.sin(3 * t)) / 10 + 0.9 * torch.exp(-t)


def residual(model, t):
    t = t.requires_grad_(True)
    u = model(t)
    (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    return slope + u - torch.cos(3 * t)


def train(physics):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    loss_of = ClosedFormLoss(model[-1], Proximal(strength=1e-2))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    t = torch.linspace(0, 1, 8)[:, None]  # measured in the first half only
    for _ in range(500):
        with torch.no_grad():
            loss_of.solve(model(t), truth(t))  # the head of the present features
        loss = loss_of.value(model(t), truth(t))  # the model runs again, with that head
        if physics:
            loss = loss + 0.1 * residual(model, 2 * torch.rand(64, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    t = torch.linspace(0, 2, 200)[:, None]
    with torch.no_grad():
        return (model(t) - truth(t)).square().mean().item()


print(f"mean squared error up to t = 2: {train(False):.2e} from data alone, {train(True):.2e} with the equation")
