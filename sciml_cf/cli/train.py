"""`sciml-cf train`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import arg

from data_gen.cli.flag_groups import Groups
from data_gen.cli.flags import UsageError, parse
from data_gen.cli.override_flags import METADATA, OverrideFlags
from data_gen.formats import check_exists
from data_gen.terminal.outcome import Outcome, command_line, free_name
from sciml_cf.datasets.choices import Lazy, Sampling
from sciml_cf.head.registry import rule_names, rule_summary
from sciml_cf.training.config import FitConfig, method_names
from sciml_cf.training.malloc import keep_memory
from sciml_cf.training.run_place import check_place

if TYPE_CHECKING:
    from data_gen.spec import DatasetSpec
    from sciml_cf.training.history import History


@dataclass(frozen=True, kw_only=True)
class TrainFlags(OverrideFlags, FitConfig):
    """Train an operator surrogate on a data file and write a run folder.

    Args:
        data: dataset file, as `sciml-cf generate` writes it, or one of another format (see `sciml-cf convert --help`).
        generate: instead of `data`, last: an equation and its flags as `sciml-cf generate` takes them. New samples are
            made in each epoch, as many as `--samples` says there, and no file is written.
        out: run folder to write.
        resolution: grid points to train at, a divisor of the stored resolution; by default the stored one, or its
            largest divisor of at most 256 points in one dimension, 64 in two and 32 in three.
        sampling: how the coarser grid is taken: every k-th point, or by cutting the spectrum.
        model: fno, tfno or uno: a Fourier neural operator, its tensorised and its U-shaped form; conv or unet: a
            convolutional network or a U-Net; or deeponet.
        width: channels of the model's hidden layers; by default 64, for `unet` 32.
        modes: complex Fourier modes that an fno, tfno or uno keeps, by default 16.
        layers: layers of the model, by default 4 and for `uno` 5; for `conv` residual blocks, for `unet` halvings of
            the grid and for `deeponet` hidden layers, both by default 3.
        coordinates: channels of coordinates for the model: "linear" for walls and open boundaries, "periodic" for a
            periodic law that depends on the place; "auto" reads which from the data.
        padding: share of the domain by which it is continued with zeros at both sides, such as 0.125; "auto" is none.
        lazy: read samples from the file as they are needed, shuffled by blocks; "auto" where they would take more than
            a quarter of the free memory.
        loader_workers: processes that read or make samples ahead; with 0 the training does it itself. By default 0,
            with `generate` half of the cores.
        resume: continue the run in `out` from its last checkpoint.
        overwrite: replace the run in `out`.
        tensorboard: write the figures of every epoch for TensorBoard too, into the folder `tensorboard` of the run.
    """

    GROUPS: ClassVar[Groups] = {
        "model": ("model", "width", "modes", "layers", "coordinates", "padding"),
        "data": ("generate", "resolution", "sampling", "normalize", "augment", "lazy", "loader_workers"),
        "head": ("method", "algorithm", "strength", "forgetting", "initial_head"),
        "optimizer": (
            *("optimizer", "learning_rate", "weight_decay", "betas", "schedule", "period", "factor", "warmup"),
            *("clip", "adaptive_clip", "average", "loss"),
        ),
        "steps in time": ("residual", "unroll", "through_steps", "noise"),
        "run": ("seed", "accelerator", "resume", "overwrite", "tensorboard"),
        "metadata": METADATA,
    }
    data: Path
    out: Path
    generate: tuple[str, ...] = ()
    resolution: int | None = None
    sampling: Sampling = "strided"
    model: str = "fno"
    width: int | None = None
    modes: int | None = None
    layers: int | None = None
    coordinates: Literal["auto", "none", "linear", "periodic"] = "auto"
    padding: str = "auto"
    lazy: Lazy = "auto"
    loader_workers: int | None = None
    resume: bool = False
    overwrite: bool = False
    tensorboard: bool = False


def train_command(argv: list[str]) -> str:
    """`sciml-cf train`."""
    words, described = _split(argv)
    flags: TrainFlags = parse(_flags(), words, prog="sciml-cf train")
    spec = _spec_of(flags, described)
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes a later one may find the run of the first
        check_place(flags.out, resume=flags.resume, overwrite=flags.overwrite)
    if spec is None:
        check_exists(flags.data)
    from sciml_cf.training.distributed import is_first_process
    from sciml_cf.training.on_file import train_on_file, train_on_stream
    from sciml_cf.training.optimizers import check_optimizer
    from sciml_cf.training.tensorboard import check_tensorboard

    try:
        check_optimizer(flags.optimizer)
        if flags.tensorboard:
            check_tensorboard()
    except ImportError as error:
        raise UsageError(str(error)) from error
    config = FitConfig(**{field.name: getattr(flags, field.name) for field in fields(FitConfig)})
    keep_memory()
    names = ("resolution", "sampling", "resume", "overwrite", "tensorboard", "coordinates", "padding")
    kept: dict[str, Any] = {name: getattr(flags, name) for name in names}
    kept |= {"builder": flags.model, "model": {name: getattr(flags, name) for name in ("width", "modes", "layers")}}
    workers = flags.loader_workers
    if spec is not None:
        kept["loader_workers"] = max(1, (os.cpu_count() or 1) // 2) if workers is None else workers
        history = train_on_stream(spec, flags.out, config, **kept)
    else:
        kept |= {"facts": flags.overrides(), "lazy": flags.lazy, "loader_workers": workers or 0}
        history = train_on_file(flags.data, flags.out, config, **kept)
    if not is_first_process():
        return ""
    return _summary(flags, history, described)


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """The words of the training, and those after --generate."""
    at = argv.index("--generate") if "--generate" in argv else len(argv)
    words, described = argv[:at], argv[at + 1 :]
    if at < len(argv):
        if any(word.split("=")[0] == "--data" for word in words):
            raise UsageError("sciml-cf train: `--data` must be left out with `--generate`; got both.")
        if not described:
            raise UsageError("sciml-cf train: `--generate` must be followed by an equation and its flags; got none.")
        words = [*words, "--data", "none"]
    return words, described


def _spec_of(flags: TrainFlags, described: list[str]) -> DatasetSpec | None:
    """The description of the samples to make, None where they are in a file."""
    if flags.generate:
        raise UsageError("sciml-cf train: `--generate` must come last, with an equation and its flags behind it.")
    if not described:
        return None
    from data_gen.cli.generate import spec_of_words

    if flags.metadata_words():
        raise UsageError("sciml-cf train: flags of a file's metadata must be left out with `--generate`.")
    return spec_of_words(described, "sciml-cf train")


def _summary(flags: TrainFlags, history: History, described: list[str]) -> Outcome:
    """One line: the error of the weights that are kept as best, and where they are; and what measures them."""
    from sciml_cf.training.progress import percent

    best, last = history.best, history.rows[-1]
    relative = best.get("validation_relative_l2", math.nan)
    error = f"relative L2 error {percent(relative)}" if math.isfinite(relative) else (
        f"mean squared error {best['validation_mse']:.3g}"
    )  # fmt: skip
    samples = f"{history.validation_samples} validation sample{'' if history.validation_samples == 1 else 's'}"
    data = free_name("data.h5") if described else str(flags.data)
    following = command_line("evaluate", flags.out, "--data", data, *flags.metadata_words())
    if described:
        following = f"{command_line('generate', *described, '--out', data)} && {following}"
    epochs = f"epoch {best['epoch']:.0f} of {last['epoch']:.0f}"
    text = f"{flags.out}: {error} on {samples} ({epochs})"
    return Outcome(text, following=following)


def _flags() -> type[Any]:
    """``TrainFlags`` with every method that has a name now as a choice of --method, and in its help."""
    lines = ["l2: every layer by gradients. The others solve the last layer in closed form."]
    lines += [f"{name}: {rule_summary(name)}" for name in rule_names()]
    method = Annotated[Literal[method_names()], arg(help="\n\n".join(lines))]  # pyright: ignore[reportInvalidTypeForm]
    choice = ("method", method, field(default=FitConfig.method))
    flags = make_dataclass("TrainFlags", [choice], bases=(TrainFlags,), frozen=True, kw_only=True)
    flags.__doc__ = TrainFlags.__doc__
    return flags
