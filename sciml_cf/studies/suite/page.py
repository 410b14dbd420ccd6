"""The page of the suite: what the closed-form head gains or loses on each problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.intervals import ratio_cells
from sciml_cf.studies.harness.selection import edge_sentence
from sciml_cf.studies.suite.figures import curve_figure, ratio_figure, scatter_figure
from sciml_cf.studies.suite.sentences import headline, of_changes
from sciml_cf.studies.suite.summary import Change, Comparison, changes, comparisons, labels, parted

_METHODS = ("gradients", "closed")
_SMALL = (
    "Small preset: few samples, small models, short trainings. It shows what the study does, and does not say how good "
    "the head is; the full preset does."
)
_LSM, _TRANSOLVER = "arXiv:2301.12664", "arXiv:2402.02366"  # comparisons on 85 x 85 nodes, 1000 samples, 500 epochs
# By problem: method, mean relative L2 error and source.
PUBLISHED_ERRORS: dict[str, tuple[tuple[str, float, str], ...]] = {
    "darcy-85": (
        ("DeepONet", 0.0588, _LSM),
        ("U-NO", 0.0113, _LSM),
        ("Fourier neural operator, 500 epochs", 0.0108, "arXiv:2010.08895, 85 x 85, 1000 samples"),
        ("Galerkin transformer", 0.0084, f"{_TRANSOLVER}; 0.0170 in {_LSM}"),
        ("Multiwavelets", 0.0082, _LSM),
        ("U-Net", 0.0080, _LSM),
        ("Factorized FNO", 0.0077, _LSM),
        ("Latent spectral model", 0.0065, _LSM),
        ("Transolver", 0.0057, _TRANSOLVER),
    ),
}
RATIO_CAPTION = (
    "Test errors over those of gradients, same seeds, with 95 % intervals, pale where they include 1; left of the line "
    "is better. Problems are sorted by the ratio of the closed-form head."
)


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    found = comparisons(result)
    usual, _ = parted(found)
    parts: list[Table | Picture] = [Picture("suite-ratios", ratio_figure(usual), RATIO_CAPTION), error_table(usual)]
    scatter = scatter_figure(found)
    if scatter is not None:
        words = "The ratio of test errors against the training samples per feature of the last layer, and against the "
        words += "share of a batch's loss that a solve takes away in the last epoch."
        parts.append(Picture("suite-scatter", scatter, words))
    parts += [detail_table(found)]
    parts += further_tables(result)
    words = "Mean squared error on the validation samples against processor seconds; means over seeds are geometric."
    parts.append(Picture("suite-curves", curve_figure(usual), words))
    return "How good is the closed-form head?", [*verdict(result), *settings(result)], parts


def verdict(result: dict[str, Any]) -> list[str]:
    """What came out, in paragraphs; of the small preset that it says little."""
    small = [_SMALL] if result["config"]["preset"] == "small" else []
    return [*small, *headline(comparisons(result)), *of_changes(changes(result))]


def settings(result: dict[str, Any]) -> list[str]:
    """How it was measured, in paragraphs."""
    config, found = result["config"], comparisons(result)
    given = "".join(f", {name} {value}" for name, value in config.get("fit", {}).items())
    rates = ", ".join(f"{rate:g}" for rate in config["rates"])
    sizes = {tuple(size.items()): size for size in config["sizes"].values()}
    of_models = "; ".join(
        f"{size['resolution']} points along each axis, width {size['width']}, {size['modes']} modes, {size['layers']} "
        f"layers, batches of {size['batch_size']}, {size['epochs']} epochs{given}"
        for size in sizes.values()
    )
    samples = ", ".join(str(count) for count in sorted({one.case[1] for one in found}))
    held = config["held_out"]
    parts = f", {held[0]} validation and {held[1]} test samples" if held else f" samples of {config['file']}"
    return [
        f"{samples} training{parts}. Each method chose its rate among {rates} on the validation samples with seed 0, "
        f"in {config['share']:.0%} of the epochs; seeds {result['seeds']} report the last weights. Sizes: {of_models}.",
        "Re-fit: the model trained by gradients after its last layer is fitted to all training samples, with the "
        "strength chosen by cross-validation. Linear map: the best affine map of the fields.",
        *edge_sentence([cell for one in found for cell in (one.gradients, one.closed) if cell]),
    ]


def error_table(
    found: Sequence[Comparison],
    title: str = "Relative L2 errors on test samples",
    among: Sequence[Comparison] | None = None,
) -> Table:
    """One row a problem: relative L2 errors, their ratio and its verdict; names tell these from those among them."""
    rows = []
    for one, label in zip(found, labels(found, among), strict=True):
        linear = "-" if one.linear is None else one.linear["relative_l2"]
        errors = [one.mean_error(which) for which in ("gradients", "re-fit", "closed")]
        rows.append((label, *errors, *_ratio(one, "closed", "gradients"), linear))
    columns = (
        "problem",
        "gradients",
        "re-fit",
        "closed form",
        "closed form / gradients",
        "closed form is",
        "linear map",
    )
    return Table(title, columns, tuple(rows))


def detail_table(found: Sequence[Comparison]) -> Table:
    """One row a problem: other ratios of errors, the time until gradients are reached, and what the solve does."""
    rows = []
    for one, label in zip(found, labels(found), strict=True):
        missing = "never" if one.seconds("closed") and one.seconds("gradients") else None
        rates = " / ".join(
            f"{cell.get('chosen', {}).get('learning_rate', '-')}" for cell in (one.gradients, one.closed)
        )
        rows.append(
            (
                label,
                *_ratio(one, "closed", "re-fit"),
                _ratio(one, "closed re-fit", "closed")[0],
                *(_ratio(one, "closed", "gradients", metric)[0] for metric in ("vrmse", "relative_h1")),
                *map(_or_dash, one.until_gradients() or (missing, missing)),
                _or_dash(one.cost()),
                *(_or_dash(one.mean_of(key)) for key in ("explained", "rows_per_feature", "samples_per_feature")),
                *(_or_dash(one.over_training(which)) for which in ("gradients", "closed")),
                rates,
            )
        )
    columns = (
        "problem", "closed form / re-fit", "closed form is", "closed form re-fitted / closed form", "ratio of VRMSE",
        "ratio of H1 errors", "epochs until gradients' error, share", "seconds until it, share", "ratio of seconds",
        "share explained by the solve", "rows per feature", "samples per feature",
        "test / training error, gradients", "test / training error, closed form", "rates (gradients / closed form)",
    )  # fmt: skip
    return Table("Other ratios, and what the solve does", columns, tuple(rows))


def further_tables(result: dict[str, Any]) -> list[Table]:
    """The tables of what not every result has: other samples, models or optimizers, changes of the training, peers."""
    found, changed = comparisons(result), changes(result)
    others = [one for group in parted(found)[1] for one in group]
    with_peers = [one for one in found if one.peers]
    title = "Other samples, models and optimizers: relative L2 errors on test samples"
    tables = [
        table
        for one, label in zip(found, labels(found), strict=True)
        for table in published_table(one, label, [change for change in changed if change.usual.case == one.case])
    ]
    tables += [error_table(others, title, found)] if others else []
    tables += [change_table(changed)] if changed else []
    return [*tables, peer_table(with_peers)] if with_peers else tables


def published_table(one: Comparison, label: str, changed: Sequence[Change] = ()) -> list[Table]:
    """The errors of what the label names, with its changes, and those in print; nothing where none are."""
    in_print = PUBLISHED_ERRORS.get(one.case[0])
    if in_print is None:
        return []
    own = [("", one), *((f" with {change.name}", change.changed) for change in changed)]
    ours = [
        (
            f"{name}{words}, {epochs[0]} epochs",
            trained.mean_error(which),
            f"this file, {one.case[1]} samples, {_minutes(trained.seconds(which))} of one core",
        )
        for words, trained in own
        for which, name, cell in (
            ("closed", "closed form", trained.closed),
            ("gradients", "gradients", trained.gradients),
        )
        if (words == "" or cell is not one.gradients)
        and (epochs := [len(run["validation_mse"]) for run in cell.get("runs", ()) if "diverged" not in run])
    ]
    title = f"{label}: relative L2 errors in print, for data of the same law (not the same samples)"
    return [Table(title, ("method", "error", "source"), (*ours, *in_print))]


def peer_table(found: Sequence[Comparison]) -> Table:
    """One row a peer and problem: its error, and the ratios of our errors and times to its."""
    rows = []
    for one, label in zip(found, labels(found), strict=True):
        for peer, cell in one.peers.items():
            ratios = [words for which in _METHODS for words in _ratio(one, which, peer)]
            rate, cost = cell["chosen"].get("learning_rate", "-"), _or_dash(one.cost(peer))
            rows.append((label, peer, one.mean_error(peer), *ratios, cost, rate))
    columns = (
        "problem", "peer", "error", "gradients / peer", "gradients are", "closed form / peer", "closed form is",
        "seconds of closed form / peer", "rate of the peer",
    )  # fmt: skip
    return Table("Peers: relative L2 errors on test samples", columns, tuple(rows))


def change_table(changed: Sequence[Change]) -> Table:
    """One row a change and problem: its ratios to the usual training of both methods, and of the methods with it."""
    names = labels([one.usual for one in changed])
    rows = []
    for one, label in zip(changed, names, strict=True):
        own = one.changed.gradients is not one.usual.gradients
        ratios = [(interval.cell if interval else "-", words) for interval, words in map(one.ratio, _METHODS)]
        errors = [one.changed.mean_error(which) for which in _METHODS]
        rows.append(
            (one.name, label, *errors, *(ratios[0] if own else ("-", "-")), *ratios[1],
             *_ratio(one.changed, "closed", "gradients"))
        )  # fmt: skip
    columns = (
        "change", "problem", "gradients", "closed form", "gradients / usual", "gradients are", "closed form / usual",
        "closed form is", "closed form / gradients", "compared with gradients it is",
    )  # fmt: skip
    return Table("Changes of the training: relative L2 errors on test samples", columns, tuple(rows))


def _ratio(one: Comparison, of: str, over: str, metric: str = "relative_l2") -> tuple[str, str]:
    return ratio_cells(one.errors(of, metric) or None, one.errors(over, metric) or None)


def _minutes(seconds: float | None) -> str:
    count = max(1, round((seconds or 0) / 60))
    return "1 minute" if count == 1 else f"{count} minutes"


def _or_dash(value: float | str | None) -> float | str:
    return "-" if value is None else value
