"""Errors against the epoch and against the resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from sciml_cf.plots.evaluation import BASELINES, baseline_errors, judged, native_errors, quoted, upsampling
from sciml_cf.plots.style import DASHES, REFERENCE, at_whole_numbers, every, name_curves, new_axes, nth_style, positive

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, float]]
_FEW_DECADES = 100.0
_DASH = {"validation": "-", "training": ":"}
_LABELS = {"relative_l2": "relative L2 error", "mse": "root mean square error"}


class HasRows(Protocol):
    """A ``History``."""

    @property
    def rows(self) -> Rows: ...


def plot_history(histories: HasRows | Rows | Mapping[str, HasRows | Rows], *, ax: Axes | None = None) -> Axes:
    """Validation error (solid) and training error (dotted) against the epoch, on a logarithmic axis.

    A ring marks the epoch with the lowest validation error, whose weights are kept. Where the history has
    validation_loss (of an objective), that is shown.

    Args:
        histories: what ``fit`` returned, rows of history.csv, or several of either by name.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes; ``axes.figure.savefig("history.png")`` writes the figure.

    Raises:
        ValueError: there is no epoch.
    """
    named = _by_name(histories)
    axes = new_axes(6.4, 4.0)[0, 0] if ax is None else ax
    lines = []
    for index, (name, rows) in enumerate(named.items()):
        if not rows:
            raise ValueError("plot_history: `histories` must hold at least one epoch; got none. Did a training finish?")
        epochs, style = [row["epoch"] for row in rows], nth_style(index)
        curves = {
            "validation": _column(rows, "validation_mse", "validation_loss"),
            "training": _column(rows, "train_loss"),
        }
        for kind, values in curves.items():
            weight = {"lw": 1.6 if kind == "validation" else 1.2, "ls": _DASH[kind], "markevery": every(len(rows))}
            (line,) = axes.semilogy(epochs, values, **{**style, **weight})
            lines.append((line, f"{name}, {kind}" if name else kind))
        if np.isfinite(curves["validation"]).any():
            best = int(np.nanargmin(curves["validation"]))
            axes.plot(epochs[best], curves["validation"][best], "o", ms=11, mfc="none", mec=style["color"])
    loss = any("validation_loss" in row for rows in named.values() for row in rows)
    at_whole_numbers(axes)
    axes.set(xlabel="epoch (ring: the weights that are kept)", ylabel="loss" if loss else "mean squared error")
    axes.grid(alpha=0.3)
    name_curves(axes, lines)
    return axes


def plot_transfer(
    evaluations: xr.Dataset | Mapping[str, xr.Dataset], *, metric: str | None = None, ax: Axes | None = None
) -> Axes:
    """Error against the resolution that a model runs at, with baselines in gray and the resolution of training.

    Solid, with filled markers, is the error at the points of that resolution ("native"); dashed, with open markers, the
    error after the output was interpolated to the full grid. Baselines are those that the ``verdict`` names, each
    measured at the same points.

    Args:
        evaluations: of ``evaluate_transfer`` or ``read_evaluation``, or several by name, on the same samples.
        metric: "relative_l2" or "mse" (its root is drawn); by default the first one, or where targets are zero the
            second.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: another metric.
    """
    if metric not in (None, *_LABELS):
        raise ValueError(f"plot_transfer: `metric` must be one of {', '.join(_LABELS)}; got {metric!r}.")
    given = {"": evaluations} if hasattr(evaluations, "data_vars") else dict(evaluations)
    named = cast("dict[str, xr.Dataset]", given)  # a Dataset is a Mapping as well
    first = next(iter(named.values()))
    metric = metric or judged(first)
    axes = new_axes(6.4, 4.0)[0, 0] if ax is None else ax
    lines = []
    for index, (name, evaluation) in enumerate(named.items()):
        for output, dash in (("native", "-"), (upsampling(evaluation), "--")):
            errors = positive(list(native_errors(evaluation, metric, output).values()))
            face = {} if output == "native" else {"mfc": "none", "ms": 9}
            (line,) = axes.loglog(evaluation["resolution"], errors, ls=dash, **{**nth_style(index), **face})
            words = "at these points" if output == "native" else f"interpolated to {_full(evaluation)} (dashed)"
            lines.append((line, f"{name}, {words}" if name else words))
    lines += _draw_baselines(axes, first, metric)
    _finish_transfer(axes, list(named.values()), metric)
    name_curves(axes, lines)
    return axes


def _draw_baselines(axes: Axes, evaluation: xr.Dataset, metric: str) -> list[Any]:
    sizes = [int(n) for n in evaluation["resolution"].values]
    by_size = {n: baseline_errors(evaluation, n, metric) for n in sizes}
    found = [name for name in quoted(by_size[max(sizes)]) if by_size[max(sizes)][name] > 0]
    lines, mark = [], {"marker": "|", "ms": 6} if len(sizes) > 1 else {"marker": "_", "ms": 30}
    for name, dash in zip(found, DASHES[2:], strict=False):
        errors = positive([by_size[n].get(name, math.nan) for n in sizes])
        (line,) = axes.loglog(sizes, errors, ls=dash, color=REFERENCE, lw=1.2, **mark)
        lines.append((line, BASELINES.get(name, name.replace("_", " "))))
    return lines


def _finish_transfer(axes: Axes, evaluations: Sequence[xr.Dataset], metric: str) -> None:
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    ticks = sorted({int(n) for evaluation in evaluations for n in evaluation["resolution"].values})
    low, high = axes.get_ylim()
    axes.set_ylim(low / 2, high * 2)  # differences of a per cent are no cliff
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    if high < _FEW_DECADES * low:  # powers of ten alone would be one or two ticks
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for trained in {int(evaluation.attrs.get("trained_at", 0)) for evaluation in evaluations} - {0}:
        axes.axvline(trained, color=REFERENCE, ls=":", lw=1)
        axes.annotate(
            "trained here", (trained, 1), xycoords=axes.get_xaxis_transform(), xytext=(3, -4), va="top",
            textcoords="offset points", fontsize="small", color="0.15",
        )  # fmt: skip
    axes.set(xlabel="points along x that the model is run at", ylabel=_LABELS[metric])
    axes.grid(alpha=0.3)


def _by_name(histories: Any) -> dict[str, Rows]:
    given = histories if isinstance(histories, Mapping) else {"": histories}
    return {name: list(getattr(one, "rows", one)) for name, one in given.items()}


def _column(rows: Rows, *names: str) -> np.ndarray:
    """The first of these metrics that an epoch has."""
    return positive([next((row[name] for name in names if name in row), math.nan) for row in rows])


def _full(evaluation: xr.Dataset) -> int:
    return int(evaluation.attrs["reference_resolution"])
