"""The pages of docs/: links that resolve, figures from files, commands that exist, and a tutorial that works."""

from __future__ import annotations

import json
import os
import re
import shlex
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import fourier_layer, large_data, results_docs, well_loader
from docsite import staging
from docsite.check import faults
from docsite.figures import ALLOWED, measured_by_hand
from docsite.measured import STUDIES
from docsite.notebooks import notebooks, page_text
from docsite.reference import PAGES, public_names, public_objects
from sciml_cf import FitConfig, FNOConfig, fit
from sciml_cf.classification import estimators
from sciml_cf.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent
PAGES_OF_DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [
    *PAGES_OF_DOCS,
    *notebooks(),
    *(ROOT / name for name in ("README.md", "CONVENTIONS.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
NOT_PERIODIC = (ROOT / "docs" / "not_periodic.md").read_text()


def links(path: Path) -> list[str]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page_text(path), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]


def anchors(path: Path) -> set[str]:
    """What a repository browser, and the site, make of a page's headings."""
    text = re.sub(r"```.*?```", "", page_text(path), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(path: Path) -> list[str]:
    found = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    assert broken(path) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One two\n[x](b.md) [y](#one-two) [z](#two) `[c](d)`\n")
    assert broken(tmp_path / "a.md") == ["b.md", "#two"]


@pytest.mark.parametrize("path", [path for path in TEXTS if path.name != "README.md"], ids=lambda p: p.name)
def test_links_have_a_place_on_the_site(path: Path) -> None:
    assert all(staging.site_link(link, path) for link in links(path))


def test_a_link_without_a_place_on_the_site_is_refused() -> None:
    page = ROOT / "docs" / "index.md"
    assert staging.site_link("../examples/resume.py", page) == "examples.md#resume"
    assert staging.site_link("docs/data.md#figures", ROOT / "CONVENTIONS.md") == "data.md#figures"
    with pytest.raises(ValueError, match=r"a link on a page must lead to a file; got the folder \.\./benchmarks"):
        staging.site_link("../benchmarks", page)
    with pytest.raises(ValueError, match=r"a link must lead to a file of the repository; got nowhere\.md"):
        staging.site_link("nowhere.md", page)


def test_every_page_is_in_the_navigation(tmp_path: Path) -> None:
    studies = (name for names in STUDIES.values() for name in names)
    drawn = dict.fromkeys(("pictures", "speed", "suite", "suite scatter", *studies), "")
    staging.stage(tmp_path, {"transfer": "made by the build", **drawn})
    (tmp_path / "brand_new.md").write_text("# New\n")
    listed = re.findall(r"^[\w/]+$", staging.navigation(tmp_path), re.MULTILINE)
    pages = {path.stem for path in (*tmp_path.glob("*.md"), *tmp_path.glob("*.ipynb"))} - {"index"}
    assert {"brand_new", "examples", "conventions", "data"} <= pages and set(listed) == pages | {"reference/index"}
    assert len(listed) == len(set(listed))
    assert "made by the build" in (tmp_path / "transfer.md").read_text()
    assert all(f"\n## {path.stem}\n" in (tmp_path / "examples.md").read_text() for path in ROOT.glob("examples/*.py"))
    with pytest.raises(ValueError, match="`fragments` must hold what pages ask for; got no 'pictures'"):
        staging.stage(tmp_path, {})


@pytest.mark.parametrize("path", TEXTS[:-1], ids=lambda path: path.name)
def test_measured_figures_come_from_files(path: Path) -> None:
    assert measured_by_hand(page_text(path)) == [], (
        "fill it by a script of benchmarks/, or list why it is no measurement"
    )


@pytest.mark.parametrize(
    "words",
    [
        "an error of 2.6e-05",
        "in 93 % of runs",
        "takes 12 ms",
        "takes ten minutes",
        "3.5 times faster",
        "1.08x",
        "22 times as long",
    ],
)
def test_a_figure_typed_by_hand_is_found(words: str) -> None:
    assert measured_by_hand(f"It {words} here.")
    assert not measured_by_hand(f"<!-- t: f -->\nIt {words} here.\n<!-- end of t -->\n```\n{words}\n```\n    {words}\n")


def test_settings_are_not_taken_for_measurements() -> None:
    assert not measured_by_hand(
        "Trained at 256 points with strength 1e-2, 40 epochs (Eq. 13, arXiv:2510.04606), lr=3e-3."
    )
    together = " ".join(page_text(path) for path in TEXTS)
    assert [words for words in ALLOWED if words not in together] == []


def test_results_page_shows_the_result_files() -> None:
    text = results_docs.PAGE.read_text()
    assert results_docs.filled(text) == text, "run python -m benchmarks.results_docs"


def test_verdicts_follow_from_the_figures() -> None:
    assert results_docs.verdict([1.0, 2.0], [3.0, 4.0]) == "reproduced"
    assert results_docs.verdict([3.0, 4.0], [1.0, 2.0]) == "not reproduced: the other way round"
    assert results_docs.verdict([1.0, 3.0], [2.0, 4.0]) == "not distinguishable"


@pytest.mark.parametrize("path", PAGES_OF_DOCS, ids=lambda path: path.name)
def test_commands_on_the_pages_exist(path: Path) -> None:
    assert set(re.findall(r"^ {4}sciml-cf ([a-z]+)", path.read_text(), re.MULTILINE)) <= set(COMMANDS)


def commands(name: str, page: str) -> list[str]:
    (block,) = re.findall(rf"<!-- commands: {name} -->\n((?: {{4}}.*\n)+)", page)
    return [line.strip() for line in block.splitlines()]


def script(name: str, page: str) -> str:
    """The code of a file that a page has the reader write."""
    (code,) = re.findall(rf"<!-- file: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    return code


def test_the_tutorial_leads_from_two_arrays_to_a_transfer_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install, own = commands("install", TUTORIAL), re.findall(r"^ {4}(sciml-cf .*)$", TUTORIAL, re.MULTILINE)
    assert len(install) + len(own) <= 10
    makefile = (ROOT / "Makefile").read_text()
    assert install == ["make install", "source .venv/bin/activate"] and re.search(r"^install:", makefile, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(script("make_pair.py", TUTORIAL), {})
    for line in own:
        few = "--epochs 1 --width 8 --modes 4 --layers 2"  # the page's own settings take longer than a test may
        words = shlex.split(line.replace("--epochs 40", few))
        assert words[0] == "sciml-cf"
        try:
            main(words[1:])
        except SystemExit as stop:
            assert not stop.code, line
        if words[1] == "evaluate":
            shown = capsys.readouterr().out
            assert "mse native" in shown and "mse fourier to 256" in shown
            assert all(re.search(rf"^ +{n} ", shown, re.MULTILINE) for n in (32, 64, 128, 256))
    assert np.load("prediction.npy").shape == np.load("std.npy").shape == (3, 256)
    assert Path("mine/report/index.html").exists() and Path("mine.png").exists()


@pytest.mark.parametrize(("name", "file"), [("walls", None), ("open", "make_oscillator.py")])
def test_examples_that_are_not_periodic_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, file: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if file:
        exec(script(file, NOT_PERIODIC), {})
    small = {"samples": 12, "resolution": 16, "epochs": 1, "width": 4, "modes": 4}
    lines = commands(name, NOT_PERIODIC)
    assert 3 <= len(lines) <= 5
    for line in lines:
        words = shlex.split(re.sub(rf"--({'|'.join(small)}) \d+", lambda flag: f"--{flag[1]} {small[flag[1]]}", line))
        try:
            main(words[1:])
        except SystemExit as stop:
            assert not stop.code, line
        shown = capsys.readouterr().out
        assert words[1] != "evaluate" or "Relative L2 error" in shown
    settings = json.loads(Path(lines[2].split()[2], "run.json").read_text())
    assert settings["model"]["arguments"]["coordinates"] == "linear" and settings["normalization"]["target_scale"]
    if file:
        assert np.load("predicted.npy").shape == (300, 256)


def test_loop_without_a_grid_learns() -> None:
    found: dict = {}
    exec(script("scattered.py", NOT_PERIODIC), found)
    torch, model = found["torch"], found["model"].eval()
    points = torch.rand(4000, 3)
    values = 300 + 20 * torch.sin(4 * points[:, :1]) * points[:, 1:2] ** points[:, 2:]
    assert (model(points) - values).square().mean() < 0.05 * values.var()


def test_weights_of_a_run_need_the_stated_formula_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^(    import json, pathlib, torch\n(?:    .*\n)+)", NOT_PERIODIC, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    torch = pytest.importorskip("torch")
    items = [{"x": 5 + torch.randn(2, 16), "y": 300 + 20 * torch.randn(1, 16)} for _ in range(8)]
    model = FNOConfig(in_channels=2, width=4, modes=4, layers=1).build()
    fit(model, items, items, config=FitConfig(epochs=1, batch_size=4), out="run", progress=False)
    x = torch.stack([item["x"] for item in items])
    expected = model(x)
    plain = FNOConfig(in_channels=2, width=4, modes=4, layers=1).build(seed=7)
    found = {"model": plain, "x": x}
    exec(textwrap.dedent(code), found)
    torch.testing.assert_close(found["y"].float(), expected.float(), rtol=1e-4, atol=1e-2)


def test_reference_lists_the_lazy_names() -> None:
    assert {"fit", "Proximal", "strength_from_paper"} - set(public_names("sciml_cf")) == {"strength_from_paper"}
    assert "plot_dataset" in public_names("data_gen") and "strength_from_paper" in public_names("sciml_cf.head")
    assert {"data_gen", "sciml_cf", "sciml_cf.head"} <= set(PAGES)


#: Packages whose names are wiring of the command line, not something to import.
WIRING = {"sciml_cf.cli", "sciml_cf.studies"}


def packages_with_names(root: Path) -> set[str]:
    """Packages that list what can be imported from them."""
    paths = [path for name in ("data_gen", "sciml_cf") for path in (root / name).rglob("__init__.py")]
    return {
        ".".join(path.parent.relative_to(root).parts)
        for path in paths
        if re.search(r"^(__getattr__, __dir__, )?__all__\b", path.read_text(), re.MULTILINE)
    }


def test_every_public_name_is_in_the_reference() -> None:
    listed = [package for packages in PAGES.values() for package in packages]
    shown = [value for _, _, value in public_objects(listed)]
    assert any(value is estimators.ClosedFormClassifier for value in shown)
    missing = [
        f"{package}.{name}"
        for package in sorted(packages_with_names(ROOT) - WIRING)
        for name in public_names(package)
        if not any(getattr(import_module(package), name) is value for value in shown)
    ]
    assert missing == [], "add its package to PAGES in docsite/reference.py, or to WIRING"


def test_a_package_with_names_is_found(tmp_path: Path) -> None:
    for name, text in (("new", '__all__ = ["a"]\n'), ("plain", "")):
        (tmp_path / "sciml_cf" / name).mkdir(parents=True)
        (tmp_path / "sciml_cf" / name / "__init__.py").write_text(text)
    assert packages_with_names(tmp_path) == {"sciml_cf.new"}


def test_built_pages_are_searched_for_faults(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top"><a href="b.html#there">1</a><a href="#top">2</a><a href="b.html#gone">3</a><a href="c.html">4</a>'
        '<a href="https://example.org">5</a><img src="no.png"><script src="https://far/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="there">')
    (tmp_path / "s.css").write_text("@import url('https://fonts/x.css'); a { background: url(data:image/png;base64,) }")
    assert faults(tmp_path) == [
        "a.html: fetched from a network: https://far/x.js",
        "a.html: leads nowhere: b.html#gone",
        "a.html: leads nowhere: c.html",
        "a.html: leads nowhere: no.png",
        "s.css: fetched from a network: https://fonts/x.css",
    ]


def test_generator_is_pinned() -> None:
    pins = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in (ROOT / "constraints.txt").read_text().split()
    }
    assert {"sphinx", "myst-parser", "furo", "latex2mathml"} <= pins
    assert os.access(ROOT / ".ci" / "run", os.X_OK) and "make docs" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("module", [fourier_layer, large_data, well_loader], ids=lambda module: module.__name__)
def test_pages_with_one_sentence_show_their_result_file(module: Any) -> None:
    text = module.PAGE.read_text()
    assert module.filled(text) == text, f"run python -m {module.__name__}"
