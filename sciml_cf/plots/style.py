"""The style of curves in all figures: colors that color-blind readers can separate, dashes and markers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

#: Source: Okabe and Ito (2008), Color Universal Design; its yellow and black are left out.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
#: Of what curves are compared with: baselines, tolerances, thresholds.
REFERENCE = "0.4"
_GAP = 0.055  # between direct labels, in heights of the axes
_MOST_LABELS = 18
_INSIDE, _EDGE = 0.8, 1.03  # a curve that ends before the first has its name there, others next to the axes
_MARKED = 12  # markers on a curve


def nth_style(index: int) -> dict[str, Any]:
    """Color and marker of the n-th of several things that are compared, such as runs; for ``Axes.plot``."""
    return {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)], "ms": 5}


def at_whole_numbers(axes: Axes) -> None:
    """Ticks of the horizontal axis at whole numbers alone, such as epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def nth_curve(index: int, points: int = 0) -> dict[str, Any]:
    """The same with a dash, for things that have one curve each; of many points, some have markers."""
    dash = DASHES[(index + index // len(COLORS)) % len(DASHES)]  # once colors repeat, with other dashes
    return {**nth_style(index), "ls": dash, "markevery": every(points)}


def every(points: int) -> int:
    """Every how-manieth point of a curve has a marker."""
    return max(1, points // _MARKED)


@contextlib.contextmanager
def safe_colors() -> Iterator[None]:
    """Inside this block the colors C0, C1, ... are those of ``COLORS``: also where a figure is written."""
    from matplotlib import rc_context, rcsetup

    with rc_context({"axes.prop_cycle": rcsetup.cycler(color=COLORS)}):
        yield


def new_axes(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> np.ndarray:
    """``(rows, columns)`` axes in a new figure of pyplot, which a notebook shows."""
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(width, height), layout="constrained")
    return figure.subplots(rows, columns, squeeze=False, **options)


def positive(values: Any) -> np.ndarray:
    """float64, NaN where a logarithmic axis shows nothing."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def name_curves(axes: Axes, named: Sequence[tuple[Line2D, str]]) -> None:
    """Names next to the last points of curves, joined to them by a thin line; a legend below for very many curves."""
    _ = axes.get_xlim(), axes.get_ylim()  # matplotlib sets the limits when they are asked for
    ends = [(end, line, name) for line, name in named if (end := _end_of(axes, line)) is not None]
    for line, name in named:
        line.set_label(name)
    if len(named) > _MOST_LABELS or len(ends) < len(named):
        axes.legend(fontsize="small", frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
        return
    for across in {end[2] for end, _, _ in ends}:
        together = [entry for entry in ends if entry[0][2] == across]
        heights = _spread([end[3] for end, _, _ in together])
        for (end, line, name), height in zip(together, heights, strict=True):
            axes.annotate(
                name, end[:2], xycoords=line.get_transform(), xytext=(across, height), textcoords="axes fraction",
                va="center", fontsize="small", color="0.15", annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": line.get_color(), "lw": 0.7, "alpha": 0.6, "shrinkA": 0},
            )  # fmt: skip


def _spread(heights: Sequence[float]) -> list[float]:
    """The heights of names at these heights of curves, in the same order, moved apart as little as a sweep does."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    gap = min(_GAP, 1 / max(len(heights) - 1, 1))
    found, lowest = {}, -math.inf
    for index in order:
        found[index] = lowest = max(heights[index], lowest + gap)
    highest = 1.0
    for index in reversed(order):
        found[index] = highest = min(found[index], highest)
        highest -= gap
    return [found[index] for index in range(len(heights))]


def _end_of(axes: Axes, line: Line2D) -> tuple[float, float, float, float] | None:
    """The last finite point of a curve, and in shares of the axes where its name goes; None without a point."""
    x, y = (np.asarray(values, dtype=np.float64) for values in (line.get_xdata(), line.get_ydata()))
    shown = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not shown.size:
        return None
    last = float(x[shown[-1]]), float(y[shown[-1]])
    across, height = axes.transAxes.inverted().transform(line.get_transform().transform(last))
    beside = round(float(across), 2) + 0.03 if across < _INSIDE else _EDGE
    return *last, beside, float(np.clip(height, 0, 1))
