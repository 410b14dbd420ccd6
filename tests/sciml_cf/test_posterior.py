"""Error bars: against plain linear algebra, calibrated in distribution, wider outside, stored with every run."""

import copy
import logging
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf import FitConfig, FNOConfig, fit, load, posterior, predict, read_posterior, save_posterior
from sciml_cf.errors import CheckpointError, NotPositiveDefinite
from sciml_cf.head import find_head
from sciml_cf.head.posterior import LEVEL_IN_STD, Posterior, apply_with_std, calibrate, precision_factor
from sciml_cf.head.posterior import relative_leverage as leverage
from sciml_cf.training.run_folder import plain_state_dict, read_tensors
from tests.problems import Points, Shifted, mlp, regression
from tests.sciml_cf.test_adapt import Items, Residual, convolutions, dense_rows, fields


def noisy(samples, seed, scale=(0.1, 1.0)):
    """Targets of the model itself and noise of another size on each output: the noise is the error."""
    x = fields(samples, seed=seed)[0]
    with torch.no_grad():
        y = convolutions()(x)
    return Items(x, y + torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed + 9))
                 * torch.tensor(scale, dtype=y.dtype)[:, None])  # fmt: skip


def test_std_is_the_quadratic_form_of_the_inverse_gram():
    model, train = convolutions(), noisy(12, 0)
    known = posterior(model, train, noisy(8, 1))
    phi, new = dense_rows(model, train.x), dense_rows(model, fields(3, seed=2)[0])
    gram = phi.T @ phi / len(phi)
    shifted = gram + 1e-6 * np.diag(gram).mean() * np.eye(len(gram))
    form = np.einsum("rf,rf->r", new, np.linalg.solve(shifted, new.T).T) / len(gram)
    expected = float(known.scale) * np.sqrt(form)[:, None] * known.noise.numpy()
    np.testing.assert_allclose(known.std(torch.from_numpy(new)).numpy(), expected, rtol=1e-9)
    _, std = apply_with_std(model, fields(3, seed=2)[0], known)
    np.testing.assert_allclose(std.numpy().transpose(0, 2, 1).reshape(-1, 2), expected, rtol=1e-6)


def test_form_is_proportional_to_the_variance_of_a_bayesian_regression():
    phi, _ = regression(300, 5)
    precision = (phi.T @ phi / 0.25).numpy()  # noise variance 0.25, flat prior
    new = np.random.default_rng(0).normal(size=(7, 5))
    variance = np.einsum("rf,fg,rg->r", new, np.linalg.inv(precision), new)
    ours = leverage(precision_factor(phi.T @ phi / 300), torch.from_numpy(new)).numpy()
    np.testing.assert_allclose(ours / variance, np.full(7, 300 / 0.25 / 5), rtol=1e-5)


def test_leverage_of_the_training_rows_has_mean_one():
    phi, _ = regression(400, 6)
    assert leverage(precision_factor(phi.T @ phi / 400), phi).mean().item() == pytest.approx(1, abs=1e-5)


def test_ninety_per_cent_of_held_out_errors_lie_inside():
    model = convolutions()
    known = posterior(model, noisy(30, 0), noisy(200, 1))
    held_out = noisy(200, 2)
    mean, std = apply_with_std(model, held_out.x, known)
    inside = ((mean - held_out.y).abs() < LEVEL_IN_STD * std).double().mean(dim=(0, 2))
    assert ((inside > 0.85) & (inside < 0.95)).all(), "of each output, though their noise differs tenfold"


def test_calibration_is_exact_on_its_own_data_and_follows_the_scale_of_the_errors():
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(1000, 2, dtype=torch.float64, generator=generator)
    form = torch.rand(1000, dtype=torch.float64, generator=generator) + 0.1
    noise, scale = calibrate(residual, form)
    inside = residual.abs() <= LEVEL_IN_STD * scale * form.sqrt()[:, None] * noise * (1 + 1e-12)
    assert inside.double().mean().item() == pytest.approx(0.9, abs=1e-3)
    larger, same = calibrate(3 * residual, form)
    torch.testing.assert_close(larger, 3 * noise)
    torch.testing.assert_close(same, scale)


def test_width_grows_outside_the_training_law():
    model = convolutions()
    known = posterior(model, noisy(30, 0), noisy(30, 1))
    x = fields(50, seed=3)[0]
    inside, outside = (apply_with_std(model, factor * x, known)[1].mean() for factor in (1, 3))
    assert outside > 1.5 * inside


