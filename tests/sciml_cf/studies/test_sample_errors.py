"""Errors of a model over samples, and models together."""

from __future__ import annotations

import pytest
import torch

from sciml_cf.models import ConvConfig
from sciml_cf.studies.harness.sample_errors import MeanOfModels, sample_errors, with_reflections
from sciml_cf.training.symmetry import reflect


def fields(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, 1, 32, generator=torch.Generator().manual_seed(seed))


def test_the_mean_of_models_is_the_mean_of_their_predictions() -> None:
    models = [ConvConfig(width=4, layers=1).build(seed=seed) for seed in (0, 1)]
    x = fields(7)
    with torch.no_grad():
        torch.testing.assert_close(MeanOfModels(models)(x), (models[0](x) + models[1](x)) / 2)


def test_errors_over_samples_and_over_the_worst_of_them() -> None:
    half = torch.nn.Conv1d(1, 1, 1, bias=False)
    torch.nn.init.constant_(half.weight, 0.5)
    x = fields(200)
    y = x.clone()
    y[:2] *= 0.25  # two of 200 samples are predicted twice as large as they are
    found = sample_errors(half, x, y)
    assert found["relative_l2"] == pytest.approx((198 * 0.5 + 2 * 1.0) / 200)
    assert found["relative_l2_worst"] == pytest.approx(1.0) and found["relative_l2_max"] == pytest.approx(1.0)
    assert found["relative_l2_median"] == pytest.approx(0.5)


def test_samples_come_with_their_reflections() -> None:
    x, y = fields(3), fields(3, seed=1)
    both = with_reflections(x, y)
    assert len(both) == 6
    torch.testing.assert_close(both[4][0], reflect(x[1]))
    torch.testing.assert_close(both[4][1], reflect(y[1]))
