"""Pictures that the build makes from short runs: equations, initial conditions, and two models between resolutions."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_gen import DatasetSpec, PeriodicGrid, generate, open_dataset
from data_gen.equations import equation_dims, equation_in, equation_names
from data_gen.grids.cells import CellGrid
from data_gen.random_fields import INITIAL_CONDITIONS, ON_CELLS
from docsite.formulas import latex, legend
from docsite.suite import suite
from docsite.transfer import transfer

FOLDER = "gallery"
#: Output times by the number of dimensions: a film on a line, else three pictures.
TIMES = {1: 48, 2: 3, 3: 3}
#: What shows more of a law than its usual dataset does; a page says so by printing the command.
SHOWN: dict[str, dict[str, Any]] = {
    "allen_cahn": {"resolution": 1024},
    "advection": {"num_dims": 2, "parameters": {"speed_y": 0.5}},
    "burgers": {"parameters": {"viscosity": 0.01}, "method": "lawson7", "resolution": 4096, "tolerance": 1e-6},
    "cahn_hilliard": {"num_dims": 2, "times": 3.0, "tolerance": 1e-6},
    "fisher_kpp": {"initial_condition": "fronts", "times": 4.0, "extent": 56.0},
    "gray_scott": {"resolution": 128, "extent": 0.625, "times": 1500.0, "tolerance": 1e-4},
    "kdv": {
        "initial_condition": "solitons",
        "initial_parameters": {"count": 2, "slowest": 1, "fastest": 4},
        "times": 6.0,
        "extent": 48.0,
        "tolerance": 1e-5,
    },
    "kdv_burgers": {"times": 4.0, "tolerance": 1e-6},
    "kuramoto_sivashinsky": {"times": 60.0, "tolerance": 1e-6},
    "navier_stokes": {"times": 30.0},
    "navier_stokes_3d": {"parameters": {"viscosity": 0.05}, "times": 3.0, "tolerance": 1e-3},
    "swift_hohenberg": {"num_dims": 2, "times": 40.0, "tolerance": 1e-4},
}
_POINTS = {1: 512, 2: 128, 3: 32}


def make(out: Path) -> dict[str, str]:
    """Draw everything into ``out``/gallery, write ``out``/gallery.md, and return what pages take in.

    Returns:
        Markdown by name: "transfer", the errors of two models, "pictures", the equations in small, each a link to
        its place in the gallery, and the figures of ``docsite.suite``.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        equations = [_equation(name, folder, Path(scratch)) for name in equation_names()]
        moved = transfer(folder / "transfer.png", Path(scratch))
    starts = [_initial(name, folder) for name in INITIAL_CONDITIONS]
    text = [
        "# Gallery",
        "",
        "Made with these pages, from short runs; the command above each picture makes its first and last fields.",
        "",
    ]
    text += ["## Equations", "", *equations, "## Initial conditions", "", *starts]
    text += ["## Between resolutions", "", moved, ""]
    (out / "gallery.md").write_text("\n".join(text))
    return {"transfer": moved, "pictures": thumbnails(equation_names()), **suite(folder)}


def thumbnails(names: Sequence[str]) -> str:
    """The last field of each equation in small, or one sample over space and time, under a sentence."""
    small = [f"[![]({FOLDER}/small_{name}.png) {name}](gallery.md#{name})" for name in names]
    first = "[The gallery](gallery.md#equations) has a picture of each, with the command that makes such data."
    return "\n\n".join([first, "```{container} thumbnails", *small, "```"])


def shown_spec(name: str) -> DatasetSpec:
    """The dataset that an equation's picture shows."""
    changes = dict(SHOWN.get(name, {}))
    equation = equation_in(name, changes.get("num_dims"))()
    last = changes.pop("times", equation.time)
    count = TIMES[equation.num_dims]
    times = None if equation.steady else tuple(last * (i + 1) / count for i in range(count))
    return DatasetSpec(
        name,
        times=times,
        **{"samples": 4 if equation.num_dims == 1 else 1, "resolution": _POINTS[equation.num_dims], **changes},
    )


def command_of(spec: DatasetSpec) -> str:
    """The command that makes these data, their last time alone."""
    usual = equation_in(spec.equation, None if equation_dims(spec.equation) is None else spec.num_dims)()
    words = ["sciml-cf generate", spec.equation, f"--samples {spec.samples}", f"--resolution {spec.resolution}"]
    if spec.num_dims != (equation_dims(spec.equation) or (spec.num_dims,))[0]:
        words.append(f"--num-dims {spec.num_dims}")
    words += [f"--{k.replace('_', '-')} {v:g}" for k, v in spec.parameters.items() if v != usual.parameters.get(k)]
    if spec.extent != usual.extent:
        words.append(f"--extent {spec.extent:g}")
    if spec.times and spec.times[-1] != usual.time:
        words.append(f"--times {spec.times[-1]:g}")
    if spec.method != DatasetSpec(spec.equation, num_dims=spec.num_dims).method:
        words.append(f"--method {spec.method}")
    if spec.tolerance != usual.tolerance:
        words.append(f"--tolerance {spec.tolerance:g}")
    if spec.initial_condition != usual.initial_condition:
        values = " ".join(f"{k}={v}" for k, v in spec.initial_parameters.items())
        words.append(f"--initial-condition {spec.initial_condition} --initial-parameters {values}")
    return " ".join([*words, f"--out {spec.equation}.h5"])


