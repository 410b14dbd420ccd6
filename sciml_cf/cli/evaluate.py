"""`sciml-cf evaluate`, `compare` and `report`: measure runs and show what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from data_gen.cli.flags import JsonFlags, UsageError, parse
from data_gen.cli.override_flags import OverrideFlags
from data_gen.terminal.outcome import Outcome, command_line, strict_json
from sciml_cf.datasets.choices import Sampling, Split
from sciml_cf.training.choices import Which


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags(JsonFlags, OverrideFlags):
    """Measure a trained run at several resolutions; writes RUN/evaluation.nc, prints a verdict and its tables.

    A run of one step in time is rolled out as well, where the file has several steps; RUN/rollout.nc has its errors.

    Args:
        run: run folder.
        data: dataset file, or one of another format.
        resolutions: grid points to run the model at; each must divide the stored resolution. By default those of the
            training, all that the file has, and a number between.
        sampling: how the inputs are taken to coarser grids: every k-th point, or by cutting the spectrum.
        split: which samples of the file.
        which: weights with the lowest validation error, or those of the last epoch.
    """

    run: Positional[Path]
    data: Path
    resolutions: tuple[int, ...] = ()
    sampling: Sampling = "strided"
    split: Split = "test"
    which: Which = "best"


@dataclass(frozen=True, kw_only=True)
class CompareFlags(JsonFlags):
    """Put evaluated runs side by side; prints a verdict on each and a table, and writes it, two figures and a page.

    Args:
        runs: run folders that were evaluated on the same data.
        out: folder to write.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path = Path("comparison")


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """Write RUN/report: verdict, tables and figures on one HTML page, from the run's history and evaluation.

    Args:
        run: run folder that was evaluated.
    """

    run: Positional[Path]


def evaluate_command(argv: list[str]) -> str:
    """`sciml-cf evaluate`."""
    flags = parse(EvaluateFlags, argv, prog="sciml-cf evaluate")
    from sciml_cf.evaluate.run import evaluate_run
    from sciml_cf.report import baseline_table, rollout_table, run_document, run_verdict, transfer_table
    from sciml_cf.training.distributed import is_first_process
    from sciml_cf.training.run_folder import EVALUATION_FILE, ROLLOUT_FILE, read_rollout

    result = evaluate_run(
        flags.run,
        flags.data,
        flags.resolutions,
        sampling=flags.sampling,
        split=flags.split,
        which=flags.which,
        facts=flags.overrides(),
    )
    if not is_first_process():
        return ""
    following = command_line("report", flags.run)
    if flags.json:
        return Outcome(strict_json(run_document(flags.run)), following=following)
    tables, files = [transfer_table(result).text(), baseline_table(result).text()], [flags.run / EVALUATION_FILE]
    if (rolled := read_rollout(flags.run)) is not None:
        tables.append(rollout_table(rolled).text())
        files.append(flags.run / ROLLOUT_FILE)
    text = "\n\n".join([run_verdict(flags.run), *tables, "\n".join(map(str, files))])
    return Outcome(text, following=following)


def compare_command(argv: list[str]) -> str:
    """`sciml-cf compare`."""
    flags = parse(CompareFlags, argv, prog="sciml-cf compare")
    if not flags.runs:
        raise UsageError("sciml-cf compare: `runs` must name at least one run folder; got none.")
    from sciml_cf.report import compare_runs, comparison_document, verdict_lines

    table, paths = compare_runs(flags.runs, flags.out)
    following = f"open {paths[0]} in a browser"
    if flags.json:
        return Outcome(strict_json({**comparison_document(flags.runs), "files": paths}), following=following)
    text = "\n".join([*verdict_lines(flags.runs), "", table.text(), "", *map(str, paths)])
    return Outcome(text, following=following)


def report_command(argv: list[str]) -> str:
    """`sciml-cf report`."""
    run = parse(ReportFlags, argv, prog="sciml-cf report").run
    from sciml_cf.report import report_run, run_verdict

    paths = report_run(run)
    return Outcome("\n".join([run_verdict(run), "", *map(str, paths)]), following=f"open {paths[0]} in a browser")
