"""Models of neuraloperator beyond the FNO: the head attaches, and is the dense solution on the features it saw."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Ridge, find_head
from tests.dense import close, head_in, with_ones

pytestmark = pytest.mark.slow

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # neuralop's dependencies warn at import
    from neuralop import models

STRENGTH = 1e-3


def least_squares(phi, y, weights=None):
    """Ridge by an orthogonal factorization of the weighted rows, with those of the penalty below: (F + 1, C)."""
    features, targets = with_ones(phi), y.detach().double().numpy()
    share = np.ones(len(features)) if weights is None else weights.double().numpy()
    root = np.sqrt(share / share.sum())[:, None]
    pull = np.sqrt(STRENGTH) * np.eye(features.shape[1])
    stacked = np.vstack([root * features, pull]), np.vstack([root * targets, 0 * pull[:, : targets.shape[1]]])
    return np.linalg.lstsq(*stacked, rcond=None)[0]


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def grid(points, dims):
    return torch.stack(torch.meshgrid(*[torch.linspace(0, 1, points)] * dims, indexing="ij"), dim=-1)


def codano(**settings):
    """Three variables of a sample, which the head sees as samples of their own."""
    model = models.CODANO(
        output_variable_codimension=1,
        hidden_variable_codimension=4,
        lifting_channels=8,
        projection_channels=8,
        n_layers=2,
        n_heads=[2, 2],
        n_modes=[[4, 4]] * 2,
        per_layer_scaling_factors=[[1, 1]] * 2,
        attention_scaling_factors=[1, 1],
        use_positional_encoding=False,
        use_horizontal_skip_connection=False,
        horizontal_skips_map=None,
        **settings,
    )
    return model, {"x": randn(2, 3, 8, 12)}


def gino(dims, batch=2):
    model = models.GINO(
        in_channels=3,
        out_channels=2,
        in_gno_radius=0.4,
        out_gno_radius=0.4,
        gno_use_torch_scatter=False,
        gno_use_open3d=False,
        gno_coord_dim=dims,
        in_gno_channel_mlp_hidden_layers=[8],
        out_gno_channel_mlp_hidden_layers=[8],
        fno_n_modes=(4,) * dims,
        fno_hidden_channels=8,
        fno_n_layers=2,
        projection_channel_ratio=2,
    )
    points = randn(2, 30, dims).sigmoid()
    named = {"input_geom": points[0], "output_queries": points[1], "latent_queries": grid(4, dims)}
    return model, {**named, "x": randn(batch, 30, 3)}


def fnogno(*, batched):
    model = models.FNOGNO(
        in_channels=3,
        out_channels=2,
        gno_radius=0.4,
        gno_coord_dim=2,
        gno_batched=batched,
        gno_use_open3d=False,
        gno_use_torch_scatter=False,
        fno_n_modes=(4, 4),
        fno_hidden_channels=8,
        fno_n_layers=2,
    )
    named = {"in_p": grid(6, 2), "out_p": randn(30, 2).sigmoid()}
    return model, {**named, "f": randn(2, 6, 6, 3) if batched else randn(6, 6, 3)}


def sfno():
    pytest.importorskip("torch_harmonics")
    model = models.SFNO(n_modes=(6, 6), in_channels=1, out_channels=2, hidden_channels=8, n_layers=2)
    return model, {"x": randn(3, 1, 8, 16)}


def fno():
    model = models.FNO(n_modes=(4, 4), in_channels=1, out_channels=2, hidden_channels=8, n_layers=2)
    return model, {"x": randn(3, 1, 8, 16)}


MODELS = {
    "codano": codano,
    "gino 2d": lambda: gino(2),
    "gino 3d": lambda: gino(3),
    "gino 2d, one sample": lambda: gino(2, 1),
    "fnogno": lambda: fnogno(batched=False),
    "fnogno batched": lambda: fnogno(batched=True),
    "sfno": sfno,
    "fno": fno,
}


def made(kind):
    torch.manual_seed(0)
    return MODELS[kind]()


def check_head(head, expected):
    """The models are float32, for neuralop's convolutions are; the head is solved in float64, and then rounded."""
    close(head.state()["head"], expected, 1e-8)
    close(head_in(head.layer), expected, 1e-6)


def watched(layer):
    """What enters and leaves a layer at its passes, as the layer has it."""
    seen = []
    layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].detach(), output)))
    return seen


def channels_last(values):
    """``(B, C, *N)`` as rows ``(rows, C)``."""
    return values.movedim(1, -1).flatten(0, -2)


