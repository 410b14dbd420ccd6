"""Sources of errors, on problems where every part is known; two dimensions; grids with walls."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import nn

from data_gen import DatasetSpec, generate
from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.evaluate.grids import Grids, linear_resample
from sciml_cf.evaluate.parts import consistency, error_parts
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.report import report_run, transfer_table
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file

X = 2 * np.pi * np.arange(64) / 64
GRIDS = Grids(64, (X,), (2 * np.pi,), wraps=True, fourier=True)


def fields(*waves):
    return torch.tensor(np.stack(waves))[:, None, :]


class Scale(nn.Module):
    """u -> factor u, at any resolution."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, u):
        return self.factor * u


def test_each_part_has_its_known_value():
    # 16 points see sin 14 x as -sin 2 x, and hold modes up to 8 only
    a, b = 0.3, 0.2
    x, y = fields(np.sin(2 * X) + a * np.sin(14 * X)), fields(np.sin(2 * X) + b * np.sin(20 * X))
    model = Scale(1.1)
    with torch.no_grad():
        strided, cut = (model(GRIDS.take(x, 16, sampling)) for sampling in ("strided", "fourier"))
    parts = error_parts(GRIDS, strided, cut, y, 16)
    np.testing.assert_allclose(parts[0], [0.1**2 / 2, b**2 / 2, (1.1 * a) ** 2 / 2, -0.1 * 1.1 * a], rtol=1e-10)
    error = GRIDS.interpolate(strided, 16, 64, "fourier") - y
    assert parts.sum().item() == pytest.approx(error.square().mean().item(), rel=1e-12)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("n", [4, 8, 5])
def test_parts_of_arbitrary_fields_add_up(dims, n):
    """The truncation is an orthogonal projection, with the Nyquist modes of even grids too."""
    full = 40
    axes = (np.arange(full) / full,) * dims
    grids = Grids(full, axes, (1.0,) * dims, wraps=True, fourier=True)
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(3, 2, *[full] * dims, dtype=torch.float64, generator=generator)
    one, other = torch.randn(2, 3, 2, *[n] * dims, dtype=torch.float64, generator=generator)
    parts = error_parts(grids, one, other, y, n)
    error = grids.interpolate(one, n, full, "fourier") - y
    np.testing.assert_allclose(parts.sum(1), error.square().flatten(1).mean(1), rtol=1e-12)


