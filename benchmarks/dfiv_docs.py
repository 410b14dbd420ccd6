"""Tables of docs/results_instruments.md, from the result files of the two studies.

sciml-cf study dfiv-dsprites --preset paper      # its results.json becomes benchmarks/results/dfiv_dsprites.json
sciml-cf study dfiv-demand --preset paper        # and this one benchmarks/results/dfiv_demand.json
python -m benchmarks.dfiv_docs                 # fills the tables
python -m benchmarks.dfiv_docs --check         # says whether they show what the files hold
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from sciml_cf.studies.dfiv_demand import page as dfiv_demand
from sciml_cf.studies.dfiv_dsprites import page as dfiv_dsprites
from sciml_cf.studies.harness.results import read_result

PAGE = ROOT / "docs" / "results_instruments.md"
# marker: (result file, its text)
PARTS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {}


def filled(text: str, results: Path = RESULTS) -> str:
    """The page with its tables made anew; a study without a result file is said not to be measured."""
    for name, (file, write) in PARTS.items():
        path = results / f"{file}.json"
        text = between(text, name, write(read_result(path)) if path.exists() else "Not measured yet.")
    return text


def hearts(result: dict[str, Any]) -> str:
    """Errors at the end, ratios to ridge, and what they say."""
    cells = list(result["figures"].values())
    tables = [dfiv_dsprites.results_table(cells), dfiv_dsprites.ratio_table(cells), dfiv_dsprites.heads_table(cells)]
    said = "\n".join(f"- {line}" for line in dfiv_dsprites.verdicts(cells))
    return "\n".join([_origin(result), "", *(table.markdown() for table in tables), said])


def tickets(result: dict[str, Any]) -> str:
    """Errors of every estimator, and ratios to the others."""
    cells = result["figures"]
    tables = [dfiv_demand.results_table(cells), dfiv_demand.ratio_table(cells)]
    return "\n".join([_origin(result), "", *(table.markdown() for table in tables)]).rstrip()


def _origin(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"`{result['command']}`, seeds {result['seeds']}, {machine['cpu']}, {result['date']}:"


PARTS.update({"hearts": ("dfiv_dsprites", hearts), "tickets": ("dfiv_demand", tickets)})


def main() -> None:
    fill_pages({PAGE: filled})


if __name__ == "__main__":
    main()
