"""Put the tables of equations and initial conditions into docs/data.md, from the code itself.

python -m benchmarks.data_docs            # fills the tables
python -m benchmarks.data_docs --check    # says whether they show what the code holds
"""

from __future__ import annotations

import math
import sys
from typing import Any

from benchmarks.readme import ROOT, _between
from data_gen.equations import Equation, equation_named, equation_names, equation_parameters
from data_gen.random_fields import INITIAL_CONDITIONS, law_defaults
from data_gen.schemes import SCHEMES
from data_gen.spec import DatasetSpec

PAGE = ROOT / "docs" / "data.md"


def filled(text: str) -> str:
    """The page with both tables made anew."""
    return _between(_between(text, "equations", equation_table()), "initial conditions", initial_table())


def equation_table() -> str:
    """A row an equation: its law, and what a dataset of it usually is."""
    rows = []
    for name in equation_names():
        needed = {p.name: 1.0 for p in equation_parameters(name) if p.default is None}
        equation = equation_named(name)(**needed)
        domain = " x ".join([_number(equation.extent)] * equation.num_dims)
        time = "steady" if equation.steady else f"{equation.time:g}"
        start = _words(equation.initial_condition, equation.initial_parameters)
        law = f"`{equation.formula}`"
        method = DatasetSpec(equation=name, parameters=equation.parameters).method if equation.nonlinear else ""
        way = f"`{method}` to {equation.tolerance:g}" if method in SCHEMES else "exact"
        words = _words("", equation.parameters)
        rows.append((f"`{name}`", law, words, domain, time, start, way, _truth(equation)))
    columns = ("equation", "law", "parameters", "domain", "time", "starts from", "solved by", "truth")
    return _table(columns, rows)


def initial_table() -> str:
    """A row an initial condition, with its parameters."""
    rows = []
    for name, (draw, _) in INITIAL_CONDITIONS.items():
        first = (draw.__doc__ or "").splitlines()[0]
        rows.append((f"`{name}`", first, _words("", law_defaults(draw))))
    for name in equation_names():
        for known, solution in equation_named(name)().known.items():
            rows.append(
                (f"`{known}`", f"Of {name} alone; the solution is known.", _words("", law_defaults(solution.fields)))
            )
    return _table(("initial condition", "what it is", "parameters"), rows)


def _truth(equation: Equation) -> str:
    if equation.exact is not None:
        return "exact"
    known = ", ".join(f"`{name}`" for name in equation.known)
    return f"exact from {known}, else self-convergence" if known else "self-convergence"


def _number(value: float) -> str:
    turns = value / math.pi
    if abs(turns - round(turns)) < 1e-12 and round(turns):
        return f"{round(turns)} pi"
    return f"{value:g}"


def _words(name: str, values: Any) -> str:
    words = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]
    return " ".join(word for word in (name, *words) if word) or "-"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    text = PAGE.read_text()
    if "--check" in sys.argv:
        raise SystemExit(0 if filled(text) == text else f"{PAGE.relative_to(ROOT)} is not up to date")
    PAGE.write_text(filled(text))


if __name__ == "__main__":
    main()
