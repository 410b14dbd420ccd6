"""The picture at the top of the README: `python -m docsite.fields` writes docs/demo/fields.png."""

from __future__ import annotations

import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from data_gen import generate, open_dataset
from docsite.gallery import show_alone, shown_spec
from docsite.staging import DOCS

PICTURE = DOCS / "demo" / "fields.png"
#: Solutions over space (across) and time (up), or in the plane at the last time.
SHOWN = ("kuramoto_sivashinsky", "kdv", "navier_stokes")


def draw() -> Figure:
    """The first sample of each, side by side, from the data that the gallery shows."""
    figure = Figure(figsize=(9.0, 2.0))
    width = 1 / len(SHOWN)
    with tempfile.TemporaryDirectory() as folder:
        for place, name in enumerate(SHOWN):
            path = generate(shown_spec(name), Path(folder) / f"{name}.h5", progress=False)
            with open_dataset(path) as data:
                field = data.read_trajectory()[0, :, 0]
            axes = figure.add_axes((place * width, 0, width - 0.01, 1))
            show_alone(axes, field if field.ndim == 2 else field[-1])
    return figure


def main() -> None:
    draw().savefig(PICTURE, dpi=90)
    print(PICTURE.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
