"""The report of one run: four figures, two tables, one HTML page."""

from __future__ import annotations

import html
import json
from pathlib import Path

from sciml_cf.report import figures
from sciml_cf.report.tables import Table, baseline_table, method_label, transfer_table
from sciml_cf.runs import read_evaluation, read_history, read_settings, write_atomically


def report_run(run: Path | str) -> list[Path]:
    """Write RUN/report from the run's history and evaluation; returns the paths, the page first.

    Raises:
        CheckpointError: the run has no history or no evaluation yet.
    """
    run = Path(run)
    settings, history, evaluation = read_settings(run), read_history(run), read_evaluation(run)
    folder = run / "report"
    folder.mkdir(exist_ok=True)
    label = method_label(settings["fit"])
    pictures = [
        figures.save(figures.training_curves({label: history}), folder / "training.png"),
        figures.save(figures.error_against_resolution({label: evaluation}), folder / "transfer.png"),
        figures.save(figures.example_predictions(evaluation), folder / "predictions.png"),
    ]
    if "spectrum" in evaluation:  # periodic
        pictures.append(figures.save(figures.spectrum(evaluation), folder / "spectrum.png"))
    tables = [transfer_table(evaluation), baseline_table(evaluation)]
    write_atomically(folder / "tables.md", "\n".join(table.markdown() for table in tables))
    write_atomically(folder / "transfer.csv", tables[0].csv())
    write_atomically(folder / "baselines.csv", tables[1].csv())
    page = folder / "index.html"
    write_page(page, f"Run {run.name}: {label}", tables, pictures, settings)
    return [page, *pictures, folder / "tables.md", folder / "transfer.csv", folder / "baselines.csv"]


def write_page(path: Path, title: str, tables: list[Table], pictures: list[Path], settings: object) -> None:
    """One HTML page that stands beside its pictures and needs nothing else."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for table in tables:
        head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
        rows = "".join("<tr>" + "".join(f"<td>{_format(value)}</td>" for value in row) + "</tr>" for row in table.rows)
        body.append(f"<h2>{html.escape(table.title)}</h2><table><tr>{head}</tr>{rows}</table>")
    body += [f'<p><img src="{picture.name}" alt="{picture.stem}"></p>' for picture in pictures]
    body.append(f"<h2>Settings</h2><pre>{html.escape(json.dumps(settings, indent=2))}</pre>")
    style = (
        "body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}img{max-width:100%}"
        "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}"
    )
    write_atomically(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style><body>{''.join(body)}</body></html>\n",
    )


def _format(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else html.escape(str(value))
