"""Your own model and your own loop: the last layer is solved at every step, Adam moves the rest."""

import torch
from torch import nn

from sciml_cf import ClosedFormLoss, Proximal

torch.manual_seed(0)


class MyModel(nn.Module):
    """Anything whose output is that of its last nn.Linear or 1x1 convolution."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.readout = nn.Linear(64, 1)

    def forward(self, x):
        return self.readout(self.body(x))


def train(closed_form):
    torch.manual_seed(1)
    model = MyModel()
    loss_of = ClosedFormLoss(model.readout, Proximal(strength=1e-2)) if closed_form else nn.MSELoss()
    # The loss has taken the readout out of gradient descent; leave it out of the optimizer too.
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(500):
        x = 2 * torch.rand(256, 2) - 1
        optimizer.zero_grad()
        loss_of(model(x), truth(x)).backward()
        optimizer.step()
    model.eval()
    if closed_form:  # the backbone has moved since: solve the head for it once more
        x = 2 * torch.rand(256, 2) - 1
        with torch.no_grad(), loss_of.head.recording():
            loss_of.head.update(truth(x), prediction=model(x))
    x = 2 * torch.rand(10000, 2) - 1
    with torch.no_grad():
        return (model(x) - truth(x)).square().mean().item()


def truth(x):
    return torch.sin(4 * x[:, :1]) * torch.cos(3 * x[:, 1:])


print(f"mean squared error: {train(False):.2e} with every layer trained, {train(True):.2e} with the last one solved")
