"""Contents of docs/equations.md from the code, and of docs/results_data.md from the result files.

python -m benchmarks.data_docs            # fills the tables
python -m benchmarks.data_docs --check    # says whether they show what the code and the files hold
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common import ROOT, between, fill_pages
from benchmarks.data_measured import measured, table
from data_gen.equation import Equation
from data_gen.equations import equation_named, equation_names, equation_parameters
from data_gen.random_fields import INITIAL_CONDITIONS, law_defaults
from data_gen.solvers.schemes import SCHEMES
from data_gen.spec import DatasetSpec

PAGE = ROOT / "docs" / "equations.md"
MEASURED = ROOT / "docs" / "results_data.md"


def filled(text: str) -> str:
    """A page with its tables made anew."""
    text = between(text, "equations", equation_table())
    text = between(text, "initial conditions", initial_table())
    return between(text, "measured", measured())


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
    return table(columns, rows)


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
    return table(("initial condition", "what it is", "parameters"), rows)


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


def main() -> None:
    fill_pages({PAGE: filled, MEASURED: filled})


if __name__ == "__main__":
    main()
