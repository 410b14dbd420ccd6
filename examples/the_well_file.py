"""A dataset in The Well's layout, opened as it is: train from one stored time to another, in two dimensions."""

from pathlib import Path

import h5py
import torch

from data_gen import DatasetSpec, convert, generate
from sciml_cf import FieldDataset, FitConfig, FNOConfig, evaluate_transfer, fit

# Stands in for a downloaded folder: an equation of ours, in The Well's files, which tell of themselves by attributes.
if not Path("flow").exists():
    spec = DatasetSpec("burgers_2d", samples=40, resolution=32, times=(0.25, 0.5), parameters={"viscosity": 0.2})
    convert(generate(spec, "flow.h5", progress=False, overwrite=True), "flow", to="the_well")
with h5py.File("flow/data/train/flow.hdf5") as file:
    print("fields:", ", ".join(f"{name} {field.shape}" for name, field in file["t0_fields"].items()))

# The folder is one dataset; which of its times to learn between is said here.
train, validation, test = (
    FieldDataset("flow", part, input_time=0.0, target_time=0.5, resolution=16)
    for part in ("train", "validation", "test")
)
channels = train.x.shape[1]
shape = FNOConfig(in_channels=channels, out_channels=channels, num_dims=2, width=12, modes=6, layers=2)
model = shape.build()
fit(model, train, validation, config=FitConfig(epochs=25, batch_size=4), out="run", overwrite=True, progress=False)
with torch.no_grad():
    error = (model(test.x) - test.y).square().mean().item()
print(f"mean squared error {error:.2e}; of the input itself {(test.x - test.y).square().mean().item():.2e}")
errors = evaluate_transfer(model, "flow", resolutions=(16, 32))["relative_l2"].sel(output="native")
print("relative L2 at 16 and 32 points:", ", ".join(f"{value:.3f}" for value in errors.values))
