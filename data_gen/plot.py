"""One figure of a dataset file, chosen by its content: samples above, spectra and a summary below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from data_gen.files.places import starts_with
from data_gen.files.whole import new_file
from data_gen.grids.periodic import tail_start
from data_gen.grids.spectra import amplitude_spectrum
from data_gen.header import Header
from data_gen.info import spread_rows
from data_gen.storage.dataset import Dataset, open_dataset

#: Samples whose spectra and values are summed up, and the most bytes of them that are read.
SUMMED_UP = 64
SUMMED_BYTES = 2**25
#: Most samples in a figure; of a trajectory, times drawn as curves, and of an image, times and points.
MAX_SAMPLES = 6
MOST_CURVES = 8
IMAGE_TIMES, IMAGE_POINTS = 400, 1024
#: Spectra are drawn down to so much of their largest amplitude: below is rounding.
LOWEST = 1e-18
_WIDTH = 11.5
_KINDS = {
    "png": starts_with("a .png file", b"\x89PNG"),
    "pdf": starts_with("a .pdf file", b"%PDF"),
    "svg": starts_with("an .svg file", b"<?xml", b"<svg"),
}
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Part:
    """One component of the input or the target at one time, and how its curves look."""

    field: str
    channel: int
    time: float | None
    name: str
    label: str
    color: Any = "C0"
    style: str = "-"


def plot_dataset(
    path: str | Path,
    out: str | Path | None = None,
    *,
    samples: int | None = None,
    channels: Sequence[str] = (),
    overwrite: bool = False,
    verify: bool = True,
) -> Path:
    """Draw a dataset file: some samples above, spectra and the distribution of values of a few more below.

    Pairs in one dimension show input and target overlaid, trajectories the field at all times; in more dimensions each
    row is a component at a time (of three dimensions, the middle layer). Memory does not depend on the number of
    samples.

    Args:
        path: the file.
        out: the figure to write, with suffix .png, .pdf or .svg; in the file's folder, under its name, if None.
        samples: samples to draw, spread over the file, 1 to 6; 4 if None, 6 where there are more than four rows.
        channels: names of the components to draw; all if empty.
        overwrite: replace the figure if it exists; a file that is no figure of this ending is kept.
        verify: compare what is drawn with its checksums.

    Returns:
        The path of the figure.

    Raises:
        DatasetError: the file cannot be read.
        FileExistsError: the figure exists and ``overwrite`` is not set, or it is something else.
        OutputError: another process is writing the figure, or it cannot be written.
        ValueError: an unusable ending, count or name of a component.
    """
    path = Path(path)
    out = path.with_suffix(".png") if out is None else Path(out)
    _check_ending(out)
    ending = out.suffix[1:].lower()
    with new_file(out, who="plot_dataset", kind=_KINDS[ending], overwrite=overwrite, demand="not exist") as aside:
        with open_dataset(path, verify=verify) as data:
            figure = draw_dataset(data, samples=samples, channels=channels)
        figure.savefig(aside, dpi=130, format=ending)
        if ending == "png":
            imread(aside)  # its parts have checksums
    return out


def draw_dataset(data: Dataset, *, samples: int | None = None, channels: Sequence[str] = ()) -> Figure:
    """The figure of ``plot_dataset``."""
    header = data.header
    _check_choice(header, samples, channels)
    rows = drawn_rows(header, tuple(channels) or (*header.inputs, *header.channels))
    chosen = spread_rows(header.num_samples, samples or (4 if len(rows) <= 4 else MAX_SAMPLES))
    aspect = 0.75 if header.num_dims == 1 else header.extents[-2] / header.extents[-1]
    heights = (0.4 + len(rows) * min(aspect, 2.0) * (_WIDTH - 1.5) / max(len(chosen), 3), 3.0)
    figure = Figure(figsize=(_WIDTH, 0.8 + sum(heights)), layout="constrained")
    figure.suptitle(_title(data), fontsize="medium", parse_math=False)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    grid = top.subplots(len(rows), len(chosen), sharex=True, sharey="row", squeeze=False)
    for axes, parts in zip(grid, rows, strict=True):
        if header.num_dims > 1:
            _draw_snapshots(top, axes, data, parts[0], chosen)
        elif len(parts) > MOST_CURVES:
            _draw_space_time(top, axes, data, parts, chosen)
        else:
            _draw_curves(axes, data, parts, chosen)
    for column, sample in enumerate(chosen):
        grid[0][column].set_title(f"sample {sample}{_layer(header)}", fontsize="medium")
        grid[-1][column].set_xlabel("x")
    if header.num_dims == 1:
        _legend(top, rows)
    _draw_summary(bottom, data, [_few(parts) for parts in rows])
    return figure


def _layer(header: Header) -> str:
    """Which layer of a box is drawn; nothing in fewer dimensions."""
    return f", z = {header.coordinates[0][header.shape[0] // 2]:.3g}" if header.num_dims == 3 else ""


def _check_ending(out: Path) -> None:
    if out.suffix[1:].lower() not in _KINDS:
        raise ValueError(f"plot_dataset: `out` must end in .{', .'.join(_KINDS)}; got {out}.")


def _check_choice(header: Header, samples: int | None, channels: Sequence[str]) -> None:
    if samples is not None and (isinstance(samples, bool) or samples not in range(1, MAX_SAMPLES + 1)):
        raise ValueError(f"plot_dataset: `samples` must be 1 to {MAX_SAMPLES}; got {samples!r}.")
    known = dict.fromkeys((*header.inputs, *header.channels))
    for name in channels:
        if name not in known:
            raise ValueError(f"plot_dataset: `channels` must be among {', '.join(known)}; got {name!r}.")


def drawn_rows(header: Header, wanted: Sequence[str]) -> list[list[Part]]:
    """The rows of a figure: in one dimension all that is overlaid in a panel, in more one component at one time."""
    if header.inputs == header.channels:
        rows = [_evolution(header, i) for i, name in enumerate(header.channels) if name in wanted]
    else:
        rows = _input_and_target(header, wanted)
    if header.num_dims == 1:
        return rows
    return [[part] for parts in rows for part in _few(parts, 4 if len(rows) == 1 else 3)]


def _input_and_target(header: Header, wanted: Sequence[str]) -> list[list[Part]]:
    """A row for each component, where the input has others than the target."""
    time = None if header.steady else header.times[-1]
    given = [_part(header, i, False, None) for i, name in enumerate(header.inputs) if name in wanted]
    found = [_part(header, i, True, time) for i, name in enumerate(header.channels) if name in wanted]
    return [[part] for part in (*given, *found)]


def _evolution(header: Header, index: int) -> list[Part]:
    """A component at all times: of a trajectory colored by time, of a pair the input gray."""
    name, style = header.channels[index], _STYLES[index % len(_STYLES)]
    if header.trajectories:
        shades = colormaps["viridis"](np.linspace(0, 0.9, len(header.times)))
        return [
            Part(header.target_name, index, time, name, f"{name}, t = {time:g}", tuple(shade), style)
            for time, shade in zip(header.times, shades, strict=True)
        ]
    return [_part(header, index, False, header.times[0]), _part(header, index, True, header.times[-1])]


def _part(header: Header, index: int, target: bool, time: float | None) -> Part:
    names = header.channels if target else header.inputs
    field = header.target_name if target else header.input_name
    label = f"{names[index]}, {'target' if target else 'input'}" if time is None else f"{names[index]}, t = {time:g}"
    pale = "0.55" if len(names) == 1 else to_rgba(f"C{index}", 0.45)
    return Part(field, index, time, names[index], label, f"C{index}" if target else pale)


def _few(parts: list[Part], count: int = 4) -> list[Part]:
    """The first, the last and some between."""
    return [parts[i] for i in spread_rows(len(parts), count)]


def _values(data: Dataset, part: Part, rows: Sequence[int]) -> np.ndarray:
    """``(rows, *N)``, float64, one sample at a time."""
    time = part.time if part.field == data.target_name else None
    fields = [data.read(part.field, np.array([row]), time=time)[0, part.channel] for row in rows]
    return np.stack(fields).astype(np.float64)


def _title(data: Dataset) -> str:
    header, spec = data.header, data.spec
    law = ": ".join(word for word in (header.name.replace("_", " "), header.formula) if word)
    if header.name == header.formula:
        law = header.formula
    if law == "unknown":
        law = data.path.name
    numbers = [f"{name} = {value:g}" for name, value in header.parameters.items()]
    numbers += [f"{file.name} from {Path(file.path).name}" for file in (spec.field_files if spec else ())]
    points = " x ".join(map(str, header.shape))
    facts = [*numbers, f"{header.num_samples} samples on {points} points"]
    if spec is not None:
        facts += [f"from {spec.initial_condition.replace('_', ' ')}", f"by {spec.method}"]
    return "\n".join([*textwrap.wrap(law, 120), *textwrap.wrap(", ".join(facts), 130)])


def _draw_curves(axes: Sequence[Axes], data: Dataset, parts: list[Part], chosen: Sequence[int]) -> None:
    (x,) = data.header.coordinates
    for part in parts:
        for panel, values in zip(axes, _values(data, part, chosen), strict=True):
            panel.plot(x, values, color=part.color, lw=1.4)
    for panel in axes:
        panel.grid(alpha=0.3)
        panel.margins(x=0)
        panel.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_ylabel(parts[0].name)


def _draw_space_time(
    figure: SubFigure, axes: Sequence[Axes], data: Dataset, parts: list[Part], chosen: Sequence[int]
) -> None:
    """A component over space and time, time upwards, one color bar for the row."""
    parts = _few(parts, IMAGE_TIMES)
    (x,) = data.header.coordinates
    step = -(-len(x) // IMAGE_POINTS)
    images = np.stack([_values(data, part, chosen)[:, ::step] for part in parts], axis=1)
    norm, cmap = field_colors(images)
    times = np.array([part.time for part in parts])
    for panel, image in zip(axes, images, strict=True):
        mesh = panel.pcolormesh(x[::step], times, image, norm=norm, cmap=cmap, shading="nearest", rasterized=True)
        panel.xaxis.set_major_locator(MaxNLocator(4))
    color_bar(figure, mesh, axes, parts[0].name)
    axes[0].set_ylabel("t")


def _draw_snapshots(figure: SubFigure, axes: Sequence[Axes], data: Dataset, part: Part, chosen: Sequence[int]) -> None:
    """A component at one time over the plane, one color bar for the row."""
    fields = _values(data, part, chosen)
    while fields.ndim > 3:
        fields = fields[:, fields.shape[1] // 2]
    norm, cmap = field_colors(fields)
    (y0, height), (x0, width) = list(zip(data.header.offsets or (), data.header.extents, strict=True))[-2:]
    half = [extent / points / 2 for extent, points in zip((height, width), fields.shape[1:], strict=True)]
    box = (x0 - half[1], x0 + width - half[1], y0 - half[0], y0 + height - half[0])
    steps = tuple(slice(None, None, -(-points // IMAGE_POINTS)) for points in fields.shape[1:])
    for panel, field in zip(axes, fields, strict=True):
        image = panel.imshow(field[steps], norm=norm, cmap=cmap, origin="lower", extent=box)
        panel.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        panel.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    color_bar(figure, image, axes, part.label)
    axes[0].set_ylabel("y")


def field_colors(values: np.ndarray) -> tuple[Normalize, str]:
    """Symmetric and diverging for values of both signs, else sequential from the lowest to the highest."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if min(-low, high) > 0.05 * max(-low, high):
        return Normalize(-max(-low, high), max(-low, high)), "RdBu_r"
    return Normalize(low, high if high > low else low + 1), "viridis"


