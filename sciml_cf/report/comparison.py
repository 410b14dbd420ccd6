"""Comparison of several runs: one table, two figures, one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from data_gen.files.places import Kind, place_of
from data_gen.files.whole import new_folder, only_writer, said
from sciml_cf.report import figures
from sciml_cf.report.html import Picture, make_folder, render_page, write_pictures
from sciml_cf.report.single import provenance
from sciml_cf.report.tables import Table, baseline_table, comparison_table, same_samples, settings_table
from sciml_cf.report.training_words import comparison_sentences, training_sentences
from sciml_cf.report.verdict import run_verdict, verdict
from sciml_cf.training.checkpoints import write_atomically
from sciml_cf.training.run_folder import read_evaluation, read_history, read_settings

_TITLE = "Comparison of runs"
_TRANSFER = (
    "Error against resolution: of the models there, and of their outputs interpolated to the full grid; in gray the "
    "baselines."
)
_NONE = Kind("a new folder", lambda _: False)  # nothing is replaced
_FILES = ("comparison.md", "comparison.csv", "training.png", "transfer.png")


def compare_runs(runs: Sequence[Path | str], out: Path | str) -> tuple[Table, list[Path]]:
    """Compare evaluated runs; returns the table and the paths written into the folder ``out``.

    Raises:
        CheckpointError: a run has no evaluation.
        ValueError: the runs were evaluated on different samples.
        FileNotFoundError: the folder that should hold ``out`` is missing.
        FileExistsError: ``out`` holds files of others and no comparison.
        OutputError: another process is writing ``out``, or the operating system refuses to.
    """
    folder, names = place_of(out, "compare", "out", folder=True), run_names([Path(run) for run in runs])
    if folder.exists():  # its files are replaced, each as a whole; files of others stay
        with only_writer(folder, "compare", "out"), said("compare", folder):
            return _compare(names, Path(out))
    with new_folder(folder, who="compare", kind=_NONE) as aside:  # a new one appears as a whole
        table, paths = _compare(names, aside)
    return table, [Path(out) / path.relative_to(aside) for path in paths]


def _check_shared_resolutions(evaluations: Mapping[str, xr.Dataset]) -> None:
    sizes = {name: [int(n) for n in one["resolution"].values] for name, one in evaluations.items()}
    if set.intersection(*map(set, sizes.values())):
        return
    told = "; ".join(f"{name} at {', '.join(map(str, own))}" for name, own in sizes.items())
    most = max(sizes.values(), key=len)
    raise ValueError(
        f"compare: `runs` must share a resolution; got {told}. Evaluate each on the same ones: sciml-cf evaluate RUN "
        f"--data FILE --resolutions {' '.join(map(str, most))}"
    )


def _compare(names: dict[str, Path], folder: Path) -> tuple[Table, list[Path]]:
    evaluations = {name: read_evaluation(run) for name, run in names.items()}
    if not same_samples(list(evaluations.values())):
        raise ValueError(
            "compare: `runs` must be evaluated on the same samples of the same data; they differ in data, split or "
            "reference resolution. Evaluate them on one file first."
        )
    _check_shared_resolutions(evaluations)
    settings = {name: read_settings(run) for name, run in names.items()}
    histories = {name: read_history(run) for name, run in names.items()}
    make_folder(folder, "compare", _TITLE, _FILES)
    table = comparison_table(evaluations, settings)
    curves = figures.training_curves(histories), figures.error_against_resolution(evaluations)
    pictures = [
        Picture("training", curves[0], "Errors over the epochs, on the samples of training and of validation."),
        Picture(
            "transfer",
            curves[1],
            _TRANSFER,
        ),
    ]
    first = next(iter(evaluations))
    tables = [table, baseline_table(evaluations[first])]
    write_atomically(folder / "comparison.md", "\n".join(entry.markdown() for entry in tables))
    write_atomically(folder / "comparison.csv", table.csv())
    page, origin = folder / "index.html", provenance(settings[first], evaluations[first].attrs)
    words = [" ".join(comparison_sentences(evaluations, settings, histories))]
    for name, evaluation in evaluations.items():
        sentences = [verdict(evaluation, histories[name]), *training_sentences(histories[name], settings[name])]
        words.append(f"{name}: {' '.join(sentences)}")
    words = [text for text in words if text]
    write_atomically(page, render_page(_TITLE, words, [*pictures, *tables], origin, settings_table(settings)))
    return table, [page, *write_pictures(pictures, folder), folder / "comparison.md", folder / "comparison.csv"]


def verdict_lines(runs: Sequence[Path | str]) -> list[str]:
    """The ``verdict`` on each run, a line each, under the names that ``compare_runs`` gives them.

    Raises:
        CheckpointError: a run has no evaluation.
    """
    return [f"{name}: {run_verdict(run)}" for name, run in run_names([Path(run) for run in runs]).items()]


def run_names(runs: list[Path]) -> dict[str, Path]:
    """The runs by their folder names, with as many parents as it takes to tell the runs apart."""
    depth = 1
    while len({run.resolve().parts[-depth:] for run in runs}) < len({run.resolve() for run in runs}):
        depth += 1
    return {"/".join(run.resolve().parts[-depth:]): run for run in runs}
