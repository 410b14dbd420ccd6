"""The page of a classification run: accuracy and losses against steps, and how the head moves."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from sciml_cf.plots.style import nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table
from sciml_cf.studies.harness.class_figures import reliability_figure

Rows = list[dict[str, float]]


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, figures = result["config"], result["figures"]
    rows: Rows = figures["rows"]
    introduction = [
        f"{config['data']}, method {config['method']}, Algorithm {config['algorithm']}, batches of "
        f"{figures['fit']['batch_size']}, {config['optimizer']}, learning rate {figures['fit']['learning_rate']:g}.",
        "The best row has the lowest validation loss; the test images took no part in choosing it.",
    ]
    if config["data"] == "imagenet":
        introduction[-1] = (
            "The best row has the lowest validation loss; its test is on the same images, as the paper's."
        )
    words = "Accuracy on the test images after each epoch, losses, and how far a solve moves the head."
    parts: list[Table | Picture] = [table(rows), Picture("classification-curves", curves(rows), words)]
    if "reliability" in figures:
        words = "How often predictions of some confidence are right on the test images, after the last epoch."
        drawn = reliability_figure({config["method"]: figures["reliability"]})
        parts.append(Picture("classification-reliability", drawn, words))
    return "Classification with a closed-form head", introduction, parts


def table(rows: Rows) -> Table:
    """The best and the last row."""
    names = [name for name in ("test_accuracy", "test_top5", "test_calibration_error") if name in rows[0]]
    best = min(rows, key=lambda row: row["validation_loss"])
    cells = [
        (which, f"{row['epoch']:.0f}", f"{row['validation_loss']:.4g}", *(f"{row[name]:.4f}" for name in names))
        for which, row in (("best", best), ("last", rows[-1]))
    ]
    columns = ("epoch of", "epoch", "validation loss", *(name.replace("test_", "").replace("_", " ") for name in names))
    return Table("On the test images", columns, tuple(cells))


def curves(rows: Rows) -> Figure:
    """Accuracy, losses and the movement of the head against steps."""
    moves = "head_step" in rows[0]
    figure = Figure(figsize=(10 if moves else 7, 3.2), layout="constrained")
    axes = figure.subplots(1, 3 if moves else 2)
    steps = [row["steps"] for row in rows]
    for index, (name, label) in enumerate((("test_accuracy", "first"), ("test_top5", "among the first five"))):
        axes[0].plot(steps, [row[name] for row in rows], label=label, **nth_curve(index, len(rows)))
    axes[0].set(xlabel="iteration", ylabel="share of test images", title="Accuracy")
    for index, (name, label) in enumerate((("validation_loss", "validation"), ("train_loss", "training"))):
        axes[1].semilogy(steps, [row[name] for row in rows], label=label, **nth_curve(index, len(rows)))
    axes[1].set(xlabel="iteration", ylabel="loss", title="Loss")
    if moves:
        axes[2].semilogy(steps, [row["head_step"] for row in rows])
        axes[2].set(xlabel="iteration", ylabel="relative change a solve", title="Movement of the head")
    for one in axes:
        one.grid(alpha=0.3)
    for one in axes[:2]:
        one.legend(fontsize="small", frameon=False)
    return figure
