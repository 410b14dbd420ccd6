"""The main job: Burgers data, a Fourier neural operator with a closed-form head, errors on the full grid."""

from __future__ import annotations

import logging
from pathlib import Path

from data_gen import DatasetSpec, generate, open_dataset
from data_gen.formats import open_source
from data_gen.terminal.outcome import Outcome
from sciml_cf.datasets.geometry import check_resolution
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.report import baseline_table, compare_runs, report_run
from sciml_cf.studies.burgers_fno.flags import BurgersFNO
from sciml_cf.studies.harness.folder import check_folder, make_folder
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import read_evaluation

_LOG = logging.getLogger(__name__)
NAME = "burgers-fno"


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
    text = "\n".join([table.text(), "", baselines.text(), "", "figures and pages:", *map(str, [*paths, *pages])])
    return Outcome(text, following=f"open {paths[0]} in a browser")


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