@pytest.mark.parametrize("how", ["loss", "head"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_head_of_a_model_is_the_dense_solution_on_its_features(kind, how):
    model, named = made(kind)
    layer = find_head(model, tuple(named.values())) if kind in ("codano", "sfno", "fno") else find_head(model)
    assert layer is model.projection.fcs[-1]
    seen = watched(layer)
    with torch.no_grad():
        prediction = model(**named)
    y = prediction.clone().normal_(generator=torch.Generator().manual_seed(1))
    (features, output), *_ = seen
    # Where the numbers of the output are in the prediction: they are all different.
    places = {value: index for index, value in enumerate(prediction.flatten().tolist())}
    order = torch.tensor([places[value] for value in output.flatten().tolist()])
    targets = y.flatten()[order].reshape(output.shape)
    expected = least_squares(channels_last(features), channels_last(targets))
    if how == "loss":
        loss_of = ClosedFormLoss(layer, Ridge(STRENGTH), model=model)
        head, loss = loss_of.head, loss_of(model(**named), y)
        loss.backward()
        rows = with_ones(channels_last(features)) @ expected - channels_last(targets).double().numpy()
        assert loss.item() == pytest.approx(np.square(rows).mean(), rel=1e-4)
        assert any(one.grad is not None for one in model.parameters())
    else:
        head = ClosedFormHead(layer, Ridge(STRENGTH), model=model)
        model(**named)  # a pass of zeros shows nothing yet
        head.update(y, prediction=model(**named))
    check_head(head, expected)


def test_several_queries_of_a_gino_are_solved_together_or_each():
    model, named = made("gino 2d")
    queries = {"inside": named["output_queries"], "surface": named["output_queries"][:11] * 0.9}
    layer = model.projection.fcs[-1]
    loss_of, seen = ClosedFormLoss(layer, Ridge(STRENGTH)), watched(layer)
    found = model(**{**named, "output_queries": queries})
    y = {name: torch.randn_like(one) for name, one in found.items()}
    joined = [torch.cat([one[name] for name in queries], dim=1) for one in (found, y)]
    loss_of(*joined).backward()
    phi = torch.cat([channels_last(features) for features, _ in seen])
    check_head(loss_of.head, least_squares(phi, torch.cat([y[name].flatten(0, 1) for name in queries])))


# Quadrature on the sphere.


def quadrature(latitudes, longitudes):
    """Areas of the cells of an equiangular grid, up to a factor: (latitudes, longitudes)."""
    edges = torch.linspace(0, torch.pi, latitudes + 1, dtype=torch.float64).cos()
    return (edges[:-1] - edges[1:])[:, None].expand(latitudes, longitudes).clone()


@pytest.mark.parametrize("given", ["plane", "samples and plane", "with a channel", "zonal", "flat", "mask"])
@pytest.mark.parametrize("kind", ["sfno", "fno", "codano"])
def test_quadrature_weights_give_the_dense_weighted_solution(kind, given):
    model, named = made(kind)
    layer = find_head(model)
    samples, _, *plane = named["x"].shape
    area = quadrature(*plane)
    weights = {
        "plane": area,
        "samples and plane": area * torch.arange(1.0, samples + 1)[:, None, None],
        "with a channel": area * torch.arange(1.0, samples + 1)[:, None, None, None],
        "zonal": area[:, :1],
        "flat": area.flatten(),
        "mask": area > area.mean(),
    }[given]
    seen = watched(layer)
    loss_of = ClosedFormLoss(layer, Ridge(STRENGTH), model=model)
    prediction = model(**named)
    y = prediction.detach().clone().normal_(generator=torch.Generator().manual_seed(1))
    loss = loss_of(prediction, y, weights)
    features, output = seen[0]
    phi, targets = channels_last(features), y.reshape(output.shape)
    rows = weights.squeeze(1) if weights.ndim == 4 else weights.reshape(plane) if given == "flat" else weights
    rows = rows.double().expand(samples, *plane)
    if kind == "codano":  # (B * variables, 1, points)
        rows = rows[:, None].expand(y.shape)
    rows, targets = rows.flatten(), channels_last(targets)
    expected = least_squares(phi, targets, rows)
    check_head(loss_of.head, expected)
    errors = np.square(with_ones(phi) @ expected - targets.double().numpy()).mean(1)
    wanted = (rows.numpy() * errors).sum() / rows.sum().item()
    assert loss.item() == pytest.approx(wanted, rel=1e-4)
    model.eval()
    with torch.no_grad():
        assert loss_of(model(**named), y, weights).item() == pytest.approx(wanted, rel=1e-4)


def test_weights_of_a_circle_of_latitude_that_may_be_those_of_samples_are_refused():
    model, named = made("fno")
    loss_of = ClosedFormLoss(find_head(model), Ridge(STRENGTH))
    x = named["x"].repeat(3, 1, 1, 1)[:8]  # as many samples as latitudes
    with pytest.raises(ValueError, match=r"samples or points; got \(8, 1\) for .*\(8, 1, 1\) for samples, \(1, 8, 1\)"):
        loss_of(model(x), torch.randn(8, 2, 8, 16), quadrature(8, 16)[:, :1])


def test_a_class_token_of_codano_drops_outputs_after_the_head_and_is_refused():
    torch.manual_seed(0)
    model, named = codano(enable_cls_token=True)
    loss_of, prediction = ClosedFormLoss(find_head(model), Ridge(STRENGTH)), model(**named)
    with pytest.raises(ValueError, match="the prediction must be the layer's own output"):
        loss_of(prediction, torch.randn_like(prediction))
