"""Tables of docs/how_good.md from the result files of the suite.

Those of benchmarks/results/suite*.json, each of some problems, are merged; published*.json are in the settings of
publications, and those of the same problems are merged.

sciml-cf study suite --preset full --problems kdv darcy    # its results.json becomes benchmarks/results/suite_1.json
python -m benchmarks.suite_docs            # fills the page
python -m benchmarks.suite_docs --check    # says whether it shows what the files hold
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from sciml_cf.studies.harness.page import provenance
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.suite.page import detail_table, error_table, further_tables, settings, verdict
from sciml_cf.studies.suite.summary import comparisons, merged, parted

PAGE = ROOT / "docs" / "how_good.md"


def result() -> dict[str, Any]:
    """The files as one result; those of the full preset alone, where there is any."""
    return merged([read_result(path) for path in sorted(RESULTS.glob("suite*.json"))])


def published() -> list[str]:
    """Of each setting of a publication its tables, and how it was measured: its files may be of one method each."""
    by_problems: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("published*.json")):
        one = read_result(path)
        by_problems.setdefault(tuple(sorted(one["config"]["sizes"])), []).append(one)
    found = [merged(files) for files in by_problems.values()]
    if not found:
        return ["Darcy flow on 85 x 85 nodes, the setting of arXiv:2010.08895: not measured yet."]
    return [
        words
        for one in found
        for words in (
            *verdict(one),
            *[table.markdown() for table in (*further_tables(one), error_table(comparisons(one)))],
            *_missing(one),
            *settings(one),
            f"`{provenance(one)}`",
        )
    ]


def _missing(one: dict[str, Any]) -> list[str]:
    """Which of both methods the files do not have yet, in a sentence."""
    lacks = {
        name
        for found in comparisons(one)
        for name, cell in (("gradients", found.gradients), ("the closed form", found.closed))
        if not cell.get("runs")
    }
    return [f"Not measured yet in this setting: {', '.join(sorted(lacks))}."] if lacks else []


def filled(text: str) -> str:
    """The page with its paragraphs and tables made anew."""
    whole = result()
    found = comparisons(whole)
    text = between(text, "verdict", "\n\n".join(verdict(whole)))
    text = between(text, "errors", error_table(parted(found)[0]).markdown())
    origin = f"`{provenance(whole)}`"
    tables = [table.markdown() for table in (detail_table(found), *further_tables(whole))]
    text = between(text, "published", "\n\n".join(published()))
    return between(text, "details", "\n\n".join([*settings(whole), origin, *tables]))


def main() -> None:
    fill_pages({PAGE: filled})


if __name__ == "__main__":
    main()
