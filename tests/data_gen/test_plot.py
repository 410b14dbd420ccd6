"""Figures of files of every shape: what they show is what the file holds, and only a few samples are read."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from data_gen import open_dataset
from data_gen.header import Header
from data_gen.plot import Part, draw_dataset, drawn_rows, plot_dataset
from data_gen.storage.dataset import Dataset
from tests.data_gen.test_layout import HEADERS, write
from tests.edits import edited

MORE = {
    "long trajectories": Header("any", 5, (16,), (1.0,), tuple(np.linspace(0, 1, 12))),
    "several inputs": Header("any", 5, (8, 8), (1.0, 1.0), (0.0, 1.0), input_channels=("f", "g")),
}
FILES = {**HEADERS, **MORE}
#: Rows of panels, and curves or images in each of them.
PANELS = {
    "pairs": (1, 2),
    "pairs of two channels": (2, 2),
    "another input": (3, 1),
    "trajectories": (1, 3),
    "pairs in two dimensions": (2, 1),
    "trajectories of two channels": (6, 1),
    "steady": (2, 1),
    "three dimensions": (2, 1),
    "long trajectories": (1, 1),
    "several inputs": (3, 1),
}


def panels(figure: Figure) -> list:
    """The panels of samples: those above the summary, without color bars."""
    return [axes for axes in figure.subfigs[0].axes if axes.get_label() != "<colorbar>"]


@pytest.mark.parametrize("name", FILES)
def test_every_shape_has_its_panels(tmp_path: Path, name: str) -> None:
    write(tmp_path / "file.h5", FILES[name])
    with open_dataset(tmp_path / "file.h5") as data:
        figure = draw_dataset(data, samples=3)
    rows, drawn = PANELS[name]
    found = panels(figure)
    assert len(found) == 3 * rows
    assert all(len(axes.lines) + len(axes.images) + len(axes.collections) == drawn for axes in found)
    assert [axes.get_title().split(",")[0] for axes in found[:3]] == ["sample 0", "sample 2", "sample 4"]
    left, right = figure.subfigs[1].axes
    assert len(right.patches) > 0 and (left.get_xlabel() == "wavenumber k") == (name != "steady")


def test_curves_are_the_stored_fields_and_labelled(tmp_path: Path) -> None:
    fields = write(tmp_path / "file.h5", HEADERS["pairs"])
    with open_dataset(tmp_path / "file.h5") as data:
        first, _ = panels(draw_dataset(data, samples=2))
    np.testing.assert_array_equal(first.lines[0].get_ydata(), fields["a"][0])
    np.testing.assert_array_equal(first.lines[1].get_ydata(), fields["u"][0])
    np.testing.assert_array_equal(first.lines[1].get_xdata(), np.arange(16) / 16)
    labels = [[part.label for part in row] for row in drawn_rows(HEADERS["pairs"], ("u",))]
    assert labels == [["u, t = 0", "u, t = 1"]]


def test_images_are_upright_share_symmetric_colors_and_show_the_box(tmp_path: Path) -> None:
    header = HEADERS["pairs in two dimensions"]
    fields = write(tmp_path / "file.h5", header)
    with open_dataset(tmp_path / "file.h5") as data:
        found = panels(draw_dataset(data, samples=2))
    for i, axes in enumerate(found):
        (image,) = axes.images
        field = fields["a" if i < 2 else "u"]
        np.testing.assert_array_equal(image.get_array(), field[(0, 4)[i % 2]])
        low, high = image.get_clim()
        assert low == -high == -np.abs(field[[0, 4]]).max() and image.get_cmap().name == "RdBu_r"
        assert image.origin == "lower" and image.get_extent() == [-1 / 16, 2 - 1 / 16, -1 / 16, 1 - 1 / 16]


def test_positive_fields_get_sequential_colors_and_cells_their_place(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    write(path, HEADERS["steady"])
    with edited(path) as file:
        file["coefficient"][...] = np.abs(file["coefficient"][...]) + 3
    with open_dataset(path) as data:
        image = panels(draw_dataset(data, samples=2))[0].images[0]
        assert image.get_cmap().name == "viridis" and image.get_clim()[0] >= 3
        assert image.get_extent() == [0, 1, 0, 1]


def test_space_time_images_hold_all_times(tmp_path: Path) -> None:
    fields = write(tmp_path / "file.h5", MORE["long trajectories"])
    with open_dataset(tmp_path / "file.h5") as data:
        (mesh,) = panels(draw_dataset(data, samples=2))[1].collections
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(12, 16), fields["u"][4])


def test_chosen_components_only() -> None:
    header = HEADERS["trajectories of two channels"]
    assert [row[0].label for row in drawn_rows(header, ("q",))] == ["q, t = 0", "q, t = 0.5", "q, t = 1"]
    parts = [part for row in drawn_rows(HEADERS["another input"], ("f", "q")) for part in row]
    assert parts == [
        Part("a", 0, None, "f", "f, input", "0.55"),
        Part("u", 1, 1.0, "q", "q, t = 1", "C1"),
    ]


def test_only_a_few_samples_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "file.h5", Header("any", 1000, (16,), (1.0,), (0.0, 1.0)))
    rows: set[int] = set()
    read = Dataset.read

    def noted(self: Dataset, name: str, at: np.ndarray, **choice: float) -> np.ndarray:
        rows.update(at.tolist())
        return read(self, name, at, **choice)

    monkeypatch.setattr(Dataset, "read", noted)
    with open_dataset(tmp_path / "file.h5") as data:
        draw_dataset(data)
    assert {0, 999} <= rows and len(rows) <= 68


def test_plot_writes_the_figure_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.h5"
    write(path, HEADERS["pairs"])
    assert plot_dataset(path) == tmp_path / "file.png"
    assert imread(tmp_path / "file.png").shape[1] == 1495
    before = (tmp_path / "file.png").read_bytes()
    with pytest.raises(FileExistsError, match=r"`out` must not exist; got .*file.png. Pass overwrite=True"):
        plot_dataset(path)

    def fail(self: Figure, place: Path, **settings: object) -> None:
        place.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_dataset(path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.h5", "file.png"]
    assert (tmp_path / "file.png").read_bytes() == before


def test_a_file_with_broken_samples_can_still_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    write(path, HEADERS["pairs in two dimensions"])
    with edited(path) as file:
        file["u"][...] = np.nan
        file["a"][0, 0, 0] = np.inf
    assert plot_dataset(path, tmp_path / "broken.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "figure.txt"}, r"`out` must end in .png, .pdf, .svg; got .*figure.txt"),
        ({"samples": 7}, "`samples` must be 1 to 6; got 7"),
        ({"samples": 0}, "`samples` must be 1 to 6; got 0"),
        ({"channels": ("w",)}, "`channels` must be among u; got 'w'"),
    ],
)
def test_plot_refuses(tmp_path: Path, changes: dict, message: str) -> None:
    write(tmp_path / "file.h5", HEADERS["pairs"])
    out = tmp_path / changes.pop("out", "figure.png")
    with pytest.raises(ValueError, match=message):
        plot_dataset(tmp_path / "file.h5", out, **changes)
    assert not out.exists()


def test_plot_is_public() -> None:
    import data_gen

    assert data_gen.plot_dataset is import_module("data_gen.plot").plot_dataset
