"""Mirror images of the training samples: what they are, for which laws, and that a training with them resumes."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from data_gen import DatasetSpec, Equation, generate
from data_gen.equations import equation_dims, equation_in, equation_names
from sciml_cf import FitConfig, fit
from sciml_cf.cli import main
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.stream import StreamDataset
from sciml_cf.models import ConvConfig
from sciml_cf.training.augmentation import Augmentation
from sciml_cf.training.choices import Augment
from sciml_cf.training.run_folder import read_settings

SAME = {"allen_cahn", "cahn_hilliard", "darcy", "fisher_kpp", "fitzhugh_nagumo", "gradient_kuramoto_sivashinsky",
        "gray_scott", "heat", "hyper_diffusion", "swift_hohenberg", "wave"}  # fmt: skip
OLDER = {"allen_cahn_2d", "heat_2d"}


def images(grid, kind):
    """What ``Augmentation`` makes of the numbers of the points of a grid, over many draws, as bytes."""
    torch.manual_seed(0)
    numbers = torch.arange(float(np.prod(grid))).reshape(1, 1, *grid)
    items = {"x": numbers.repeat(400, 1, *[1] * len(grid)), "y": 2 * numbers.repeat(400, 3, *[1] * len(grid))}
    items["weights"] = items["x"][:, 0].clone()
    found = Augmentation(kind).batch(items)
    assert torch.equal(found["y"], 2 * found["x"].expand_as(found["y"]))
    assert torch.equal(found["weights"], found["x"][:, 0])
    return {one.numpy().tobytes() for one in found["x"]}


@pytest.mark.parametrize(
    ("grid", "kind", "count"),
    [((5,), "flips", 2), ((5,), "square", 2), ((4, 6), "flips", 4), ((5, 5), "square", 8), ((3, 3, 3), "square", 48)],
)
def test_the_images_are_all_symmetries_of_the_box(grid, kind, count):
    assert len(images(grid, kind)) == count


def test_input_and_target_have_the_same_image_and_labels_stay():
    torch.manual_seed(0)
    x = torch.rand(64, 1, 6, 6)
    items = {"x": x, "y": torch.arange(64)}
    found = Augmentation("square").batch(items)
    assert found["y"] is items["y"] and not torch.equal(found["x"], x)
    torch.testing.assert_close(found["x"].sum((1, 2, 3)), x.sum((1, 2, 3)))
    assert Augmentation("none").batch(items) is items


def test_a_periodic_axis_keeps_its_first_point():
    torch.manual_seed(0)
    x = torch.arange(6.0).expand(50, 1, 6)
    rows = {tuple(row.tolist()) for row in Augmentation("flips", [True]).batch({"x": x, "y": x})["x"][:, 0]}
    assert rows == {(0, 1, 2, 3, 4, 5), (0, 5, 4, 3, 2, 1)}


@pytest.mark.parametrize("name", equation_names())
def test_the_law_of_each_equation_in_the_mirror(name):
    for num_dims in equation_dims(name) or ():
        equation = equation_in(name, num_dims if len(equation_dims(name) or ()) > 1 else None)()
        assert equation.is_same_in_mirror() == (name in SAME | OLDER)
        assert equation.is_same_in_mirror(exchanged=True) == (name in SAME | OLDER)


def test_the_law_of_a_text_in_the_mirror():
    assert Equation.parse("u_t = u_xx + 2*u_yy").is_same_in_mirror()
    assert not Equation.parse("u_t = u_xx + 2*u_yy").is_same_in_mirror(exchanged=True)
    assert Equation.parse("u_t = u_xx + cos(4*pi*x/L)").is_same_in_mirror()
    assert not Equation.parse("u_t = u_xx + sin(4*pi*x/L)").is_same_in_mirror()


@pytest.mark.parametrize("placement", ["cells", "nodes"])
def test_a_solver_commutes_with_the_images(tmp_path, placement):
    """Of Darcy flow, the case that the numbers of the guide are of."""
    path = tmp_path / "d.h5"
    generate(DatasetSpec("darcy", samples=4, resolution=9, placement=placement), path, progress=False)
    data = FieldDataset(path, "all")
    equation = data.equation
    assert equation is not None and equation.is_same_in_mirror(exchanged=True)
    augmentation = Augmentation.of("square", data)
    torch.manual_seed(0)
    items = {"x": data.x.double().repeat(8, 1, 1, 1), "y": data.y.double().repeat(8, 1, 1, 1)}
    found = augmentation.batch(items)
    from data_gen.grids.cells import CellGrid, NodeGrid
    from data_gen.solvers.darcy import darcy_solve

    grid = (CellGrid if placement == "cells" else NodeGrid)(9, 1.0, 2)
    again = darcy_solve(found["x"].numpy(), grid)
    np.testing.assert_allclose(again, found["y"].numpy(), rtol=0, atol=1e-6 * np.abs(again).max())


def refused(tmp_path, spec, kind, **options):
    path = tmp_path / "data.h5"
    generate(spec, path, progress=False)
    with pytest.raises(ValueError, match="fit: `augment` must be") as error:
        Augmentation.of(kind, FieldDataset(path, "all", **options))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_law_or_grid_is_refused(tmp_path):
    burgers = DatasetSpec("burgers", samples=4, resolution=64)
    assert "none for data of burgers, whose law is another in the mirror; got flips" in refused(
        tmp_path / "a", burgers, "flips"
    )
    heat = DatasetSpec("heat", samples=4, resolution=16, num_dims=2, extent=(1.0, 2.0))
    assert "flips where axes differ; got square on" in refused(tmp_path / "b", heat, "square")
    cells = DatasetSpec("darcy", samples=4, resolution=16)
    words = refused(tmp_path / "c", cells, "flips", resolution=8)
    assert "points that are others in the mirror; got flips for axis 0" in words


@pytest.mark.parametrize(
    ("name", "parameters", "fits"),
    [("allen_cahn", {"diffusivity": "0.1:0.2"}, True), ("advection", {"speed": "0.1:0.2"}, False)],
)
@pytest.mark.parametrize("made", ["stored", "generated"])
def test_a_law_whose_parameters_vary_is_read(tmp_path, name, parameters, fits, made):
    spec = DatasetSpec(name, samples=4, resolution=64, parameters=parameters)
    if made == "stored":
        data = FieldDataset(generate(spec, tmp_path / "data.h5", progress=False), "all")
    else:
        data = StreamDataset(spec, "train")
    assert data.equation is None and data.is_same_in_mirror() == fits
    if not fits:
        with pytest.raises(ValueError, match="must be none for data of advection"):
            Augmentation.of("flips", data)


@pytest.mark.parametrize(("shape", "kinds"), [("both", {"flips", "square"}), ("one", {"flips"}), ("none", set())])
@pytest.mark.parametrize("placement", ["cells", "nodes"])
def test_a_source_that_is_a_field_is_part_of_the_law(tmp_path, shape, kinds, placement):
    x = np.linspace(0, 1, 9)
    along = {"both": np.sin(np.pi * x), "one": np.ones(9), "none": np.ones(9)}[shape]
    np.save(tmp_path / "f.npy", np.outer(x if shape == "none" else np.sin(np.pi * x), along))
    source = {"source": str(tmp_path / "f.npy")}
    spec = DatasetSpec("darcy", samples=3, resolution=9, placement=placement, parameters=source)
    data = FieldDataset(generate(spec, tmp_path / "data.h5", progress=False), "all")
    for kind in ("flips", "square"):
        if kind in kinds:
            Augmentation.of(kind, data)
        else:
            with pytest.raises(ValueError, match=f"must be none{' or flips' * bool(kinds)} for data of darcy"):
                Augmentation.of(kind, data)


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("shape", [(4, 6), (5, 3, 5)])
def test_axes_of_other_lengths_are_not_exchanged(shape):
    x = torch.rand(8, 1, *shape)
    words = f"got square on {' x '.join(map(str, shape))} points"
    with pytest.raises(ValueError, match=words):
        Augmentation("square").batch({"x": x, "y": x})
    with pytest.raises(ValueError, match="on different grids; got flips for inputs"):
        Augmentation("flips").batch({"x": x, "y": x[..., :-1]})


@pytest.mark.parametrize(("method", "workers"), [("proximal", 0), ("l2", 0), ("proximal", 1)])
def test_a_training_learns_the_symmetry_and_resumes_to_the_same_bytes(tmp_path, method, workers):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 1, 12, 12, generator=generator)
    data = TensorDataset(x, x.roll(1, -1) + x.roll(-1, -1) + x.roll(1, -2) + x.roll(-1, -2))

    def train(out, augment: Augment = "square", **options):
        model = ConvConfig(width=8, layers=1, num_dims=2).build(seed=0)
        config = FitConfig(method=method, batch_size=8, epochs=4, augment=augment, accelerator="cpu")
        history = fit(
            model, data, data, config=config, out=tmp_path / out, progress=False, loader_workers=workers, **options
        )
        return history, model

    _, whole = train("whole")
    train("parts", until=2)
    _, parts = train("parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    _, plain = train("plain", augment="none")
    assert any(not torch.equal(value, plain.state_dict()[name]) for name, value in whole.state_dict().items())
    assert read_settings(tmp_path / "whole")["fit"]["augment"] == "square"


def test_the_command_takes_it_and_refuses_it_in_one_line(tmp_path, capsys):
    for name, words in (("d.h5", "darcy"), ("k.h5", "advection")):
        assert not main(["generate", words, "--out", str(tmp_path / name), "--samples", "16", "--resolution", "64"])
    small = ["--epochs", "1", "--width", "4", "--modes", "3", "--layers", "1", "--batch-size", "4"]
    assert not main(
        ["train", "--data", str(tmp_path / "d.h5"), "--out", str(tmp_path / "run"), "--augment", "square", *small]
    )
    assert read_settings(tmp_path / "run")["fit"]["augment"] == "square"
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(
            ["train", "--data", str(tmp_path / "k.h5"), "--out", str(tmp_path / "other"), "--augment", "flips", *small]
        )
    assert stop.value.code
    assert "`augment` must be none for data of advection" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "other").exists()


def test_every_image_of_the_square_appears_in_equal_shares():
    torch.manual_seed(0)
    numbers = torch.arange(9.0).reshape(1, 1, 3, 3).repeat(8000, 1, 1, 1)
    found = Augmentation("square").batch({"x": numbers, "y": numbers})["x"]
    counts = {key: len(list(group)) for key, group in itertools.groupby(sorted(one.numpy().tobytes() for one in found))}
    assert len(counts) == 8 and all(850 < count < 1150 for count in counts.values())