def _wrapped(command: str) -> str:
    """A command on as many lines as a page has room for."""
    return " \\\n        ".join(textwrap.wrap(command, 76, break_long_words=False, break_on_hyphens=False))


def _equation(name: str, folder: Path, scratch: Path) -> str:
    spec = shown_spec(name)
    equation = spec.make_equation()
    path = generate(spec, scratch / f"{name}.h5", progress=False)
    with open_dataset(path) as data:
        if equation.steady:
            figure = _images([(name, data.read(name)[0, 0]) for name in (data.input_name, data.target_name)])
            small = data.read(data.target_name)[0, 0]
        else:
            fields = data.read_trajectory()
            small = fields[0, :, 0] if equation.num_dims == 1 else fields[0, -1, 0]
            figure = _line(fields[:, :, 0], data) if equation.num_dims == 1 else _plane(fields[0, :, 0], data)
    figure.savefig(folder / f"{name}.png", dpi=110)
    _small(small).savefig(folder / f"small_{name}.png", dpi=80)
    laws = "\n\n".join(f"$$\n{law}\n$$" for law in latex(equation.formula, equation.parameters))
    letters = legend(dict(equation.parameters))
    picture = f"![{name}]({FOLDER}/{name}.png)\n"
    return "\n\n".join(
        part for part in (f"### {name}", laws, letters, f"    {_wrapped(command_of(spec))}", picture) if part
    )


def _small(field: np.ndarray) -> Figure:
    """A picture of nothing but the field; of one in space the plane in the middle."""
    figure = Figure(figsize=(2.4, 1.8))
    show_alone(figure.add_axes((0, 0, 1, 1)), field if field.ndim == 2 else field[len(field) // 2])
    return figure


def show_alone(axes: Axes, field: np.ndarray) -> None:
    """Fill axes with a field of two axes, and nothing else."""
    axes.set_axis_off()
    axes.imshow(field, origin="lower", aspect="auto", **_colours(field))


def _line(fields: np.ndarray, data: Any) -> Figure:
    """Curves at the first and the last time, and one sample over space and time."""
    figure = Figure(figsize=(8.0, 2.7), layout="constrained")
    curves, film = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
    x = data.grid.points
    for sample, field in enumerate(fields[:3]):
        curves.plot(x, field[0], color=f"C{sample}", lw=0.9, ls=":")
        curves.plot(x, field[-1], color=f"C{sample}", lw=1.3)
    curves.set(xlabel="x", ylabel="u", title=f"t = 0 (dotted) and t = {data.times[-1]:g}", xlim=(x[0], x[-1]))
    extent = (0.0, data.grid.extent, 0.0, data.times[-1])
    image = film.imshow(fields[0], origin="lower", aspect="auto", extent=extent, **_colours(fields[0]))
    film.set(xlabel="x", ylabel="t", title="the first sample")
    figure.colorbar(image, ax=film)
    return figure


def _plane(fields: np.ndarray, data: Any) -> Figure:
    """At three times; of fields in space the plane in the middle."""
    times = data.times
    fields = fields if fields.ndim == 3 else fields[:, fields.shape[1] // 2]
    return _images([(f"t = {times[i]:.3g}", fields[i]) for i in (0, len(times) // 3, len(times) - 1)])


def _images(named: list[tuple[str, np.ndarray]]) -> Figure:
    figure = Figure(figsize=(8.0 if len(named) > 2 else 5.6, 2.6), layout="constrained")
    for axes, (title, field) in zip(np.atleast_1d(figure.subplots(1, len(named))), named, strict=True):
        _image(figure, axes, title, field)
    return figure


def _image(figure: Figure, axes: Axes, title: str, field: np.ndarray) -> None:
    figure.colorbar(axes.imshow(field, origin="lower", **_colours(field)), ax=axes, shrink=0.85)
    axes.set(title=title, xticks=[], yticks=[])


def _colours(field: np.ndarray) -> dict[str, Any]:
    """Symmetric about zero where values have both signs."""
    most = float(np.abs(field).max()) or 1.0
    both = field.min() < -0.05 * most and field.max() > 0.05 * most
    return {"cmap": "RdBu_r", "vmin": -most, "vmax": most} if both else {"cmap": "viridis"}


def _initial(name: str, folder: Path) -> str:
    """Three draws of an initial condition, in one dimension if it has one."""
    draw, _ = INITIAL_CONDITIONS[name]
    figure = Figure(figsize=(8.0, 2.2), layout="constrained")
    if name in ON_CELLS or name == "spots":
        grid: Any = CellGrid(96, num_dims=2) if name in ON_CELLS else PeriodicGrid(128, num_dims=2)
        fields = draw(grid, range(3), seed=0, **({"channels": 2} if name == "spots" else {}))
        for axes, field in zip(figure.subplots(1, 3), fields, strict=True):
            _image(figure, axes, "", field[-1])
    else:
        grid = PeriodicGrid(512)
        axes = figure.subplots()
        axes.plot(grid.points, draw(grid, range(3), seed=0)[:, 0].T, lw=1.2)
        axes.set(xlabel="x / L", ylabel="u", xlim=(0, 1))
    figure.savefig(folder / f"start_{name}.png", dpi=110)
    first = (draw.__doc__ or "").splitlines()[0]
    return f"### {name}\n\n{first}\n\n![{name}]({FOLDER}/start_{name}.png)\n"
