"""A file in PDEBench's layout, opened as it is: train from its first time to its last."""

import h5py
import numpy as np
import torch

from data_gen import PeriodicGrid, cole_hopf
from sciml_cf import FieldDataset, FitConfig, FNOConfig, fit

# Stands in for a downloaded 1D_Burgers_Sols_Nu0.1.hdf5: tensor (samples, times, points) and its coordinates.
grid, times, rng = PeriodicGrid(128), np.array([0.0, 0.25, 0.5]), np.random.default_rng(0)
waves = np.sin(2 * np.pi * np.arange(1, 4)[:, None] * grid.points + rng.uniform(0, 2 * np.pi, (64, 3, 1)))
u0 = (waves * rng.uniform(0, 0.5, (64, 3, 1))).sum(axis=1)
fields = [u0, *(cole_hopf(u0, viscosity=0.05, time=time, extent=1.0) for time in times[1:])]
with h5py.File("1D_Burgers_Sols_Nu0.05.hdf5", "w") as file:
    file["tensor"] = np.stack(fields, axis=1).astype(np.float32)
    file["x-coordinate"] = grid.points.astype(np.float32)
    file["t-coordinate"] = np.append(times, 0.75).astype(np.float32)  # theirs has one more than the fields
    file.attrs["Nu"] = 0.05

parts = [FieldDataset("1D_Burgers_Sols_Nu0.05.hdf5", part, resolution=64) for part in ("train", "validation", "test")]
train, validation, test = parts
model = FNOConfig(width=16, modes=8, layers=2).build()
fit(model, train, validation, config=FitConfig(epochs=30, batch_size=8), out="run", overwrite=True, progress=False)
with torch.no_grad():
    error = (model(test.x) - test.y).square().mean().item()
print(f"{len(train)} training samples at {train.resolution} of {train.stored_resolution} points")
print(f"mean squared error {error:.2e}; of the input itself {(test.x - test.y).square().mean().item():.2e}")
