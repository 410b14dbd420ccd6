"""The Fourier layer: alike on grids of any number of points, and equal to neuraloperator's where that one is right."""

import itertools
import logging

import numpy as np
import pytest
import torch
from neuralop.layers.spectral_convolution import SpectralConv

from data_gen import DatasetSpec, generate
from sciml_cf.evaluate.odd_grids import warn_of_odd_grids
from sciml_cf.evaluate.prediction import predict
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.models import build_from, builder_for, describe, spectral
from sciml_cf.models.spectral import ConsistentSpectralConv
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.on_file import train_on_file

GRIDS = {1: [(32,), (33,), (200,)], 2: [(32, 24), (22, 26), (64, 60), (6, 6), (34, 33)], 3: [(8, 10, 12), (10, 14, 9)]}


def waves(points, channels=1, seed=0):
    """A field of wavenumbers up to 2 along each axis, float32 ``(1, channels, *points)``."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*[2 * np.pi * np.arange(n) / n for n in points], indexing="ij")
    field = np.zeros((channels, *points))
    for wavenumbers in itertools.product(range(-2, 3), repeat=len(points)):
        phase = sum(k * axis for k, axis in zip(wavenumbers, axes, strict=True))
        for row in field:
            row += random.normal() * np.cos(phase) + random.normal() * np.sin(phase)
    return torch.tensor(field[None], dtype=torch.float32)


def difference(one, other):
    return ((one - other).abs().max() / other.abs().max()).item()


def layers(modes, **more):
    """Ours and neuraloperator's of the same weights."""
    pair = ConsistentSpectralConv(3, 2, modes, **more), SpectralConv(3, 2, modes, **more)
    pair[0].load_state_dict(pair[1].state_dict())
    return pair


@pytest.mark.parametrize("points", [points for grids in GRIDS.values() for points in grids])
def test_outputs_and_gradients_equal_those_of_neuraloperator_on_even_grids(points):
    ours, theirs = layers((8,) * len(points))
    values = []
    for layer in (ours, theirs):
        x = torch.randn(2, 3, *points, generator=torch.Generator().manual_seed(0)).requires_grad_()
        out = layer(x)
        product = (out * torch.cos(torch.arange(out.numel())).view_as(out)).sum()
        of_x, of_weight = torch.autograd.grad(product, [x, layer.get_parameter("weight.tensor")])
        values.append([out, of_x, torch.view_as_real(of_weight)])
    is_even = all(n % 2 == 0 for n in points[:-1])  # a last axis of any number is right in both
    for one, other in zip(*values, strict=True):
        assert (difference(one, other) < 2e-5) == is_even


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_layer_acts_on_a_function_alike_on_every_grid(dims, separable):
    layer = ConsistentSpectralConv(2, 2, (8,) * dims, separable=separable)
    for n in (9, 11, 13, 15, 16, 26, 33) if dims < 3 else (9, 11, 16):  # fewer points than modes, odd and even, prime
        coarse, fine = layer(waves((n,) * dims, 2)), layer(waves((3 * n,) * dims, 2))
        assert difference(fine[(..., *[slice(None, None, 3)] * dims)], coarse) < 2e-6


