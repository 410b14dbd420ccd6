"""A model leaves without a trace: scripted, quantized, exported, and the same outputs, normalized or not."""

import copy
import io

import pytest
import torch
from torch import nn

from sciml_cf import ClosedFormLoss, Proximal, detach_heads, find_head, plain_model
from sciml_cf.export import PhysicalModel
from sciml_cf.head.binding.capture import hooks_of
from sciml_cf.models import FNOConfig, builder_for
from sciml_cf.normalization import Normalization, attach_normalization, normalization_of


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.readout = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        return self.readout(torch.tanh(self.body(x)))


def _perceptron():
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)), torch.rand(8, 2)


MODELS = {
    "perceptron": _perceptron,
    "conv": lambda: (Conv(), torch.rand(4, 2, 6, 5)),
    "fno": lambda: (FNOConfig(modes=4, width=8, layers=2, in_channels=2).build(), torch.rand(4, 2, 32)),
}


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


SOURCES = {"live": lambda model: model, "deepcopy": copy.deepcopy, "loaded": saved}


def trained(name, normalized):
    torch.manual_seed(0)
    model, x = MODELS[name]()
    loss_of = ClosedFormLoss(find_head(model), Proximal(1e-2))
    prediction = model(x)
    loss_of(prediction, torch.rand_like(prediction)).backward()
    model.eval()
    if normalized:
        attach_normalization(model, Normalization((3.0, 4.0), (2.0, 1e-3), (1e5,), (7.0,)))
    return model, x, loss_of


def exported(model, x):
    return torch.export.export(model, (x,), strict=isinstance(model, PhysicalModel | nn.Sequential | Conv)).module()(x)


WAYS = {
    "script": lambda model, x: torch.jit.script(model)(x),
    "export": exported,
    "trace": lambda model, x: torch.jit.trace(model, x)(x),
}


@pytest.mark.filterwarnings("ignore")  # torch's own, of what it will drop
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("name", ["perceptron", "conv"])
def test_a_plain_model_is_taken_by_every_exporter(name, normalized, source, way):
    model, x, _ = trained(name, normalized)
    expected = model(x).detach()
    plain = plain_model(SOURCES[source](model))
    torch.testing.assert_close(plain(x).detach(), expected)
    torch.testing.assert_close(WAYS[way](plain, x).detach(), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("normalized", [False, True])
def test_an_fno_is_exported(normalized):
    model, x, _ = trained("fno", normalized)
    program = torch.export.export(plain_model(model), (x,))
    torch.testing.assert_close(program.module()(x).detach(), model(x).detach())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", SOURCES)
def test_a_plain_perceptron_is_quantized(source):
    model, x, _ = trained("perceptron", False)
    quantized = torch.ao.quantization.quantize_dynamic(plain_model(SOURCES[source](model)), {nn.Linear}, torch.qint8)
    torch.testing.assert_close(quantized(x), model(x).detach(), rtol=0.05, atol=0.02)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", SOURCES)
def test_a_model_with_its_hook_is_quantized_too(source):
    model, x, _ = trained("perceptron", False)
    expected = model(x).detach()
    quantized = torch.ao.quantization.quantize_dynamic(SOURCES[source](model), {nn.Linear}, torch.qint8)
    torch.testing.assert_close(quantized(x), expected, rtol=0.05, atol=0.02)


def test_the_model_itself_goes_on():
    model, _, loss_of = trained("conv", True)
    plain = plain_model(model)
    assert not hooks_of(plain.model.readout) and all(p.requires_grad for p in plain.parameters())
    assert loss_of.head.status == "bound" and normalization_of(model) is not None
    assert hooks_of(model.readout) and not model.readout.weight.requires_grad


@pytest.mark.parametrize("source", SOURCES)
def test_heads_are_detached_from_any_copy(source):
    model, x, loss_of = trained("conv", False)
    expected = model(x).detach()
    own = SOURCES[source](model)
    assert detach_heads(own) is own
    assert not hooks_of(own.readout) and all(parameter.requires_grad for parameter in own.parameters())
    torch.testing.assert_close(own(x).detach(), expected)
    assert loss_of.head.status == ("detached" if source == "live" else "bound")


def test_layers_without_a_head_stay_as_they_are():
    model = Conv()
    model.body.requires_grad_(False)
    model.readout.register_forward_hook(lambda *_: None)
    detach_heads(model)
    assert not model.body.weight.requires_grad and len(model.readout._forward_hooks) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("name", ["perceptron", "conv"])
def test_onnx_runs_a_plain_model(name, normalized, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x, _ = trained(name, normalized)
    torch.onnx.export(plain_model(model), (x,), tmp_path / "model.onnx", dynamo=True)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of torch, on its way through neuraloperator's code
@pytest.mark.parametrize(
    ("name", "dims", "place"),
    [
        ("fno", 1, {"coordinates": "linear", "right_end": True}),
        ("fno", 2, {"coordinates": "linear", "cells": True}),
        ("tfno", 2, {"coordinates": "periodic"}),
    ],
)
def test_an_exported_fourier_model_takes_other_grids(name, dims, place):
    model = builder_for(name, num_dims=dims, width=4, modes=4, layers=2, **place).build().eval()
    attach_normalization(model, Normalization((3.0,), (2.0,), (1e5,), (7.0,)))
    plain = plain_model(model)
    points = {2 + axis: torch.export.Dim.AUTO for axis in range(dims)}
    x = torch.rand(2, 1, *[32] * dims)
    program = torch.export.export(plain, (x,), dynamic_shapes=(points,), strict=False).module()
    for n in (20, 33):
        x = torch.rand(2, 1, *[n] * dims)
        torch.testing.assert_close(program(x), plain(x))
