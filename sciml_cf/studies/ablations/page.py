"""The page of the benchmark ablations: the effect of each choice on a closed-form head."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.ablations.figures import curve_figure, dependence_figure, finals, sweep_figure
from sciml_cf.studies.harness.intervals import mean_interval

Cells = Mapping[str, dict[str, Any]]
_PROXIMAL = "proximal"
_RULES = ("ridge", _PROXIMAL, "kalman")
_TITLES = {
    "bias": ("Bias of the head", "Proximal heads with a bias and without"),
    "initial": ("Initial head", "Proximal heads from different initial ones"),
    "optimizer": ("Optimizer of the backbone", "Proximal heads with SGD and with Adam for the backbone"),
}
_BAND = "A line is the mean over seeds, a band Student's 95 % interval."


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    figures, config = result["figures"], result["config"]
    marks = ", ".join(map(str, config["marks"]))
    introduction = [
        f"The task is {config['task']}: a perceptron, squared errors against one-hot targets, {config['iterations']} "
        f"iterations. Each setting, algorithm and batch size chose among {config['candidates']} candidates (rate, and "
        f"strength where the rule has one) by the mean validation accuracy at iterations {marks} with seed 0; seeds "
        f"{result['seeds']} report on the test part. A choice at the edge of what was tried is marked *.",
        "A strength is on the mean over the rows of a batch; the paper's lambda and beta are on its sum: "
        "lambda = batch size x strength. The heads start from zeros, have a bias, and the backbone is moved by SGD "
        "with Nesterov momentum 0.9 at a constant rate, where nothing else is said. A run that diverged counts as a "
        "guess from then on.",
    ]
    parts: list[Table | Picture] = []
    if "design" in figures:
        for question in config["questions"]:
            parts += _design(figures["design"], config, question)
        parts += [difference_table(figures["design"], config, mark) for mark in (None, config["marks"][-1])]
    if "methods" in figures:
        parts += _methods(figures["methods"], config)
    if "strength" in figures or "methods" in figures:
        parts += _dependence(figures.get("strength", {}), figures.get("methods", {}), config)
    if "rate" in figures:
        words = f"Accuracy after the last iteration at other rates, at the strength chosen. {_BAND}"
        drawn = sweep_figure(_by_algorithm(figures["rate"]), config["classes"], "learning rate")
        parts += [Picture("ablation-rates", drawn, words), sweep_table(figures["rate"], config, "rate")]
    return "Ablations of the closed-form head", introduction, parts


def _design(cells: Cells, config: dict[str, Any], question: str) -> list[Table | Picture]:
    title, words = _TITLES[question]
    settings = config["questions"][question]
    lines: dict[str, dict[int, dict[str, Any]]] = {}
    for algorithm in (1, 2):
        row = lines.setdefault(f"Alg. {algorithm}", {})
        for size in config["batch_sizes"]:
            row[size] = {name: cells[f"{arm}, Alg. {algorithm}, {size}"] for name, arm in settings.items()}
    caption = f"{words}, each at its own best settings: test accuracy against iteration. {_BAND}"
    table = cell_table(
        title,
        [(name, cell) for row in lines.values() for found in row.values() for name, cell in found.items()],
        config,
    )
    return [Picture(f"ablation-{question}", curve_figure(lines, config["classes"]), caption), table]


def _methods(cells: Cells, config: dict[str, Any]) -> list[Table | Picture]:
    lines = _by_algorithm(cells)
    both = {
        "": {
            size: {f"Algorithm {row[-1]}": found[size][_PROXIMAL] for row, found in lines.items()}
            for size in config["batch_sizes"]
        }
    }
    methods, algorithms = (curve_figure(drawn, config["classes"]) for drawn in (lines, both))
    return [
        Picture("ablation-methods", methods, f"Test accuracy of each method at its own best settings. {_BAND}"),
        Picture("ablation-algorithms", algorithms, f"Proximal heads by Algorithm 1 and by Algorithm 2. {_BAND}"),
        cell_table("Methods", [(cell["arm"], cell) for cell in cells.values()], config),
        algorithm_table(cells, config),
    ]


def algorithm_table(cells: Cells, config: dict[str, Any]) -> Table:
    """Accuracy of Algorithm 1 less that of Algorithm 2, rule by rule."""
    rows = [
        (size, *_difference(cells, config, size, mark))
        for size in config["batch_sizes"]
        for mark in (None, config["marks"][-1])
    ]
    columns = ("batch", "of the", *_RULES)
    return Table("Algorithm 1 less Algorithm 2, same seeds, 95 % intervals", columns, tuple(rows))


def _difference(cells: Cells, config: dict[str, Any], size: int, mark: int | None) -> tuple[str, ...]:
    """What it is of, and for each rule Algorithm 1 less Algorithm 2."""
    pairs = [[cells[f"{rule}, Alg. {n}, {size}"] for n in (1, 2)] for rule in _RULES]
    return _of(mark), *(told(paired(one, two, config, mark)) for one, two in pairs)


def _dependence(sweeps: Cells, methods: Cells, config: dict[str, Any]) -> list[Table | Picture]:
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for cell in sweeps.values():
        by_rule.setdefault(cell["arm"], []).append(cell)
    parts: list[Table | Picture] = []
    drawn = dependence_figure(by_rule, best_rates(methods), config["classes"])
    words = (
        f"Accuracy after the last iteration against the strength, at the rate chosen. {_BAND} On the right the best "
        "rates; those lines are moved apart a little."
    )
    parts.append(Picture("ablation-dependence", drawn, words))
    if sweeps:
        parts.append(sweep_table(sweeps, config, "strength"))
    if methods:
        parts.append(rate_table(methods, config))
    return parts


def rate_table(methods: Cells, config: dict[str, Any]) -> Table:
    """The rate that each method chose at each batch size."""
    sizes, edges = config["batch_sizes"], {name for name, c in methods.items() if _at_edge(c, "learning_rate")}
    rows = tuple(
        (
            name,
            *(f"{rates[n]:g}{'*' if f'{name}, {n}' in edges else ''}" if n in rates else "-" for n in sizes),
        )
        for name, rates in best_rates(methods).items()
    )
    return Table("The best learning rate of those tried", ("method", *(f"batch {size}" for size in sizes)), rows)


def _at_edge(cell: dict[str, Any], name: str) -> bool:
    return name in cell["chosen"].get("at_edge", ())


def best_rates(methods: Cells) -> dict[str, dict[int, float]]:
    """For each method and algorithm the rate chosen at each batch size."""
    found: dict[str, dict[int, float]] = {}
    for name, cell in methods.items():
        if "learning_rate" in cell["chosen"]:
            found.setdefault(name.rpartition(", ")[0], {})[cell["batch_size"]] = cell["chosen"]["learning_rate"]
    return found


def _by_algorithm(cells: Cells) -> dict[str, dict[int, dict[str, Any]]]:
    """Cells as lines, those of gradient descent with either algorithm."""
    sizes = sorted({cell["batch_size"] for cell in cells.values()})
    lines: dict[str, dict[int, dict[str, Any]]] = {f"Alg. {n}": {size: {} for size in sizes} for n in (1, 2)}
    for name, cell in cells.items():
        for row in lines:
            if "Alg." not in name or row in name:
                lines[row][cell["batch_size"]][cell["arm"]] = cell
    return lines


def cell_table(title: str, cells: Sequence[tuple[str, dict[str, Any]]], config: dict[str, Any]) -> Table:
    """What each cell chose, its mean test accuracy at the milestones, and the mean of those."""
    rows = []
    for name, cell in cells:
        at = [statistics.fmean(at_mark(cell, config, mark)) for mark in config["marks"]] if cell["runs"] else []
        means = [f"{value:.3f}" for value in (*at, statistics.fmean(at))] if at else ["-"] * (len(config["marks"]) + 1)
        lost = sum("diverged" in run for run in cell["runs"])
        algorithm = "-" if cell["method"] in ("l2", "cross-entropy") else cell["algorithm"]
        rows.append((name, algorithm, cell["batch_size"], *_chosen(cell["chosen"]), *means, lost))
    columns = ("setting", "algorithm", "batch", "rate", "strength", *(f"at {mark}" for mark in config["marks"]))
    return Table(f"{title}: mean test accuracy", (*columns, "mean", "diverged"), tuple(rows))


def difference_table(cells: Cells, config: dict[str, Any], mark: int | None) -> Table:
    """Accuracy of each setting less that of the first of its question, with the same seeds; first its own value.

    Args:
        cells: cells of a result.
        config: configuration of a result.
        mark: the iteration, or None for the mean over the milestones.
    """
    places = [(algorithm, size) for algorithm in (1, 2) for size in config["batch_sizes"]]
    first = [cells[f"{_PROXIMAL}, Alg. {algorithm}, {size}"] for algorithm, size in places]
    rows = [("zeros, a bias, sgd", *(f"{statistics.fmean(at_mark(cell, config, mark)):.3f}" for cell in first))]
    for settings in config["questions"].values():
        for name, arm in list(settings.items())[1:]:
            others = [cells[f"{arm}, Alg. {algorithm}, {size}"] for algorithm, size in places]
            gaps = (told(paired(cell, one, config, mark)) for cell, one in zip(others, first, strict=True))
            rows.append((name, *gaps))
    columns = ("setting", *(f"Alg. {algorithm}, {size}" for algorithm, size in places))
    return Table(f"What each setting adds to the {_of(mark)}, 95 % intervals", columns, tuple(rows))


def sweep_table(cells: Cells, config: dict[str, Any], what: str) -> Table:
    """Mean accuracy after the last iteration at each value, and how many runs were lost."""
    other = {"strength": 0, "rate": 1}[what]
    rows = []
    for cell in cells.values():
        means = finals(cell, config["classes"]).mean(1)
        lost = [sum("diverged" in run for run in runs) for runs in cell["runs"]]
        words = [f"{mean:.3f}" + (f" ({n} lost)" if n else "") for mean, n in zip(means, lost, strict=True)]
        algorithm = "-" if cell["method"] in ("l2", "cross-entropy") else cell["algorithm"]
        rows.append((cell["arm"], algorithm, cell["batch_size"], _chosen(cell["chosen"])[other], *words))
    values = [f"{value:g}" for value in (next(iter(cells.values()))["values"] if cells else ())]
    columns = ("method", "algorithm", "batch", "at rate" if what == "strength" else "at strength")
    title = f"Accuracy after the last iteration by {what}"
    return Table(title, (*columns, *values), tuple(rows))


def at_mark(cell: dict[str, Any], config: dict[str, Any], mark: int | None) -> list[float]:
    """Accuracy of each run at a milestone, or the mean over the milestones; that of a guess once a run has diverged."""
    marks = config["marks"] if mark is None else [mark]
    guess = 1 / config["classes"]
    return [
        statistics.fmean(
            run["accuracy"][run["iteration"].index(at)] if at in run["iteration"] else guess for at in marks
        )
        for run in cell["runs"]
    ]


def paired(one: dict[str, Any], two: dict[str, Any], config: dict[str, Any], mark: int | None) -> list[float]:
    """Accuracy of each run of ``one`` less that of ``two`` with the same seed: same backbone at first, same batches."""
    theirs = dict(zip((run["seed"] for run in two["runs"]), at_mark(two, config, mark), strict=True))
    pairs = zip((run["seed"] for run in one["runs"]), at_mark(one, config, mark), strict=True)
    return [value - theirs[seed] for seed, value in pairs if seed in theirs]


def told(differences: Sequence[float]) -> str:
    """A mean difference and the half-width of its interval."""
    if not differences:
        return "-"
    found = mean_interval(differences)
    return f"{found.mean:+.3f}" + (f" -+ {found.high - found.mean:.3f}" if len(differences) > 1 else "")


def _of(mark: int | None) -> str:
    return "mean accuracy over the iterations" if mark is None else f"accuracy at iteration {mark}"


def _chosen(chosen: dict[str, Any]) -> tuple[str, str]:
    def told_of(name: str) -> str:
        value = chosen.get(name)
        return "-" if value is None else f"{value:g}{'*' if name in chosen.get('at_edge', ()) else ''}"

    return told_of("learning_rate"), told_of("strength")
