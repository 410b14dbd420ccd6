"""Settings that a training reads from its file: coordinates where the place matters, and a grid of a laptop's size."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from data_gen import DatasetSpec, generate
from data_gen.formats import Facts
from data_gen.grids.positions import relative_positions
from data_gen.header import Header
from sciml_cf.cli import main
from sciml_cf.datasets import FieldDataset
from sciml_cf.models import FNOConfig, TFNOConfig, UNOConfig, build_from, describe
from sciml_cf.models.coordinates import Located, positions
from sciml_cf.training.place import choose_place, default_resolution, variation_of_mean
from sciml_cf.training.run_folder import load, read_settings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small file of each kind: periodic and the same everywhere, forced, and between walls."""
    folder = tmp_path_factory.mktemp("place")
    specs = {
        "burgers": {"equation": "burgers", "resolution": 32},
        "forced": {"equation": "navier_stokes", "resolution": 32, "times": (1.0,)},
        "decaying": {"equation": "navier_stokes", "resolution": 32, "times": (1.0,), "parameters": {"forcing": 0.0}},
        "darcy": {"equation": "darcy", "resolution": 16},
    }
    for name, settings in specs.items():
        generate(DatasetSpec(samples=12, **settings), folder / f"{name}.h5", progress=False)
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("burgers", "none", "the law is the same everywhere"),
        ("decaying", "none", "the law is the same everywhere"),
        ("forced", "periodic", "the law of navier_stokes depends on the place"),
        ("darcy", "linear", "the file has wall boundaries"),
    ],
)
def test_coordinates_follow_from_the_file(files, name, kind, why):
    place = choose_place(FieldDataset(files / f"{name}.h5", "train"), "auto", "auto")
    assert place.coordinates == kind and why in place.reason
    assert place.cells == (name == "darcy") and place.padding == 0


def arrays(folder, inputs, targets, **facts):
    np.save(folder / "x.npy", inputs)
    np.save(folder / "y.npy", targets)
    facts = Facts(**{"times": (0.0, 1.0), "extent": (1.0,), **facts})
    return FieldDataset(f"{folder / 'x.npy'},{folder / 'y.npy'}", "all", facts=facts)


def test_an_unknown_periodic_law_is_judged_by_the_mean_field(tmp_path):
    rng, points = np.random.default_rng(0), np.arange(32) / 32
    phase = rng.uniform(size=(200, 1))
    free = np.sin(2 * np.pi * (points + phase)) * rng.normal(size=(200, 1))
    forced = free + 0.5 * np.sin(2 * np.pi * points)
    place = choose_place(arrays(tmp_path, free, forced), "auto", "auto")
    assert place.coordinates == "periodic" and "times more than its sampling error" in place.reason
    assert choose_place(arrays(tmp_path, free, free), "auto", "auto").coordinates == "none"


def test_the_mean_field_of_alike_places_seldom_varies_beyond_its_sampling_error():
    """Random waves of one wavenumber, the field of fewest independent points."""
    rng, points, above = np.random.default_rng(1), 2 * np.pi * np.arange(64) / 64, 0
    for _ in range(200):
        a, b = rng.normal(size=(2, 30, 1))
        above += variation_of_mean(torch.from_numpy(a * np.sin(points) + b * np.cos(points))[:, None]) > 8
    assert above <= 2
    assert variation_of_mean(torch.ones(5, 1, 8)) == 0 == variation_of_mean(torch.randn(1, 1, 8))


def test_positions_are_those_of_the_points_at_hand(files):
    data = FieldDataset(files / "darcy.h5", "train", resolution=8)
    np.testing.assert_allclose(data.positions[0], (2 * np.arange(8) + 0.5) / 16)
    np.testing.assert_allclose(FieldDataset(files / "darcy.h5", "train").positions[1], (np.arange(16) + 0.5) / 16)
    np.testing.assert_allclose(
        FieldDataset(files / "burgers.h5", "train", resolution=16).positions[0], np.arange(16) / 16
    )


