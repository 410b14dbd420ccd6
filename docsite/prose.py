"""The prose of the guide: words per page, words of a private dialect, and terms that lack their link.

python -m docsite.prose            # words of every page, and in all
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
GENERATED = re.compile(r"<!-- ([\w -]+): [^\n]*-->\n.*?<!-- end of \1 -->", re.DOTALL)
_CODE = re.compile(r"```.*?```", re.DOTALL)
_INDENTED = re.compile(r"^ {4,}\S.*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
#: Words that a reader outside of this project does not know, or that have a standard term -> the standard term.
HABITS = {
    r"\b(?:tell|tells|told|telling)\b(?: \w+)? apart\b": "distinguishable",
    r"\btold\b|\btells\b": "says, reports, given",
    r"\bforet(?:ell|old)": "predict",
    r"\bmend(?:s|ed|ing)?\b": "repair",
    r"\bholds? (?:just )?one\b|\bjust holds\b": "includes 1",
    r"\bbeside\b": "next to, compared with, and",
    r"\b(?:both|two|periodic|the) ends\b|\bends are not periodic\b": "boundaries",
    r"\btwins?\b": "baseline",
    r"\barms?\b": "method, configuration",
    r"\bmarks?\b": "threshold, iteration",
    r"\bas it is\b(?! asked)": "unchanged",
    r"\bof ours\b": "our",
    r"\bso-manieth\b": "k-th",
    r"\bstands?\b": "is",
    r"\bworks? much\b": "is expensive",
    r"\bsooner done\b|\btimes sooner\b": "faster",
    r"\bfigures? of (?:the head|history|the dict)\b|\bcheap figures\b|\bThe figures\b": "metrics",
    r"\bone's own\b": "your own",
}

#: Those of them that have no other meaning in docstrings, comments and messages: an array has ends, a curve has marks.
CODE_HABITS = {
    **{
        pattern: instead
        for pattern, instead in HABITS.items()
        if not re.search("holds|ends|mark|as it is|stands|figures", pattern)
    },
    r"\b(?:periodic ends|ends are (?:not )?periodic)\b": "boundaries",
    r"(?<!far )(?<!soon )\bas it is\b(?! (?:asked|to|for))": "unchanged",
    r"\bstands? (?:alone|apart|beside|at|before)\b": "is",
}


def prose(text: str) -> str:
    """A page without what scripts filled, code, commands and comments."""
    for pattern in (GENERATED, _CODE, _COMMENT, _INDENTED):
        text = pattern.sub("", text)
    return text


def words(text: str) -> int:
    """Words of the prose of a page: whatever white space separates, rows of hand-written tables too."""
    return sum(1 for word in prose(text).split() if re.search(r"\w", word))


def habits(text: str) -> list[str]:
    """Each use of a word of ``HABITS`` outside of code, with its surroundings and the standard term."""
    for pattern in (_CODE, _COMMENT, _INDENTED):
        text = pattern.sub("", text)
    text = re.sub(r"`[^`\n]*`|\$[^$\n]*\$", "``", text)
    return [
        f"{' '.join(text[max(0, match.start() - 40) : match.end() + 20].split())} -> {instead}"
        for pattern, instead in HABITS.items()
        for match in re.finditer(pattern, text)
    ]


def code_habits(source: str) -> list[str]:
    """Each use of a word of ``CODE_HABITS`` in the docstrings, comments and messages of a module, with its line."""
    found = []
    for line, text in sorted(set(_code_texts(source))):
        plain = re.sub(r"``.*?``|`[^`]*`", "``", text, flags=re.DOTALL)
        plain = re.sub(r"^\s*(?:- )?\w+(?:, \w+)*: ", "", plain, flags=re.MULTILINE)  # the names of entries
        for pattern, instead in CODE_HABITS.items():
            for match in re.finditer(pattern, plain):
                words = " ".join(plain[max(0, match.start() - 40) : match.end() + 20].split())
                found.append(f"{line}: {words} -> {instead}")
    return found


def _code_texts(source: str) -> Iterator[tuple[int, str]]:
    """Comments, docstrings, and strings of at least three words, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    nodes = list(ast.walk(ast.parse(source)))
    joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in joined for part in node.values}
    for node in nodes:
        value = node.value if isinstance(node, ast.Constant) and id(node) not in parts else None
        if isinstance(value, str) and len(value.split()) > 2:
            yield node.lineno, value
    for node in joined:
        texts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
        yield node.lineno, "".join(map(str, texts))


def long_sentences(text: str, most: int = 25) -> list[str]:
    """The sentences of a page's running text that have more than ``most`` words; code and formulas count as one."""
    running = re.sub(r"\$\$.*?\$\$", "\n\n", _running(text), flags=re.DOTALL)
    running = re.sub(r"`[^`\n]*`|\$[^$\n]*\$", "code", running)
    running = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", running)
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:-|\d+\.) )", running)
    sentences = [one for part in paragraphs for one in re.split(r"(?<=[.!?:;])\s+", " ".join(part.split()))]
    return [one for one in sentences if sum(1 for word in one.split() if re.search(r"\w", word)) > most]


def long_tables(text: str, most: int = 12) -> list[str]:
    """The first rows of the tables of a page, generated ones too, that have more than ``most`` rows."""
    tables = re.findall(r"(?:^\|.*\n)+", _CODE.sub("", text), re.MULTILINE)
    return [table.splitlines()[0] for table in tables if len(table.splitlines()) > most + 2]


def _running(text: str) -> str:
    return re.sub(r"^(?:#|\|).*$", "\n", prose(text), flags=re.MULTILINE)


def terms(glossary: str) -> dict[str, str]:
    """The terms of the glossary, which are its headings of the second level, and their anchors."""
    return {term: term.lower().replace(" ", "-") for term in re.findall(r"^## (.+)$", glossary, re.MULTILINE)}


def unlinked(text: str, glossary: str) -> list[str]:
    """The terms whose first use in a page's running text is no link to the glossary.

    Running text is prose without headings and tables.
    """
    running = re.sub(r"`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", _running(text), flags=re.DOTALL)
    found = []
    for term, anchor in terms(glossary).items():
        plain = re.sub(r"\[[^\]]*\]\([^)]*\)", lambda link: " " * len(link[0]), running)
        use = re.search(rf"\b{term}s?\b", plain, re.IGNORECASE)
        link = running.find(f"](glossary.md#{anchor})")
        if use and (link < 0 or use.start() < link):
            found.append(f"{term}: {' '.join(running[max(0, use.start() - 30) : use.end() + 10].split())}")
    return found


def main() -> None:
    from docsite.staging import NAVIGATION

    reference, total = NAVIGATION["Reference"], 0
    for path in sorted(DOCS.glob("*.md")):
        count = words(path.read_text())
        counted = path.stem not in reference
        total += count * counted
        print(f"{count:6d} {path.name}{'' if counted else ' (reference, not counted)'}")
    print(f"{total:6d} in all")


if __name__ == "__main__":
    main()
