"""The figures of how good the closed-form head is, drawn from the committed result files."""

from __future__ import annotations

from pathlib import Path

from docsite.staging import ROOT
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.suite.figures import ratio_figure, scatter_figure
from sciml_cf.studies.suite.page import RATIO_CAPTION
from sciml_cf.studies.suite.summary import comparisons, merged, parted


def suite(folder: Path) -> dict[str, str]:
    """Draw the figures into a folder next to the pages.

    Returns:
        Markdown by name: "suite", the ratios of test errors by problem, and "suite scatter", what they go with.
    """
    files = sorted((ROOT / "benchmarks" / "results").glob("suite*.json"))
    found = comparisons(merged([read_result(path) for path in files]))
    ratio_figure(parted(found)[0]).savefig(folder / "suite.png", dpi=110)
    fragments = {"suite": f"![Ratios of test errors by problem]({folder.name}/suite.png)\n\n{RATIO_CAPTION}"}
    scatter = scatter_figure(found)
    if scatter is None:
        return {**fragments, "suite scatter": ""}
    scatter.savefig(folder / "suite_scatter.png", dpi=110)
    picture = f"![Ratios against samples per feature and the share explained]({folder.name}/suite_scatter.png)"
    return {**fragments, "suite scatter": picture}
