"""The main job: Burgers data, a Fourier neural operator with a closed-form head, errors on the full grid."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_gen import DatasetSpec, generate, open_dataset
from data_gen.formats import open_source
from sciml_cf.datasets.field import check_resolution
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.report import baseline_table, compare_runs, report_run
from sciml_cf.studies.harness.folder import check_folder, make_folder
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import read_evaluation

_LOG = logging.getLogger(__name__)
NAME = "burgers-fno"


@dataclass(frozen=True, kw_only=True)
class BurgersFNO:
    """Burgers data, an FNO with a closed-form head and one trained by gradients, errors on the full grid.

    The setting of the closed-form last-layer paper (arXiv:2510.04606, section 6): 2048 samples on 8192 points,
    split 1448/200/400, trained on every 32nd point, mean squared error on all points of the test samples.

    Args:
        out: folder for the data, the runs and their comparison.
        data: an existing data file; by default OUT/burgers.h5 is generated.
        samples: initial conditions to generate.
        stored_resolution: grid points of the generated file.
        viscosity: viscosity of the generated data.
        methods: what to train, each from the same initial weights and in the same order of samples.
        algorithm: 1 or 2, for the closed-form methods.
        optimizer: optimizer of the backbone; "sgd" has Nesterov momentum 0.9.
        learning_rate: one rate for all methods; by default each has its own (see `sciml-cf train --help`).
        schedule: learning rate over the steps.
        warmup: steps over which the rate first rises linearly; by default 90 for sgd, none for adam.
        strength: pull of the proximal head to its previous value, added to a mean squared error.
        batch_size: samples a step.
        epochs: passes over the training samples.
        resolution: grid points to train at.
        resolutions: grid points to evaluate at.
        seed: seed of weights and sample order (the data and their split have their own, 0).
        resume: continue what is in OUT.
        overwrite: replace what is in OUT.
    """

    out: Path = Path(NAME)
    data: Path | None = None
    samples: int = 2048
    stored_resolution: int = 8192
    viscosity: float = 0.1
    methods: tuple[str, ...] = ("proximal", "l2")
    algorithm: Literal[1, 2] = 1
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int | None = None
    strength: float | None = None
    batch_size: int = 32
    epochs: int = 100
    resolution: int = 256
    resolutions: tuple[int, ...] = (128, 256, 512, 1024, 8192)
    seed: int = 0
    resume: bool = False
    overwrite: bool = False


def run(config: BurgersFNO, command: str = "") -> str:
    """Do the whole study; returns its tables and paths. Each run and the comparison have their own command stored."""
    if not config.methods:
        raise ValueError(f"{NAME}: `methods` must name at least one method; got none. For instance proximal l2.")
    fits = {method: _fit_config(config, method) for method in config.methods}
    check_folder(NAME, config.out)
    stored = config.stored_resolution
    if config.data is not None:
        with open_source(config.data) as existing:
            stored = existing.resolution
    for resolution in (config.resolution, *config.resolutions):
        check_resolution(NAME, resolution, stored)
    make_folder(NAME, config.out)
    data = config.data or _generate(config)
    runs = []
    for method, fit_config in fits.items():
        out = config.out / method
        _LOG.info("training %s into %s", method, out)
        train_on_file(
            data, out, fit_config, resolution=config.resolution, resume=config.resume, overwrite=config.overwrite
        )
        evaluate_run(out, data, config.resolutions)
        report_run(out)
        runs.append(out)
    table, paths = compare_runs(runs, config.out / "comparison")
    baselines = baseline_table(read_evaluation(runs[0]))
    pages = [path for run_path in runs for path in sorted((run_path / "report").glob("*.png"))]
    return "\n".join([table.text(), "", baselines.text(), "", "figures and pages:", *map(str, [*paths, *pages])])


def _fit_config(config: BurgersFNO, method: str) -> FitConfig:
    return FitConfig(
        normalize="none",  # as the paper trains
        method=method,
        algorithm=config.algorithm,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        warmup=config.warmup,
        strength=config.strength if method != "l2" else None,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
    )


def _generate(config: BurgersFNO) -> Path:
    """The data file of this study; an existing one of the same settings is used."""
    spec = DatasetSpec(
        equation="burgers",
        parameters={"viscosity": config.viscosity},
        samples=config.samples,
        resolution=config.stored_resolution,
        dtype="float32",
    )
    path = config.out / "burgers.h5"
    if path.exists():
        with open_dataset(path) as stored:
            same = stored.spec == spec
        if same:
            return path
    return generate(spec, path, resume=config.resume, overwrite=config.overwrite)