@pytest.mark.parametrize("name", ["fno", "tfno"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_model_is_one_function_on_odd_and_even_grids_and_commutes_with_shifts(name, dims):
    own, old = (builder_for(name, num_dims=dims, width=4, modes=4, layers=2, spectral=s).build()
                for s in ("consistent", "neuraloperator"))  # fmt: skip
    x, twice = (0.01 * waves((n,) * dims) for n in (15, 30))  # so small that activations make few new waves
    every = (..., *[slice(None, None, 2)] * dims)
    for model, is_right in ((own, True), (old, False)):
        assert (difference(model(twice)[every], model(x)) < 1e-3) == is_right
        assert (difference(model(x.roll(4, 2)), model(x).roll(4, 2)) < 1e-4) == is_right
    even = waves((16,) * dims)
    assert difference(own(even), old(even)) < 1e-5


def test_a_layer_that_changes_the_grid_keeps_each_wavenumber():
    torch.manual_seed(0)
    for scale, n in ((2.0, 16), (0.5, 32), (2.0, 15), (0.5, 30)):
        scaled = ConsistentSpectralConv(1, 1, (6, 6), resolution_scaling_factor=scale)
        same = ConsistentSpectralConv(1, 1, (6, 6))
        same.load_state_dict(scaled.state_dict())
        m = round(n * scale)
        assert difference(scaled(waves((n, n))), same(waves((m, m)))) < 2e-6
        assert scaled(waves((n, n)), output_shape=(m + 1, m + 1)).shape == (1, 1, m + 1, m + 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_uno_changes_less_between_resolutions_than_with_the_layers_of_neuraloperator(dims):
    coarse, fine = (0.01 * waves((n,) * dims) for n in (14, 28))  # its coarse grid has 7 points, and 14
    changes = []
    for kind in ("consistent", "neuraloperator"):
        model = builder_for("uno", num_dims=dims, width=6, modes=4, spectral=kind).build()
        changes.append(difference(model(fine)[(..., *[slice(None, None, 2)] * dims)], model(coarse)))
    assert changes[0] < 0.1 * changes[1]  # what is left are the skips, see UNOConfig


def test_matrices_and_fast_transforms_agree(monkeypatch):
    x = torch.randn(2, 3, 20, 24)
    layer = ConsistentSpectralConv(3, 2, (8, 24))  # the last axis keeps the highest wavenumber of an even grid
    outputs = []
    for is_fast in (True, False):
        monkeypatch.setattr(spectral, "_prefers_fft", lambda *_, is_fast=is_fast, **__: is_fast)
        outputs.append(layer(x))
    assert difference(*outputs) < 2e-6


@pytest.mark.filterwarnings("ignore")  # of torch, on its way through neuraloperator's code
def test_a_compiled_layer_takes_other_grids():
    layer = ConsistentSpectralConv(2, 2, (8, 8))
    compiled = torch.compile(layer, backend="eager")
    for n in (33, 40):
        assert difference(compiled(torch.ones(1, 2, n, n)), layer(torch.ones(1, 2, n, n))) < 1e-5


def test_other_precisions_go_the_way_they_went():
    wide = ConsistentSpectralConv(1, 1, (8, 8)).double()
    assert wide(waves((33, 33)).double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert difference(wide(waves((33, 33))), wide.float()(waves((33, 33)))) < 1e-5
    ours, theirs = layers((8, 8), complex_data=True)
    x = torch.randn(1, 3, 12, 12, dtype=torch.complex64)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["fno", "tfno", "uno"])
def test_runs_of_before_keep_the_layers_that_they_were_trained_with(name):
    stored = describe(builder_for(name, num_dims=2, width=4, modes=4))
    assert stored["arguments"].pop("spectral") == "consistent"
    old = builder_for(name, num_dims=2, width=4, modes=4, spectral="neuraloperator")
    assert build_from(describe(old)).state_dict().keys() == old.build().state_dict().keys()
    assert describe(old)["arguments"] == {**stored["arguments"], "spectral": "neuraloperator"}
    x = torch.randn(1, 1, 15, 15)
    assert torch.equal(build_from(stored)(x), old.build()(x))
    assert not torch.equal(build_from(stored)(x), builder_for(name, num_dims=2, width=4, modes=4).build()(x))
    assert "spectral" not in describe(builder_for(name, width=4))["arguments"], "in one dimension there is one layer"
    with pytest.raises(ValueError, match="`spectral` must be one of 'consistent', 'neuraloperator'; got 'shifted'"):
        builder_for(name, spectral="shifted")


@pytest.mark.parametrize("kind", ["consistent", "neuraloperator"])
def test_a_run_of_before_says_where_its_layers_are_wrong(kind, tmp_path, caplog):
    model = builder_for("fno", num_dims=2, width=4, modes=4, layers=1, spectral=kind).build()
    fields = waves((16, 16))
    settings = {"model": describe(builder_for("fno", num_dims=2, width=4, modes=4, layers=1, spectral=kind)),
                "data": {"resolution": 16}}  # fmt: skip
    data = torch.utils.data.TensorDataset(fields.expand(4, -1, -1, -1), fields.expand(4, -1, -1, -1))
    config = FitConfig(epochs=1, batch_size=4, accelerator="cpu")
    fit(model, data, data, config=config, out=tmp_path / "run", describe=settings, progress=False)
    with caplog.at_level(logging.WARNING):
        predict(tmp_path / "run", waves((32, 32))[:, 0].numpy())
        assert "Fourier layers" not in caplog.text
        predict(tmp_path / "run", waves((33, 33))[:, 0].numpy())
    assert ("numbers of points, here 16, 33, so errors" in caplog.text) == (kind == "neuraloperator")
    caplog.clear()
    for points in ((16, 32), (33, 65), (65, 32)):
        warn_of_odd_grids("evaluate", model, points)
    assert caplog.text.count("here 32, 65") == (kind == "neuraloperator") == len(caplog.records)


@pytest.mark.parametrize("kind", ["consistent", "neuraloperator"])
@pytest.mark.parametrize("resolutions", [(15,), (15, 30), (30,)])
def test_evaluate_says_once_where_layers_differ(kind, resolutions, tmp_path, caplog):
    path = generate(DatasetSpec("heat", num_dims=2, samples=20, resolution=30), tmp_path / "heat.h5", progress=False)
    sizes = {"width": 4, "modes": 4, "layers": 1, "spectral": kind}
    config = FitConfig(epochs=1, batch_size=8, accelerator="cpu")
    train_on_file(path, tmp_path / "run", config, builder="fno", model=sizes, resolution=30)
    with caplog.at_level(logging.WARNING):
        evaluate_run(tmp_path / "run", path, resolutions)
    assert caplog.text.count("Fourier layers") == (kind == "neuraloperator" and resolutions != (30,))
