"""The notebooks of the guide: stored with the outputs of their present code, and run anew by `make test-slow`."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from docsite import staging
from docsite.notebooks import DIGEST, digest, faults, notebooks, outline, page_text, run

NAMES = {"own_data", "own_loop"}
each = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)


def test_the_notebooks_are_found() -> None:
    assert {path.stem for path in notebooks()} >= NAMES


@each
def test_stored_outputs_are_those_of_the_code_and_name_no_machine(path: Path) -> None:
    found = json.loads(path.read_text())
    assert faults(found) == []
    kinds = {kind for cell in found["cells"] for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"image/png", "text/plain"} <= kinds


@each
def test_pictures_have_words(path: Path) -> None:
    for cell in json.loads(path.read_text())["cells"]:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            assert cell["metadata"]["mystnb"]["image"]["alt"], "".join(cell["source"])


def test_what_a_reader_must_not_see_is_found() -> None:
    sound = json.loads(notebooks()[0].read_text())

    def with_output(text: str, **words: str) -> list[str]:
        changed = copy.deepcopy(sound)
        (first, *_) = [cell for cell in changed["cells"] if cell["cell_type"] == "code"]
        first["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [text], **words}]
        return faults(changed)

    assert with_output("0.5 seconds on and/or off\n") == []
    assert "shows a path of a machine: stored in /home/me/run" in with_output("stored in /home/me/run")[0]
    assert "warns or fails: Beware" in with_output("Beware", name="stderr")[0]
    code = next(cell for cell in sound["cells"] if cell["cell_type"] == "code")
    code["source"] = ["1 + 1"]
    assert faults(sound) == ["its code has changed since it ran: python -m docsite.notebooks"]
    code["execution_count"] = 7
    sound["metadata"][DIGEST] = digest(sound)
    assert faults(sound) == ["its cells did not run one after the other"]


def test_outlines_forget_numbers_alone() -> None:
    def one(text: str) -> dict:
        return {"cells": [{"cell_type": "code", "outputs": [{"output_type": "stream", "text": [text]}]}]}

    assert outline(one("error 1.3 % in 30 s\n")) == outline(one("error 2e-05 % in 7 s\n"))
    assert outline(one("error 1.3 %\n")) != outline(one("loss 1.3 %\n"))


def test_links_of_a_notebook_lead_to_pages_of_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = {"cell_type": "markdown", "source": ["See [it](../examples/resume.py)\n", "or [that](data.md)."]}
    code = {"cell_type": "code", "source": ["a[0](b)"], "outputs": []}
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [cell, code]}))
    assert page_text(tmp_path / "n.ipynb") == "See [it](../examples/resume.py)\nor [that](data.md)."
    monkeypatch.setattr(staging, "ROOT", tmp_path)
    monkeypatch.setattr(staging, "DOCS", tmp_path / "docs")
    for name in ("examples/resume.py", "docs/data.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    (tmp_path / "docs" / "n.ipynb").write_text((tmp_path / "n.ipynb").read_text())
    turned = json.loads(staging.notebook(tmp_path / "docs" / "n.ipynb", tmp_path / "out"))["cells"]
    assert turned[0]["source"] == "See [it](examples.md#resume)\nor [that](data.md)."
    assert turned[1] == code


@pytest.mark.slow
@each
def test_a_notebook_runs_and_shows_what_is_stored(path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    found = run(path)
    assert faults(found) == [] and outline(found) == outline(json.loads(path.read_text()))
