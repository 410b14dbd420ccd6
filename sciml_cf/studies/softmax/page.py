"""The page of the benchmark softmax: the norm, starts, language models, and the premise of the explicit solution."""

from __future__ import annotations

import statistics
from typing import Any

from matplotlib.figure import Figure

from sciml_cf.plots.style import nth_curve
from sciml_cf.report.html import Picture
from sciml_cf.report.tables import Table

Rows = list[dict[str, Any]]


def page(result: dict[str, Any]) -> tuple[str, list[str], list[Table | Picture]]:
    """Title, paragraphs, and the tables and pictures."""
    config, figures = result["config"], result["figures"]
    images = "digits" if config["images"] is None else "the pictures of the folder"
    text = "the topics of Python's own help" if config["text"] is None else "the corpus of the folder"
    introduction = [
        f"The explicit solution of a softmax layer (arXiv:2311.07498) on {images}, on {text}, and on texts of known "
        f"laws. Seeds {result['seeds']} of the splits, draws and orders; means over them.",
        "A language model's smoothing is the one that its validation part likes best. Perplexities are geometric "
        "means, all on the same tokens.",
    ]
    words = "Medians over seeds of Adam at its highest rate and smallest batch, from explicit and from random weights."
    parts: list[Table | Picture] = [
        priming_table(figures["priming"], images),
        start_table(figures["start"]),
        distance_table(figures["start"]),
        Picture("softmax-starts", _curves(figures["start"]), words),
        local_table(figures["local"]),
        text_table(figures["text"]),
        text_start_table(figures["text start"]),
        laws_table(figures["laws"]),
    ]
    return "The explicit softmax layer", introduction, parts


def priming_table(rows: Rows, images: str) -> Table:
    """Test accuracy by K and smoothing."""
    smoothings = sorted({row["smoothing"] for row in rows})
    mean = statistics.fmean(row["mean_norm"] for row in rows)
    cells = []
    for norm in dict.fromkeys(row["norm"] for row in rows):
        some = {s: [row for row in rows if (row["norm"], row["smoothing"]) == (norm, s)] for s in smoothings}
        shares = [f"{_mean(found, 'accuracy'):.3f} ({_mean(found, 'cross_entropy'):.2f})" for found in some.values()]
        cells.append((f"mean norm, {mean:.1f}" if norm == 0 else f"{norm:g}", *shares))
    columns = ("K", *(f"smoothing {s:g}" for s in smoothings))
    return Table(f"Test accuracy on {images} (cross-entropy), no training", columns, tuple(cells))


def start_table(rows: Rows) -> Table:
    """Test accuracy by epoch from either start."""
    epochs = [epoch for epoch in (0, 1, 2, 5, 20, 50) if epoch < len(rows[0]["rows"])]
    cells = []
    for key, some in _grouped(rows, "start", "batch", "rate").items():
        curve = [f"{_mean([row['rows'][epoch] for row in some], 'accuracy'):.3f}" for epoch in epochs]
        least = [min(row["test_cross_entropy"] for row in one["rows"]) for one in some]
        cells.append((*key, *curve, f"{statistics.fmean(least):.3f}"))
    columns = ("start", "batch", "rate", *(f"epoch {epoch}" for epoch in epochs), "least test cross-entropy")
    return Table("A softmax layer trained by Adam: test accuracy", columns, tuple(cells))


def distance_table(rows: Rows) -> Table:
    """How far trained weights are from the explicit ones, by epoch."""
    epochs = [epoch for epoch in (0, 1, 5, 20, 50) if epoch < len(rows[0]["rows"])]
    cells = []
    for key, some in _grouped(rows, "start", "batch", "rate").items():
        pairs = [[_mean([row["rows"][e] for row in some], name) for name in ("distance", "cosine")] for e in epochs]
        cells.append((*key, *(f"{distance:.2f} / {cosine:.2f}" for distance, cosine in pairs)))
    columns = ("start", "batch", "rate", *(f"epoch {epoch}" for epoch in epochs))
    return Table("Trained weights and explicit ones: relative distance / cosine", columns, tuple(cells))


