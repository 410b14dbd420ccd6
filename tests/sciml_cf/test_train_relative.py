"""The relative loss with a closed-form head in every dimension: a weight for each sample, whatever the layer sees."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sciml_cf import ClosedFormLoss, FitConfig, Ridge, fit
from sciml_cf.models import builder_for
from sciml_cf.training.losses import sample_weights

SHAPES = {1: (16,), 2: (8, 12), 3: (6, 6, 6)}


class Fields(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Targets of sizes that differ a hundredfold."""

    def __init__(self, samples: int, dims: int) -> None:
        random = torch.Generator().manual_seed(samples)
        self.x = torch.randn(samples, 1, *SHAPES[dims], generator=random)
        sizes = torch.logspace(-1, 1, samples).reshape(-1, *[1] * (dims + 1))
        self.y = sizes * (self.x.roll(1, -1) + 1)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


@pytest.mark.parametrize(("method", "algorithm"), [("proximal", 2), ("ridge", 1)])
@pytest.mark.parametrize(("dims", "model"), [(1, "fno"), (2, "fno"), (3, "fno"), (2, "tfno"), (2, "uno"), (2, "conv")])
def test_every_model_trains_with_the_relative_loss(
    dims: int, model: str, method: str, algorithm: int, tmp_path: Path
) -> None:
    modes, layers = (None, 1) if model == "conv" else (3, 4 if model == "uno" else 1)
    network = builder_for(model, width=4, modes=modes, layers=layers, num_dims=dims).build(seed=0)
    config = FitConfig(method=method, algorithm=algorithm, loss="relative", epochs=1, batch_size=4, accelerator="cpu")  # pyright: ignore[reportArgumentType]
    history = fit(network, Fields(4, dims), Fields(2, dims), config=config, out=tmp_path / "run", progress=False)
    assert math.isfinite(history.rows[-1]["train_loss"]) and math.isfinite(history.rows[-1]["validation_mse"])


class Flattened(nn.Module):
    """A head that sees the plane or the cube as one axis of points, as neuraloperator's does."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(1, 5), nn.Conv1d(5, 1, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        features = torch.tanh(self.body(x.movedim(1, -1))).movedim(-1, 1)
        return self.head(features.flatten(2).double()).reshape(x.shape)


@pytest.mark.parametrize("dims", SHAPES)
def test_the_head_minimizes_the_relative_error(dims: int) -> None:
    torch.manual_seed(0)
    model, data = Flattened(), Fields(4, dims)
    y = data.y.double()
    weights = sample_weights(y, "relative")
    assert weights is not None and weights.shape == (4, *[1] * (dims + 1))
    loss = ClosedFormLoss(model.head, Ridge(strength=1e-9))(model(data.x), y, weights)
    relative = (model(data.x) - y).square().flatten(1).sum(1) / y.square().flatten(1).sum(1)
    assert loss.item() == pytest.approx(relative.sum().item() / weights.sum().item(), rel=1e-5)

    def total(change: float, index: int) -> float:
        with torch.no_grad():
            model.head.weight[0, index] += change
            found = (weights.flatten() * (model(data.x) - y).square().flatten(1).mean(1)).sum().item()
            model.head.weight[0, index] -= change
        return found

    least = total(0.0, 0)
    assert all(total(change, index) > least for index in range(5) for change in (-0.01, 0.01))
