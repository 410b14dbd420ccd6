"""Arrays by name and facts about them in one HDF5 file."""

import json

import h5py
import numpy as np
import pytest
import xarray as xr

from data_gen.errors import DatasetError
from data_gen.formats.arrays_hdf5 import read_arrays, write_arrays

FACTS = {"law": "y = 2 x", "parameters": {"slope": 2.0}, "seed": 3}


def arrays():
    random = np.random.default_rng(0)
    return {"x": random.standard_normal((5, 3, 2)).astype(np.float32), "y": random.standard_normal(5)}


@pytest.fixture
def path(tmp_path):
    return write_arrays(tmp_path / "data.h5", arrays(), kind="pairs", facts=FACTS)


def test_arrays_and_facts_come_back_as_they_were(path):
    found, facts = read_arrays(path, kind="pairs")
    assert facts == FACTS and list(found) == ["x", "y"]
    for name, values in arrays().items():
        assert found[name].dtype == values.dtype and np.array_equal(found[name], values)


def test_the_same_arrays_give_the_same_bytes(path, tmp_path):
    again = write_arrays(tmp_path / "again.h5", arrays(), kind="pairs", facts=FACTS)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_it_with_named_axes(path, engine):
    with xr.open_dataset(path, engine=engine) as data:
        assert data["x"].dims == ("sample", "x_1", "x_2") and data["y"].dims == ("sample",)
        assert data.attrs["law"] == "y = 2 x" and data.attrs["seed"] == 3 and "numpy" in data.attrs["versions"]
        np.testing.assert_array_equal(data["x"], arrays()["x"])


def test_a_failed_write_leaves_the_file_that_was_there(path):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_arrays(path, arrays(), kind="pairs", facts={"seed": object()})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_arrays(path, arrays(), kind="pairs", facts={"slope": float("nan")})
    with pytest.raises(FileNotFoundError, match="^write_arrays: `path` must lie in an existing folder"):
        write_arrays(path.parent / "none" / "x.h5", arrays(), kind="pairs", facts={})
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["data.h5"]


def test_a_write_that_breaks_off_leaves_nothing_half_there(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("data_gen.formats.arrays_hdf5._write_array", full)
    with pytest.raises(OSError, match="No space"):
        write_arrays(path, {"x": np.ones(3)}, kind="pairs", facts={})
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["data.h5"]


@pytest.mark.parametrize(
    ("given", "facts", "words"),
    [
        ({}, {}, "one row a sample each, at least one; got no array"),
        ({"x": np.ones(3), "y": np.ones(4)}, {}, r"got x \(3,\), y \(4,\)"),
        ({"x": np.ones(())}, {}, r"got x \(\)"),
        ({"x": np.ones((0, 2))}, {}, r"got x \(0, 2\)"),
        ({"x": np.array(["a"])}, {}, "be numbers under names that are free; got x"),
        ({"sample": np.ones(3)}, {}, "names that are free; got sample"),
        ({"x": np.ones(3)}, {"checksum": "1"}, "names that are free; got checksum"),
    ],
)
def test_unusable_arrays_are_one_line(tmp_path, given, facts, words):
    with pytest.raises(ValueError, match=f"^write_arrays: `arrays` must .*{words}"):
        write_arrays(tmp_path / "x.h5", given, kind="pairs", facts=facts)
    assert not list(tmp_path.iterdir())


def change(path, work):
    with h5py.File(path, "r+") as file:
        work(file)


def _set_value(file):
    file["y"][2] += 1e-9


def _set_fact(file):
    file.attrs["facts"] = json.dumps({**FACTS, "seed": 4}, sort_keys=True)


def _rename(file):
    file.move("y", "z")


def _link(file):
    del file["y"]
    file["y"] = h5py.ExternalLink("other.h5", "y")


def _point_to(file):
    del file["y"]
    file["y"] = h5py.SoftLink("/x")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (_set_value, "does not match its checksum"),
        (_set_fact, "does not match its checksum"),
        (_rename, r"is damaged \(it has no y\)"),
        (_link, "keeps y in another file, which is refused"),
        (_point_to, r"is damaged \(it has no y\)"),
        (lambda file: file.attrs.pop("checksum"), "is damaged"),
        (lambda file: file.attrs.modify("facts", "{"), "is damaged"),
        (lambda file: file.attrs.modify("arrays", "3"), "is damaged"),
        (lambda file: file.attrs.modify("layout", "sciml_cf dataset"), "has layout 'sciml_cf dataset', not"),
        (lambda file: file.attrs.pop("layout"), "has layout 'none', not"),
        (lambda file: file.attrs.modify("layout_version", 2), "has layout version 2, newer than 1. Update"),
        (lambda file: file.attrs.modify("kind", "triples"), "has triples, not pairs"),
    ],
)
def test_a_changed_file_is_one_line(path, work, words):
    change(path, work)
    with pytest.raises(DatasetError, match=f"^read_arrays: .*data.h5 .*{words}") as caught:
        read_arrays(path, kind="pairs")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "does not exist"), (b"", "is not an HDF5 file"), (b"text", "is not an HDF5 file"), (-100, "is truncated")],
)
def test_a_file_that_cannot_be_opened_is_one_line(path, content, words):
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises(DatasetError, match=f"^read_arrays: .*data.h5 {words}"):
        read_arrays(path, kind="pairs")
    with pytest.raises(DatasetError, match="is a folder"):
        read_arrays(path.parent, kind="pairs")
