"""Models that the package does not know: a few lines each, trained by the loss, checked against dense least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Proximal
from sciml_cf.head.binding.arrangement import find_places

STRENGTH = 1e-3


class UNet(nn.Module):
    """Two levels down and up, a 1x1 convolution at the end: ``(B, 1, H, W)`` -> ``(B, 2, H, W)``."""

    def __init__(self, width=8):
        super().__init__()
        self.first, self.down = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(width, width, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(width, width, 2, stride=2), nn.Conv2d(2 * width, 2, 1)

    def forward(self, x):
        fine = torch.relu(self.first(x))
        coarse = torch.relu(self.deep(torch.relu(self.down(fine))))
        return self.head(torch.cat([fine, self.up(coarse)], dim=1))


class Transformer(nn.Module):
    """Tokens ``(B, N, 3)`` -> ``(B, N, 2)``."""

    def __init__(self, width=16):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True)
        self.embed, self.encoder = nn.Linear(3, width), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)))


class Recurrent(nn.Module):
    """A GRU and a linear head over time: ``(B, T, 3)`` -> ``(B, T, 1)``."""

    def __init__(self, width=16):
        super().__init__()
        self.gru, self.head = nn.GRU(3, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.gru(x)[0])


class Patches(nn.Module):
    """Patches of 4 x 4 as tokens, put together again after the head: ``(B, 1, H, W)`` -> ``(B, 2, H, W)``."""

    def __init__(self, width=32, size=4):
        super().__init__()
        self.embed, self.size = nn.Conv2d(1, width, size, stride=size), size
        self.mix = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 2 * size * size)

    def forward(self, x):
        grid = self.embed(x)
        tokens = self.head(self.mix(grid.flatten(2).transpose(1, 2)))
        tokens = tokens.reshape(len(x), *grid.shape[2:], 2, self.size, self.size)
        return tokens.permute(0, 3, 1, 4, 2, 5).reshape(len(x), 2, *x.shape[2:])


class RollOut(nn.Module):
    """The head runs once a step and its outputs are stacked: ``(B, 3)`` -> ``(B, 5, 2)``."""

    def __init__(self, width=16):
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(3, width), nn.GRUCell(width, width), nn.Linear(width, 2)

    def forward(self, x):
        state, outputs = torch.tanh(self.embed(x)), []
        for _ in range(5):
            state = self.cell(state, state)
            outputs.append(self.head(state))
        return torch.stack(outputs, dim=1)


def images(generator):
    x = torch.randn(8, 1, 16, 16, generator=generator)
    smooth = nn.functional.avg_pool2d(nn.functional.pad(x, (2, 2, 2, 2), mode="circular"), 5, stride=1)
    return 3 * smooth, torch.cat([torch.roll(smooth, 1, dims=-1) * 3, smooth.square() * 9], dim=1)


def sequences(generator):
    x = torch.randn(16, 12, 3, generator=generator)
    return x, torch.stack([x[..., 0] * x[..., 1], x.cumsum(1)[..., 2].sin()], dim=-1)


def memory(generator):
    x, _ = sequences(generator)
    decay = 0.7 ** (torch.arange(12)[:, None] - torch.arange(12)).clamp(min=0) * torch.ones(12, 12).tril()
    return x, torch.einsum("ts,bs->bt", decay, x[..., 0])[..., None]


def flow(generator):
    x = torch.randn(32, 3, generator=generator)
    times = torch.arange(1, 6)[:, None] * 0.3
    return x, torch.sin(x[:, None, :2] + times * x[:, None, 2:])


def columns(values, axis):
    return values.detach().double().movedim(axis, -1).reshape(-1, values.shape[axis]).numpy()


@pytest.mark.parametrize(
    ("make", "data", "factor"),
    [(UNet, images, 2), (Transformer, sequences, 2), (Recurrent, memory, 2), (Patches, images, 2), (RollOut, flow, 4)],
)
def test_a_model_no_one_named_trains_and_its_head_is_the_dense_solution(make, data, factor):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = make()
    loss_of = ClosedFormLoss(model.head, Proximal(strength=STRENGTH))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    batches = [data(generator) for _ in range(4)]
    losses, seen = [], []
    watch = model.head.register_forward_hook(lambda layer, inputs, output: seen.append((inputs[0], output)))
    for step in range(30):
        x, y = batches[step % 4]
        previous = np.concatenate([columns(model.head.weight, 0), model.head.bias.double().numpy()[None]])
        seen.clear()
        optimizer.zero_grad()
        loss = loss_of(prediction := model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    watch.remove()
    first, last = np.mean(losses[:4]), np.mean(losses[-4:])
    assert last < first / factor, (first, last)
    # What each pass should have said follows from what it said: the same numbers of the prediction, in other places.
    axis = -1 if isinstance(model.head, nn.Linear) else 1
    phi = np.concatenate([columns(features, axis) for features, _ in seen])
    targets = np.concatenate(
        [columns(part, axis) for part in torch.autograd.grad(prediction, [o for _, o in seen], y, retain_graph=True)]
    )
    phi = np.concatenate([phi, np.ones((len(phi), 1))], axis=1)
    pull = np.sqrt(STRENGTH * len(phi)) * np.eye(phi.shape[1])
    expected = np.linalg.lstsq(np.concatenate([phi, pull]), np.concatenate([targets, pull @ previous]), rcond=None)[0]
    head = np.concatenate([columns(model.head.weight, 0), model.head.bias.double().numpy()[None]])
    np.testing.assert_allclose(head, expected, rtol=1e-4, atol=1e-5)
    assert losses[-1] == pytest.approx(((phi @ expected - targets) ** 2).mean(), rel=1e-3)


def test_patches_are_found_again_without_a_graph():
    x, y = images(torch.Generator().manual_seed(1))
    heads = []
    for graph in (True, False):
        torch.manual_seed(0)
        model = Patches()
        head = ClosedFormHead(model.head, Proximal(strength=STRENGTH), initial="keep")
        head._prove(model(x))
        head.clear()
        with torch.set_grad_enabled(graph):
            head.update(y, prediction=model(x))
        heads.append(head.state()["head"])
    torch.testing.assert_close(*heads, rtol=1e-10, atol=1e-12)


def test_patches_that_overlap_are_refused():
    class Overlapping(Patches):
        def forward(self, x):
            output = super().forward(x)
            return (output + output.roll(1, dims=-1)) / 2

    model = Overlapping()
    x, y = images(torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="Something after the head changes it"):
        ClosedFormLoss(model.head, Proximal())(model(x), y)


@pytest.mark.parametrize("values", [0.0, 1.0])
@pytest.mark.parametrize("size", [1, 300])
def test_places_are_those_of_a_permutation_and_nothing_else(size, values):
    base = torch.zeros(size, requires_grad=True)
    output = base + values * torch.arange(1.0, size + 1)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(find_places(output[order], [output])[0], order.argsort())
    assert find_places(output[order], [output, base + 1])[1] is None
    changed = [2 * output, -output, output + 1, output * (torch.arange(size) > 0), output.detach() + base * 0]
    assert all(find_places(prediction[order], [output]) is None for prediction in changed)
