"""The roles of the axes of arrays: said, inferred where one reading fits, refused with the flags where several do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from data_gen.errors import DatasetError
from data_gen.formats import Overrides, Source, open_source
from data_gen.formats.axes import Clues, infer_axes, parse_axes
from tests.data_gen.test_formats import fields

TIMES = tuple(map(float, range(6)))


def npy(folder: Path, *arrays: np.ndarray) -> str:
    places = [folder / f"{i}.npy" for i in range(len(arrays))]
    for place, array in zip(places, arrays, strict=True):
        np.save(place, array)
    return ",".join(map(str, places))


def npz(folder: Path, *arrays: np.ndarray) -> str:
    names = ("x", "y") if len(arrays) == 2 else ("u",)
    np.savez(folder / "f.npz", **dict(zip(names, arrays, strict=True)))
    return str(folder / "f.npz")


def pt(folder: Path, *arrays: np.ndarray) -> str:
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    torch.save(dict(zip("xy", tensors, strict=True)) if len(arrays) == 2 else tensors[0], folder / "f.pt")
    return str(folder / "f.pt")


def mat(folder: Path, *arrays: np.ndarray) -> str:
    savemat(folder / "f.mat", dict(zip("au" if len(arrays) == 2 else "u", arrays, strict=True)))
    return str(folder / "f.mat")


WRITERS = {"npy": npy, "npz": npz, "pt": pt, "mat": mat}


def opened(place: str, **words: Any) -> Source:
    return open_source(place, overrides=Overrides(**{"extent": (1.0,), "times": (0.0, 1.0), **words}))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("shape", [(5, 12, 10, 3), (5, 16, 2), (5, 12, 12, 12, 2)])
def test_channels_last_are_refused_with_both_flags_and_read_with_one(
    tmp_path: Path, write: Any, shape: tuple[int, ...]
) -> None:
    x, y = fields(*shape), fields(*shape)
    place = write(tmp_path, x, y)
    space = "zyx"[-(len(shape) - 2) :]
    said = ",".join(("sample", *space, "channel"))
    if len(shape) < 5:
        with pytest.raises(DatasetError, match=rf"several ways: give --axes {said} or --axes sample,") as caught:
            opened(place)
        assert str(caught.value).count("--axes") == 2
    with opened(place, axes=said) as data:
        assert data.header.shape == shape[1:-1] and len(data.header.channels) == shape[-1]
        np.testing.assert_array_equal(data.read(data.input_name), np.moveaxis(x, -1, 1))
        np.testing.assert_array_equal(data.read(data.target_name, np.array([1, 4])), np.moveaxis(y, -1, 1)[[1, 4]])
    turned = ",".join(("sample", *space[::-1], "channel"))
    with opened(place, axes=turned) as data:
        np.testing.assert_array_equal(data.read(data.input_name), x.transpose(0, -1, *range(len(shape) - 2, 0, -1)))


def test_the_number_of_lengths_can_leave_one_reading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x = fields(5, 12, 12, 3)
    caplog.set_level("INFO")
    with opened(npy(tmp_path, x, x), extent=(1.0, 1.0)) as data:
        np.testing.assert_array_equal(data.read("a"), np.moveaxis(x, -1, 1))
    assert "the axes are read as sample,y,x,channel and sample,y,x,channel" in caplog.text
    with opened(npy(tmp_path, x, x), extent=(1.0, 1.0, 1.0)) as data:
        np.testing.assert_array_equal(data.read("a")[:, 0], x)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_times_before_and_after_the_points(tmp_path: Path, write: Any) -> None:
    start, rest = fields(4, 16), fields(4, 5, 16)
    whole = np.concatenate([start[:, None], rest], axis=1)[:, :, None]
    for target in (rest, np.moveaxis(rest, 1, -1)):
        with opened(write(tmp_path, start, target), times=TIMES) as data:
            np.testing.assert_array_equal(data.read_trajectory(), whole)
            np.testing.assert_array_equal(data.read(data.target_name, time=2.0)[:, 0], rest[:, 1])
    place = write(tmp_path, start, fields(4, 16, 16))
    with pytest.raises(DatasetError, match="give --axes sample,time,x or --axes sample,x,time"):
        opened(place, times=tuple(map(float, range(17))))
    square = fields(4, 16, 16)
    with opened(write(tmp_path, start, square), times=tuple(map(float, range(17))), axes="sample,x,time") as data:
        np.testing.assert_array_equal(data.read_trajectory()[:, 1:, 0], square.swapaxes(1, 2))


def test_times_of_a_plane_and_a_window_of_them(tmp_path: Path) -> None:
    given, target = fields(3, 8, 8, 2), fields(3, 8, 8, 4)
    with opened(npy(tmp_path, given, target), times=TIMES) as data:
        np.testing.assert_array_equal(
            data.read_trajectory()[:, :, 0], np.moveaxis(np.concatenate([given, target], axis=-1), -1, 1)
        )
    with opened(npy(tmp_path, given, target)) as data:
        assert (len(data.header.inputs), len(data.header.channels)) == (2, 4)
    place = npy(tmp_path, fields(3, 8, 8), fields(3, 8, 8, 8))
    with pytest.raises(DatasetError, match="give --axes sample,time,y,x or --axes sample,y,x,time"):
        opened(place, times=tuple(map(float, range(9))), extent=(1.0, 1.0))


@pytest.mark.parametrize("write", [npy, npz, pt], ids=["npy", "npz", "pt"])
def test_one_array_is_a_trajectory(tmp_path: Path, write: Any) -> None:
    """(samples, times, channels, x), as solvers of many steps write it."""
    for channels in (1, 2):
        u = fields(4, 6, channels, 32)
        with opened(write(tmp_path, u), times=TIMES) as data:
            np.testing.assert_array_equal(data.read_trajectory(), u)
    u = fields(6, 32)
    with opened(write(tmp_path, u), times=TIMES, axes="time,x") as data:
        assert data.num_samples == 1
        np.testing.assert_array_equal(data.read_trajectory()[0, :, 0], u)
    with opened(write(tmp_path, u.T), times=TIMES, axes="x,time") as data:
        np.testing.assert_array_equal(data.read_trajectory()[0, :, 0], u)


def test_samples_in_columns(tmp_path: Path) -> None:
    a, u, x = fields(64, 10), fields(64, 10), np.arange(64)[:, None] / 64
    savemat(tmp_path / "f.mat", {"a": a, "u": u, "x": x})
    with open_source(tmp_path / "f.mat", overrides=Overrides(times=(0.0, 1.0))) as data:
        np.testing.assert_array_equal(data.read("a")[:, 0], a.T)
        np.testing.assert_array_equal(data.read("u", np.array([3, 7]))[:, 0], u.T[[3, 7]])
    with opened(npy(tmp_path, a, u), axes="x,sample") as data:
        np.testing.assert_array_equal(data.read("u")[:, 0], u.T)


def test_input_and_target_of_other_axes(tmp_path: Path) -> None:
    x, y = fields(5, 3, 16), fields(5, 16, 2)
    with opened(npy(tmp_path, x, y), axes=("sample,channel,x", "sample,x,channel")) as data:
        np.testing.assert_array_equal(data.read("a"), x)
        np.testing.assert_array_equal(data.read("u"), y.swapaxes(1, 2))
    with pytest.raises(DatasetError, match="Give --axes for each: --axes INPUT TARGET"):
        opened(npy(tmp_path, x, fields(5, 16)), axes="sample,x,channel")
    with pytest.raises(DatasetError, match="with 3 axes, as --axes sample,y,x says; got 2"):
        opened(npy(tmp_path, fields(5, 16), fields(5, 16)), axes="sample,y,x")


def test_an_input_that_is_no_start_is_another_quantity(tmp_path: Path) -> None:
    """As many times as the target has: the input is the start where its values say so, else a field of its own."""
    rest = fields(4, 6, 16)
    with opened(npy(tmp_path, rest[:, 0], rest), times=TIMES) as data:
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], rest)
    forcing = fields(4, 16)
    with opened(npy(tmp_path, forcing, rest), times=TIMES) as data:
        assert data.header.inputs != data.header.channels
        np.testing.assert_array_equal(data.read("a")[:, 0], forcing)
        np.testing.assert_array_equal(data.read("u")[:, 0], rest[:, -1])
    with opened(npy(tmp_path, forcing, rest), times=TIMES, target_time=2.0) as data:
        np.testing.assert_array_equal(data.read("a")[:, 0], forcing)
        np.testing.assert_array_equal(data.read("u")[:, 0], rest[:, 2])


@pytest.mark.parametrize(
    "text", ["", "sample", "sample,x,x", "sample,y", "sample,x,z", "sample,x,colour", "x,sample,time,channel,y,y"]
)
def test_roles_are_checked(text: str) -> None:
    with pytest.raises(ValueError, match="`axes` must be roles of axes") as caught:
        parse_axes(text)
    assert repr(text) in str(caught.value)


def test_every_flag_that_a_refusal_shows_is_taken(tmp_path: Path) -> None:
    """The refusal of a reading and the mechanism that is told it are one."""
    for shapes in [((4, 12, 12, 3), (4, 12, 12, 3)), ((4, 16), (4, 16, 16)), ((4, 16, 2), (4, 16, 2))]:
        with pytest.raises(DatasetError) as caught:
            infer_axes(tmp_path, shapes, ("a", "u"), Clues(times=17 if shapes[1] == (4, 16, 16) else 2))
        found = re.findall(r"--axes ([a-z,]+)", str(caught.value))
        assert len(found) == 2
        times = tuple(map(float, range(17))) if shapes[1] == (4, 16, 16) else (0.0, 1.0)
        for flag in found:
            with opened(npy(tmp_path, *(fields(*shape) for shape in shapes)), axes=flag, times=times) as data:
                assert data.num_samples == 4


def test_a_comma_is_part_of_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "my, data"
    folder.mkdir()
    x, y = fields(4, 16), fields(4, 16)
    with opened(npy(folder, x, y)) as data:
        np.testing.assert_array_equal(data.read("u")[:, 0], y)
    npz(folder, x, y)
    with opened(str(folder / "f.npz")) as data:
        np.testing.assert_array_equal(data.read("a")[:, 0], x)


def test_tensors_that_need_gradients_and_lists_of_two(tmp_path: Path) -> None:
    x, y = torch.rand(5, 16), torch.rand(5, 16, requires_grad=True)
    torch.save({"x": x, "y": y}, tmp_path / "f.pt")
    torch.save([x, y.detach()], tmp_path / "g.pt")
    for name in ("f.pt", "g.pt"):
        with opened(str(tmp_path / name)) as data:
            np.testing.assert_array_equal(data.read("u")[:, 0], y.detach().numpy())


def test_cells_and_structs_of_matlab_are_named(tmp_path: Path) -> None:
    cells = np.empty((1, 2), dtype=object)
    cells[0, 0] = cells[0, 1] = np.ones((4, 8))
    savemat(tmp_path / "f.mat", {"a": cells, "u": cells})
    with pytest.raises(DatasetError, match="has a of class cell or struct; a numeric array is needed"):
        opened(str(tmp_path / "f.mat"))


def test_numbers_of_overrides_may_be_one_a_list_or_an_array() -> None:
    assert Overrides(extent=2, times=1).extent == (2.0,)  # type: ignore[arg-type]
    assert Overrides(times=[0, 1]).times == Overrides(times=np.arange(2)).times == (0.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`times` must be a finite number; got nan"):
        Overrides(times=(0.0, float("nan")))


@pytest.mark.parametrize("axes", [("sample", "time", "x"), (("sample", "x"),), 3])
def test_axes_that_are_no_text_are_refused(axes: Any) -> None:
    with pytest.raises(ValueError, match=r"`axes` must be .*; got .*"):
        Overrides(axes=axes)
