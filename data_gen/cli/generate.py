"""`sciml-cf generate EQUATION`: the flags of each equation or typed text, with parameters and initial conditions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from data_gen.cli.flags import UsageError, parse
from data_gen.equations import equation_named, equation_names, equation_parameters, is_typed
from data_gen.terminal.outcome import Outcome, command_line, training_of

if TYPE_CHECKING:
    from data_gen.spec import DatasetSpec

_STORED = ("--out", "--shards", "--compression", "--level", "--resume", "--overwrite")
_OF_THE_FILE = (*_STORED, "--workers", "--dask", "--config")


@dataclass(frozen=True, kw_only=True)
class GenerateFlags:
    """Make a dataset file.

    Args:
        samples: number of initial conditions.
        resolution: grid points along each axis, 256, or one number an axis, x last, 64,128; by default 8192 in one
            dimension, 256 in two, 32 in three.
        extent: length of the domain, or of each axis, 1,2; by default the equation's usual one.
        times: output times above 0, increasing; by default the equation's usual final time. Of several, the file
            has trajectories, the initial condition first.
        initial_condition: name of the random initial condition, of those listed above, or a file with fields of your
            own, FILE.npy or FILE.h5:NAME; by default the equation's usual one.
        initial_parameters: its parameters, as NAME=VALUE; those left out take their defaults.
        seed: sample i depends on it and on i alone.
        method: "cole-hopf" is exact (Burgers only), "direct" solves Darcy's problem; "lawson7", "adams6" and "etdrk4"
            step in time; "auto" takes the exact way where there is one, else the fastest scheme proven for the
            equation.
        tolerance: largest relative error that time stepping may make; by default the equation's usual one.
        device: where time is stepped: "cuda" for a GPU, by torch; the same to rounding.
        dtype: precision on disk; computing is in float64.
        out: file to write.
        workers: processes; the file is the same for any number.
        dask: address of a Dask scheduler whose workers compute (tcp://host:8786); "local" starts one with as many
            processes as --workers. Needs pip install 'sciml-cf[dask]'.
        shards: files to put the samples into, next to a small one that lists them; for filesystems that cannot let
            several processes write into one file.
        compression: "gzip" compresses the file once all samples are there; until then it takes the room of both.
        level: effort of gzip, 1 to 9.
        allow_unresolved: write the file even if the grid does not resolve the solution.
        resume: continue a file whose generation was interrupted.
        overwrite: replace the file once the new one is whole.
        placement: of points between walls: "cells", their centres, or "nodes", from wall to wall; by default cells.
        num_dims: dimensions in space, for an equation that exists in several; by default its usual number.
    """

    samples: int = 2048
    resolution: str | None = None
    extent: str | None = None
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
    compression: Literal["none", "gzip"] = "none"
    level: int = 4
    allow_unresolved: bool = False
    resume: bool = False
    overwrite: bool = False
    num_dims: int | None = None
    placement: Literal["cells", "nodes"] | None = None


def generate_command(argv: list[str]) -> str:
    """`sciml-cf generate EQUATION`."""
    if argv and argv[0] in ("-h", "--help"):
        return _overview()
    name = _checked_name(argv)
    return _generate(name, _parsed(name, argv[1:], f"sciml-cf generate {'TEXT' if is_typed(name) else name}"))


def _parsed(equation: str, words: list[str], prog: str) -> Any:
    """The flags of an equation's samples."""
    if is_typed(equation):
        return parse(_typed_flags(equation), words, prog=prog)
    parameters = {f"--{p.name.replace('_', '-')}" for p in equation_parameters(equation)}
    return parse(_flags_of(equation), _joined(words, parameters), prog=prog)


def _overview() -> str:
    """The usage, and the equations with a line about each."""
    summaries = equation_summaries()
    width = max(map(len, summaries)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, summary in summaries.items()]
    usage = "usage: sciml-cf generate EQUATION [flags]     (sciml-cf generate EQUATION --help lists the flags)"
    typed = (
        '       sciml-cf generate "u_t = -u*u_x + nu*u_xx" --parameters nu=0.1 [flags]     (an equation of your own)'
    )
    return "\n".join([usage, typed, "", *lines])


def equation_summaries() -> dict[str, str]:
    """The names of all equations with a line about each."""
    return {name: (equation_named(name).__doc__ or "").splitlines()[0] for name in equation_names()}


def _checked_name(argv: list[str]) -> str:
    """The equation, which is the first word."""
    choice = f"choose one of {', '.join(equation_names())}."
    if not argv:
        raise UsageError(f"sciml-cf generate: the equation is missing; {choice}")
    name = argv[0]
    if name.startswith("-"):
        raise UsageError(f"sciml-cf generate: the equation must come first, before {name}; {choice}")
    if is_typed(name):
        try:
            equation_named(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
    elif name not in equation_names():
        raise UsageError(f'sciml-cf generate: unknown equation {name!r}; {choice} Or type one: "u_t = u_xx".')
    return name


def spec_of_words(argv: list[str], prog: str) -> DatasetSpec:
    """The description that the words after `generate` give, without those of the file: EQUATION [flags].

    Args:
        argv: the equation and its flags.
        prog: how the command is called, for messages.

    Raises:
        UsageError: an unknown equation or flag, or one of the file.
    """
    name = _checked_name(argv)
    flag = next((word for word in argv for one in _OF_THE_FILE if word == one or word.startswith(one + "=")), None)
    if flag is not None:
        raise UsageError(f"{prog}: {flag} must not come after --generate, which describes samples; put it before.")
    return _spec_of(name, _parsed(name, [*argv[1:], "--out", "none"], f"{prog} --generate {name}"))


def _spec_of(equation: str, flags: Any) -> DatasetSpec:
    from data_gen.spec import DatasetSpec

    if is_typed(equation):
        parameters = _named_values("parameters", flags.parameters, as_text=True)
    else:
        parameters = {p.name: getattr(flags, p.name) for p in equation_parameters(equation)}
    optional = {"tolerance": flags.tolerance} if flags.tolerance is not None else {}
    return DatasetSpec(
        equation=equation,
        parameters=parameters,
        samples=flags.samples,
        resolution=_each_axis("resolution", flags.resolution, int),
        extent=_each_axis("extent", flags.extent, float),
        times=flags.times,
        initial_condition=flags.initial_condition,
        initial_parameters=_named_values("initial-parameters", flags.initial_parameters),
        seed=flags.seed,
        method=flags.method,
        dtype=flags.dtype,
        allow_unresolved=flags.allow_unresolved,
        device=flags.device,
        num_dims=flags.num_dims,
        placement=flags.placement,
        **optional,
    )


def _generate(equation: str, flags: Any) -> str:
    from data_gen.generate import generate
    from data_gen.info import dataset_facts, facts_text

    path = generate(
        _spec_of(equation, flags),
        flags.out,
        workers=flags.workers,
        dask=flags.dask,
        shards=flags.shards,
        compression=flags.compression,
        level=flags.level,
        resume=flags.resume,
        overwrite=flags.overwrite,
    )
    check = command_line("validate", path, "--truth")
    return Outcome(facts_text(dataset_facts(path)), following=f"{training_of(path)}    (checks the file: {check})")


def _joined(words: list[str], flags: set[str]) -> list[str]:
    """The words with --FLAG=-1:1 for --FLAG -1:1, which would be taken for another flag."""
    joined: list[str] = []
    for word in words:
        previous = joined[-1].replace("_", "-") if joined else ""
        if previous in flags and re.match(r"-[\d.]", word):
            joined[-1] = f"{joined[-1]}={word}"
        else:
            joined.append(word)
    return joined


def _each_axis(flag: str, words: str | None, kind: type[int | float]) -> Any:
    """One number, or a tuple of one an axis, from 256 or 64,128."""
    if words is None:
        return None
    try:
        values = [kind(word) for word in words.split(",")]
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(
            f"sciml-cf generate: `--{flag}` must be {what}, or one an axis, x last, such as 64,128; got {words!r}."
        ) from None
    return tuple(values) if len(values) > 1 else values[0]


def _named_values(flag: str, words: tuple[str, ...], *, as_text: bool = False) -> dict[str, Any]:
    """{"tau": 7.0, "laplacian": "domain"} from NAME=VALUE words of a flag, or all values as text."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals and text) or name in values:
            raise UsageError(f"sciml-cf generate: `--{flag}` must be words NAME=VALUE, each name once; got {word!r}.")
        try:
            values[name] = text if as_text else float(text)
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


_LAWS_HELP = """A parameter is a number, or varies by sample: LOW:HIGH is uniform between two numbers, log:LOW:HIGH
has a uniform logarithm, and A,B,... is one of these, each as likely."""


def _typed_flags(text: str) -> type[Any]:
    """GenerateFlags with one flag for the parameters of a typed equation."""
    from tyro.conf import arg

    names = [parameter.name for parameter in equation_parameters(text)]
    help = f"the parameters of the text, as NAME=NUMBER or NAME=LAW: {', '.join(names) or 'it has none'}."
    kind = Annotated[tuple[str, ...], arg(help=help, metavar="NAME=NUMBER|LAW")]
    made = make_dataclass(
        "GenerateFlags", [("parameters", kind, field(default=()))], bases=(GenerateFlags,), frozen=True, kw_only=True
    )
    title = f"Make a dataset file of {' '.join(text.split())}, an equation of your own."
    made.__doc__ = f"{title}\n\n{_LAWS_HELP}\n\n{_initial_help(text)}"
    return made


def _flags_of(equation: str) -> type[Any]:
    """GenerateFlags with the parameters of one equation added as flags."""
    from tyro.conf import arg

    added: list[Any] = []
    for parameter in equation_parameters(equation):
        metavar = "NUMBER|LAW|FILE" if parameter.takes_field else "NUMBER|LAW"
        kind = Annotated[str, arg(help=parameter.help, metavar=metavar)]
        if parameter.default is None:
            added.append((parameter.name, kind))
        else:
            added.append((parameter.name, kind, field(default=repr(float(parameter.default)))))
    made = make_dataclass("GenerateFlags", added, bases=(GenerateFlags,), frozen=True, kw_only=True)
    title = f"Make a dataset file of {(equation_named(equation).__doc__ or equation).splitlines()[0]}"
    made.__doc__ = f"{title}\n\n{_LAWS_HELP}\n\n{_initial_help(equation)}"
    return made