def local_table(rows: Rows) -> Table:
    """Two layers each solved for the labels by itself."""
    cells = [
        (name, _mean(rows, key), _mean(rows, f"{key}_cross_entropy"))
        for name, key in (("one layer", "one_layer"), ("softmax, second layer", "two_layers"))
    ]
    return Table("Layers solved one by one for the labels", ("network", "test accuracy", "cross-entropy"), tuple(cells))


def text_table(rows: Rows) -> Table:
    """Test perplexities by split, kind and context."""
    cells = []
    for (split, kind, context), some in _grouped(rows, "split", "aggregate", "context").items():
        chosen = statistics.geometric_mean(row["test"] for row in some)
        unigram = statistics.geometric_mean(row["unigram"] for row in some)
        fixed = [
            statistics.geometric_mean(row["rows"][place]["test"] for row in some)
            for place in range(len(some[0]["rows"]))
        ]
        smoothing = ", ".join(f"{value:g}" for value in sorted({row["smoothing"] for row in some}))
        cells.append((split, kind, context, unigram, chosen, smoothing, *fixed))
    tried = [f"at {row['smoothing']:g}" for row in rows[0]["rows"]]
    columns = ("split by", "model", "K", "unigram", "explicit", "smoothing", *tried)
    return Table("Test perplexity of explicit language models", columns, tuple(cells))


def text_start_table(rows: Rows) -> Table:
    """Test perplexity by epoch of language models trained from either start."""
    epochs = range(len(rows[0]["rows"]))
    cells = []
    for key, some in _grouped(rows, "context", "rate", "start").items():
        curve = [statistics.geometric_mean(row["rows"][epoch]["test"] for row in some) for epoch in epochs]
        cells.append((*key, *curve))
    columns = ("K", "rate", "start", *(f"epoch {epoch}" for epoch in epochs))
    return Table("Language models trained by Adam (sum): test perplexity", columns, tuple(cells))


def laws_table(rows: Rows) -> Table:
    """The premise of the explicit solution, and what the layer loses, by the law of the tokens."""
    cells = []
    for (law, kept, context), some in _grouped(rows, "law", "kept", "context").items():
        figures = [_mean(some, name) for name in ("slope", "r_squared", "perplexity", "true", "unigram")]
        cells.append((law, kept, context, *figures))
    columns = ("tokens", "group kept", "K", "slope", "R squared", "explicit", "true law", "unigram")
    return Table("The premise: co-occurrences against counts, and perplexities", columns, tuple(cells))


def _grouped(rows: Rows, *keys: str) -> dict[tuple[Any, ...], Rows]:
    found: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _mean(rows: Rows, figure: str) -> float:
    return statistics.fmean(row[figure] for row in rows)


def _curves(rows: Rows) -> Figure:
    figure = Figure(figsize=(5.6, 6.0), layout="constrained")
    upper, lower = figure.subplots(2)
    rate, batch = max(row["rate"] for row in rows), min(row["batch"] for row in rows)
    for index, start in enumerate(dict.fromkeys(row["start"] for row in rows)):
        some = [row["rows"] for row in rows if (row["start"], row["rate"], row["batch"]) == (start, rate, batch)]
        epochs = range(len(some[0]))
        for place, name in ((upper, "accuracy"), (lower, "distance")):
            values = [statistics.median(run[epoch][name] for run in some) for epoch in epochs]
            place.plot(epochs, values, label=start, **nth_curve(index, len(epochs)))
    upper.set(ylabel="test accuracy", ylim=(0.7, 1.0), title=f"Adam at {rate:g}, batches of {batch}")
    lower.set(ylabel="relative distance to the explicit weights", xlabel="epoch")
    for place in (upper, lower):
        place.legend(fontsize="small", frameon=False)
        place.grid(alpha=0.3)
    return figure
