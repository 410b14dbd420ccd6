"""Tables and figures of docs/theory.md, from benchmarks/results/theory.json.

That is the result of `sciml-cf study theory`.

python -m benchmarks.theory_docs            # fills the tables, draws docs/theory/*.png
python -m benchmarks.theory_docs --check    # says whether the page shows what the file holds
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import RESULTS, ROOT, between, fill_pages
from benchmarks.data_measured import table
from sciml_cf.plots.style import safe_colors
from sciml_cf.report.html import write_pictures
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.theory.page import pictures, tables

PAGE = ROOT / "docs" / "theory.md"
FIGURES = ROOT / "docs" / "theory"
RESULT = RESULTS / "theory.json"
Claim = tuple[str, str, str]


def filled(text: str) -> str:
    """The page with its tables made anew."""
    result = read_result(RESULT)
    for name, one in tables(result["figures"]).items():
        text = between(text, f"theory {name}", one.markdown())
    claims = table(("statement", "here", "numbers"), verdicts(result["figures"]))
    origin = f"`{result['command']}`, {result['machine']['cpu']}, {result['date']}."
    return between(text, "theory verdicts", f"{claims}\n\n{origin}")


def verdicts(figures: dict[str, Any]) -> list[Claim]:
    """What is stated, what came out, and the figures that say so."""
    held = [row for row in figures["gradients"] if row["holds"]]
    broken = [row for row in figures["gradients"] if not row["holds"]]
    points = {row["point"]: row for row in figures["critical"]}
    one, three = (next(row for row in figures["flows"] if (row["outputs"], row["side"]) == (number, "points"))
                  for number in (1, 3))  # fmt: skip
    nets = figures["wide"]
    penalised = [row for row in figures["penalty"] if row["penalty"] > 0]
    failing = [row for row in figures["assumption"] if row["least"] > 0]
    segment = figures["convexity"]
    return [
        ("Theorems 1, 2: the gradient with the head held is the whole gradient",
         _word(max(row["worst"] for row in held) < 1e-12),
         f"largest relative difference {max(row['worst'] for row in held):.1e}; at least "
         f"{min(row['least'] for row in broken):.1e} where the head is no minimiser of that loss"),
        ("Theorem 3: there are critical points that are no minima",
         _word(all(row["gradient"] < 1e-12 and row["along"] < row["loss"] - 1e-3 for row in
                   (points["all features zero"], points["features of one output of two"]))),
         f"at zero features the loss is that of no model, its maximum; with one output of two attained it is "
         f"{points['features of one output of two']['loss']:.2g} of that, and "
         f"{points['features of one output of two']['along']:.2g} a step further"),
        ("Theorem 3: the solved loss is not convex", _word(segment["above"] > 0 and segment["above_held"] == 0),
         f"the middle is above the mean of its end points on {segment['above']} of {segment['draws']} random segments; "
         f"with the head held on {segment['above_held']}"),
        ("Theorem 4, its proof: eigenvalues of Y* Y*^T never fall, one output", _word(one["falls"] == 0),
         f"{one['falls']} of {one['draws']} flows, largest fall {one['worst_fall']:.1e}"),
        ("the same, several outputs", _word(three["falls"] == 0),
         f"one falls in {three['falls']} of {three['draws']} flows with three outputs, by up to "
         f"{three['worst_fall']:.2g} of the targets' square; AB + BA is indefinite at the start of "
         f"{three['indefinite']}"),
        ("Theorem 4, its conclusion for beta = 0: the residual goes to zero",
         _word(max(row["worst_residual"] for row in (one, three)) < 1e-6),
         f"largest residual at the end {max(row['worst_residual'] for row in (one, three)):.1e}"),
        ("the same for networks of finite width", _word(max(row["worst_residual"] for row in nets) < 1e-5),
         f"largest residual {max(row['worst_residual'] for row in nets):.1e}, where the flow was stopped; an "
         f"eigenvalue fell in {sum(row['falls'] for row in nets if row['outputs'] > 1)} of "
         f"{sum(row['seeds'] for row in nets if row['outputs'] > 1)} networks with two outputs"),
        ("the same for beta > 0", _word(max(row["least_late"] for row in penalised) == 0),
         f"the residual is at least its bound at every time, {penalised[-1]['late']:.1e} at the end for "
         f"beta = {penalised[-1]['penalty']:g}; the features had grown {penalised[-1]['growth']:.1f} times"),
        ("the same where an assumption fails", _word(max(row["reached"] for row in failing) < 1e-5),
         "; ".join(f"{row['fails']}: {row['reached']:.2g}" for row in failing)),
        ("appendix A: the filter with its covariance collapsed is the proximal rule",
         _word(max(row["distance"] for row in figures["kalman"] if row["holds"]) < 1e-9),
         f"largest relative difference {max(row['distance'] for row in figures['kalman'] if row['holds']):.1e}"),
    ]  # fmt: skip


def _word(yes: bool) -> str:
    return "holds" if yes else "does not hold"


def main() -> None:
    fill_pages({PAGE: filled})
    FIGURES.mkdir(exist_ok=True)
    with safe_colors():
        write_pictures(pictures(read_result(RESULT)["figures"]), FIGURES)


if __name__ == "__main__":
    main()
