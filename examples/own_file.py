"""A pair of .npy files of your own: trained on as they are, or converted once into one self-describing file."""

import numpy as np
import torch

from data_gen import Overrides, PeriodicGrid, convert
from sciml_cf import FieldDataset, FitConfig, FNOConfig, fit

# Your files: (samples, points) inputs and (samples, points) outputs on a periodic interval of length 1.
grid = PeriodicGrid(64)
amplitude, phase = np.random.default_rng(0).uniform([[0.5], [0.0]], [[1.5], [1.0]], size=(64, 2, 1)).swapaxes(0, 1)
u = amplitude * np.sin(2 * np.pi * (grid.points - phase))
np.save("inputs.npy", u)
np.save("outputs.npy", np.roll(u, 5, axis=-1) ** 2)

overrides = Overrides(extent=(1.0,), times=(0.0, 1.0))  # what such files do not say
convert("inputs.npy,outputs.npy", "mine.h5", overrides=overrides, overwrite=True)

train, validation, test = (FieldDataset("mine.h5", part) for part in ("train", "validation", "test"))
direct = FieldDataset("inputs.npy,outputs.npy", "train", facts=overrides)
model = FNOConfig(width=16, modes=8, layers=2).build()
fit(model, train, validation, config=FitConfig(epochs=30, batch_size=8), out="run", overwrite=True, progress=False)
with torch.no_grad():
    error = (model(test.x) - test.y).square().mean() / test.y.square().mean()
print(f"{len(train)} samples, the same unconverted: {torch.equal(train.x, direct.x)}")
print(f"relative squared error on the test samples: {error:.2e}")
