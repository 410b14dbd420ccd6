"""Files of every shape: several channels, two dimensions, trajectories, steady problems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from data_gen import open_dataset, validate
from data_gen.header import Header
from data_gen.storage import journal
from data_gen.storage.hdf5_layout import create_empty
from data_gen.storage.sealing import seal_file

HEADERS = {
    "pairs": Header("any", 5, (16,), (1.0,), (0.0, 1.0)),
    "pairs of two channels": Header("any", 5, (16,), (1.0,), (0.0, 1.0), channels=("p", "q")),
    "another input": Header("any", 5, (16,), (1.0,), (0.0, 1.0), channels=("p", "q"), input_channels=("f",)),
    "trajectories": Header("any", 5, (16,), (1.0,), (0.0, 0.5, 1.0), dtype="float32"),
    "pairs in two dimensions": Header("any", 5, (8, 16), (1.0, 2.0), (0.0, 1.0), channels=("vorticity",)),
    "trajectories of two channels": Header("any", 5, (8, 8), (1.0, 1.0), (0.0, 0.5, 1.0), channels=("p", "q")),
    "steady": Header(
        "any",
        5,
        (8, 8),
        (1.0, 1.0),
        (0.0,),
        offsets=(1 / 16, 1 / 16),
        input_name="coefficient",
        input_channels=("coefficient",),
        boundary="wall",
    ),
    "three dimensions": Header("any", 5, (4, 4, 8), (1.0, 1.0, 1.0), (0.0, 1.0)),
}


def write(path: Path, header: Header) -> dict[str, np.ndarray]:
    """The stored fields, random, written as a generator writes them."""
    layout, random = create_empty(path, header, {"source": "test"}), np.random.default_rng(0)
    fields = {
        name: random.standard_normal((header.num_samples, *shape)).astype(header.dtype)
        for name, shape in header.stored_shapes.items()
    }
    checksums = {}
    for block in range(layout.num_blocks):
        start, stop = layout.block_rows(block)
        checksums[block] = journal.write_block(path, layout, block, tuple(f[start:stop] for f in fields.values()))
    journal.write_checksums(path, layout, checksums)
    seal_file(path)
    return fields


@pytest.mark.parametrize("name", HEADERS)
def test_fields_come_back_with_their_channels_and_times(tmp_path: Path, name: str) -> None:
    header = HEADERS[name]
    fields = write(tmp_path / "file.h5", header)
    assert validate(tmp_path / "file.h5").ok
    with open_dataset(tmp_path / "file.h5") as data:
        assert data.header == header and data.spec is None
        target = fields[header.target_name].reshape(5, -1, len(header.channels), *header.shape)
        given = fields.get(header.input_name, target[:, 0]).reshape(5, len(header.inputs), *header.shape)
        np.testing.assert_array_equal(data.read(header.input_name), given)
        np.testing.assert_array_equal(data.read(header.target_name, np.array([1, 3])), target[[1, 3], -1])
        coarse = (..., *(slice(None, None, 4),) * header.num_dims)
        np.testing.assert_array_equal(data.read(header.target_name, stride=4), target[:, -1][coarse])
        both = not header.trajectories and not header.steady and header.inputs == header.channels
        trajectory = np.stack([given, target[:, 0]], axis=1) if both else target
        np.testing.assert_array_equal(data.read_trajectory(), trajectory)
        for axis, extent in enumerate(header.extents):
            assert header.coordinates[axis][1] - header.coordinates[axis][0] == extent / header.shape[axis]


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.parametrize("name", HEADERS)
def test_xarray_finds_the_fields_and_their_axes(tmp_path: Path, name: str, engine: str) -> None:
    header = HEADERS[name]
    fields = write(tmp_path / "file.h5", header)
    with xr.open_dataset(tmp_path / "file.h5", engine=engine) as found:  # type: ignore[arg-type]
        for field, values in fields.items():
            assert found[field].dims == header.stored_axes(field)
            np.testing.assert_array_equal(found[field], values)
        assert set(header.axes) <= set(found.coords)
        if len(header.channels) == 1:
            assert found["tensor"].dims[-header.num_dims :] == header.axes
            np.testing.assert_array_equal(
                found["tensor"][:, -1], fields[header.target_name].reshape(5, -1, *header.shape)[:, -1]
            )
        if header.trajectories:
            np.testing.assert_array_equal(found[header.input_name], fields[header.target_name][:, 0])


@pytest.mark.parametrize("name", HEADERS)
def test_the_well_finds_every_component_at_every_time(tmp_path: Path, name: str) -> None:
    import h5py

    header = HEADERS[name]
    write(tmp_path / "file.h5", header)
    with h5py.File(tmp_path / "file.h5") as file, open_dataset(tmp_path / "file.h5") as data:
        names = list(file["t0_fields"].attrs["field_names"])
        assert names == [*header.channels, *(header.inputs if header.inputs != header.channels else ())]
        trajectory = data.read_trajectory()
        for i, channel in enumerate(header.channels):
            field = file[f"t0_fields/{channel}"]
            np.testing.assert_array_equal(field[()].reshape(trajectory[:, :, i].shape), trajectory[:, :, i])
            assert len(field.attrs["dim_varying"]) == header.num_dims and field.attrs["time_varying"] == (
                len(field.shape) > 1 + header.num_dims
            )
        for i, channel in enumerate(header.inputs if header.inputs != header.channels else ()):
            field = file[f"t0_fields/{channel}"]
            np.testing.assert_array_equal(field[()], data.read(header.input_name)[:, i])
            assert not field.attrs["time_varying"]
        assert list(file["dimensions"].attrs["spatial_dims"]) == list(header.axes)


def test_header_survives_json_and_keeps_blocks_small() -> None:
    for header in HEADERS.values():
        assert Header.from_json(header.to_json()) == header
    preset = Header("burgers", 2048, (8192,), (6.28,), (0.0, 1.0))
    assert preset.block_samples == 128
    large = Header("any", 100, (256, 256), (1.0, 1.0), tuple(range(11)))
    assert large.block_samples * large.row_bytes <= 2**23 and large.block_samples == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": (1.0, 0.0)}, "`times` must be one time or several that increase; got"),
        ({"extents": (1.0, 1.0)}, "`extents` must have one entry an axis"),
        ({"channels": ("p", "p")}, "`channels` must be names, each once"),
        ({"dtype": "int8"}, "`dtype` must be float32 or float64; got 'int8'"),
        ({"input_channels": ()}, r"`input_channels` must be names, each once; got \(\)"),
        ({"channels": ("",)}, r"`channels` must be names, each once; got \(''"),
        ({"channels": "uv"}, "`channels` must be a tuple; got 'uv'"),
        ({"times": ()}, r"`times` must be one time or several that increase; got \(\)"),
        ({"times": 1.0}, "`times` must be a tuple; got 1.0"),
        ({"shape": ()}, r"`shape` must have one to three axes; got \(\)"),
        ({"extents": ()}, r"`extents` must have one entry an axis of \(16,\); got \(\)"),
        ({"offsets": ()}, r"`offsets` must have one entry an axis of \(16,\); got \(\)"),
        ({"boundaries": ()}, r"`boundaries` must be periodic, wall or open for each axis; got \(\)"),
        ({"points": ()}, "`points` must increase or decrease along each axis"),
        ({"input_name": ""}, "`input_name` must be a word; got ''"),
        ({"input_name": "u"}, "`input_name` must differ from the target's; got 'u'"),
        ({"times": (0.0, 1.0, 2.0), "input_channels": ("f",)}, "`input_channels` must be those of the trajectories"),
        ({"shape": (1,)}, "`shape` must be an integer of at least 2; got 1"),
    ],
)
def test_header_refuses(changes: dict, message: str) -> None:
    values = {"name": "any", "num_samples": 3, "shape": (16,), "extents": (1.0,), "times": (0.0, 1.0), **changes}
    with pytest.raises(ValueError, match=message):
        Header(**values)


def test_header_takes_lists_as_tuples() -> None:
    listed = Header("any", 3, [16], [1.0], [0.0, 1.0], channels=["u"], input_channels=["u"])  # type: ignore[arg-type]
    assert listed == Header("any", 3, (16,), (1.0,), (0.0, 1.0)) and hash(listed.shape)
