"""Last layers with error bars on Burgers' equation: ours, laplace-torch's, and VBLL's.

The same Fourier neural operator is trained by gradients, with the closed-form head, and with VBLL's variational last
layer and its loss, each at the best of three rates. The first two get error bars from ``posterior``, and from the
last-layer Laplace approximation of laplace-torch, whose noise and prior precision maximize the marginal likelihood.
Both read the rows (a row is a point of a sample) of the same features. Every standard deviation is measured as it is,
and multiplied by the number that makes 90 % intervals right on the validation samples, as ``posterior`` does.
It needs laplace-torch and vbll:

    python -m benchmarks.last_layers [--work DIR]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.common import run_grid, write_result
from data_gen import DatasetSpec, generate
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate.prediction import apply_in_batches
from sciml_cf.head import find_head
from sciml_cf.head.posterior import LEVEL, LEVEL_IN_STD, apply_with_std, posterior
from sciml_cf.metrics import relative_l2
from sciml_cf.models import FNOConfig
from sciml_cf.studies.suite.flags import PROBLEMS
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit

RATES = (1e-3, 3e-3, 1e-2)
PARTS = ("train", "validation", "test")
TRAININGS = ("gradients", "closed form", "vbll")


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark, by default those of the suite.

    Args:
        work: folder for the data and the trials.
        problem: of the suite, in one dimension.
        samples: for training, validation and test.
        resolution: points.
        width: of the Fourier neural operator.
        modes: of the Fourier neural operator.
        epochs: of a reported training; a choice of the rate takes a quarter.
        batch_size: samples a step.
        seeds: of the reported trainings; the choice has its own, 0.
    """

    work: Path = Path("runs/last_layers")
    problem: str = "burgers-0.1"
    samples: tuple[int, int, int] = (512, 128, 256)
    resolution: int = 256
    width: int = 64
    modes: int = 16
    epochs: int = 40
    batch_size: int = 16
    seeds: tuple[int, ...] = (1, 2, 3)


Fields = dict[str, tuple[Tensor, Tensor]]


