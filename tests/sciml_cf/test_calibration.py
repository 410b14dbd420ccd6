"""Error bars of a trained model in the plane, on samples that neither training nor calibration saw."""

import pytest
import torch

from data_gen import DatasetSpec, generate
from sciml_cf import FieldDataset, FitConfig, predict
from sciml_cf.head.posterior import LEVEL_IN_STD
from sciml_cf.training.on_file import train_on_file


@pytest.mark.slow
def test_error_bars_of_darcy_flow_are_as_wide_as_its_errors(tmp_path):
    data = generate(
        DatasetSpec(equation="darcy", samples=700, resolution=32, seed=5), tmp_path / "darcy.h5", progress=False
    )
    config = FitConfig(epochs=20, batch_size=16, accelerator="cpu")
    train_on_file(data, tmp_path / "run", config, model={"width": 24, "modes": 12})
    held_out = FieldDataset(data, "test")
    mean, std = (torch.from_numpy(one).double() for one in predict(tmp_path / "run", held_out.x.numpy(), std=True))
    error = mean - held_out.y
    coverage = (error.abs() < LEVEL_IN_STD * std).double().mean().item()
    assert 0.85 < coverage < 0.95
    assert std.mean().item() == pytest.approx(error.square().mean().sqrt().item(), rel=0.2)
