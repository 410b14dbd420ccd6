"""Small instrumental-variable problems of which the answer is known, and nets for them."""

import numpy as np
import torch
from torch import nn

from sciml_cf.causal.nets import Batch, Nets
from sciml_cf.causal.stages import StageHeads


def sine(count, seed=0):
    """Treatment, instrument and outcome of Y = 2 sin X + X / 2 + 4 U + noise, X = Z + 1.2 U + noise."""
    rng = np.random.default_rng(seed)
    z, u = rng.uniform(-3, 3, count), rng.standard_normal(count)
    x = z + 1.2 * u + 0.3 * rng.standard_normal(count)
    return {"treatment": x, "instrument": z, "outcome": structural(x) + 4 * u + 0.1 * rng.standard_normal(count)}


def structural(x):
    return 2 * np.sin(x) + x / 2


def mlp(inputs=1, features=16, seed=0, width=64, dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = (nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, features), nn.Tanh())
        return nn.Sequential(*layers).to(dtype)


def rows(count, seed, outcomes=1, covariates=0, weights=None):
    """A batch of normal numbers, two columns a treatment and three an instrument."""
    rng = np.random.default_rng(seed)
    parts = [torch.tensor(rng.standard_normal((count, size))) for size in (2, 3, outcomes)]
    extra = torch.tensor(rng.standard_normal((count, covariates))) if covariates else None
    return Batch(*parts, extra, weights)


def double_nets(covariates=0):
    """Float64 nets for ``rows``."""
    treatment, instrument = mlp(2, 4, 1, 8, torch.float64), mlp(3 + covariates, 6, 2, 8, torch.float64)
    covariate = mlp(covariates, 3, 3, 8, torch.float64) if covariates else None
    return Nets("test", treatment, instrument, covariate)


def heads_of(rules, nets, batch, first=None, second=None):
    """Stage heads at these values, in a new batch."""
    heads = StageHeads.start(rules, nets, batch)
    for head, value in ((heads.first, first), (heads.second, second)):
        if value is not None:
            head.state = {**head.state, "head": value}
    heads.begin()
    return heads
