"""The shape of both packages: files that can be read in one go, and functions that branch little."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("data_gen", "sciml_cf")
MOST_LINES = 400
MOST_BRANCHES = 18
#: At most one function in a hundred has more.
USUAL_BRANCHES = 12
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def decisions(node: ast.AST) -> int:
    """Branches that a node adds by itself."""
    if isinstance(node, ast.Try):
        return len(node.handlers) + bool(node.orelse)
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.For | ast.AsyncFor | ast.While):
        return 1 + bool(node.orelse)
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.Match):
        return sum(not isinstance(case.pattern, ast.MatchAs) or case.pattern.pattern is not None for case in node.cases)
    return int(isinstance(node, ast.If | ast.IfExp | ast.Assert))


def branches(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Cyclomatic complexity of a function: one more than its decisions. A function inside it is counted by itself.

    References:
        McCabe (1976), IEEE Trans. Softw. Eng. SE-2, 308-320.
    """
    count, left = 1, list[ast.AST](function.body)
    while left:
        node = left.pop()
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            count += decisions(node)
            left += ast.iter_child_nodes(node)
    return count


def functions(package: str) -> dict[str, int]:
    """The branches of each function of a package, by its place and name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, _FUNCTIONS):
                found[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = branches(node)
    return found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("return 1", 1),
        ("if a and b or c: return 1\nelif d: return 2\nelse: return 3", 5),
        ("for x in y:\n  while x: pass\nelse: pass", 4),
        ("try: pass\nexcept A: pass\nexcept B: pass\nelse: pass\nfinally: pass", 4),
        ("return [x if x else y for x in z if x for y in x if y if z]", 7),
        ("match a:\n  case 1: pass\n  case 2: pass\n  case _: pass", 3),
        ("def inner():\n  if a: pass\nassert lambda: a or b", 3),
    ],
)
def test_branches_are_counted(code: str, count: int) -> None:
    indented = code.replace("\n", "\n  ")
    (function,) = ast.parse(f"def f():\n  {indented}").body
    assert isinstance(function, ast.FunctionDef) and branches(function) == count


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_long(package: str) -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in (ROOT / package).rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_branches_much(package: str) -> None:
    assert {name: count for name, count in functions(package).items() if count > MOST_BRANCHES} == {}


def test_functions_seldom_branch_much() -> None:
    counts = {name: count for package in PACKAGES for name, count in functions(package).items()}
    more = sorted((count, name) for name, count in counts.items() if count > USUAL_BRANCHES)
    assert len(more) <= math.floor(0.01 * len(counts)), more
