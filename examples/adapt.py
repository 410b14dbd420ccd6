"""A trained model for another viscosity, from sixteen samples and no training, with error bars."""

import copy

from torch.utils.data import Subset

from data_gen import DatasetSpec, generate
from sciml_cf import FieldDataset, FitConfig, FNOConfig, adapt, adapted_posterior, fit, load, predict, read_posterior

for name, viscosity, seed in (("old.h5", 0.1, 0), ("new.h5", 0.03, 1)):
    spec = DatasetSpec("burgers", samples=96, resolution=256, parameters={"viscosity": viscosity}, seed=seed)
    generate(spec, name, progress=False, overwrite=True)

train, validation = (FieldDataset("old.h5", part, resolution=64) for part in ("train", "validation"))
model = FNOConfig(width=16, modes=12, layers=3).build()
config = FitConfig(epochs=40, batch_size=8, accelerator="cpu")
fit(model, train, validation, config=config, out="run", overwrite=True, progress=False)  # and run/posterior.pt

new, test = (FieldDataset("new.h5", part, resolution=64) for part in ("train", "test"))
few, known = Subset(new, range(16)), read_posterior("run")
model = load("run", model=model)  # the best weights: the posterior is theirs
adapted = copy.deepcopy(model)
result = adapt(adapted, few, prior=known)
own = adapted_posterior(adapted, few, result, prior=known)


def report(name, network, posterior):
    """The error on samples that were not adapted to, and how many errors the 90 % interval holds."""
    mean, std = predict(network, test.x.numpy(), std=posterior)
    error = mean - test.y.numpy()
    print(f"{name}: mse {(error**2).mean():.2e}, inside {(abs(error) < 1.645 * std).mean():.2f}")


print(f"strength {result.strength:.3g} sets {result.degrees_of_freedom:.1f} of {len(result.head)} weights anew")
report("before", model, known)
report("after", adapted, own)
