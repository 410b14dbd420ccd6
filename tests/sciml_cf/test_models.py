"""The builders: from a seed alone, at any resolution, with a head in closed form."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from data_gen.formats import Facts
from sciml_cf.cli import main
from sciml_cf.errors import CheckpointError
from sciml_cf.evaluate.prediction import predict
from sciml_cf.head import find_head
from sciml_cf.models import (
    BUILDERS,
    ConvConfig,
    TFNOConfig,
    UNOConfig,
    build_from,
    builder_for,
    describe,
    description_of,
)
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.manifest import write_listed
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import load, read_settings
from tests.problems import Shifted

SIZES = {
    "fno": {"modes": 6, "layers": 2},
    "tfno": {"modes": 6, "layers": 2},
    "uno": {"modes": 5},
    "conv": {"layers": 2},
    "unet": {"layers": 2},
    "deeponet": {"layers": 2, "sensors": 32},
}


def small(name, **more):
    return builder_for(name, width=8, **SIZES[name], **more)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_build_depends_on_the_seed_alone_and_can_be_described(name):
    state = torch.get_rng_state()
    first, again, other = (small(name).build(seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    rebuilt = build_from(describe(small(name)), seed=3)
    x = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first(x), again(x)) and torch.equal(first(x), rebuilt(x))
    assert not torch.allclose(first(x), other(x))


@pytest.mark.parametrize("name", BUILDERS)
def test_models_take_any_resolution_channels_and_dimensions(name):
    model = small(name, in_channels=2, out_channels=3, num_dims=2).build()
    for n in (20, 32):
        assert model(torch.randn(2, 2, n, n)).shape == (2, 3, n, n)
    head = find_head(model)
    assert (head.in_channels, head.out_channels) == (16, 3)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_commutes_with_shifts_except_some(name):
    model, x = small(name).build(), Shifted(4).x
    error = (model(torch.roll(x, 2, -1)) - torch.roll(model(x), 2, -1)).abs().max() / model(x).abs().max()
    # neuraloperator interpolates the UNO's skips with aligned corners, as if the grid had ends; a U-Net of two halvings
    # commutes with shifts by four points, and a DeepONet's sensors have places
    assert error > 1e-3 if name in ("uno", "unet", "deeponet") else error < 1e-5


def test_a_unet_commutes_with_shifts_of_its_coarsest_grid_and_sees_no_periods_between_walls():
    x = Shifted(4).x.double()
    errors = {}
    for boundary in ("periodic", "wall"):
        model = builder_for("unet", width=4, layers=2, boundary=boundary).build().double()
        errors[boundary] = (model(torch.roll(x, 4, -1)) - torch.roll(model(x), 4, -1)).abs().max().item()
    assert errors["periodic"] < 1e-12 < 1e-4 < errors["wall"]


@pytest.mark.parametrize(("dims", "points"), [(1, 13), (2, 9), (3, 5)])
def test_a_unet_takes_odd_numbers_of_points(dims, points):
    model = builder_for("unet", width=4, layers=2, num_dims=dims).build()
    assert model(torch.randn(2, 1, *[points] * dims)).shape == (2, 1, *[points] * dims)
    with pytest.raises(ValueError, match="`input` must have at least 4 points along each axis"):
        model(torch.randn(2, 1, *[3] * dims))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_deeponet_is_a_sum_of_products_of_branch_and_trunk(dims):
    model = builder_for("deeponet", width=4, layers=1, sensors=6, num_dims=dims, out_channels=2).build().double()
    x = torch.randn(3, 1, *[6] * dims, dtype=torch.float64)
    s = 2 * np.pi * np.arange(6) / 6
    place = np.stack([wave(axis) for axis in np.meshgrid(*[s] * dims, indexing="ij") for wave in (np.sin, np.cos)], -1)
    branch, trunk = model.branch(x.flatten(1)), model.trunk(torch.from_numpy(place))
    weights = model.head.weight.flatten(1)
    by_hand = torch.einsum("ck,bk,...k->bc...", weights, branch, trunk) + model.head.bias[(..., *[None] * dims)]
    assert torch.allclose(model(x), by_hand, rtol=1e-12, atol=1e-12)


def test_a_deeponet_reads_finer_grids_at_its_sensors_and_is_the_same_function_there():
    model = builder_for("deeponet", width=4, layers=1, sensors=8).build().double()
    fine = torch.randn(3, 1, 32, dtype=torch.float64)
    assert torch.allclose(model(fine)[..., ::4], model(fine[..., ::4]), rtol=1e-12, atol=1e-12)
    coarse = torch.randn(2, 1, 4, dtype=torch.float64)
    read = model.at_sensors(coarse)
    assert torch.allclose(read[..., ::2], coarse) and torch.allclose(
        read[..., 7], (coarse[..., 3] + coarse[..., 0]) / 2
    )


def test_a_deeponet_between_walls_has_the_place_of_cells():
    model = builder_for("deeponet", width=4, layers=1, sensors=4, boundary="wall", cells=True).build()
    assert model.place.kind == "linear" and model.place(torch.zeros(1, 0, 2)).flatten().tolist() == [-0.5, 0.5]
    (read,) = model.at_sensors(torch.tensor([[[0.0, 1.0]]])).flatten(1)
    assert read.tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])


def test_a_convolution_sees_its_receptive_field_and_no_more():
    config = ConvConfig(width=4, layers=2, kernel=3)
    model = config.build().double()
    x = torch.randn(1, 1, 64, dtype=torch.float64)
    moved = x.clone()
    moved[0, 0, 30] += 1
    changed = np.flatnonzero((model(moved) - model(x))[0, 0].abs().detach() > 1e-12)
    assert config.receptive_field == 9
    assert (changed.min(), changed.max()) == (26, 34)
    assert np.flatnonzero((model(torch.roll(moved, 30, -1)) - model(torch.roll(x, 30, -1)))[0, 0].detach())[0] == 0


@pytest.mark.parametrize("boundary", ["wall", "open"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_convolution_sees_nothing_across_a_boundary_that_is_not_periodic(dims, boundary):
    x = torch.randn(1, 1, *[20] * dims, dtype=torch.float64)
    moved = x.clone()
    moved[(..., *[0] * dims)] += 1
    changed = {}
    for kind in ("periodic", boundary):
        model = ConvConfig(width=4, layers=1, kernel=3, num_dims=dims, boundary=kind).build().double()
        changed[kind] = ((model(moved) - model(x))[0, 0].abs().detach() > 1e-12).numpy()
    places = np.argwhere(changed[boundary])
    assert places.max() == 2, "no point further than the receptive field"
    assert np.argwhere(changed["periodic"]).max() == 19


def test_a_convolution_without_a_boundary_is_described_as_older_versions_did():
    plain = ConvConfig(width=4, layers=1)
    assert not {"boundary", "coordinates", "cells"} & set(plain.to_dict())
    model = build_from({"builder": "conv", "arguments": plain.to_dict()})
    assert model[1].first.padding_mode == "circular"
    between = ConvConfig(width=4, layers=1, boundary="wall", coordinates="linear", cells=True)
    assert build_from(describe(between)).model[1].first.padding_mode != "circular"
    with pytest.raises(ValueError, match="`boundary` must be one of 'periodic', 'wall', 'open'; got 'torus'"):
        ConvConfig(boundary="torus")
    with pytest.raises(ValueError, match=r"`input` must be \(samples, channels, \*points\) in 2 dimensions"):
        ConvConfig(width=4, layers=1, num_dims=2).build()(torch.zeros(1, 8, 8))


@pytest.mark.parametrize(("boundary", "stored"), [("wall", "wall"), ("open", "open"), ("periodic", None)])
def test_training_pads_as_the_boundary_of_the_data_asks(tmp_path, boundary, stored):
    for name in "xy":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(8, 16)))
    facts = Facts(extent=(1.0,), times=(0.0, 1.0), boundary=boundary)
    config, sizes = FitConfig(epochs=1, accelerator="cpu"), {"width": 4, "layers": 1}
    pair = Path(f"{tmp_path}/x.npy,{tmp_path}/y.npy")
    train_on_file(pair, tmp_path / "run", config, builder="conv", model=sizes, facts=facts)
    assert read_settings(tmp_path / "run")["model"]["arguments"].get("boundary") == stored
    assert predict(tmp_path / "run", np.ones((2, 16))).shape == (2, 16)


def test_tucker_factors_are_fewer():
    dense, factored = (sum(p.numel() for p in builder_for(name).build().parameters()) for name in ("fno", "tfno"))
    assert factored < 0.5 * dense
    assert TFNOConfig(rank=0.5).build()(torch.randn(1, 1, 64)).shape == (1, 1, 64)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_head_is_solved_in_closed_form(name, tmp_path):
    # 64 samples show a DeepONet little: no layer of it knows that the law is the same at every place
    epochs, share = (40, 0.8) if name == "deeponet" else (6, 0.5)
    config = FitConfig(epochs=epochs, batch_size=16, accelerator="cpu")
    history = fit(
        small(name).build(), Shifted(64), Shifted(16, seed=1), config=config, out=tmp_path / "run",
        describe={"model": describe(small(name)), "data": {}},
    )  # fmt: skip
    errors = [row["validation_mse"] for row in history.rows]
    assert errors[-1] < share * float(Shifted(16, seed=1).y.var()) and errors[-1] < errors[0]
    x = Shifted(4).x
    assert torch.equal(load(tmp_path / "run")(x), load(tmp_path / "run")(x))


def test_train_builds_the_model_that_was_asked_for(burgers_file, tmp_path, capsys):
    words = ["train", "--data", str(burgers_file), "--epochs", "1", "--batch-size", "8", "--resolution", "64"]
    words += ["--accelerator", "cpu", "--width", "8"]
    for name in ("uno", "conv", "unet", "deeponet"):
        main([*words, "--out", str(tmp_path / name), "--model", name])
        assert read_settings(tmp_path / name)["model"]["builder"] == name
        assert read_settings(tmp_path / name)["model"]["arguments"].get("sensors", 64) == 64
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*words, "--out", str(tmp_path / "x"), "--model", "conv", "--modes", "9"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert "`modes` must not be given for the model 'conv'" in error


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UNOConfig(layers=3), "UNOConfig: `layers` must be an integer of at least 4; got 3"),
        (lambda: ConvConfig(kernel=4), "`kernel` must be odd"),
        (lambda: ConvConfig(num_dims=4), "`num_dims` must be at most 3"),
        (lambda: TFNOConfig(rank=0), "TFNOConfig: `rank` must be"),
        (lambda: TFNOConfig(width=0), "TFNOConfig: `width` must be an integer of at least 1"),
        (lambda: builder_for("transformer"), "`model` must be one of 'fno'"),
        (lambda: builder_for("unet", kernel=2), "UNetConfig: `kernel` must be odd"),
        (lambda: builder_for("deeponet", sensors=0), "DeepONetConfig: `sensors` must be an integer"),
    ],
)
def test_bad_shapes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_an_unknown_builder_of_a_run_is_named():
    with pytest.raises(CheckpointError, match="fno, tfno, uno, conv, unet, deeponet"):
        build_from({"builder": "transformer", "arguments": {}})


@pytest.mark.parametrize("name", BUILDERS)
def test_a_run_of_a_built_model_is_loaded_by_its_folder_alone(name, tmp_path):
    data = Shifted(8)
    model = small(name).build(seed=1)
    fit(
        model,
        data,
        data,
        config=FitConfig(epochs=1, batch_size=4, accelerator="cpu"),
        out=tmp_path / "run",
        progress=False,
    )
    assert read_settings(tmp_path / "run")["model"] == describe(small(name))
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "run", which="last")(data.x), model(data.x))


def test_a_changed_model_and_one_of_another_origin_are_not_described(tmp_path):
    model = small("conv").build()
    assert description_of(model) == describe(small("conv"))
    assert description_of(torch.nn.Sequential(model)) is None and description_of(torch.nn.Linear(1, 1)) is None
    copied = pickle.loads(pickle.dumps(model))
    assert description_of(copied) == describe(small("conv"))
    head = find_head(copied)
    head.weight = torch.nn.Parameter(torch.cat([head.weight, head.weight]))
    assert description_of(copied) is None


def test_a_run_without_a_description_goes_on(tmp_path):
    data, out = Shifted(8), tmp_path / "run"
    settings = {"config": FitConfig(epochs=2, batch_size=4, accelerator="cpu"), "out": out, "progress": False}
    fit(small("conv").build(), data, data, until=1, **settings)
    stored = json.loads((out / "run.json").read_text())
    write_listed(out / "run.json", json.dumps({**stored, "model": None}))  # as version 0.1 wrote it
    assert len(fit(small("conv").build(), data, data, resume=True, **settings).rows) == 2