def main(config: Config) -> None:
    """Choose the rates, train, measure, write the result."""
    torch.set_num_threads(1)
    _make_data(config)
    asked = [(kind, rate) for kind in TRAININGS for rate in RATES]
    short = run_grid(
        [_trial(config, kind, rate, 0, max(1, config.epochs // 4)) for kind, rate in asked], train_and_measure,
        folder=config.work / "trials", processes=1,
    )  # fmt: skip
    scores = {key: found["validation_mse"] for key, found in zip(asked, short, strict=True)}
    rates = {kind: min(RATES, key=lambda rate: scores[kind, rate]) for kind in TRAININGS}
    reported = [(kind, seed) for kind in TRAININGS for seed in config.seeds]
    long = run_grid(
        [_trial(config, kind, rates[kind], seed, config.epochs) for kind, seed in reported], train_and_measure,
        folder=config.work / "trials", processes=1,
    )  # fmt: skip
    figures = {
        "rates": rates,
        "selection": [{"training": kind, "rate": rate, "validation_mse": scores[kind, rate]} for kind, rate in asked],
        "runs": [{"training": kind, "seed": seed, **run} for (kind, seed), run in zip(reported, long, strict=True)],
    }
    print(write_result("last_layers", config=config, seeds=config.seeds, figures=figures))


def _make_data(config: Config) -> None:
    config.work.mkdir(parents=True, exist_ok=True)
    for seed, (part, count) in enumerate(zip(PARTS, config.samples, strict=True)):
        spec = DatasetSpec(**{**PROBLEMS[config.problem], "dtype": "float32"}, samples=count, seed=seed)
        generate(spec, config.work / f"{part}.h5", resume=True, progress=False)


def _trial(config: Config, kind: str, rate: float, seed: int, epochs: int) -> dict[str, Any]:
    settings = {**asdict(config), "work": str(config.work), "kind": kind, "rate": rate, "seed": seed, "epochs": epochs}
    del settings["seeds"]
    return {"name": f"{kind} rate={rate:g} seed {seed} epochs {epochs}", **settings}


def train_and_measure(settings: dict[str, Any]) -> dict[str, Any]:
    """One training; errors, and for reported ones the error bars of every kind that it can have."""
    fields, scale = _fields(settings)
    torch.manual_seed(settings["seed"])
    model = FNOConfig(width=settings["width"], modes=settings["modes"]).build(seed=settings["seed"])
    begun = time.process_time()
    if settings["kind"] == "vbll":
        model = train_vbll(model, *fields["train"], settings)
    else:
        method = "l2" if settings["kind"] == "gradients" else "proximal"
        config = FitConfig(
            method=method, learning_rate=settings["rate"], epochs=settings["epochs"], seed=settings["seed"],
            batch_size=settings["batch_size"], normalize="none", accelerator="cpu",
        )  # fmt: skip
        train, validation = (TensorDataset(*fields[part]) for part in PARTS[:2])
        fit(model, train, validation, config=config, out=Path(settings["work"]) / "run", overwrite=True, progress=False)
    seconds = time.process_time() - begun
    mean = apply_in_batches(model, fields["validation"][0], batch_size=32)
    found: dict[str, Any] = {
        "seconds": seconds,
        "validation_mse": float((mean - fields["validation"][1]).double().square().mean()),
    }
    if settings["seed"]:
        ways = {"vbll": vbll_bars} if settings["kind"] == "vbll" else {"ours": our_bars, "laplace": laplace_bars}
        found["bars"] = {name: _measured(way, model, fields, scale) for name, way in ways.items()}
    return found


def _fields(settings: dict[str, Any]) -> tuple[Fields, tuple[float, float]]:
    """Inputs and targets of each part, normalized by those for training; the targets' mean and deviation."""
    read = {
        part: FieldDataset(Path(settings["work"]) / f"{part}.h5", "all", resolution=settings["resolution"])
        for part in PARTS
    }
    moments = [(fields.mean(), fields.std()) for fields in (read["train"].x, read["train"].y)]
    parts = {
        part: tuple((one - mean) / std for one, (mean, std) in zip((data.x, data.y), moments, strict=True))
        for part, data in read.items()
    }
    return parts, tuple(float(value) for value in moments[1])  # type: ignore[return-value]


Bars = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of inputs, the predictions and their standard deviations, in the units of the model."""


def our_bars(model: nn.Module, fields: Fields) -> Bars:
    """Error bars of the head's Gram matrix, see ``posterior``."""
    known = posterior(model, TensorDataset(*fields["train"]), TensorDataset(*fields["validation"]))
    return lambda x: apply_with_std(model, x, known)


def laplace_bars(model: nn.Module, fields: Fields) -> Bars:
    """laplace-torch's last layer on rows of features; noise and prior by the marginal likelihood, as in its example."""
    from laplace import Laplace  # pyright: ignore[reportMissingImports]

    weight, bias = find_head(model).parameters()
    row_model = nn.Sequential(nn.Identity(), nn.Linear(weight.shape[1], 1))
    row_model[1].load_state_dict({"weight": weight.detach().flatten(1), "bias": bias.detach()})
    rows, targets = features_of(model, fields["train"][0]), fields["train"][1].movedim(1, -1).reshape(-1, 1)
    fitted = Laplace(row_model, "regression", subset_of_weights="last_layer", hessian_structure="full")
    fitted.fit(DataLoader(TensorDataset(rows, targets), batch_size=4096))
    log_prior, log_noise = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.Adam([log_prior, log_noise], lr=1e-1)
    for _ in range(300):
        optimizer.zero_grad()
        loss = -fitted.log_marginal_likelihood(log_prior.exp(), log_noise.exp())
        loss.backward()
        optimizer.step()
    noise = float(log_noise.detach().exp())

    def bars(x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = (
            torch.cat(found) for found in zip(*map(fitted, features_of(model, x).split(4096)), strict=True)
        )
        shape = (len(x), -1, 1)
        std = (variance[..., 0].detach() + noise**2).sqrt()
        return mean.detach().reshape(shape).movedim(-1, 1), std.reshape(shape).movedim(-1, 1)

    return bars


def train_vbll(model: nn.Module, x: Tensor, y: Tensor, settings: dict[str, Any]) -> nn.Module:
    """The model with VBLL's layer in place of its head, trained by its loss with Adam and a cosine rate."""
    import vbll  # pyright: ignore[reportMissingImports]

    features = next(find_head(model).parameters()).shape[1]
    layer = vbll.Regression(features, 1, regularization_weight=1 / (len(x) * x.shape[-1]))
    whole = WithLayer(model, layer)
    head = set(find_head(model).parameters())
    moved = [one for one in model.parameters() if one not in head] + list(layer.parameters())
    optimizer = torch.optim.Adam([one for one in moved if one.requires_grad], lr=settings["rate"])
    loader = DataLoader(TensorDataset(x, y), settings["batch_size"], shuffle=True, drop_last=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings["epochs"] * len(loader))
    for _ in range(settings["epochs"]):
        for inputs, targets in loader:
            optimizer.zero_grad()
            layer(whole.rows(inputs)).train_loss_fn(targets.movedim(1, -1).reshape(-1, 1)).backward()
            optimizer.step()
            schedule.step()
    return whole


class WithLayer(nn.Module):
    """A model whose head is replaced by a layer with a predictive distribution, of which ``forward`` is the mean."""

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.model, self.layer = model, layer

    def rows(self, x: Tensor) -> Tensor:
        """Features (rows, F) at every point of every sample."""
        with _caught(self.model) as caught:
            self.model(x)
        return _as_rows(caught[0])

    def distribution(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``(S, 1, N)``."""
        found = self.layer.predictive(self.rows(x))
        return tuple(one.reshape(len(x), -1, 1).movedim(-1, 1) for one in (found.mean, found.variance.sqrt()))  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        return self.distribution(x)[0]


def vbll_bars(model: Any, fields: Fields) -> Bars:
    """The predictive distribution of a ``WithLayer``, as it was trained."""

    def bars(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            found = [model.distribution(part) for part in x.split(32)]
        mean, std = (torch.cat(parts) for parts in zip(*found, strict=True))
        return mean, std

    return bars


def features_of(model: nn.Module, x: Tensor) -> Tensor:
    """Features (rows, F) of the head at every point of every sample."""
    with _caught(model) as caught, torch.no_grad():
        apply_in_batches(model, x, batch_size=32)
    return torch.cat([_as_rows(one) for one in caught])


@contextmanager
def _caught(model: nn.Module) -> Iterator[list[Tensor]]:
    caught: list[Tensor] = []
    hook = find_head(model).register_forward_hook(lambda _, inputs, __: caught.append(inputs[0]))
    try:
        yield caught
    finally:
        hook.remove()


def _as_rows(features: Tensor) -> Tensor:
    return features.movedim(1, -1).flatten(0, -2)


def _measured(
    way: Callable[[nn.Module, Fields], Bars], model: nn.Module, fields: Fields, scale: tuple[float, float]
) -> dict[str, Any]:
    """Errors, coverage, widths and likelihoods on the test samples, as the bars are and calibrated."""
    begun = time.process_time()
    bars = way(model, fields)
    seconds = time.process_time() - begun
    (mean, std), (held, held_std) = bars(fields["test"][0]), bars(fields["validation"][0])
    error, target = mean - fields["test"][1], fields["test"][1]
    factor = float(((held - fields["validation"][1]).abs() / held_std).flatten().quantile(LEVEL)) / LEVEL_IN_STD
    shift, deviation = scale
    predicted, truth = (one * deviation + shift for one in (mean, target))
    return {
        "relative_l2": float(relative_l2(predicted, truth).mean()),
        "seconds": seconds,
        "factor": factor,
        "as it is": _calibration(error, std),
        "calibrated": _calibration(error, factor * std),
        "correlation": float(np.corrcoef(error.abs().log1p().flatten(), std.flatten())[0, 1]),
    }


def _calibration(error: Tensor, std: Tensor) -> dict[str, float]:
    """Coverage of the 90 % interval, its mean width, and the negative log-likelihood a point, in units of the model."""
    error, std = error.double(), std.double()
    return {
        "coverage": float((error.abs() <= LEVEL_IN_STD * std).double().mean()),
        "width": float(2 * LEVEL_IN_STD * std.mean()),
        "negative log-likelihood": float((std.log() + 0.5 * (error / std).square() + 0.5 * np.log(2 * np.pi)).mean()),
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
