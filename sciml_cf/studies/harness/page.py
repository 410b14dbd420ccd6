"""The page of a study: figures and tables from its result file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sciml_cf.plots.style import safe_colors
from sciml_cf.report.html import Picture, render_page, write_pictures
from sciml_cf.report.tables import Table
from sciml_cf.studies import page_of
from sciml_cf.training.checkpoints import write_atomically


def write_bench_page(result: dict[str, Any], folder: Path) -> tuple[list[Table], list[Path]]:
    """Write NAME.html, which holds everything, NAME.md and the pictures into the folder; returns tables and paths."""
    with safe_colors():
        return _write_bench_page(result, folder)


def _write_bench_page(result: dict[str, Any], folder: Path) -> tuple[list[Table], list[Path]]:
    title, introduction, parts = page_of(result["benchmark"])(result)
    origin = provenance(result)
    settings = json.dumps({key: value for key, value in result.items() if key != "figures"}, indent=2)
    name = result["benchmark"]
    page = folder / f"{name}.html"
    write_atomically(page, render_page(title, introduction, parts, origin, settings))
    tables = [part for part in parts if isinstance(part, Table)]
    lines = [f"# {title}", "", *[f"{text}\n" for text in introduction], *[table.markdown() for table in tables]]
    write_atomically(folder / f"{name}.md", "\n".join([*lines, origin, ""]))
    paths = [page, folder / f"{name}.md"]
    return tables, paths + write_pictures([part for part in parts if isinstance(part, Picture)], folder)


def provenance(result: dict[str, Any]) -> str:
    """One line that says how a result came about."""
    versions, machine = result["versions"], result["machine"]
    return (
        f"{result['command']} | {result['config'].get('preset', '')} preset, seeds {result['seeds']} | sciml-cf "
        f"{versions['sciml-cf']}, torch {versions['torch']} | {machine['cpu']}, {machine['cores']} cores | "
        f"{result['date']}"
    )
