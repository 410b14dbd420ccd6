"""Steps that the command line and the studies share, each from files to files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset, Split
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.fit_config import FitConfig
from sciml_cf.models import FNOConfig, describe
from sciml_cf.runs import Which, load, read_settings, save_evaluation
from sciml_cf.train import History, fit

_LOG = logging.getLogger(__name__)


def train_on_file(
    data: Path,
    out: Path,
    config: FitConfig,
    *,
    resolution: int,
    sampling: Literal["strided", "fourier"] = "strided",
    model: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    facts: Facts | None = None,
    tensorboard: bool = False,
) -> History:
    """Train a Fourier neural operator on a data file; channels follow from the file, ``model`` sets the rest.

    ``facts`` say what a file of another format does not, and which of its times are used.
    """
    train = FieldDataset(data, "train", resolution=resolution, sampling=sampling, facts=facts)
    validation = FieldDataset(data, "validation", resolution=resolution, sampling=sampling, facts=facts)
    if train.x.ndim != 3:
        raise ValueError(
            f"train: `data` must hold fields of one dimension in space; got {train.x.ndim - 2} in {data}. Use fit with "
            f"a model of your own for others."
        )
    builder = FNOConfig(in_channels=train.x.shape[1], out_channels=train.y.shape[1], **(model or {}))
    description = {
        "model": describe(builder),
        "data": {
            "file": data.name,
            "checksum": train.checksum,
            "resolution": resolution,
            "sampling": sampling,
            "split_seed": train.split_seed,
        },
    }
    return fit(
        builder.build(seed=config.seed),
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
