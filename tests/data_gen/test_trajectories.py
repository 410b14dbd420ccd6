"""Files of several output times: the same guarantees as of one, readable by the same readers."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from data_gen import DatasetSpec, cole_hopf, generate, open_dataset, validate
from data_gen.errors import DatasetError
from data_gen.storage import journal
from data_gen.storage.dataset import create_file, read_map
from tests.edits import edited

TIMES = (0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def spec() -> DatasetSpec:
    return DatasetSpec(samples=130, resolution=64, times=TIMES, method="etdrk4", tolerance=1e-6)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, spec: DatasetSpec) -> Path:
    return generate(spec, tmp_path_factory.mktemp("data") / "trajectories.h5", progress=False)


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(path, tmp_path / "copy.h5"))


def test_trajectories_are_solutions_at_their_times(path: Path) -> None:
    with open_dataset(path) as data:
        assert data.times == (0.0, *TIMES) and data.stored_names == ("u",)
        u = data.read_trajectory()
    assert u.shape == (130, 4, 1, 64)
    for i, time in enumerate(TIMES, start=1):
        truth = cole_hopf(u[:, 0], viscosity=0.1, time=time, extent=2 * np.pi)
        assert np.abs(u[:, i] - truth).max() < 1e-6


def test_trajectories_start_and_end_like_the_file_of_one_time(path: Path, spec: DatasetSpec, tmp_path: Path) -> None:
    short = dataclasses.replace(spec, times=(1.0,), samples=5)
    with open_dataset(generate(short, tmp_path / "two.h5", progress=False)) as two, open_dataset(path) as data:
        rows = slice(0, 5)
        np.testing.assert_array_equal(two.read("a"), data.read("a", rows))
        np.testing.assert_allclose(two.read("u"), data.read("u", rows), atol=1e-6)
        assert two.read_trajectory().shape == (5, 2, 1, 64)
        np.testing.assert_array_equal(two.read_trajectory()[:, 1], two.read("u", time=1.0))


def test_exact_trajectories_are_exact(tmp_path: Path, spec: DatasetSpec) -> None:
    exact = dataclasses.replace(spec, method="cole-hopf", samples=3)
    report = validate(generate(exact, tmp_path / "exact.h5", progress=False), truth=True)
    assert report.ok and report.max_error == 0


@pytest.mark.parametrize("rows", [None, slice(120, 130), np.array([0, 7, 129])])
@pytest.mark.parametrize("stride", [1, 8])
def test_read_picks_times_rows_and_points(path: Path, rows: slice | np.ndarray | None, stride: int) -> None:
    with h5py.File(path) as file:
        whole = file["u"][()][slice(None) if rows is None else rows][..., ::stride]
    with open_dataset(path) as data:
        np.testing.assert_array_equal(data.read_trajectory(rows, stride)[:, :, 0], whole)
        np.testing.assert_array_equal(data.read("a", rows, stride)[:, 0], whole[:, 0])
        np.testing.assert_array_equal(data.read("u", rows, stride)[:, 0], whole[:, 3])
        np.testing.assert_array_equal(data.read("u", rows, stride, time=0.5)[:, 0], whole[:, 2])
        np.testing.assert_array_equal(data.read("u", rows, stride, time=0.0), data.read("a", rows, stride, time=0))


@pytest.mark.parametrize(
    ("name", "time", "message"),
    [
        ("u", 0.3, r"`time` of u must be one of 0\.0, 0\.25, 0\.5, 1\.0; got 0\.3"),
        ("a", 0.5, r"`time` of a must be one of 0\.0; got 0\.5"),
        ("u", float("nan"), "`time` of u must be"),
        ("tensor", None, "`name` must be 'a' or 'u'"),
    ],
)
def test_read_refuses_unknown_times(path: Path, name: str, time: float | None, message: str) -> None:
    with open_dataset(path) as data, pytest.raises(ValueError, match=message):
        data.read(name, time=time)


def test_read_trajectory_refuses_bad_arguments(path: Path) -> None:
    with open_dataset(path) as data:
        with pytest.raises(ValueError, match="`stride` must divide the resolution 64; got 3"):
            data.read_trajectory(stride=3)
        with pytest.raises(ValueError, match=r"`rows` must increase and lie in 0\.\.129"):
            data.read_trajectory(np.array([130]))


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_trajectories(path: Path, engine: str) -> None:
    with xr.open_dataset(path, engine=engine) as found, open_dataset(path) as data:
        assert dict(found.sizes) == {"sample": 130, "time": 4, "x": 64}
        assert found["u"].dims == found["tensor"].dims == ("sample", "time", "x") and found["a"].dims == ("sample", "x")
        np.testing.assert_array_equal(found["u"], data.read_trajectory()[:, :, 0])
        np.testing.assert_array_equal(found["tensor"], found["u"])
        np.testing.assert_array_equal(found["a"], found["u"].isel(time=0))
        np.testing.assert_array_equal(found["time"], [0, *TIMES])
        names = ("input", "input_time", "target", "target_time")
        assert [found.attrs[name] for name in names] == ["a", 0.0, "u", 1.0]


def test_trajectories_hold_what_pdebench_and_the_well_look_for(path: Path) -> None:
    with h5py.File(path) as file:
        assert file["tensor"].is_virtual and file["tensor"].shape == (130, 4, 64) and file["a"].is_virtual
        assert {source.file_name for name in ("tensor", "a") for source in file[name].virtual_sources()} == {"."}
        np.testing.assert_array_equal(file["t-coordinate"], [0, *TIMES])
        assert file["t0_fields/u"] == file["tensor"] and list(file["tensor"].attrs["dim_varying"]) == [True]
        assert file["dimensions/time"] == file["time"] and file["u"].chunks is None
        assert set(file["integrity"]) == {"block", "u"}


def test_file_of_one_time_keeps_both_fields_and_no_more(tmp_path: Path) -> None:
    layout = create_file(tmp_path / "two.h5", DatasetSpec(samples=130, resolution=64))
    assert (layout.row_bytes, len(layout.fields), len(layout.checksums)) == ((512, 512), 2, 2)
    with h5py.File(tmp_path / "two.h5") as file:
        assert set(file["integrity"]) == {"a", "block", "u"} and not {"input_time", "target_time"} & set(file.attrs)
        assert not file["a"].is_virtual and [s.dset_name for s in file["tensor"].virtual_sources()] == ["a", "u"]


def test_generate_trajectories_resumes_and_shares_work_to_equal_bytes(
    tmp_path: Path, path: Path, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = journal.append_journal

    def stop(log: Path, block: int, checksums: journal.Checksums) -> None:
        if block == 1:
            raise RuntimeError
        whole(log, block, checksums)

    resumed = tmp_path / "data.h5"
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(journal, "append_journal", stop)
        generate(spec, resumed, progress=False)
    assert list(journal.read_journal(journal.journal_path(resumed))[1]) == [0]
    generate(spec, resumed, resume=True, workers=2, progress=False)
    assert resumed.read_bytes() == path.read_bytes()
    assert generate(spec, tmp_path / "two.h5", workers=2, progress=False).read_bytes() == path.read_bytes()


def test_validate_measures_every_time(path: Path, copy: Path) -> None:
    report = validate(path, truth=True)
    assert report.ok and 0 < report.max_error < 1e-6
    with edited(copy) as file:
        file["u"][129, 1] *= 1.01
    report = validate(copy, truth=True)
    assert report.worst_sample == 129 and report.max_error == pytest.approx(0.01, rel=0.01)
    assert report.problems == ("checksum of u differs in samples 128..129: its bytes changed",)
    with edited(copy) as file:
        file["u"][3, 2, 5] = np.nan
    report = validate(copy, truth=True)
    assert report.worst_sample == 3 and "u has NaN or infinity in sample 3 (1 of this block)" in report.problems


def test_open_refuses_trajectories_kept_elsewhere_or_unfinished(copy: Path, tmp_path: Path, spec: DatasetSpec) -> None:
    create_file(tmp_path / "unfinished.h5", spec)
    with pytest.raises(DatasetError, match="is incomplete"):
        open_dataset(tmp_path / "unfinished.h5")
    with h5py.File(copy, "r+") as file:
        del file["u"]
        layout = h5py.VirtualLayout((130, 4, 64), dtype="f8")
        layout[...] = h5py.VirtualSource("/etc/other.h5", "u", shape=(130, 4, 64))
        file.create_virtual_dataset("u", layout)
    with pytest.raises(DatasetError, match="keeps u in another file, which is refused"):
        open_dataset(copy)


def test_map_of_trajectories_gives_their_places(path: Path) -> None:
    layout = read_map(path)
    assert (layout.num_samples, layout.row_bytes, layout.num_blocks) == (130, (8 * 4 * 64,), 2)
    with open_dataset(path) as data, open(path, "rb") as file:
        file.seek(layout.block_bytes(1)[0][0])
        row = np.frombuffer(file.read(4 * 64 * 8)).reshape(4, 64)
        np.testing.assert_array_equal(row, data.read_trajectory(slice(128, 129))[0, :, 0])


@pytest.mark.parametrize("equation", ["advection_diffusion", "heat"])
def test_linear_trajectories_against_closed_forms(tmp_path: Path, equation: str) -> None:
    spec = DatasetSpec(equation=equation, samples=5, resolution=64, times=TIMES)
    report = validate(generate(spec, tmp_path / "linear.h5", progress=False), truth=True)
    assert report.ok and report.max_error < 1e-12
