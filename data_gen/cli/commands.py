"""The data commands: each reads its flags, calls the public functions, and returns the text to print."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from data_gen.cli.flags import UsageError, parse
from data_gen.equations import equation_named, equation_names, equation_parameters

if TYPE_CHECKING:
    from data_gen.validate import ValidationReport


@dataclass(frozen=True, kw_only=True)
class GenerateFlags:
    """Make a dataset file.

    Args:
        samples: number of initial conditions.
        resolution: grid points along each axis; by default 8192 in one dimension, 256 in two.
        extent: length of the periodic domain; by default the equation's usual one.
        times: output times above 0, increasing; by default the equation's usual final time. Of several, the file
            holds trajectories, the initial condition first.
        initial_condition: name of the random initial condition, of those listed above; by default the equation's
            usual one.
        initial_parameters: its parameters, as NAME=VALUE; those left out take their defaults.
        seed: sample i depends on it and on i alone.
        method: "cole-hopf" is exact (Burgers only), "direct" solves Darcy's problem; "lawson7", "adams6" and "etdrk4"
            march in time; "auto" takes the exact way where there is one, else the fastest scheme proven for the
            equation.
        tolerance: largest relative error that time stepping may make; by default the equation's usual one.
        device: where time is stepped: "cuda" for a GPU, by torch; the same to rounding.
        dtype: precision on disk; computing is in float64.
        out: file to write.
        workers: processes; the file is the same for any number.
        dask: address of a Dask scheduler whose workers compute (tcp://host:8786); "local" starts one with as many
            processes as --workers. Needs pip install 'sciml-cf[dask]'.
        shards: files to put the samples into, beside a small one that lists them; for filesystems that cannot let
            several processes write into one file.
        allow_unresolved: write the file even though the grid cannot hold the solution.
        resume: continue a file whose generation was interrupted.
        overwrite: replace the file once the new one is whole.
    """

    samples: int = 2048
    resolution: int | None = None
    extent: float | None = None
    times: tuple[float, ...] | None = None
    initial_condition: str | None = None
    initial_parameters: tuple[str, ...] = ()
    seed: int = 0
    method: Literal["auto", "lawson7", "adams6", "etdrk4", "cole-hopf", "direct"] = "auto"
    tolerance: float | None = None
    device: str = "cpu"
    dtype: Literal["float32", "float64"] = "float64"
    out: Path
    workers: int = 1
    dask: str | None = None
    shards: int = 1
    allow_unresolved: bool = False
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class RepackFlags:
    """Copy a dataset into one compressed file, or back into a plain one.

    Args:
        file: dataset file.
        out: file to write.
        compression: "none" gives the plain layout, the fastest to read.
        level: effort of gzip, 1 to 9.
        chunk_rows: samples compressed together, a power of two; by default as many as make 64 KiB.
        overwrite: replace the output once the new one is whole.
    """

    file: Any
    out: Path
    compression: Literal["gzip", "none"] = "gzip"
    level: int = 4
    chunk_rows: int | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class InfoFlags:
    """Say what a dataset file holds and how it was made.

    Args:
        file: dataset file.
        json: print the same as JSON.
    """

    file: Any
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class PlotFlags:
    """Draw one figure of a dataset file: some samples, spectra, and a summary.

    Args:
        file: dataset file.
        out: figure to write, by its ending png, pdf or svg; by default beside the file, under its name.
        samples: samples to draw, 1 to 6, spread over the file; by default 4, fewer where there are many rows.
        fields: components to draw, by name; all by default.
        overwrite: replace the figure if it exists.
    """

    file: Any
    out: Path | None = None
    samples: int | None = None
    fields: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ValidateFlags:
    """Check a dataset file: layout, checksums, finite values; exit status 1 if something is wrong.

    Args:
        file: dataset file.
        truth: also compare every sample with an exact or known solution; where there is none, solve a few again by
            another scheme, more accurately and on twice the points (self-convergence). An error above ten times the
            file's tolerance is wrong.
        truth_samples: samples to solve again.
    """

    file: Any
    truth: bool = False
    truth_samples: int = 4


def generate_command(argv: list[str]) -> str:
    """`sciml-cf generate EQUATION`."""
    names = equation_names()
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, names)) + 2
        lines = [f"  {name:<{width}}{(equation_named(name).__doc__ or '').splitlines()[0]}" for name in names]
        usage = "usage: sciml-cf generate EQUATION [flags]     (sciml-cf generate EQUATION --help lists the flags)"
        text = "\n".join([usage, "", *lines])
        if argv:
            return text
        raise UsageError(f"sciml-cf generate: the equation is missing; choose one of {', '.join(names)}.")
    name = argv[0]
    if name.startswith("-"):
        raise UsageError(
            f"sciml-cf generate: the equation must come first, before {name}; choose one of {', '.join(names)}."
        )
    if name not in names:
        raise UsageError(f"sciml-cf generate: unknown equation {name!r}; choose one of {', '.join(names)}.")
    parameters = equation_parameters(name)
    flags = parse(_flags_of(name), argv[1:], prog=f"sciml-cf generate {name}")
    return _generate(name, {p.name: getattr(flags, p.name) for p in parameters}, flags)


def info_command(argv: list[str]) -> str:
    """`sciml-cf info FILE`."""
    import json

    from data_gen.info import dataset_facts, facts_text

    flags = parse(_positional(InfoFlags), argv, prog="sciml-cf info")
    facts = dataset_facts(flags.file)
    return json.dumps(facts, indent=2) if flags.json else facts_text(facts)


def plot_command(argv: list[str]) -> str:
    """`sciml-cf plot FILE`."""
    flags = parse(_positional(PlotFlags), argv, prog="sciml-cf plot")
    from data_gen.plot import plot_dataset

    return str(
        plot_dataset(flags.file, flags.out, samples=flags.samples, channels=flags.fields, overwrite=flags.overwrite)
    )


def validate_command(argv: list[str]) -> str:
    """`sciml-cf validate FILE [--truth]`."""
    from tqdm import tqdm

    from data_gen.errors import DatasetError
    from data_gen.validate import validate

    flags = parse(_positional(ValidateFlags), argv, prog="sciml-cf validate")
    with tqdm(desc="validate", unit="sample", leave=False) as bar:
        report = validate(
            flags.file,
            truth=flags.truth,
            truth_samples=flags.truth_samples,
            progress=lambda done: bar.update(done - bar.n),
        )
    if report.problems:
        found = "; ".join(word for word in (*report.problems, report.inaccurate) if word)
        raise DatasetError(f"validate: {flags.file} is not sound: {found}")
    if report.inaccurate:
        raise DatasetError(f"validate: {flags.file} is sound but not accurate: {report.inaccurate}")
    lines = [f"{flags.file}: {report.num_samples} samples; layout, checksums and values are sound"]
    return "\n".join(lines + (_truth_lines(report) if flags.truth else []))


def _truth_lines(report: ValidationReport) -> list[str]:
    """What the comparison with a truth has shown, and what it has not."""
    from data_gen.storage.dataset import open_dataset

    all_of_them = len(report.compared) == report.num_samples
    which = f"all {report.num_samples} samples" if all_of_them else f"{len(report.compared)} samples"
    lines = [
        f"against {report.how}, {which}: largest error {report.max_error:.3g} (sample {report.worst_sample}), median "
        f"{report.median_error:.3g}, relative to the sample's maximum"
    ]
    if report.allowed is None:
        lines.append("the file tells no tolerance, so the error is measured, not judged")
    else:
        lines.append(f"allowed: {report.allowed:.3g}, ten times the file's tolerance and rounding")
    if report.truth == "self-convergence":
        others = "" if all_of_them else f"; of the other {report.num_samples - len(report.compared)} it says nothing"
        listed = ", ".join(map(str, report.compared[:12])) + (", ..." if len(report.compared) > 12 else "")
        lines.append(f"this is self-convergence, not an exact solution, of samples {listed}{others}")
    with open_dataset(report.path) as data:
        if data.spec is not None and data.spec.method == data.spec.make_equation().exact_method:
            lines.append("the file was made by that exact solution, so this checks the file, not the method")
    return lines


def repack_command(argv: list[str]) -> str:
    """`sciml-cf repack FILE --out FILE2`."""
    from data_gen.storage.repack import repack

    flags = parse(_positional(RepackFlags), argv, prog="sciml-cf repack")
    report = repack(
        flags.file,
        flags.out,
        compression=flags.compression,
        level=flags.level,
        chunk_rows=flags.chunk_rows,
        overwrite=flags.overwrite,
    )
    share = report.bytes_after / report.bytes_before
    sizes = f"{report.bytes_before / 1e6:.1f} MB to {report.bytes_after / 1e6:.1f} MB ({share:.1%})"
    return f"{report.path}: {sizes}, every checksum the same"


def _generate(equation: str, parameters: dict[str, Any], flags: Any) -> str:
    from data_gen.generate import generate
    from data_gen.spec import DatasetSpec

    optional = {"tolerance": flags.tolerance} if flags.tolerance is not None else {}
    spec = DatasetSpec(
        equation=equation,
        parameters=parameters,
        samples=flags.samples,
        resolution=flags.resolution,
        extent=flags.extent,
        times=flags.times,
        initial_condition=flags.initial_condition,
        initial_parameters=_named_values(flags.initial_parameters),
        seed=flags.seed,
        method=flags.method,
        dtype=flags.dtype,
        allow_unresolved=flags.allow_unresolved,
        device=flags.device,
        **optional,
    )
    path = generate(
        spec,
        flags.out,
        workers=flags.workers,
        dask=flags.dask,
        shards=flags.shards,
        resume=flags.resume,
        overwrite=flags.overwrite,
    )
    return info_command([str(path)])


def _named_values(words: tuple[str, ...]) -> dict[str, Any]:
    """{"tau": 7.0, "laplacian": "domain"} from NAME=VALUE words."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals and text) or name in values:
            raise UsageError(
                f"sciml-cf generate: `--initial-parameters` must be words NAME=VALUE, each name once; got {word!r}."
            )
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = text
    return values


def _initial_help(equation: str) -> str:
    """The initial conditions with the defaults of their parameters; those of the equation's usual one in its words."""
    from data_gen.initial import initial_defaults, initial_names

    parameters = {p.name: 1.0 if p.default is None else p.default for p in equation_parameters(equation)}
    made = equation_named(equation)(**parameters)
    lines = []
    for name in initial_names(made):
        chosen = name == made.initial_condition
        values = initial_defaults(made, name)
        words = " ".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
        )
        lines.append(f"  {name}{' (usual)' if chosen else ''}: {words}")
    return "\n".join(["Initial conditions and their parameters (--initial-condition, --initial-parameters):", *lines])


def _flags_of(equation: str) -> type[Any]:
    """GenerateFlags with the parameters of one equation added as flags."""
    from tyro.conf import arg

    added: list[Any] = []
    for parameter in equation_parameters(equation):
        kind = Annotated[float, arg(help=parameter.help)]
        if parameter.default is None:
            added.append((parameter.name, kind))
        else:
            added.append((parameter.name, kind, field(default=parameter.default)))
    made = make_dataclass("GenerateFlags", added, bases=(GenerateFlags,), frozen=True, kw_only=True)
    title = f"Make a dataset file of {(equation_named(equation).__doc__ or equation).splitlines()[0]}"
    made.__doc__ = f"{title}\n\n{_initial_help(equation)}"
    return made


def _positional(flags: type[Any]) -> type[Any]:
    """The same flags with ``file`` as a positional word; tyro is imported only when a command runs."""
    from tyro.conf import Positional

    made = make_dataclass(flags.__name__, [("file", Positional[Path])], bases=(flags,), frozen=True, kw_only=True)
    made.__doc__ = flags.__doc__
    return made