class Inputs(nn.Module):
    def forward(self, x):
        return x


def test_channels_of_coordinates():
    x = torch.zeros(2, 1, 4, 8)
    linear = Located(Inputs(), "linear", cells=True)(x)
    assert linear.shape == (2, 3, 4, 8)
    torch.testing.assert_close(linear[1, 1, :, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(linear[0, 2, 3], 2 * (torch.arange(8) + 0.5) / 8 - 1)
    model = Located(Inputs(), "periodic")
    periodic = model(x)
    torch.testing.assert_close(periodic[0, 1, :, 0], torch.tensor([0.0, 1.0, 0.0, -1.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(periodic[0, 4, 0], torch.cos(2 * torch.pi * torch.arange(8) / 8))
    fine = model(torch.zeros(1, 1, 8, 16))
    torch.testing.assert_close(fine[:, :, ::2, ::2], periodic[:1])  # transfers between resolutions
    with positions(model, (np.array([0.5, 0.75]), np.zeros(3))):
        torch.testing.assert_close(
            model(torch.zeros(1, 1, 2, 3))[0, 1, :, 0], torch.tensor([0.0, -1.0]), atol=1e-6, rtol=0
        )
        assert model(x).shape == periodic.shape  # other points: those of a grid
    assert model.positions is None


@pytest.mark.parametrize("kind", [FNOConfig, TFNOConfig, UNOConfig])
@pytest.mark.parametrize("coordinates", ["linear", "periodic"])
def test_builders_with_coordinates_and_padding_go_through_a_run_folder(kind, coordinates):
    config = kind(width=4, modes=3, num_dims=2, coordinates=coordinates, cells=coordinates == "linear", padding=0.125)
    x = torch.randn(2, 1, 16, 16)
    model = config.build(seed=1)
    assert model(x).shape == (2, 1, 16, 16)
    again = build_from(describe(config))
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(x), model(x))


def test_a_builder_without_a_place_stores_what_older_versions_stored():
    assert set(FNOConfig().to_dict()) == {
        "in_channels", "out_channels", "width", "modes", "layers", "projection_ratio", "num_dims",
    }  # fmt: skip


@pytest.mark.parametrize("padding", ["0", "1", "-0.1", "2", "half"])
def test_bad_paddings_are_one_line(files, padding, tmp_path, capsys):
    words = ["--data", str(files / "darcy.h5"), "--out", str(tmp_path / "run"), "--padding", padding]
    with pytest.raises(SystemExit) as stopped:
        main(["train", *words])
    assert stopped.value.code == 2 and "`padding` must be" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_periodic_coordinates_are_refused_between_walls(files, tmp_path, capsys):
    words = ["--data", str(files / "darcy.h5"), "--out", str(tmp_path / "run"), "--coordinates", "periodic"]
    with pytest.raises(SystemExit) as stopped:
        main(["train", *words])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "`coordinates` must be 'linear' or 'none'" in error and "wall" in error


def test_train_says_what_it_chose_stores_it_and_resumes_with_it(files, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    words = ["--data", str(files / "darcy.h5"), "--out", str(tmp_path / "run"), "--width", "4", "--modes", "3"]
    main(["train", *words, "--epochs", "1", "--batch-size", "4"])
    assert [line for line in caplog.messages if "coordinates: linear (the file has wall boundaries)" in line]
    arguments = read_settings(tmp_path / "run")["model"]["arguments"]
    assert arguments["coordinates"] == "linear" and arguments["cells"] is True and arguments["in_channels"] == 1
    assert load(tmp_path / "run")(torch.randn(1, 1, 16, 16)).shape == (1, 1, 16, 16)
    main(["train", *words, "--epochs", "1", "--batch-size", "4", "--resume"])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8192,), 256), ((256,), 256), ((300,), 150), ((421,), 421), ((64, 64), 64), ((128, 32), 16), ((512, 512), 64),
        ((16, 16, 16), 16), ((64, 64, 64), 32), ((7,), 7),
    ],
)  # fmt: skip
def test_the_default_resolution_divides_all_axes(shape, expected):
    assert default_resolution(shape) == expected


def test_relative_positions():
    (nodes,), (cells,) = relative_positions((4,), cells=False), relative_positions((4,), cells=True)
    np.testing.assert_allclose(nodes, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(cells, [0.125, 0.375, 0.625, 0.875])
    (ends,) = relative_positions((5,), right_end=True)
    np.testing.assert_allclose(ends, [0, 0.25, 0.5, 0.75, 1])


# boundary, right end, and the positions on four points: those of a file that states a length alone
STATED = [
    ("periodic", None, [0, 1 / 4, 2 / 4, 3 / 4]),
    ("periodic", "excluded", [0, 1 / 4, 2 / 4, 3 / 4]),
    ("wall", None, [1 / 8, 3 / 8, 5 / 8, 7 / 8]),
    ("wall", "excluded", [1 / 8, 3 / 8, 5 / 8, 7 / 8]),
    ("wall", "included", [0, 1 / 3, 2 / 3, 1]),
    ("open", None, [1 / 8, 3 / 8, 5 / 8, 7 / 8]),
    ("open", "excluded", [1 / 8, 3 / 8, 5 / 8, 7 / 8]),
    ("open", "included", [0, 1 / 3, 2 / 3, 1]),
]


def channels_of(data):
    """The linear channels that a model gets for the items, as positions: inside ``positions``, and without."""
    place = choose_place(data, "linear", "auto")
    model = Located(Inputs(), "linear", cells=place.cells, right_end=place.right_end)
    with positions(model, data.positions):
        inside = model(data.x)[0, 1]
    return (inside + 1) / 2, (model(data.x)[0, 1] + 1) / 2


@pytest.mark.parametrize(("boundary", "right_end", "expected"), STATED)
@pytest.mark.parametrize("extent", [1.0, 3.0])
def test_coordinates_are_the_positions_of_the_file(tmp_path, boundary, right_end, expected, extent):
    fields = np.random.default_rng(0).normal(size=(6, 4))
    data = arrays(tmp_path, fields, fields, boundary=boundary, right_end=right_end, extent=(extent,))
    inside, alone = channels_of(data)
    np.testing.assert_allclose(inside, expected, atol=1e-6)
    np.testing.assert_allclose(alone, expected, atol=1e-6)  # a loaded model, that is given no file
    np.testing.assert_allclose(data.coordinates[0], extent * np.array(expected), atol=1e-6)
    coarse = FieldDataset(data.path, "all", resolution=2, facts=data.facts)
    np.testing.assert_allclose(channels_of(coarse)[0], expected[::2], atol=1e-6)


@pytest.mark.parametrize("boundary", ["wall", "open"])
@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (np.linspace(-1, 1, 9), np.arange(9) / 8),
        (np.linspace(0, 2, 8), np.arange(8) / 7),
        (2 + (np.arange(16) + 0.5) / 16, (np.arange(16) + 0.5) / 16),
        ((np.arange(8) + 0.5) / 4, (np.arange(8) + 0.5) / 8),
    ],
)
def test_stored_coordinates_tell_nodes_from_cells_at_any_boundary(tmp_path, boundary, points, expected):
    fields = np.random.default_rng(0).normal(size=(6, len(points)))
    header = Header("unknown", 6, (len(points),), (float(len(points) * (points[1] - points[0])),), (0.0, 1.0),
                    offsets=(float(points[0]),), boundary=boundary)  # fmt: skip
    np.testing.assert_allclose(header.coordinates[0], points)
    data = arrays(tmp_path, fields, fields, boundary=boundary)
    data._header = header
    np.testing.assert_allclose(channels_of(data)[0], expected, atol=1e-6)
