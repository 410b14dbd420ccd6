"""Interrupt a training and go on: the weights end the same, bit for bit."""

import torch

from data_gen import DatasetSpec, generate
from sciml_cf import FieldDataset, FitConfig, FNOConfig, fit

generate(DatasetSpec("burgers", samples=32, resolution=256), "burgers.h5", progress=False, overwrite=True)
train, validation = (FieldDataset("burgers.h5", part, resolution=64) for part in ("train", "validation"))
shape, config = FNOConfig(width=8, modes=8, layers=2), FitConfig(epochs=10, batch_size=8, accelerator="cpu")


class Interrupted(FieldDataset):
    """Stops like a job that runs out of time, after five epochs' worth of samples."""

    left = 5 * len(train)

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


whole = shape.build()
fit(whole, train, validation, config=config, out="whole", overwrite=True, progress=False)
try:
    stopping = Interrupted("burgers.h5", "train", resolution=64)
    fit(shape.build(), stopping, validation, config=config, out="parts", overwrite=True, progress=False)
except KeyboardInterrupt:
    print("interrupted; going on from the checkpoint in parts/")
resumed = shape.build()
history = fit(resumed, train, validation, config=config, out="parts", resume=True, progress=False)
same = all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
print(f"epochs {[row['epoch'] for row in history.rows][-1]}, weights equal to the uninterrupted run's: {same}")
