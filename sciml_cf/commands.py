"""The learning commands: each reads its flags, calls the public functions, and returns the text to print."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import Positional

from data_gen.flags import UsageError, parse
from data_gen.formats import open_source
from data_gen.formats.flags import FactFlags
from data_gen.header import Boundary
from sciml_cf.datasets import Split
from sciml_cf.errors import DatasetError
from sciml_cf.experiments import STUDIES
from sciml_cf.experiments.steps import evaluate_run, train_on_file
from sciml_cf.fit_config import FitConfig
from sciml_cf.memory import keep_memory
from sciml_cf.prediction import predict
from sciml_cf.processes import is_first_process
from sciml_cf.report import baseline_table, compare_runs, report_run, transfer_table
from sciml_cf.runs import EVALUATION_FILE, Which, read_settings
from sciml_cf.scalars import check_tensorboard


@dataclass(frozen=True, kw_only=True)
class TrainFlags(FactFlags, FitConfig):
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


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags(FactFlags):
    """Measure a trained run at several resolutions; writes RUN/evaluation.nc and prints its tables.

    Args:
        run: run folder.
        data: dataset file, or one of another format.
        resolutions: grid points to run the model at; each must divide the stored resolution.
        sampling: how the inputs are taken to coarser grids: every k-th point, or by cutting the spectrum.
        split: which samples of the file.
        which: weights with the lowest validation error, or those of the last epoch.
    """

    run: Positional[Path]
    data: Path
    resolutions: tuple[int, ...] = (256, 1024, 8192)
    sampling: Literal["strided", "fourier"] = "strided"
    split: Split = "test"
    which: Which = "best"


@dataclass(frozen=True, kw_only=True)
class PredictFlags(FactFlags):
    """Apply a trained run to input fields.

    Args:
        run: run folder.
        input: .npy file with fields (samples, points) or (samples, channels, points), in two dimensions with points
            along y and x, or a data file, whose inputs are taken.
        output: .npy file to write, float32, shaped like the input.
        resolution: grid points along each axis to run the model at (inputs are Fourier-interpolated); by default those
            of the input.
        which: weights with the lowest validation error, or those of the last epoch.
        overwrite: replace the output files.
        std: .npy file to write the predictive standard deviation to, shaped like the output (best weights only).
    """

    run: Positional[Path]
    input: Path
    output: Path
    resolution: int | None = None
    which: Which = "best"
    overwrite: bool = False
    std: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CompareFlags:
    """Put evaluated runs side by side; prints the table and writes it, two figures and a page.

    Args:
        runs: run folders that were evaluated on the same data.
        out: folder to write.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path = Path("comparison")


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """Write RUN/report: figures, tables and one HTML page from the run's history and evaluation.

    Args:
        run: run folder that was evaluated.
    """

    run: Positional[Path]


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
        facts=flags.facts(),
        tensorboard=flags.tensorboard,
    )
    if not is_first_process():
        return ""
    best, last = history.best, history.rows[-1]
    return (
        f"{flags.out}: validation mse {last['validation_mse']:.3g} after epoch {last['epoch']:.0f}, "
        f"lowest {best['validation_mse']:.3g} at epoch {best['epoch']:.0f}"
    )


def evaluate_command(argv: list[str]) -> str:
    """`sciml-cf evaluate`."""
    flags = parse(EvaluateFlags, argv, prog="sciml-cf evaluate")
    result = evaluate_run(
        flags.run,
        flags.data,
        flags.resolutions,
        sampling=flags.sampling,
        split=flags.split,
        which=flags.which,
        facts=flags.facts(),
    )
    return "\n\n".join([transfer_table(result).text(), baseline_table(result).text(), str(flags.run / EVALUATION_FILE)])


def predict_command(argv: list[str]) -> str:
    """`sciml-cf predict`."""
    flags = parse(PredictFlags, argv, prog="sciml-cf predict")
    _check_output("output", flags.output, flags.overwrite)
    if flags.std is not None:
        _check_output("std", flags.std, flags.overwrite)
        if flags.which != "best" or flags.std == flags.output:
            raise UsageError("sciml-cf predict: `std` must be another file than the output, for the best weights only.")
    read_settings(flags.run)  # a wrong folder is told before a large input is read
    fields, boundary = _read_fields(flags)
    how: dict[str, Any] = {"resolution": flags.resolution, "which": flags.which, "boundary": boundary}
    if flags.std is None:
        results = {flags.output: predict(flags.run, fields, **how)}
    else:
        results = dict(zip((flags.output, flags.std), predict(flags.run, fields, std=True, **how), strict=True))
    for path, values in results.items():
        temporary = path.with_name(path.name + ".part")
        with temporary.open("wb") as file:
            np.save(file, values)
        temporary.replace(path)
    return "\n".join(f"{path}: {values.shape} {values.dtype}" for path, values in results.items())


def _check_output(name: str, path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise FileExistsError(f"predict: `{name}` must be a file; got the folder {path}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"predict: `{name}` must not exist yet; got {path}. Use --overwrite.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"predict: `{name}` must lie in an existing folder; got {path}.")


def compare_command(argv: list[str]) -> str:
    """`sciml-cf compare`."""
    flags = parse(CompareFlags, argv, prog="sciml-cf compare")
    if not flags.runs:
        raise UsageError("sciml-cf compare: `runs` must name at least one run folder; got none.")
    table, paths = compare_runs(flags.runs, flags.out)
    return "\n".join([table.text(), "", *map(str, paths)])


def report_command(argv: list[str]) -> str:
    """`sciml-cf report`."""
    return "\n".join(map(str, report_run(parse(ReportFlags, argv, prog="sciml-cf report").run)))


def run_command(argv: list[str]) -> str:
    """`sciml-cf run STUDY`."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name}  {(study.config.__doc__ or '').splitlines()[0]}" for name, study in STUDIES.items()]
        return "\n".join(["usage: sciml-cf run STUDY [flags]", "", *lines])
    if argv[0] not in STUDIES:
        raise UsageError(f"sciml-cf run: unknown study {argv[0]!r}; choose one of {', '.join(STUDIES)}.")
    study = STUDIES[argv[0]]
    return study.run(parse(study.config, argv[1:], prog=f"sciml-cf run {argv[0]}"))


def _read_fields(flags: PredictFlags) -> tuple[np.ndarray, Boundary | None]:
    """Input fields from a .npy file, or the inputs of a data file of any format, and what their ends are, if known."""
    path = flags.input
    if (path.suffix == ".npy" and "," not in str(path)) or not path.exists():
        return _read_npy(path), flags.boundary
    with open_source(path, facts=flags.facts()) as source:
        return source.read(source.input_name), source.header.boundary


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DatasetError(f"predict: `input` must be a .npy file; got {path}, which does not exist.")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DatasetError(f"predict: `input` must be a whole .npy file; {path} cannot be read ({error}).") from error