def test_consistency_is_known_and_needs_no_solution():
    a = 0.3
    x = fields(np.sin(2 * X) + a * np.sin(14 * X), np.cos(3 * X))
    result = consistency(GRIDS, {n: GRIDS.take(x, n, "strided") for n in (16, 32, 64)})
    known = np.sqrt(2 * a**2 / (1 + a**2))  # at 16 points -a sin 2x is too much and a sin 14x missing
    np.testing.assert_allclose(result[0], [[0, known, known], [known, 0, 0], [known, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(result[1], 0, atol=1e-12)
    broken = {16: x[..., ::4] * np.nan, 64: x}
    assert np.isnan(consistency(GRIDS, broken)[:, 0, 1]).all()


def test_parts_of_an_evaluation_add_up_to_its_error(burgers_file, run_folder):
    from sciml_cf.training.run_folder import load, read_evaluation

    result = read_evaluation(run_folder)
    np.testing.assert_allclose(result["part_mse"].sum("part"), result["mse"].sel(output="fourier"), rtol=1e-6)
    assert (result["part_mse"].sel(part=["model", "sampling", "aliasing"]) >= 0).all()
    cut = evaluate_transfer(load(run_folder), burgers_file, resolutions=(16, 256), sampling="fourier")
    assert cut.attrs["sampling"] == "fourier"
    np.testing.assert_array_equal(cut["part_mse"].sel(part=["aliasing", "cross"]), 0)
    # natively a truncated input is measured against the truncated solution: what the model part is
    np.testing.assert_allclose(
        cut["part_mse"].sel(part="model", resolution=16), cut["mse"].sel(output="native", resolution=16), rtol=1e-2
    )
    strided = evaluate_transfer(load(run_folder), burgers_file, resolutions=(16, 256))["part_mse"]
    np.testing.assert_allclose(strided.sel(part="model"), cut["part_mse"].sel(part="model"), rtol=1e-6)


def test_metrics_of_a_model_that_scales_are_known(heat_file):
    result = evaluate_transfer(Scale(0.0), heat_file, resolutions=(64,))
    for name in ("relative_l2", "nmse", "relative_h1"):
        np.testing.assert_allclose(result[name], 1.0, rtol=1e-6)
    y = FieldDataset(heat_file, "test").y.double()
    expected = ((y**2).mean(-1) / (y.var(-1, unbiased=False) + 1e-7)).sqrt().mean()
    assert float(result["vrmse"].sel(resolution=64, output="linear")) == pytest.approx(float(expected), rel=1e-9)


def test_the_floor_is_what_interpolating_the_solution_loses(heat_file):
    result = evaluate_transfer(Scale(1.0), heat_file, resolutions=(32, 64, 256))["floor_mse"]
    assert (result.sel(output="native") == 0).all()
    assert float(result.sel(resolution=256).max()) < 1e-25
    y = FieldDataset(heat_file, "test").y.double().numpy()[:, 0]
    x = np.arange(256.0)
    lines = np.stack([np.interp(x, x[::8], row[::8], period=256) for row in y])
    np.testing.assert_allclose(result.sel(resolution=32, output="linear"), ((lines - y) ** 2).mean(), rtol=1e-9)
    assert (result.sel(output="fourier", resolution=[32, 64]) < result.sel(output="linear", resolution=[32, 64])).all()


# interpolation


def test_linear_interpolation_is_exact_on_straight_pieces():
    cells = (np.arange(12) + 0.5) / 12
    u = np.stack([2 - 3 * cells, 5 * cells])
    np.testing.assert_allclose(linear_resample(u[:, ::3], [cells[::3]], [cells]), u, rtol=1e-12)
    plane = 1 + 2 * cells[:, None] - cells[None, :6]
    fine = linear_resample(plane[::4, ::2], [cells[::4], cells[:6:2]], [cells, cells[:6]])
    np.testing.assert_allclose(fine, plane, rtol=1e-12)


def test_linear_interpolation_wraps_and_is_of_second_order():
    errors = []
    for stride in (4, 8):
        u = np.sin(X + 0.3)
        fine = linear_resample(u[None, ::stride], [X[::stride]], [X], periods=[2 * np.pi])[0]
        np.testing.assert_allclose(fine, np.interp(X, X[::stride], u[::stride], period=2 * np.pi), rtol=1e-12)
        errors.append(np.abs(fine - u).max())
    assert 3.7 < errors[1] / errors[0] < 4.3
    with pytest.raises(ValueError, match=r"`points` must be those of the last axes of `u`, \(64,\); got \(8,\)"):
        linear_resample(u[None], [X[::8]], [X])
    with pytest.raises(ValueError, match="two or more along each axis without periods; got one"):
        linear_resample(u[None, :1], [X[:1]], [X])


# two dimensions


class HeatOperator2d(nn.Module):
    """The exact solution operator of u_t = 0.1 (u_xx + u_yy) on (0, 2 pi)^2 over t = 1."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, u):
        n = u.shape[-1]
        ky, kx = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64), torch.arange(n // 2 + 1)
        decay = torch.exp(-0.1 * (ky[:, None] ** 2 + kx**2))
        return torch.fft.irfft2(decay * torch.fft.rfft2(u), s=(n, n))


@pytest.fixture(scope="module")
def heat_2d_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "heat_2d.h5"
    spec = DatasetSpec(equation="heat_2d", parameters={"diffusivity": 0.1}, samples=12, resolution=32)
    return generate(spec, path, progress=False)


@pytest.fixture(scope="module")
def darcy_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "darcy.h5"
    return generate(DatasetSpec(equation="darcy", samples=12, resolution=24), path, progress=False)


def test_the_exact_operator_in_two_dimensions_has_sampling_error_alone(heat_2d_file):
    result = evaluate_transfer(HeatOperator2d(), heat_2d_file, resolutions=(16, 32), split="all")
    scale = float(result["baseline_mse"].sel(baseline="zero"))
    assert float(result["part_mse"].sel(part="model").max()) < 1e-12 * scale
    assert float(result["mse"].sel(resolution=32).max()) < 1e-12 * scale
    np.testing.assert_allclose(
        result["part_mse"].sum("part"), result["mse"].sel(output="fourier"), rtol=1e-9, atol=1e-14 * scale
    )
    np.testing.assert_allclose(result["band_mse"].sum("band"), result["mse"], rtol=1e-9, atol=1e-14 * scale)
    y = FieldDataset(heat_2d_file, "all").y.double()
    assert float(result["spectrum"].sel(curve="target").sum()) == pytest.approx(float(y.square().mean()), rel=1e-3)


@pytest.mark.parametrize("name", ["heat_2d_file", "darcy_file"])
def test_training_evaluation_and_report_in_two_dimensions(name, request, tmp_path):
    data, run = request.getfixturevalue(name), tmp_path / "run"
    config = FitConfig(epochs=2, batch_size=4, accelerator="cpu")
    size = {"width": 6, "modes": 4, "layers": 1}
    train_on_file(data, run, config, resolution=8, model=size)
    full = FieldDataset(data, "test").resolution
    result = evaluate_run(run, data, (8, full))
    paths = report_run(run)
    assert all(path.exists() for path in paths)
    periodic = name == "heat_2d_file"
    assert ("fourier" in result["output"].values) == ("spectrum" in result) == periodic
    upsampled = "fourier" if periodic else "linear"
    assert transfer_table(result).rows[0][2] == float(result["mse"].sel(resolution=8, output=upsampled))
    assert {path.name for path in paths if path.suffix == ".png"} == {
        "training.png", "transfer.png", "predictions.png", "head.png", *(["spectrum.png"] if periodic else []),
    }  # fmt: skip


def test_between_walls_outputs_are_interpolated_linearly(darcy_file):
    result = evaluate_transfer(Scale(1.0), darcy_file, resolutions=(8, 24), split="all")
    assert list(result["output"].values) == ["native", "linear"]
    assert not {"part_mse", "h1", "band_mse", "spectrum"} & set(result)
    y = FieldDataset(darcy_file, "all").y.double().numpy()[:, 0]
    cells = (np.arange(24) + 0.5) / 24
    points = np.stack(np.meshgrid(cells, cells, indexing="ij"), -1)
    lines = [RegularGridInterpolator((cells[::3],) * 2, u[::3, ::3], bounds_error=False, fill_value=None) for u in y]
    expected = np.mean([(line(points) - u) ** 2 for line, u in zip(lines, y, strict=True)])
    assert float(result["floor_mse"].sel(resolution=8, output="linear")) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="`sampling` must be 'strided' for fields without periodic boundaries"):
        evaluate_transfer(Scale(1.0), darcy_file, resolutions=(8,), sampling="fourier")
    with pytest.raises(ValueError, match="must leave whole grids of more than one point of all axes of 24 x 24 points"):
        evaluate_transfer(Scale(1.0), darcy_file, resolutions=(1,))


def test_blocks_of_samples_change_nothing(heat_file, monkeypatch):
    whole = evaluate_transfer(Scale(0.9), heat_file, resolutions=(64, 256), split="all")
    monkeypatch.setattr("sciml_cf.evaluate.transfer._POINTS_PER_BLOCK", 256 * 5)
    parts = evaluate_transfer(Scale(0.9), heat_file, resolutions=(64, 256), split="all")
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-9, atol=1e-20, err_msg=str(name))


def test_an_open_field_is_measured_without_wrapping(tmp_path):
    x = np.linspace(0, 1, 32)
    u = np.stack([np.exp(x * k) for k in np.linspace(0.1, 1, 10)])
    np.savez(tmp_path / "open.npz", x=u, y=2 * u)
    facts = Facts(boundary="open", extent=(1.0,), times=(0.0, 1.0), right_end="included")
    result = evaluate_transfer(Scale(2.0), tmp_path / "open.npz", resolutions=(8, 32), split="all", facts=facts)
    assert float(result["mse"].sel(resolution=32, output="linear")) < 1e-12
    assert 0 < float(result["mse"].sel(resolution=8, output="linear")) < 1e-2
