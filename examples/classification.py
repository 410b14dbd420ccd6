"""Classes: the last layer is solved for cross-entropy at every step, in a loop of your own."""

import torch
from torch import nn

from sciml_cf import ClosedFormLoss, CrossEntropy, Proximal
from sciml_cf.classification.metrics import accuracy, expected_calibration_error, log_loss

torch.manual_seed(0)
CLASSES = 5


def points(count):
    """Points of the plane on five arms of a spiral, and their arms; one point in twenty is of another arm."""
    labels, radius = torch.randint(CLASSES, (count,)), torch.rand(count)
    angle = 4 * radius + 2 * torch.pi * labels / CLASSES + 0.15 * torch.randn(count)
    x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    wrong = torch.rand(count) < 0.05
    return x, torch.where(wrong, torch.randint(CLASSES, (count,)), labels)


def train(closed_form, steps=300):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, CLASSES))
    loss_of = nn.CrossEntropyLoss()
    if closed_form:
        loss_of = ClosedFormLoss(model[-1], Proximal(strength=1e-2), objective=CrossEntropy())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(steps):
        x, labels = points(256)
        optimizer.zero_grad()
        loss_of(model(x), labels).backward()
        optimizer.step()
    return model.eval()


x, labels = points(5000)
for name, closed_form in (("every layer trained", False), ("the last one solved", True)):
    probabilities = train(closed_form)(x).detach().softmax(dim=1)
    print(
        f"{name}: accuracy {accuracy(probabilities, labels).mean():.3f}, "
        f"log loss {log_loss(probabilities, labels).mean():.3f}, "
        f"calibration error {expected_calibration_error(probabilities, labels):.3f}"
    )
