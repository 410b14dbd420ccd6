"""Fields and predictions: curves in one dimension, maps in two, the middle layer in three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml_cf.plots.style import COLORS, MARKERS, new_axes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_MOST = 12  # samples
_PREDICTIONS = ("input", "solution", "prediction", "error")
_CURVES = ("input", "solution\nand prediction", "error")


def plot_fields(
    fields: Any,
    *,
    coordinates: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    axes: Any = None,
) -> np.ndarray:
    """A column a sample and a row a channel, in the palette of ``sciml-cf plot``.

    Values of both signs have a diverging scale that is symmetric, others a sequential one; a row has one scale.

    Args:
        fields: ``(S, C, *N)``, up to 12 samples in one to three dimensions, such as ``dataset.x[:4]``. Of three
            dimensions the middle layer along z is drawn.
        coordinates: of the points along each axis; by default the index of the point. ``dataset.coordinates`` are.
        names: of the channels.
        titles: of the samples; by default "sample 0" and so on.
        axes: ``(C, S)`` axes to draw on; by default those of a new figure.

    Returns:
        ``(C, S)`` axes; ``axes[0, 0].figure`` is the figure.

    Raises:
        ValueError: another shape.
    """
    values = _array("fields", fields)
    places = _coordinates(coordinates, values.shape[2:])
    labels = list(names) if names is not None else [f"channel {channel}" for channel in range(values.shape[1])]
    panels = _panels("plot_fields", axes, values.shape[1], len(values), values.ndim - 2)
    for row, name in enumerate(labels):
        _draw_row(panels[row], values[:, row], places, name)
    _finish(panels, places, titles or [f"sample {sample}" for sample in range(len(values))])
    return panels


def plot_predictions(
    inputs: Any,
    targets: Any = None,
    predictions: Any = None,
    *,
    coordinates: Sequence[Any] | None = None,
    titles: Sequence[str] | None = None,
    channel: int = 0,
    axes: Any = None,
) -> np.ndarray:
    """Input, solution, prediction and error, a column a sample; in one dimension the middle two share a row.

    Args:
        inputs: what ``evaluate_transfer`` or ``read_evaluation`` returned, whose examples go from the lowest to the
            highest error; or the inputs ``(S, C, *N)`` of up to 12 samples.
        targets: ``(S, C', *N)``, where the inputs are fields.
        predictions: ``(S, C', *N)``, where the inputs are fields.
        coordinates: of the points along each axis; by default the index of the point.
        titles: of the samples; by default their relative L2 errors.
        channel: which component of the target; of the input the same, or its last one if it has fewer. Of windows of
            trajectories the last state before the target is shown.
        axes: ``(3, S)`` axes in one dimension, ``(4, S)`` in more; by default those of a new figure.

    Returns:
        The axes; ``axes[0, 0].figure`` is the figure.

    Raises:
        ValueError: shapes disagree.
    """
    own: int | None = None
    if hasattr(inputs, "data_vars"):
        examples: xr.Dataset = inputs
        coordinates = [examples[axis].values for axis in ("z", "y", "x") if axis in examples.dims]
        titles = titles or [f"{name}, " for name in _names_of_examples(examples)]
        last = examples["example_input"].attrs.get("last_state")
        own = None if last is None else int(np.atleast_1d(last)[channel])
        inputs, targets = examples["example_input"].values, examples["example_target"].values
        predictions = examples["example_prediction"].values
    x, y, found = _checked_predictions(inputs, targets, predictions)
    places, errors = _coordinates(coordinates, y.shape[2:]), _relative(found, y)
    own = min(channel, x.shape[1] - 1) if own is None else own
    parts = [x[:, own], y[:, channel], found[:, channel], found[:, channel] - y[:, channel]]
    panels = _panels("plot_predictions", axes, prediction_rows(y.ndim - 2), len(y), y.ndim - 2)
    if y.ndim == 3:
        _draw_curves(panels, parts, places[0])
    else:
        for sample in range(len(y)):
            _draw_maps(panels[:, sample], [part[sample] for part in parts], places)
        for panel, name in zip(panels[:, 0], _PREDICTIONS, strict=True):
            panel.set_ylabel(f"{name}\ny")
    words = [f"{title}{error}" for title, error in zip(titles or [""] * len(y), errors, strict=True)]
    _finish(panels, places, words)
    return panels


def _names_of_examples(examples: xr.Dataset) -> list[str]:
    """Names of the examples: numbers of samples, or of trajectories and their windows, all counted from 0."""
    numbers = [int(number) for number in examples["example"].values]
    windows = int(examples["example_input"].attrs.get("windows_of_a_trajectory", 1))
    if windows == 1:
        return [f"sample {number}" for number in numbers]
    return [f"trajectory {number // windows}, window {number % windows}" for number in numbers]


def _checked_predictions(inputs: Any, targets: Any, predictions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, found = _array("inputs", inputs), _array("targets", targets), _array("predictions", predictions)
    if y.shape != found.shape or len(x) != len(y) or x.shape[2:] != y.shape[2:]:
        raise ValueError(
            f"plot_predictions: `predictions` must be fields of the shape of the targets, as many and on the same "
            f"points as the inputs; got {found.shape}, {y.shape} and {x.shape}."
        )
    return x, y, found


def _draw_curves(panels: np.ndarray, parts: Sequence[np.ndarray], x: np.ndarray) -> None:
    """Input above, solution (solid) and prediction (dashed) in the middle, the error below."""
    marks = max(1, len(x) // 10)
    for sample, (given, target, prediction, error) in enumerate(zip(*parts, strict=True)):
        above, middle, below = panels[:, sample]
        above.plot(x, given, color="0.45", lw=1.2)
        middle.plot(x, target, color=COLORS[0], lw=2, label="solution")
        style = {"ls": "--", "lw": 1.2, "marker": MARKERS[1], "ms": 3, "markevery": marks}
        middle.plot(x, prediction, color=COLORS[1], label="prediction", **style)
        below.plot(x, error, color=COLORS[3], lw=1)
        below.axhline(0, color="0.7", lw=0.8, zorder=0)
        for panel in (above, middle, below):
            panel.grid(alpha=0.3)
            panel.margins(x=0)
    panels[1, 0].legend(fontsize="small", frameon=False)
    for panel, name in zip(panels[:, 0], _CURVES, strict=True):
        panel.set_ylabel(name)


def _draw_maps(panels: np.ndarray, parts: Sequence[np.ndarray], places: Sequence[np.ndarray]) -> None:
    """The fields of one sample; solution and prediction have one scale, that of the solution."""
    from matplotlib.colors import Normalize

    from data_gen.plot import color_bar, field_colors

    reach = float(np.abs(parts[3][np.isfinite(parts[3])]).max(initial=0)) or 1.0
    solution = field_colors(parts[1])
    scales = [field_colors(parts[0]), solution, solution, (Normalize(-reach, reach), "RdBu_r")]
    for panel, values, (norm, cmap) in zip(panels, parts, scales, strict=True):
        image = _draw_map(panel, values, places, norm, cmap)
        color_bar(panel.figure, image, [panel], "")


def _draw_row(panels: np.ndarray, values: np.ndarray, places: Sequence[np.ndarray], name: str) -> None:
    """One channel of all samples."""
    from data_gen.plot import color_bar, field_colors

    if values.ndim == 2:
        for panel, field in zip(panels, values, strict=True):
            panel.plot(places[0], field, color=COLORS[0], lw=1.4)
            panel.grid(alpha=0.3)
            panel.margins(x=0)
        panels[0].set_ylabel(name)
        return
    norm, cmap = field_colors(values)
    images = [_draw_map(panel, field, places, norm, cmap) for panel, field in zip(panels, values, strict=True)]
    color_bar(panels[0].figure, images[-1], list(panels), name)
    panels[0].set_ylabel("y")


def _draw_map(panel: Axes, values: np.ndarray, places: Sequence[np.ndarray], norm: Any, cmap: str) -> Any:
    """A field over the plane, x to the right and y upwards; of three dimensions the middle layer."""
    layer = values[values.shape[0] // 2] if values.ndim == 3 else values
    panel.set_aspect("equal")
    return panel.pcolormesh(places[-1], places[-2], layer, norm=norm, cmap=cmap, shading="nearest", rasterized=True)


def _finish(panels: np.ndarray, places: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    layer = f"\nz = {places[0][len(places[0]) // 2]:.3g}" if len(places) == 3 else ""
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(f"{title}{layer}", fontsize="medium")
    for panel in panels[-1]:
        panel.set_xlabel("x")
    if len(places) > 1:
        for panel in panels[:, 1:].flat:
            panel.tick_params(labelleft=False)


def _relative(predictions: np.ndarray, targets: np.ndarray) -> list[str]:
    """The relative L2 error of each sample in words; of a target of zeros the root mean square."""
    rows = (len(targets), -1)
    errors = np.linalg.norm((predictions - targets).reshape(rows), axis=1)
    sizes = np.linalg.norm(targets.reshape(rows), axis=1)
    count = np.sqrt(targets[0].size)
    pairs = zip(errors, sizes, strict=True)
    return [f"error {_percent(e / size)}" if size else f"rms error {e / count:.2g}" for e, size in pairs]


def _percent(share: float) -> str:
    digits = f"{100 * share:.2g}"
    return f"{float(digits):.0f} %" if "e+" in digits else f"{digits} %"


def _array(argument: str, fields: Any) -> np.ndarray:
    """``(S, C, *N)`` float64 of a tensor or an array."""
    plain = fields.detach().cpu() if hasattr(fields, "detach") else fields
    values = np.asarray(plain, dtype=np.float64) if plain is not None else np.zeros(0)
    if values.ndim not in (3, 4, 5) or not 1 <= len(values) <= _MOST:
        raise ValueError(
            f"plot: `{argument}` must be (samples, channels, *points) with 1 to {_MOST} samples; got {values.shape}. "
            "Take some, such as fields[:4]."
        )
    return values


def _coordinates(given: Sequence[Any] | None, shape: tuple[int, ...]) -> list[np.ndarray]:
    places = [np.arange(points) for points in shape] if given is None else [np.asarray(axis) for axis in given]
    if tuple(map(len, places)) != shape:
        raise ValueError(
            f"plot: `coordinates` must have one array an axis, of {shape} points; got {tuple(map(len, places))}."
        )
    return places


def _panels(function: str, axes: Any, rows: int, columns: int, dims: int) -> np.ndarray:
    """The axes to draw on."""
    if axes is None:
        return new_axes(*panel_size(rows, columns, dims), rows, columns, sharex=True)
    panels = np.asarray(axes, dtype=object)
    if panels.shape != (rows, columns):
        raise ValueError(f"{function}: `axes` must be of shape {(rows, columns)}; got {panels.shape}.")
    return panels


def prediction_rows(dims: int) -> int:
    """Rows of ``plot_predictions`` of fields in so many dimensions."""
    return len(_CURVES if dims == 1 else _PREDICTIONS)


def panel_size(rows: int, columns: int, dims: int) -> tuple[float, float]:
    """Width and height in inches of a figure of so many panels of fields."""
    return ((3.2 if dims == 1 else 3.5) * columns + 0.6, (1.7 if dims == 1 else 2.4) * rows + 0.4)
