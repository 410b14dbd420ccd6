"""Validation of an objective that weighs classes: one weighted mean over all samples, in whatever order they come."""

import pytest
import torch
from torch import nn

from sciml_cf.head import CrossEntropy, OneHot
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from tests.problems import mlp


class Samples:
    """Inputs and labels, the second of two classes rare."""

    def __init__(self, count, seed, *, by_class=False):
        self.x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)).double()
        self.y = (self.x[:, 0] > 0.9).long()
        if by_class:
            order = self.y.argsort()
            self.x, self.y = self.x[order], self.y[order]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.y[index]}


def trained(out, objective, *, by_class=False, **settings):
    """The model and what was validated after the last epoch; 100 samples in batches of 32."""
    model, validation = mlp(), Samples(100, 1, by_class=by_class)
    config = FitConfig(epochs=2, batch_size=32, accelerator="cpu", **settings)
    history = fit(model, Samples(300, 0), validation, config=config, out=out, progress=False, objective=objective)
    return model.eval(), validation, history.rows[-1]["validation_loss"]


@pytest.mark.parametrize("settings", [{}, {"method": "l2"}, {"algorithm": 1}])
@pytest.mark.parametrize("weights", [(1.0, 20.0), (0.0, 1.0)])
def test_the_validation_loss_is_the_weighted_mean_in_any_order(weights, settings, tmp_path):
    found = []
    for by_class in (False, True):  # of samples by class, the first batches hold one class alone
        objective = CrossEntropy(class_weights=weights)
        model, data, loss = trained(tmp_path / str(by_class), objective, by_class=by_class, **settings)
        with torch.no_grad():
            expected = nn.functional.cross_entropy(model(data.x), data.y, weight=torch.tensor(weights).double())
        assert loss == pytest.approx(expected.item(), rel=1e-12)
        found.append(loss)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_without_weights_it_is_the_mean_over_samples(tmp_path):
    model, data, loss = trained(tmp_path / "run", OneHot())
    with torch.no_grad():
        errors = (model(data.x) - nn.functional.one_hot(data.y, 2)).square().sum(dim=1)
    assert loss == pytest.approx(errors.mean().item(), rel=1e-12)
    equal = trained(tmp_path / "equal", OneHot(class_weights=(3.0, 3.0)))[2]
    assert equal == pytest.approx(loss, rel=1e-9)


def test_validation_without_a_class_that_counts_is_refused(tmp_path):
    train, validation = Samples(300, 0), Samples(100, 1)
    validation.y[:] = 0
    config = FitConfig(epochs=1, batch_size=32, accelerator="cpu")
    with pytest.raises(ValueError, match="fit: `validation` must hold a sample whose class has a weight above 0"):
        objective = CrossEntropy(class_weights=(0.0, 1.0))
        fit(mlp(), train, validation, config=config, out=tmp_path / "run", progress=False, objective=objective)
