"""Our files and those we convert, opened by the others' own loaders where these are installed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_gen import open_dataset
from data_gen.convert import convert
from tests.data_gen.test_layout import HEADERS, write

SERIES = ("pairs", "trajectories", "pairs of two channels", "pairs in two dimensions", "trajectories of two channels")


def well(**words: Any) -> Any:
    """The Well's loader."""
    data = pytest.importorskip("the_well.data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return data.WellDataset(**words)


@pytest.mark.parametrize("converted", [False, True], ids=["ours", "converted"])
@pytest.mark.parametrize("name", SERIES)
def test_the_wells_loader_gives_the_fields_of_every_step(tmp_path: Path, name: str, converted: bool) -> None:
    header = replace(HEADERS[name], parameters={"viscosity": 0.1})
    write(tmp_path / "file.h5", header)
    with open_dataset(tmp_path / "file.h5") as data:
        whole = np.moveaxis(data.read_trajectory(), 2, -1)
    if converted:
        convert(tmp_path / "file.h5", tmp_path / "folder")
        theirs = well(path=str(tmp_path / "folder"), well_split_name="train")
    else:
        theirs = well(path=str(tmp_path))
    steps = len(header.times) - 1
    assert len(theirs) == 5 * steps
    for index in range(len(theirs)):
        item = theirs[index]
        sample, step = divmod(index, steps)
        np.testing.assert_array_equal(item["input_fields"][0], whole[sample, step])
        np.testing.assert_array_equal(item["output_fields"][0], whole[sample, step + 1])
        grid = np.stack(np.meshgrid(*header.coordinates, indexing="ij"), axis=-1)
        np.testing.assert_allclose(item["space_grid"], grid, rtol=1e-6)


def test_the_wells_statistics_normalise_its_fields(tmp_path: Path) -> None:
    normalisation = pytest.importorskip("the_well.data.normalization")
    write(tmp_path / "file.h5", HEADERS["trajectories of two channels"])
    convert(tmp_path / "file.h5", tmp_path / "folder")
    theirs = well(
        path=str(tmp_path / "folder"),
        well_split_name="train",
        use_normalization=True,
        normalization_type=normalisation.ZScoreNormalization,
    )
    with open_dataset(tmp_path / "file.h5") as data:
        whole = np.moveaxis(data.read_trajectory(), 2, -1)
    expected = (whole - whole.mean((0, 1, 2, 3))) / whole.std((0, 1, 2, 3))
    np.testing.assert_allclose(theirs[2]["input_fields"][0], expected[1, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("converted", [False, True], ids=["ours", "converted"])
@pytest.mark.parametrize("name", ["pairs", "trajectories", "steady"])
def test_pdebenchs_loader_gives_the_fields(tmp_path: Path, name: str, converted: bool) -> None:
    """FNODatasetSingle: ``(samples, *points, times, components)`` in float32; of Darcy flow the coefficient comes
    first.

    A converted file has x as its first axis in space, as those that PDEBench's own generators write.
    """
    loader = pytest.importorskip("pdebench.models.fno.utils").FNODatasetSingle
    header = HEADERS[name]
    write(tmp_path / "file.hdf5", header)
    with open_dataset(tmp_path / "file.hdf5") as data:
        whole = np.moveaxis(data.read_trajectory()[:, :, 0], 1, -1)
        if header.steady:
            whole = np.concatenate([data.read("coefficient")[:, 0, ..., None], whole], axis=-1)
    if converted:
        convert(tmp_path / "file.hdf5", tmp_path / "theirs.hdf5")
        whole = np.swapaxes(whole, 1, 2) if header.num_dims == 2 else whole
    place = {"filename": "theirs.hdf5" if converted else "file.hdf5", "saved_folder": f"{tmp_path}/"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = loader(**place, initial_step=1, test_ratio=0.0)
    assert len(theirs) == 5
    np.testing.assert_array_equal(np.squeeze(theirs.data.numpy(), -1), whole.astype("float32"))
    points = header.coordinates[-1]
    np.testing.assert_allclose(np.asarray(theirs.grid)[..., 0].ravel()[:: len(points) if header.steady else 1], points)


@pytest.mark.parametrize("name", ["pairs in two dimensions", "trajectories of two channels"])
def test_pdebenchs_loader_of_groups_gives_the_fields(tmp_path: Path, name: str) -> None:
    """FNODatasetMult: ``(*points, times, components)`` of each group, x first."""
    loader = pytest.importorskip("pdebench.models.fno.utils").FNODatasetMult
    write(tmp_path / "file.h5", HEADERS[name])
    convert(tmp_path / "file.h5", tmp_path / "groups.h5", to="pdebench")
    with open_dataset(tmp_path / "file.h5") as data:
        whole = data.read_trajectory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = loader(filename="groups", saved_folder=f"{tmp_path}/", initial_step=1, test_ratio=0.0)
        found = [theirs[i] for i in range(len(theirs))]
    assert len(found) == 5
    for sample, (_, fields, grid) in zip(whole, found, strict=True):
        np.testing.assert_array_equal(fields, sample.transpose(3, 2, 0, 1).astype("float32"))
        np.testing.assert_allclose(grid[:, 0, 0], HEADERS[name].coordinates[-1])
