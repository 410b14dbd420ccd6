"""The prose of the guide: few words, of the field, each term linked to the glossary where a page first uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from docsite.notebooks import notebooks, page_text
from docsite.prose import GENERATED, code_habits, habits, long_sentences, long_tables, unlinked, words
from docsite.staging import NAVIGATION

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*PAGES, *notebooks()]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
#: Words of all pages but the reference and the notebooks. A page may grow where another shrinks.
MOST_WORDS = 14_330


def test_the_guide_stays_short() -> None:
    counted = {path.name: words(path.read_text()) for path in PAGES if path.stem not in NAVIGATION["Reference"]}
    total = sum(counted.values())
    assert total <= MOST_WORDS, f"{total} words; python -m docsite.prose lists them by page"


def test_only_prose_is_counted() -> None:
    text = "# A title\n\nFour words - in all.\n\n    a command\n\n```\ncode\n```\n<!-- note -->\n"
    assert words(text) == 6
    assert words(text + "<!-- rows: made by x -->\n| a |\n<!-- end of rows -->\n") == 6


@pytest.mark.parametrize("name", [*(f"docs/{path.name}" for path in TEXTS), "README.md", "CONVENTIONS.md"])
def test_pages_use_the_terms_of_the_field(name: str) -> None:
    assert habits(page_text(ROOT / name)) == []


@pytest.mark.parametrize(
    "text",
    [
        "The two are not told apart.",
        "It tells the one from the other.",
        "the one that foretold the batches",
        "a tenth of its l2 twin's error",
        "the interval just holds one",
        "measured beside neuraloperator",
        "over the marks",
        "every arm chose",
        "as many ends are not periodic",
        "data of ours",
        "the verdict stands",
        "is sooner done",
    ],
)
def test_a_private_word_is_found(text: str) -> None:
    assert habits(text)
    assert not habits(f"```\n{text}\n```\n    {text}\n")


@pytest.mark.parametrize("package", ["data_gen", "sciml_cf"])
def test_code_uses_the_terms_of_the_field(package: str) -> None:
    found = {str(path.relative_to(ROOT)): code_habits(path.read_text()) for path in (ROOT / package).rglob("*.py")}
    assert {path: uses for path, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    "source",
    [
        '"""The best arm of a study."""',
        "x = 1  # written beside the file",
        'raise ValueError("f: `x` must be told")',
        'raise ValueError(f"f: `x` must stay as it is; got {x}.")',
    ],
)
def test_a_private_word_in_code_is_found(source: str) -> None:
    assert len(code_habits(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "beside = arms.told",
        '"""Args:\n    arms: methods.\n"""',
        "# as far as it is known",
        'd["one arm"] = "`told` it"',
    ],
)
def test_names_and_other_meanings_in_code_pass(source: str) -> None:
    assert code_habits(source) == []


@pytest.mark.parametrize("text", ["The run ends.", "a page with figures", "an alarm, a market", "Markdown"])
def test_honest_words_pass(text: str) -> None:
    assert habits(text) == []


@pytest.mark.parametrize("path", [path for path in TEXTS if path.name != "glossary.md"], ids=lambda path: path.name)
def test_terms_are_linked_where_a_page_first_uses_them(path: Path) -> None:
    assert unlinked(page_text(path), GLOSSARY) == []


def test_a_term_without_its_link_is_found() -> None:
    linked = "# Head\n\nA [head](glossary.md#head) is `head`. The head moves.\n"
    assert unlinked(linked, "# Glossary\n\n## Head\n") == []
    assert unlinked("Heads first.\n" + linked, "# Glossary\n\n## Head\n") == ["Head: Heads first."]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_sentences_are_short(path: Path) -> None:
    assert long_sentences(page_text(path)) == []


def test_a_long_sentence_is_found() -> None:
    long = " ".join(["word"] * 26) + "."
    assert long_sentences(f"- Short one. {long}\n\n| {long} |\n") == [long]


@pytest.mark.parametrize("page", [page for page in NAVIGATION["How-to"] if page != "examples"])
def test_tables_of_how_to_pages_are_short(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert long_tables(text) == [], "move it to the results or the reference"
    assert long_tables("| a |\n| - |\n" + "| 1 |\n" * 13) == ["| a |"]


def test_what_scripts_fill_is_recognized() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    assert len(GENERATED.findall(text)) == text.count("<!-- end of ")