def test_linear_heads_and_moved_channels_are_laid_out_like_the_prediction():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2)).double()

    class ChannelsSecond(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body

        def forward(self, x):
            return self.body(x.movedim(1, -1)).movedim(-1, 1)

    x, y = fields()
    known = posterior(ChannelsSecond(), Items(x, y), Items(x, y))
    mean, std = apply_with_std(ChannelsSecond(), x, known)
    rows = known.std(body[:-1](x.movedim(1, -1)).detach())
    assert mean.shape == std.shape == y.shape
    torch.testing.assert_close(std, rows.movedim(-1, 1).float())


def test_state_goes_to_a_file_and_back(tmp_path):
    known = posterior(mlp(), Points(30), Points(30, seed=1))
    save_posterior(known, tmp_path)
    assert torch.load(tmp_path / "posterior.pt", weights_only=True).keys() == known.state().keys()
    again = read_posterior(tmp_path)
    phi = torch.rand(5, 9, dtype=torch.float64)
    assert torch.equal(again.std(phi), known.std(phi))


# In a run.


@pytest.mark.parametrize("method", ["proximal", "l2"])
def test_fit_makes_the_error_bars_of_the_best_weights_and_leaves_the_last(method, tmp_path):
    model, data = FNOConfig(width=8, modes=6, layers=2).build(), Shifted(24)
    config = FitConfig(method=method, epochs=3, batch_size=8, learning_rate=3e-3, accelerator="cpu", normalize="none")
    fit(model, data, Shifted(16, seed=1), config=config, out=tmp_path / "run", progress=False)
    last = read_tensors(tmp_path / "run" / "weights_last.pt")
    assert all(torch.equal(last[name], value) for name, value in plain_state_dict(model).items())
    best = FNOConfig(width=8, modes=6, layers=2).build()
    best.load_state_dict(read_tensors(tmp_path / "run" / "weights_best.pt"))
    expected, stored = posterior(best, data, Shifted(16, seed=1)), read_posterior(tmp_path / "run")
    for name, value in expected.state().items():
        torch.testing.assert_close(stored.state()[name], value, rtol=1e-9, atol=0)


def test_a_model_without_a_linear_last_layer_trains_without_error_bars(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    class Changed(Residual):
        def forward(self, x):
            return self.body(x) + x

    x, y = fields(12)
    config = FitConfig(method="l2", epochs=1, batch_size=4, accelerator="cpu")
    fit(Changed(), Items(x, y), Items(x, y), config=config, out=tmp_path / "run", progress=False)
    assert "no error bars for this model" in caplog.text and "must return its head's output" in caplog.text
    assert not (tmp_path / "run" / "posterior.pt").exists()
    with pytest.raises(CheckpointError, match="`sciml-cf posterior RUN --data FILE`"):
        read_posterior(tmp_path / "run")


def test_predict_returns_std_beside_the_same_prediction(run_folder):
    inputs = np.random.default_rng(0).normal(size=(3, 64))
    mean, std = predict(run_folder, inputs, std=True)
    np.testing.assert_allclose(mean, predict(run_folder, inputs), atol=1e-6)
    assert std.shape == mean.shape == (3, 64) and std.dtype == np.float32 and (std > 0).all()
    both = predict(load(run_folder), inputs[:, None], std=read_posterior(run_folder))
    np.testing.assert_array_equal(both[1][:, 0], std)


def test_std_is_a_function_of_the_point_not_of_the_grid(run_folder):
    grid = 2 * np.pi * np.arange(64) / 64
    inputs = np.stack([np.sin(grid), 0.5 * np.cos(2 * grid)])
    coarse, fine = (predict(run_folder, inputs, resolution=n, std=True)[1] for n in (64, 1024))
    np.testing.assert_allclose(fine[:, ::16], coarse, rtol=2e-2)


def test_bad_input_is_refused(run_folder, tmp_path):
    inputs, known = np.zeros((2, 64)), read_posterior(run_folder)
    with pytest.raises(ValueError, match="`std` must be the posterior of a model that is given itself"):
        predict(load(run_folder), inputs, std=True)
    with pytest.raises(
        ValueError, match=r"`fields` must have 1 dimension and 1 input channel, as the run .* got .* 2 input channels"
    ):
        predict(run_folder, np.zeros((2, 2, 64)), std=True)
    other = load(run_folder)
    with torch.no_grad():
        find_head(other).weight.add_(1.0)
    with pytest.raises(ValueError, match="`std` must come from a posterior of this model's own head"):
        predict(other, inputs, std=known)
    run = shutil.copytree(run_folder, tmp_path / "run")
    torch.save({"gram": torch.eye(2)}, run / "posterior.pt")
    (run / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"posterior\.pt must hold a posterior"):
        predict(run, inputs, std=True)
    state = copy.copy(known.state())
    with pytest.raises(ValueError, match=r"gram \(F, F\) and a head \(F, C\)"):
        Posterior.from_state({**state, "gram": torch.eye(2)})
    with pytest.raises(ValueError, match="`train` must hold at least one sample"):
        posterior(convolutions(), Items(*fields(0)), Items(*fields()))
    with pytest.raises(ValueError, match="`validation` must hold at least one sample"):
        posterior(convolutions(), Items(*fields()), Items(*fields(0)))
    with pytest.raises(NotPositiveDefinite, match="finite errors"):
        x, y = fields()
        posterior(convolutions(), Items(x, y), Items(x, y * torch.nan))
    with pytest.raises(ValueError, match="finite numbers; got NaN or Inf in x of sample 0"):
        posterior(convolutions(), Items(x * torch.nan, y), Items(x, y))
