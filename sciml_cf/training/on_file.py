"""Train on a data file: the model's channels and dimensions follow from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.choices import Sampling
from sciml_cf.models import builder_for, describe
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import History, fit


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
