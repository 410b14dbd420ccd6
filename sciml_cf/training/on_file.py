"""Training on a data file: the model's channels and dimensions follow from the file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_gen.formats import Facts, open_source
from data_gen.header import Header
from data_gen.spec import DatasetSpec
from sciml_cf.datasets import FieldDataset, StreamDataset
from sciml_cf.datasets.choices import Lazy, Sampling
from sciml_cf.datasets.laziness import choose_lazy
from sciml_cf.models import builder_for, describe, takes
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
        data: see ``sciml_cf.fit``.
        out: see ``sciml_cf.fit``.
        config: see ``sciml_cf.fit``.
        resume: see ``sciml_cf.fit``.
        overwrite: see ``sciml_cf.fit``.
        tensorboard: see ``sciml_cf.fit``.
        resolution: points along the last axis; None takes the file's, or those of ``default_resolution``.
        sampling: how a coarser grid is taken, see FieldDataset.
        builder: a name in ``sciml_cf.models.BUILDERS``.
        model: arguments of the builder, such as width; None takes its default.
        facts: what a file of another format does not say, and which of its times are used.
        coordinates: channels of coordinates that the model is given, see ``choose_place``; "auto" reads them from the
            data.
        padding: padding of the model, see ``choose_place``; "auto" reads it from the data.
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
    channels = train.x.shape[1], train.y.shape[1] // config.unroll
    source = {
        "file": data.name,
        "checksum": train.checksum,
        "resolution": resolution,
        "sampling": sampling,
        "split_seed": train.split_seed,
        **train.described,
        **({"lazy": True} if train.lazy else {}),
    }
    kept = {"overwrite": overwrite, "tensorboard": tensorboard, "loader_workers": loader_workers}
    build = _Build(builder, model, coordinates, padding)
    return _fit(train, validation, channels, out, config, build, source, resume=resume, **kept)


def train_on_stream(
    spec: DatasetSpec,
    out: Path | str,
    config: FitConfig,
    *,
    resolution: int | None = None,
    sampling: Sampling = "strided",
    builder: str = "fno",
    model: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    coordinates: Literal["auto", "none", "linear", "periodic"] = "auto",
    padding: float | str = "auto",
    loader_workers: int = 0,
) -> History:
    """Train a model on samples that the solver makes meanwhile, new ones in each epoch; no file is written.

    Args:
        spec: description of the samples; its number of samples is that of an epoch.
        out: see ``train_on_file``.
        config: see ``train_on_file``.
        resolution: see ``train_on_file``.
        sampling: see ``train_on_file``.
        builder: see ``train_on_file``.
        model: see ``train_on_file``.
        resume: see ``train_on_file``.
        overwrite: see ``train_on_file``.
        tensorboard: see ``train_on_file``.
        coordinates: see ``train_on_file``.
        padding: see ``train_on_file``.
        loader_workers: processes that make the samples.

    Raises:
        ValueError: ``config.unroll`` is above 1: samples have one target.
    """
    if config.unroll > 1:
        raise ValueError(
            f"train: `unroll` must be 1 for samples straight from the solver; got {config.unroll}. Make a file with "
            f"--times instead."
        )
    out = Path(out)
    if resolution is None:
        resolution = _told_resolution(spec.header, "generator")
    words: dict[str, Any] = {"resolution": resolution, "sampling": sampling}
    train, validation = (StreamDataset(spec, part, **words) for part in ("train", "validation"))
    source = {"checksum": train.checksum, **words, "split_seed": 0, **train.described}
    kept = {"overwrite": overwrite, "tensorboard": tensorboard, "loader_workers": loader_workers}
    build = _Build(builder, model, coordinates, padding)
    channels = validation.x.shape[1], validation.y.shape[1]
    return _fit(train, validation, channels, out, config, build, source, resume=resume, **kept)


class _Build(NamedTuple):
    """What is asked of a model: see ``train_on_file``."""

    builder: str
    model: dict[str, Any] | None
    coordinates: Literal["auto", "none", "linear", "periodic"]
    padding: float | str


def _fit(
    train: FieldDataset | StreamDataset,
    validation: FieldDataset | StreamDataset,
    channels: tuple[int, int],
    out: Path,
    config: FitConfig,
    build: _Build,
    source: dict[str, Any],
    *,
    resume: bool,
    **kept: Any,
) -> History:
    """Build the model for these samples and train it; ``source`` is what run.json says of them."""
    place = choose_place(train, build.coordinates, build.padding)
    stored = stored_place(out) if resume and build.coordinates == build.padding == "auto" else None
    told = _place_arguments(place, train.ends if takes(build.builder, "boundary") else {}, stored)
    sizes = {"in_channels": channels[0], "out_channels": channels[1], "num_dims": len(train.coordinates)}
    if takes(build.builder, "sensors"):
        sizes["sensors"] = train.resolution
    maker = builder_for(build.builder, **sizes, **told, **(build.model or {}))
    _say_unused_modes(maker, train.resolution)
    description = {"model": describe(maker), "data": source}
    made = maker.build(seed=config.seed)
    return fit(made, train, validation, config=config, out=out, resume=resume, describe=description, **kept)


def _say_unused_modes(maker: Any, resolution: int) -> None:
    """One line where a model has more Fourier modes than the grid."""
    modes, most = getattr(maker, "modes", 0), resolution // 2 + 1
    if modes > most:
        _LOG.warning(
            "train: `modes` should be at most %d, those of %d points; got %d. The others stay untrained.",
            most, resolution, modes,
        )  # fmt: skip


def _as_it_began(out: Path, lazy: Lazy) -> Lazy:
    """How a run that is to be resumed reads its samples, if it is left open: their order depends on it."""
    if lazy != "auto" or not (out / RUN_FILE).is_file():
        return lazy
    return "yes" if (read_settings(out).get("data") or {}).get("lazy") else "no"


def _resolution_of(data: Path, facts: Facts | None) -> int:
    """The file's resolution, or a divisor of it; one line says which."""
    with open_source(data, facts=facts) as source:
        return _told_resolution(source.header, "file")


def _told_resolution(header: Header, whose: str) -> int:
    """The resolution to train at on a grid; one line says which."""
    shape = header.shape
    resolution = default_resolution(shape, header.placements)
    points = " x ".join(map(str, shape))
    coarser = f"one in {round(shape[-1] / resolution)} along each axis of" if resolution < shape[-1] else "all of"
    _LOG.info(
        "training at resolution %d: %s the %s's %s points (--resolution changes it)", resolution, coarser, whose, points
    )
    return resolution


def _place_arguments(place: Place, ends: dict[str, str], stored: dict[str, Any] | None) -> dict[str, Any]:
    """The builder's arguments of the place: those of the run to go on with, else what was chosen and the boundary."""
    if stored is not None:
        return {name: stored[name] for name in PLACE if name in stored}
    _LOG.info("%s", place.reason)
    return {**place.arguments, **ends}
