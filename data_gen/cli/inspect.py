"""The commands that read a dataset file: `sciml-cf info`, `plot` and `validate`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_gen.cli.flags import JsonFlags, parse, with_positional_file
from data_gen.cli.override_flags import OverrideFlags
from data_gen.terminal.outcome import Outcome, strict_json, training_of
from data_gen.terminal.quiet import progress_bar

if TYPE_CHECKING:
    from data_gen.validate import ValidationReport


@dataclass(frozen=True, kw_only=True)
class InfoFlags(JsonFlags, OverrideFlags):
    """Show the content of a dataset file and how it was made, or that of a file of another format.

    Args:
        file: dataset file, or one of another format (see `sciml-cf convert --help`).
    """

    file: Any


@dataclass(frozen=True, kw_only=True)
class PlotFlags:
    """Draw one figure of a dataset file: some samples, spectra, and a summary.

    Args:
        file: dataset file.
        out: figure to write, with suffix .png, .pdf or .svg; by default in the file's folder, under its name.
        samples: samples to draw, 1 to 6, spread over the file; by default 4, fewer where there are many rows.
        fields: components to draw, by name; all by default.
        overwrite: replace the figure if it exists.
        no_verify: draw without comparing with the checksums; damage then goes unnoticed.
    """

    file: Any
    out: Path | None = None
    samples: int | None = None
    fields: tuple[str, ...] = ()
    overwrite: bool = False
    no_verify: bool = False


@dataclass(frozen=True, kw_only=True)
class ValidateFlags(JsonFlags):
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


def info_command(argv: list[str]) -> str:
    """`sciml-cf info FILE`."""
    from data_gen.info import dataset_facts, facts_text

    flags = parse(with_positional_file(InfoFlags), argv, prog="sciml-cf info")
    facts = dataset_facts(flags.file, overrides=flags.overrides())
    return strict_json(facts) if flags.json else facts_text(facts)


def plot_command(argv: list[str]) -> str:
    """`sciml-cf plot FILE`."""
    flags = parse(with_positional_file(PlotFlags), argv, prog="sciml-cf plot")
    from data_gen.plot import plot_dataset
    from data_gen.storage.dataset import open_dataset

    figure = plot_dataset(
        flags.file,
        flags.out,
        samples=flags.samples,
        channels=flags.fields,
        overwrite=flags.overwrite,
        verify=not flags.no_verify,
    )
    with open_dataset(flags.file) as data:
        rolled = data.header.name == "rollout"  # made by a model, so nothing to train on
    return Outcome(str(figure), following="" if rolled else training_of(flags.file))


def validate_command(argv: list[str]) -> str:
    """`sciml-cf validate FILE [--truth]`."""
    from data_gen.errors import DatasetError
    from data_gen.validate import validate

    flags = parse(with_positional_file(ValidateFlags), argv, prog="sciml-cf validate")
    with progress_bar(shown=sys.stderr.isatty(), desc="validate", unit="sample", leave=False) as bar:
        report = validate(
            flags.file,
            truth=flags.truth,
            truth_samples=flags.truth_samples,
            progress=lambda done: bar.update(done - bar.n),
        )
    failure = _failure(report)
    if flags.json:
        document = {"file": report.path, "ok": report.ok, **{k: v for k, v in vars(report).items() if k != "path"}}
        return Outcome(strict_json(document), failure=failure)
    if failure:
        raise DatasetError(failure)
    lines = [f"{flags.file}: {report.num_samples} samples; layout, checksums and values are sound"]
    text = "\n".join(lines + (_truth_lines(report) if flags.truth else []))
    return Outcome(text, following=training_of(flags.file))


def _failure(report: ValidationReport) -> str:
    """The line about a file that is not sound or not accurate; empty for a good one."""
    if report.problems:
        found = "; ".join(word for word in (*report.problems, report.inaccurate) if word)
        return f"validate: {report.path} is not sound: {found}"
    return f"validate: {report.path} is sound but not accurate: {report.inaccurate}" if report.inaccurate else ""


def _truth_lines(report: ValidationReport) -> list[str]:
    """Result of the comparison with a truth, and its limits."""
    from data_gen.storage.dataset import open_dataset

    all_of_them = len(report.compared) == report.num_samples
    which = f"all {report.num_samples} samples" if all_of_them else f"{len(report.compared)} samples"
    lines = [
        f"against {report.how}, {which}: largest error {report.max_error:.3g} (sample {report.worst_sample}), median "
        f"{report.median_error:.3g}, relative to the sample's maximum"
    ]
    if report.allowed is None:
        lines.append("the file records no tolerance, so the error is reported without a limit")
    else:
        lines.append(f"allowed: {report.allowed:.3g}, ten times the file's tolerance and rounding")
    if report.truth == "self-convergence":
        others = "" if all_of_them else f"; the other {report.num_samples - len(report.compared)} are not checked"
        listed = ", ".join(map(str, report.compared[:12])) + (", ..." if len(report.compared) > 12 else "")
        lines.append(f"this is self-convergence, not an exact solution, of samples {listed}{others}")
    with open_dataset(report.path) as data:
        if data.spec is not None and data.spec.method == data.spec.make_equation().exact_method:
            lines.append("the file was made by that exact solution, so this checks the file, not the method")
    return lines
