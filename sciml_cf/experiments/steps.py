"""Steps that the command line and the studies share, each from files to files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset, Split
from sciml_cf.datasets.field import Sampling
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.fit_config import FitConfig
from sciml_cf.models import builder_for, describe
from sciml_cf.runs import Which, load, read_settings, save_evaluation
from sciml_cf.train import History, fit

_LOG = logging.getLogger(__name__)


def train_on_file(
    data: Path,
    out: Path,
    config: FitConfig,
    *,
    resolution: int,
    sampling: Sampling = "strided",
    builder: str = "fno",
    model: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    facts: Facts | None = None,
    tensorboard: bool = False,
) -> History:
    """Train a model on a data file; channels and dimensions follow from the file, ``model`` sets the rest.

    ``builder`` is a name in ``sciml_cf.models.BUILDERS``. ``facts`` say what a file of another format does not, and
    which of its times are used.
    """
    train = FieldDataset(data, "train", resolution=resolution, sampling=sampling, facts=facts)
    validation = FieldDataset(data, "validation", resolution=resolution, sampling=sampling, facts=facts)
    channels, num_dims = (train.x.shape[1], train.y.shape[1]), train.x.ndim - 2
    maker = builder_for(builder, in_channels=channels[0], out_channels=channels[1], num_dims=num_dims, **(model or {}))
    description = {
        "model": describe(maker),
        "data": {
            "file": data.name,
            "checksum": train.checksum,
            "resolution": resolution,
            "sampling": sampling,
            "split_seed": train.split_seed,
            **train.ends,
        },
    }
    return fit(
        maker.build(seed=config.seed),
        train,
        validation,
        config=config,
        out=out,
        resume=resume,
        overwrite=overwrite,
        describe=description,
        tensorboard=tensorboard,
    )


def evaluate_run(
    run: Path,
    data: Path,
    resolutions: Sequence[int],
    *,
    sampling: Sampling = "strided",
    split: Split = "test",
    which: Which = "best",
    facts: Facts | None = None,
) -> xr.Dataset:
    """Measure a run on a data file and write RUN/evaluation.nc; ``facts`` as in ``train_on_file``."""
    stored = read_settings(run).get("data") or {}
    result = evaluate_transfer(
        load(run, which=which),
        data,
        resolutions=resolutions,
        sampling=sampling,
        split=split,
        split_seed=stored.get("split_seed", 0),
        facts=facts,
    )
    if split != "all" and stored and stored.get("checksum") != result.attrs["data_checksum"]:
        _LOG.warning(
            "evaluate: %s is not the file that %s was trained on, so its %s split may hold samples seen in training "
            "(files of one law and seed share their first samples).", data, run, split,
        )  # fmt: skip
    elif split != "all" and stored.get("split") in ("all", split):
        _LOG.warning("evaluate: %s was adapted on samples of the %s split of %s.", run, split, data)
    result.attrs.update({"which": which, "trained_at": stored.get("resolution", 0)})
    save_evaluation(result, run)
    return result
