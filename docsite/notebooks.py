"""The notebooks of docs/, run and stored with their outputs.

python -m docsite.notebooks            # every notebook, in a folder of its own that is removed afterwards
python -m docsite.notebooks NAME ...   # these ones, by the names of their files

The build shows what is stored. It does not run notebooks, so that it takes no longer with them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
#: Of a notebook, "code": the digest of the code that the stored outputs come from.
DIGEST = "code"
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|opt|var|mnt)/|[A-Z]:\\\\")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def notebooks() -> list[Path]:
    """The notebooks of the guide."""
    return sorted(DOCS.glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[str]:
    """The texts of a notebook's cells, of "markdown" or of "code"."""
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def page_text(path: Path) -> str:
    """The text of a page; of a notebook its text cells."""
    return "\n\n".join(cells(path, "markdown")) if path.suffix == ".ipynb" else path.read_text()


def digest(found: dict[str, Any]) -> str:
    """A number for the code of a notebook: as long as it is the stored one, outputs are of this code."""
    code = ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def faults(found: dict[str, Any]) -> list[str]:
    """What a reader must not find in a stored notebook: no outputs, other outputs, warnings, or names of a machine."""
    lines = []
    if found["metadata"].get(DIGEST) != digest(found):
        lines.append("its code has changed since it ran: python -m docsite.notebooks")
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        lines.append("its cells did not run one after the other")
    for cell in code:
        for output in cell["outputs"]:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                lines.append(f"cell {cell['execution_count']} warns or fails: {text_of(output)[:200]}")
            if _MACHINE.search(text_of(output)):
                lines.append(f"cell {cell['execution_count']} shows a path of a machine: {text_of(output)[:200]}")
    return lines


def text_of(output: dict[str, Any]) -> str:
    """The text of an output, of every form that it has but pictures."""
    shown = [output.get("text", ""), *output.get("traceback", [])]
    shown += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join("".join(text) for text in shown)


def outline(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The outputs of each cell as they are on every machine: texts with ``#`` for numbers, kinds of the rest."""
    return [
        tuple(_NUMBER.sub("#", "".join(output.get("text", ""))) + " ".join(sorted(output.get("data", ()))))
        for cell in found["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
    ]


def run(path: Path) -> dict[str, Any]:
    """The notebook with the outputs of a run in a new folder, on one thread.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    found = nbformat.read(path, as_version=4)
    os.environ.update(OMP_NUM_THREADS="1", PYTHONHASHSEED="0")
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(found, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    found.metadata = {**_KERNEL, "language_info": {"name": "python"}, DIGEST: digest(found)}
    for cell in found.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name == "mystnb"}
    return found


def main() -> int:
    import nbformat

    bad = []
    for path in notebooks():
        if len(sys.argv) < 2 or path.stem in sys.argv[1:]:
            found = run(path)
            nbformat.write(found, path)
            bad += [f"{path.name}: {line}" for line in faults(found)]
            print(f"{path}: {sum(len(cell.get('outputs', ())) for cell in found['cells'])} outputs")
    print("\n".join(bad), file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