def color_bar(figure: SubFigure, image: ScalarMappable, axes: Sequence[Axes], label: str) -> None:
    """One for a row; very small and very large numbers in units of a power of ten that the label names."""
    low, high = image.get_clim()
    exponent = int(np.floor(np.log10(max(abs(low or 0), abs(high or 0), 1e-300))))
    exponent = 0 if -2 <= exponent <= 3 else exponent
    unit = f" / $10^{{{exponent}}}$" if exponent else ""
    show = FuncFormatter(lambda value, place: f"{value / 10.0**exponent:.4g}")
    ticks = MaxNLocator(5)
    figure.colorbar(image, ax=list(axes), label=f"{label}{unit}", pad=0.01, aspect=16, ticks=ticks, format=show)


def _legend(figure: SubFigure, rows: list[list[Part]]) -> None:
    parts = [part for row in rows if len(row) <= MOST_CURVES for part in row]
    if len(parts) > 1:
        lines = [Line2D([], [], color=part.color, label=part.label) for part in parts]
        figure.legend(handles=lines, loc="outside upper center", ncols=8, fontsize="small", frameon=False)


def _draw_summary(figure: SubFigure, data: Dataset, rows: list[list[Part]]) -> None:
    """Spectra and values of the drawn components, over some samples; spectra of periodic axes only."""
    parts = [part for row in rows for part in row]
    left, right = figure.subplots(1, 2)
    count = min(SUMMED_UP, max(1, SUMMED_BYTES // (data.header.row_bytes)), data.num_samples)
    rows_read = spread_rows(data.num_samples, count)
    for part in parts:
        values = _values(data, part, rows_read)
        values = values[np.isfinite(values.reshape(len(values), -1)).all(axis=1)]
        if not len(values):
            continue
        if data.header.boundary == "periodic":
            _draw_spectrum(left, values, data.header.extents, part)
            _draw_histogram(right, values, part)
        else:
            _draw_histogram(left if part.field == data.input_name else right, values, part)
    which = f"{'all ' if count == data.num_samples else f'{count} of '}{data.num_samples} samples"
    if data.header.boundary == "periodic":
        _finish_spectrum(left, data.header, which)
        _finish_histogram(right, f"Values of {which}")
    else:
        _finish_histogram(left, f"Values of the input, {which}")
        _finish_histogram(right, f"Values of the target, {which}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.title.set_fontsize("medium")
        if axes is left or data.header.boundary != "periodic":
            axes.legend(fontsize="small", frameon=False)


def _draw_spectrum(axes: Axes, values: np.ndarray, extents: Sequence[float], part: Part) -> None:
    """The mean over the samples and the span up to the largest; the smallest is often zero, and would fill the axes."""
    k, amplitudes = amplitude_spectrum(values, extents)
    amplitudes = amplitudes + np.finfo(float).tiny  # zero cannot be drawn on a log axis
    mean = amplitudes.mean(axis=0)
    axes.fill_between(k, mean, amplitudes.max(axis=0), color=part.color, alpha=0.2, lw=0)
    axes.plot(k, mean, color=part.color, ls=part.style, lw=1.4, label=part.label)


def _finish_spectrum(axes: Axes, header: Header, which: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel="wavenumber k", ylabel="amplitude")
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
    if drawn:
        top = max(float(values.max()) for values in drawn)
        axes.set_ylim(max(min(float(values.min()) for values in drawn) / 3, LOWEST * top), 5 * top)
    points = min(header.shape)
    axes.axvspan(tail_start(points), points // 2, color="0.9", lw=0, zorder=0, label="top eighth of the modes")
    axes.set_xlim(1, points // 2)
    axes.set_title(f"Spectrum: mean and largest of {which}")


def _draw_histogram(axes: Axes, values: np.ndarray, part: Part) -> None:
    heights, edges = np.histogram(values, bins=60, density=True)
    axes.stairs(heights, edges, color=part.color, ls=part.style, lw=1.4, label=part.label)


def _finish_histogram(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="value", ylabel="density", yscale="log")
    heights = [float(np.max(patch.get_data()[0])) for patch in axes.patches if isinstance(patch, StepPatch)]
    if heights:
        axes.set_ylim(1e-3 * max(heights), 2 * max(heights))
