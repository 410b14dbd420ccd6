"""Round trips: ours into every other format and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_gen import validate
from data_gen.convert import convert
from data_gen.errors import DatasetError
from data_gen.formats import FORMATS, Overrides, open_source
from data_gen.header import Header
from tests.data_gen.test_layout import HEADERS, write

PARAMETERS = {"viscosity": 0.1 / 3, "rate": 2.0}
# What tells the formats apart: where they keep the metadata of the fields.
SELF_DESCRIBING = {"file.hdf5": {}, "folder": {}, "file.nc": {}}
MATLAB = {"v5.mat": {"mat_version": "5"}, "v73.mat": {"mat_version": "7.3"}}
BARE = {"file.pt": {}, "x.npy,y.npy": {}}
ALL = {**SELF_DESCRIBING, **MATLAB, **BARE}


def place(folder: Path, out: str) -> str:
    return ",".join(str(folder / part) for part in out.split(","))


def holds(out: str, header: Header) -> bool:
    """Whether the format has a place for such fields."""
    if out in MATLAB:
        return len(header.channels) == 1
    return header.steady or header.inputs == header.channels or out in (*BARE, "file.nc")


def overrides_for(out: str, header: Header) -> Overrides | None:
    if out not in BARE:
        return None
    return Overrides(extent=header.extents, times=header.times, boundary=header.boundary)


@pytest.mark.parametrize("out", ALL)
@pytest.mark.parametrize("name", HEADERS)
def test_there_and_back_gives_the_same_bytes(tmp_path: Path, name: str, out: str) -> None:
    header = replace(HEADERS[name], parameters=PARAMETERS)
    write(tmp_path / "ours.h5", header)
    there = place(tmp_path, out)
    if not holds(out, header):
        with pytest.raises(ValueError, match=r"`out` must hold (several components|an input of other components)"):
            convert(tmp_path / "ours.h5", there, **ALL[out])
        assert sorted(p.name for p in tmp_path.iterdir()) == ["ours.h5"]
        return
    convert(tmp_path / "ours.h5", there, **ALL[out])
    overrides = overrides_for(out, header)
    back = convert(there, tmp_path / "back.h5", overrides=overrides)
    assert validate(tmp_path / "back.h5").ok
    with open_source(tmp_path / "ours.h5") as ours, open_source(tmp_path / "back.h5") as again:
        assert again.checksum == ours.checksum and again.header == back
        assert (again.times, again.dtype, again.header.boundary) == (ours.times, ours.dtype, ours.header.boundary)
        for axis, points in zip(ours.header.coordinates, again.header.coordinates, strict=True):
            np.testing.assert_allclose(points, axis, rtol=1e-12, atol=1e-14)
        with open_source(there, overrides=overrides) as foreign:
            assert foreign.checksum == ours.checksum
            for rows, stride in [(None, 1), (np.array([0, 3]), 4), (slice(1, 4), 2)]:
                for field in (foreign.input_name, foreign.target_name):
                    role = ours.input_name if field == foreign.input_name else ours.target_name
                    np.testing.assert_array_equal(foreign.read(field, rows, stride), ours.read(role, rows, stride))
                np.testing.assert_array_equal(foreign.read_trajectory(rows, stride), ours.read_trajectory(rows, stride))
    if out not in BARE:
        assert dict(back.parameters) == PARAMETERS and back.name == header.name
    if out in SELF_DESCRIBING:
        assert (back.channels, back.inputs) == (header.channels, header.inputs)


def test_an_equation_survives_in_the_words_of_each_format(tmp_path: Path) -> None:
    import h5py

    header = Header("burgers", 3, (16,), (2 * np.pi,), (0.0, 1.0), parameters={"viscosity": 0.1})
    write(tmp_path / "ours.h5", header)
    for out in (*SELF_DESCRIBING, *MATLAB):
        convert(tmp_path / "ours.h5", tmp_path / out, **ALL[out])
        with open_source(tmp_path / out) as foreign:
            assert foreign.equation is not None and foreign.equation.parameters == {"viscosity": 0.1}
    with h5py.File(tmp_path / "file.hdf5") as theirs:
        assert theirs.attrs["Nu"] == pytest.approx(0.1 * np.pi) and len(theirs["t-coordinate"]) == 3


def test_values_that_are_not_finite_are_refused_or_taken(tmp_path: Path) -> None:
    x = np.ones((4, 16))
    y = x.copy()
    y[2, 5] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    words = (place(tmp_path, "x.npy,y.npy"), tmp_path / "out.h5")
    overrides = Overrides(extent=(1.0,), times=(0.0, 1.0))
    with pytest.raises(DatasetError, match="NaN or infinity in u of sample 2.*--allow-nan"):
        convert(*words, overrides=overrides)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "y.npy"]
    convert(*words, overrides=overrides, allow_nan=True)
    with open_source(tmp_path / "out.h5") as data:
        np.testing.assert_array_equal(data.read("u")[:, 0], y)


def test_outputs_are_written_whole_and_never_over_others(tmp_path: Path) -> None:
    write(tmp_path / "ours.h5", HEADERS["pairs"])
    (tmp_path / "file.nc").write_text("precious")
    with pytest.raises(FileExistsError, match="`out` must not exist yet"):
        convert(tmp_path / "ours.h5", tmp_path / "file.nc")
    assert (tmp_path / "file.nc").read_text() == "precious"
    with pytest.raises(FileExistsError, match=r"must be a data file, .* to replace; the file .*file\.nc is not"):
        convert(tmp_path / "ours.h5", tmp_path / "file.nc", overwrite=True)
    assert (tmp_path / "file.nc").read_text() == "precious"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="a folder of The Well to replace"):
        convert(tmp_path / "ours.h5", tmp_path / "mine", overwrite=True)
    with pytest.raises(ValueError, match="`out` must be another file"):
        convert(tmp_path / "ours.h5", tmp_path / "ours.h5", overwrite=True)
    with pytest.raises(FileNotFoundError, match="existing folder"):
        convert(tmp_path / "ours.h5", tmp_path / "no" / "file.nc")
    with pytest.raises(ValueError, match=r"`out` must end in one of \.h5, \.mat"):
        convert(tmp_path / "ours.h5", tmp_path / "file.xyz")
    with pytest.raises(ValueError, match="convert: `to` must be one of sciml_cf, mat.*; got 'parquet'"):
        convert(tmp_path / "ours.h5", tmp_path / "file.nc", to="parquet")
    with pytest.raises(ValueError, match=r"`to` must be one of sciml_cf, mat.*; got \.npz"):
        convert(tmp_path / "ours.h5", tmp_path / "file.npz")
    assert not list(tmp_path.glob("*.partial"))


def watch(source: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The rows that are loaded from a foreign file from now on."""
    asked: list[tuple[int, int]] = []
    load = source._load

    def watched(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        asked.append((start, stop))
        return load(name, start, stop, at)

    monkeypatch.setattr(source, "_load", watched)
    return asked


def test_large_files_pass_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is read once, in blocks, on the way and of a foreign file that is read at once."""
    monkeypatch.setattr("data_gen.header.BLOCK", 4)
    header = replace(HEADERS["pairs"], num_samples=10)
    write(tmp_path / "ours.h5", header)
    for out in ("file.hdf5", "file.nc", "v73.mat", "folder"):
        done: list[int] = []
        convert(tmp_path / "ours.h5", tmp_path / out, progress=done.append, **ALL[out])
        assert done == [4, 8, 10]
        convert(tmp_path / out, tmp_path / "back.h5", overwrite=True)
        with open_source(tmp_path / "ours.h5") as ours, open_source(tmp_path / "back.h5") as back:
            assert ours.checksum == back.checksum and back.attributes["source"] == f"converted from {out}"
        with open_source(tmp_path / out) as foreign:
            asked = watch(foreign, monkeypatch)
            foreign.read("u")
            assert asked == [(0, 4), (4, 8), (8, 10)]


def test_every_format_is_named_and_recognized_by_its_content(tmp_path: Path) -> None:
    write(tmp_path / "ours.h5", HEADERS["pairs"])
    expected = {"file.hdf5": "pdebench", "folder": "the_well", "file.nc": "netcdf", "v5.mat": "mat", "v73.mat": "mat"}
    for out, name in {**expected, "file.pt": "pt", "x.npy,y.npy": "npy"}.items():
        there = place(tmp_path, out)
        convert(tmp_path / "ours.h5", there, **ALL[out])
        overrides = overrides_for(out, HEADERS["pairs"]) or Overrides()
        if "," not in there and not Path(there).is_dir():
            Path(there).rename(tmp_path / "renamed")
            there = str(tmp_path / "renamed")
        with open_source(there, overrides=overrides) as data:
            assert data.num_samples == 5
        found = [known for known in FORMATS if FORMATS[known].load().recognizes(Path(there))]
        assert found[0] == name


def test_an_unfinished_file_of_generate_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "ours.h5", HEADERS["pairs"])
    (tmp_path / "out.h5.partial").write_text("to be resumed")
    convert(tmp_path / "ours.h5", tmp_path / "out.h5")
    assert (tmp_path / "out.h5.partial").read_text() == "to be resumed"


def test_folders_of_the_well_are_replaced_by_folders_and_files(tmp_path: Path) -> None:
    write(tmp_path / "ours.h5", HEADERS["pairs"])
    for out, to in [("place", "the_well"), ("place", "the_well"), ("place", "netcdf"), ("place", "the_well")]:
        convert(tmp_path / "ours.h5", tmp_path / out, to=to, overwrite=True)
        with open_source(tmp_path / out) as data:
            assert data.num_samples == 5
    (tmp_path / "place" / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="a folder of The Well to replace"):
        convert(tmp_path / "ours.h5", tmp_path / "place", overwrite=True)


def test_a_parameter_cannot_take_the_place_of_our_attributes(tmp_path: Path) -> None:
    import xarray as xr

    values = np.random.default_rng(0).standard_normal((3, 4, 16))
    coords = {"x": np.arange(16) / 16, "time": np.arange(4.0)}
    attributes = {"layout_version": 99, "extent": 7.0, "viscosity": 0.1}
    xr.Dataset({"u": (("sample", "time", "x"), values)}, coords, attributes).to_netcdf(tmp_path / "file.nc")
    convert(tmp_path / "file.nc", tmp_path / "out.h5")
    with open_source(tmp_path / "out.h5") as data:
        assert dict(data.header.parameters) == {"viscosity": 0.1} and data.header.extents == (1.0,)
    with pytest.raises(ValueError, match="`parameters` must have names that dataset files do not use; got 'layout'"):
        Overrides(parameters={"layout": 1.0})


def test_facts_of_version_0_1_go_on_working(tmp_path: Path) -> None:
    import data_gen
    from data_gen import Facts
    from data_gen.formats import Facts as same

    assert Facts is same is data_gen.Overrides
    np.savez(tmp_path / "f.npz", x=np.ones((3, 16)), y=np.ones((3, 16)))
    facts = Facts(extent=(2.0,), times=(0.0, 1.0))
    with open_source(tmp_path / "f.npz", facts=facts) as data:
        assert data.header.extents == (2.0,)
    assert convert(tmp_path / "f.npz", tmp_path / "f.h5", facts=facts).extents == (2.0,)
    for function in (open_source, lambda path, **words: convert(path, tmp_path / "g.h5", **words)):
        with pytest.raises(ValueError, match="`overrides` must not be combined with `facts`"):
            function(tmp_path / "f.npz", facts=facts, overrides=facts)
