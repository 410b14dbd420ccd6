"""Figures of a classifier from its metrics alone: reliability, and the confusion of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml_cf.plots.style import nth_curve


def reliability_figure(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """How often predictions of some confidence are right; on the diagonal confidence is what it says.

    Args:
        curves: by name, each with ``count``, ``confidence`` and ``accuracy`` of the bins, and optionally ``ece``. Bins
            without predictions are left out; the area of a dot is the share of predictions in its bin.
    """
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--", label="confidence is accuracy")
    for index, (name, curve) in enumerate(curves.items()):
        count, confidence, accuracy = (np.asarray(curve[key], float) for key in ("count", "confidence", "accuracy"))
        full = count > 0
        label = f"{name}, ECE {curve['ece']:.3f}" if "ece" in curve else name
        style = {**nth_curve(index), "marker": ""}
        axes.plot(confidence[full], accuracy[full], lw=1.2, label=label, **style)
        axes.scatter(confidence[full], accuracy[full], s=4 + 150 * count[full] / count.sum(), color=style["color"])
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence (largest probability)", ylabel="share that is right")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure


def confusion_figure(matrix: Sequence[Sequence[int]], classes: Sequence[Any]) -> Figure:
    """Counts by true class (row) and predicted class (column), colored by the share of the row."""
    counts = np.asarray(matrix, dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.42 * len(counts), 1.2 + 0.42 * len(counts)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(counts) <= 20:
        for row, column in np.argwhere(counts > 0):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=color, fontsize=7)
        axes.set_xticks(range(len(counts)), classes)
        axes.set_yticks(range(len(counts)), classes)
    axes.set(xlabel="predicted class", ylabel="class")
    return figure
