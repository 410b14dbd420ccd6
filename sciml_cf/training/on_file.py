"""Train on a data file: the model's channels and dimensions follow from the file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from data_gen.formats import Facts, open_source
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.choices import Lazy, Sampling
from sciml_cf.datasets.laziness import choose_lazy
from sciml_cf.models import builder_for, describe
from sciml_cf.models.coordinates import PLACE
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import History, fit
from sciml_cf.training.place import Place, choose_place, default_resolution, stored_place
from sciml_cf.training.run_folder import RUN_FILE, read_settings

_LOG = logging.getLogger(__name__)


def train_on_file(
    data: Path | str,
    out: Path | str,
    config: FitConfig,
    *,
    resolution: int | None = None,
    sampling: Sampling = "strided",
    builder: str = "fno",
    model: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    facts: Facts | None = None,
    tensorboard: bool = False,
    coordinates: Literal["auto", "none", "linear", "periodic"] = "auto",
    padding: float | str = "auto",
    lazy: Lazy = "auto",
    loader_workers: int = 0,
) -> History:
    """Train a model on a data file; channels and dimensions follow from the file, ``model`` sets the rest.

    Args:
        data, out, config, resume, overwrite, tensorboard: see ``sciml_cf.fit``.
        resolution: points along the last axis; None takes the file's, or those of ``default_resolution``.
        sampling: how a coarser grid is taken, see FieldDataset.
        builder: a name in ``sciml_cf.models.BUILDERS``.
        model: arguments of the builder, such as width; None takes its default.
        facts: what a file of another format does not say, and which of its times are used.
        coordinates, padding: what the model is told of the place, see ``choose_place``; "auto" reads it from the data.
        lazy: read samples when they are needed: "yes", "no", or "auto" where they would take more than a quarter of
            the free memory; a run that is resumed goes on as it began.
        loader_workers: see ``sciml_cf.fit``.
    """
    data, out = Path(data), Path(out)
    if resolution is None:
        resolution = _resolution_of(data, facts)
    read: dict[str, Any] = {"resolution": resolution, "sampling": sampling, "facts": facts, "unroll": config.unroll}
    lazy = _as_it_began(out, lazy) if resume else lazy
    read["lazy"] = choose_lazy("train", lazy, data, ("train", "validation"), resolution=resolution, facts=facts)
    train, validation = (FieldDataset(data, part, **read) for part in ("train", "validation"))
    channels, num_dims = (train.x.shape[1], train.y.shape[1] // config.unroll), train.x.ndim - 2
    place = choose_place(train, coordinates, padding)
    stored = stored_place(out) if resume and coordinates == padding == "auto" else None
    told = _place_arguments(place, train.ends if builder == "conv" else {}, stored)
    sizes = {"in_channels": channels[0], "out_channels": channels[1], "num_dims": num_dims}
    maker = builder_for(builder, **sizes, **told, **(model or {}))
    description = {
        "model": describe(maker),
        "data": {
            "file": data.name,
            "checksum": train.checksum,
            "resolution": resolution,
            "sampling": sampling,
            "split_seed": train.split_seed,
            **train.described,
            **({"lazy": True} if train.lazy else {}),
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
        loader_workers=loader_workers,
    )


def _as_it_began(out: Path, lazy: Lazy) -> Lazy:
    """How a run that is to be resumed reads its samples, if it is left open: their order depends on it."""
    if lazy != "auto" or not (out / RUN_FILE).is_file():
        return lazy
    return "yes" if (read_settings(out).get("data") or {}).get("lazy") else "no"


def _resolution_of(data: Path, facts: Facts | None) -> int:
    """The file's resolution, or a divisor of it; one line says which."""
    with open_source(data, facts=facts) as source:
        shape = source.header.shape
    resolution = default_resolution(shape)
    points = " x ".join(map(str, shape))
    coarser = f"one in {shape[-1] // resolution} along each axis of" if resolution < shape[-1] else "all of"
    _LOG.info(
        "training at resolution %d: %s the file's %s points (--resolution changes it)", resolution, coarser, points
    )
    return resolution


def _place_arguments(place: Place, ends: dict[str, str], stored: dict[str, Any] | None) -> dict[str, Any]:
    """The builder's arguments of the place: those of the run to go on with, else what was chosen and the boundary."""
    if stored is not None:
        return {name: stored[name] for name in PLACE if name in stored}
    _LOG.info("%s", place.reason)
    return {**place.arguments, **ends}
