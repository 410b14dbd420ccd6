"""`sciml-cf train`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from data_gen.cli.flags import UsageError, parse
from data_gen.cli.override_flags import OverrideFlags
from sciml_cf.training.config import FitConfig
from sciml_cf.training.distributed import is_first_process
from sciml_cf.training.malloc import keep_memory
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.tensorboard import check_tensorboard


@dataclass(frozen=True, kw_only=True)
class TrainFlags(OverrideFlags, FitConfig):
    """Train an operator surrogate on a data file and write a run folder.

    Args:
        data: dataset file, as `sciml-cf generate` writes it, or one of another format (see `sciml-cf convert --help`).
        out: run folder to write.
        resolution: grid points to train at; must divide the stored resolution.
        sampling: how the coarser grid is taken: every k-th point, or by cutting the spectrum.
        model: fno, tfno, uno or conv: a Fourier neural operator, its tensorised and its U-shaped form, or a
            convolutional network.
        width: channels of the model's hidden layers; by default 64.
        modes: complex Fourier modes that the model keeps, by default 16; `conv` has none.
        layers: layers of the model, by default 4 and for `uno` 5; for `conv` residual blocks.
        resume: continue the run in `out` from its last checkpoint.
        overwrite: replace the run in `out`.
        tensorboard: write the figures of every epoch for TensorBoard too, into the folder `tensorboard` of the run.
    """

    data: Path
    out: Path
    resolution: int = 256
    sampling: Literal["strided", "fourier"] = "strided"
    model: str = "fno"
    width: int | None = None
    modes: int | None = None
    layers: int | None = None
    resume: bool = False
    overwrite: bool = False
    tensorboard: bool = False


def train_command(argv: list[str]) -> str:
    """`sciml-cf train`."""
    flags = parse(TrainFlags, argv, prog="sciml-cf train")
    if flags.tensorboard:
        try:
            check_tensorboard()
        except ImportError as error:
            raise UsageError(str(error)) from error
    config = FitConfig(**{field.name: getattr(flags, field.name) for field in fields(FitConfig)})
    keep_memory()
    history = train_on_file(
        flags.data,
        flags.out,
        config,
        resolution=flags.resolution,
        sampling=flags.sampling,
        builder=flags.model,
        model={"width": flags.width, "modes": flags.modes, "layers": flags.layers},
        resume=flags.resume,
        overwrite=flags.overwrite,
        facts=flags.overrides(),
        tensorboard=flags.tensorboard,
    )
    if not is_first_process():
        return ""
    best, last = history.best, history.rows[-1]
    return (
        f"{flags.out}: validation mse {last['validation_mse']:.3g} after epoch {last['epoch']:.0f}, "
        f"lowest {best['validation_mse']:.3g} at epoch {best['epoch']:.0f}"
    )
