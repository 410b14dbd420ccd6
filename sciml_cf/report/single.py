"""The report of one run on one HTML page: the verdict, pictures, tables, and the folded settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_gen.files.whole import said
from sciml_cf.report import figures
from sciml_cf.report.html import Picture, make_folder, render_page, write_pictures
from sciml_cf.report.tables import baseline_table, method_label, rollout_table, settings_table, transfer_table
from sciml_cf.report.training_words import training_sentences
from sciml_cf.report.verdict import rollout_verdict, verdict
from sciml_cf.training.checkpoints import write_atomically
from sciml_cf.training.run_folder import read_evaluation, read_history, read_rollout, read_settings
from sciml_cf.training.run_start import only_writer


def report_run(run: Path | str) -> list[Path]:
    """Write RUN/report from the run's history and evaluation; returns the paths, the page first.

    The page begins with the ``verdict`` and with what a reader must know of the training (``training_sentences``).

    Raises:
        CheckpointError: the run has no history or no evaluation yet, or another process writes into its folder.
        FileExistsError: RUN/report holds files of others and no report.
        OutputError: the operating system refuses to write.
    """
    run = Path(run)
    read_settings(run)  # a wrong folder is reported before one is locked
    with only_writer(run, "report", "run"), said("report", run):
        return _report(run)


def _report(run: Path) -> list[Path]:
    settings, history, evaluation = read_settings(run), read_history(run), read_evaluation(run)
    folder = run / "report"
    label = method_label(settings["fit"])
    pictures = [
        Picture(
            "training",
            figures.training_curves({label: history}),
            "Errors over the epochs, on the samples of training and of validation.",
        ),
        Picture(
            "transfer",
            figures.error_against_resolution({label: evaluation}),
            "Error against resolution: of the model there, and of its output interpolated to the full grid; in gray "
            "the baselines.",
        ),
        Picture(
            "predictions",
            figures.example_predictions(evaluation),
            "Input, solution, prediction and error, from the lowest relative L2 error to the highest.",
        ),
    ]
    if (head := figures.head_panel(history)) is not None:
        pictures.append(
            Picture("head", head, "Condition number, degrees of freedom, change and gain of the solves of the head.")
        )
    if "spectrum" in evaluation:  # periodic
        pictures.append(Picture("spectrum", figures.spectrum(evaluation), "Where in the spectrum the error lies."))
    tables = [transfer_table(evaluation), baseline_table(evaluation)]
    if (rolled := read_rollout(run)) is not None:
        pictures.append(Picture("rollout", figures.error_against_time(rolled), "Applied to its own output again."))
        tables.append(rollout_table(rolled))
    names = {"tables.md", "transfer.csv", "baselines.csv", *(f"{picture.name}.png" for picture in pictures)}
    make_folder(folder, "report", "Run ", names)
    write_atomically(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    write_atomically(folder / "transfer.csv", tables[0].csv())
    write_atomically(folder / "baselines.csv", tables[1].csv())
    said = [verdict(evaluation, history), *([] if rolled is None else [rollout_verdict(rolled)])]
    said += training_sentences(history, settings)
    page = folder / "index.html"
    title, origin = f"Run {run.name}: {label}", provenance(settings, evaluation.attrs)
    write_atomically(page, render_page(title, said, [*pictures, *tables], origin, settings_table({label: settings})))
    return [
        page,
        *write_pictures(pictures, folder),
        *(folder / f for f in ("tables.md", "transfer.csv", "baselines.csv")),
    ]


def provenance(settings: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """One line that says what a run and its evaluation were made with."""
    versions = settings.get("versions", {})
    return (
        f"{evaluation['num_samples']} {evaluation['split']} samples of {evaluation['data']} | sciml-cf "
        f"{versions.get('sciml-cf', '?')}, torch {versions.get('torch', '?')}"
    )
