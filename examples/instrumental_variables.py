"""What a treatment does, when a hidden cause moves it and the outcome: an instrument tells, a regression does not."""

import torch
from torch import nn

from sciml_cf.causal import DeepFeatureIV, DirectRegression, TwoStageLeastSquares, sine_test, sine_toy

torch.manual_seed(0)
data, test = sine_toy(samples=4000, seed=1), sine_test()  # x = z + 1.2 u, y = f(x) + 4 u: nobody sees u
seen = {"treatment": data.treatment, "instrument": data.instrument, "outcome": data.outcome}


def net(outputs):
    """Any module that ends in a table of features."""
    return nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, outputs), nn.Tanh())


estimators = {
    "regression": DirectRegression(
        nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1)), epochs=30, progress=False
    ),
    "two-stage least squares, a line": TwoStageLeastSquares(degree=1, strengths=(0.0, 0.0)),
    "deep features": DeepFeatureIV(net(16), net(16), iterations=100, schedule="cosine", progress=False),
}
for name, estimator in estimators.items():
    estimator.fit(**seen)
    heads = {"heads": "refit"} if name == "deep features" else {}  # both heads solved once more, on all rows
    error = estimator.predict(test.treatment, **heads) - test.structural
    print(f"{name}: mean squared error against the true function {(error**2).mean():.2e}")
