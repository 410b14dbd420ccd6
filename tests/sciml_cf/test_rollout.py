"""Roll-outs on a linear equation whose one-step map is known."""

import numpy as np
import pytest
import torch
from torch import nn

from data_gen import DatasetSpec, generate
from data_gen.formats import open_source
from sciml_cf import metrics
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.steps import Steps
from sciml_cf.evaluate.rollout import evaluate_rollout, one_step_pairs, rollout
from sciml_cf.models import FNOConfig
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit

TIMES = (0.1, 0.2, 0.3, 0.4)


class ExactStep(nn.Module):
    """The solution operator of u_t + u_x = 0.02 u_xx on (0, 2 pi) over 0.1, times a factor."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, u):
        k = torch.arange(u.shape[-1] // 2 + 1, dtype=torch.float64)
        symbol = torch.exp(0.1 * (-1j * k - 0.02 * k**2))
        return self.factor * torch.fft.irfft(symbol * torch.fft.rfft(u), n=u.shape[-1])


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "waves.h5"
    spec = DatasetSpec(
        equation="advection_diffusion", parameters={"speed": 1.0, "diffusivity": 0.02}, samples=20, resolution=64,
        times=TIMES, initial_condition="truncated_fourier",
    )  # fmt: skip
    return generate(spec, path, progress=False)


def test_the_exact_step_rolls_out_to_the_solution(trajectories):
    start, end = (FieldDataset(trajectories, "all", target_time=TIMES[-1]), FieldDataset(trajectories, "all").y)
    states = rollout(ExactStep(), start.x, 4)
    assert states.shape == (20, 5, 1, 64)
    assert torch.equal(states[:, 0], start.x)
    assert metrics.relative_l2(states[:, -1], end).max() < 1e-5
    result = evaluate_rollout(ExactStep(), trajectories)
    np.testing.assert_allclose(result["time"], TIMES)
    assert float(result["relative_l2"].max()) < 1e-5
    # coarser, the same map is exact too: eight modes or fewer are left of the start
    assert float(evaluate_rollout(ExactStep(), trajectories, resolution=32)["relative_l2"].max()) < 1e-5


def test_an_error_of_each_step_grows_as_it_must(trajectories):
    result = evaluate_rollout(ExactStep(1.1), trajectories)
    np.testing.assert_allclose(result["relative_l2"], 1.1 ** np.arange(1, 5) - 1, rtol=1e-4)
    np.testing.assert_allclose(result["one_step_relative_l2"], 0.1, rtol=1e-4)
    np.testing.assert_allclose(result["band_mse"].sum("band"), result["mse"], rtol=1e-6)
    first, last = (FieldDataset(trajectories, "test", target_time=time) for time in (TIMES[0], TIMES[-1]))
    expected = metrics.relative_l2(first.x, last.y).mean()
    assert float(result["persistence_relative_l2"][-1]) == pytest.approx(float(expected), rel=1e-5)


def test_a_rollout_that_blows_up_is_infinite_not_missing(trajectories):
    result = evaluate_rollout(ExactStep(1e30), trajectories)
    assert np.isfinite(result["relative_l2"][0]) and np.isinf(result["relative_l2"][-1])


def test_pairs_are_neighbours_and_learnable(trajectories, tmp_path):
    train, validation = (one_step_pairs(trajectories, split, resolution=32) for split in ("train", "validation"))
    trajectories_in_training = len(FieldDataset(trajectories, "train"))
    assert len(train) == 4 * trajectories_in_training
    # the second state of the first pair is the first of the next
    assert torch.equal(train[0]["y"], train[trajectories_in_training]["x"])
    config = FitConfig(epochs=6, batch_size=8, accelerator="cpu")
    model = FNOConfig(width=8, modes=8, layers=1).build()
    fit(model, train, validation, config=config, out=tmp_path / "run")
    result = evaluate_rollout(model, trajectories, resolution=32)
    assert result["one_step_relative_l2"][0] < result["persistence_relative_l2"][0]
    assert result["relative_l2"][-1] > result["relative_l2"][0]


class Doubled(ExactStep):
    def forward(self, u):
        return torch.cat([u, u], dim=1)


def test_bad_arguments_are_named(trajectories, burgers_file, tmp_path):
    with pytest.raises(ValueError, match=r"`model` must return states of the shape .*\(1, 64\); got \(2, 64\)"):
        evaluate_rollout(Doubled(), trajectories)
    with pytest.raises(ValueError, match="`steps` must be an integer of at least 1; got 0"):
        rollout(ExactStep(), torch.zeros(1, 1, 8), 0)
    with pytest.raises(ValueError, match=r"`u0` must be \(samples, channels, \*points\); got \(8,\)"):
        rollout(ExactStep(), torch.zeros(8), 1)
    uneven = tmp_path / "uneven.h5"
    generate(DatasetSpec(equation="heat", samples=4, resolution=64, times=(0.1, 0.5)), uneven, progress=False)
    with pytest.raises(ValueError, match="must hold equally spaced times"):
        one_step_pairs(uneven, "train")
    steady = tmp_path / "darcy.h5"
    generate(DatasetSpec(equation="darcy", samples=4, resolution=8), steady, progress=False)
    with pytest.raises(ValueError, match="must hold the same field at two times or more"):
        evaluate_rollout(ExactStep(), steady)


def test_correlation_is_that_of_numpy_and_knows_no_scale():
    rng = np.random.default_rng(0)
    p, y = rng.normal(size=(2, 5, 1, 30))
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(p, y, strict=True)]
    np.testing.assert_allclose(metrics.correlation(torch.tensor(p), torch.tensor(y)), expected)
    np.testing.assert_allclose(metrics.correlation(torch.tensor(3 * p + 7), torch.tensor(p)), 1.0)
    assert metrics.correlation(torch.ones(1, 1, 8), torch.tensor(p[:1, :, :8])).item() == 0


class TwoSteps(nn.Module):
    """Two states ahead from three, of which the last one counts, with a constant channel that scales the result."""

    def __init__(self):
        super().__init__()
        self.one = ExactStep()

    def forward(self, u):
        first = self.one(u[:, 2:3].double())
        return torch.cat([first, self.one(first)], dim=1) * u[:, 3:4]


def test_windows_roll_on_by_their_outputs(trajectories):
    """Three states in and two out over five times: the second output alone is cut, and the constant is kept."""
    arranged = Steps(inputs=3, outputs=2, components=1)
    with open_source(trajectories) as source:
        truth = torch.from_numpy(source.read_trajectory())
    start = torch.cat([truth[:, :3].flatten(1, 2), torch.ones(20, 1, 64)], dim=1)
    states = rollout(TwoSteps(), start, 3, arranged=arranged)
    assert states.shape == (20, 6, 1, 64) and torch.equal(states[:, :3], truth[:, :3])
    torch.testing.assert_close(states[:, 3:5].double(), truth[:, 3:5].double(), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="`u0` must have the 3 channels of 3 states; got 1"):
        rollout(TwoSteps(), truth[:, 0], 1, arranged=arranged)


def test_a_coarser_step_meets_every_second_state(trajectories):
    class Twice(ExactStep):
        def forward(self, u):
            return super().forward(super().forward(u))

    result = evaluate_rollout(Twice(), trajectories, time_step=0.2)
    np.testing.assert_allclose(result["time"], [0.2, 0.4])
    assert float(result["relative_l2"].max()) < 1e-5 and result.attrs["time_step"] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="must hold times of which some are 0.15 apart, the step that the run was"):
        evaluate_rollout(Twice(), trajectories, time_step=0.15)


def test_what_is_measured_besides(trajectories):
    """The equation is linear: the best linear map is exact. Its mean stays, its energy falls."""
    result = evaluate_rollout(ExactStep(), trajectories)
    assert float(result["linear_relative_l2"].max()) < 2e-2 < float(result["persistence_relative_l2"].min())
    assert result.attrs["conserved"] == "mean" and float(result["correlation"].min()) > 0.999
    assert np.isinf(result["correlation_time"]).all() and (result["finite_until"] == TIMES[-1]).all()
    np.testing.assert_allclose(result["mean"], result["true_mean"], atol=1e-6)
    np.testing.assert_allclose(result["energy"], result["true_energy"], rtol=1e-4)
    energy = FieldDataset(trajectories, "test", target_time=TIMES[0]).y.double().square().mean()
    np.testing.assert_allclose(result["true_energy"][0], energy, rtol=1e-6)
    np.testing.assert_allclose(result["power"].sel(curve="target")[0].sum(), energy, rtol=1e-6)
    assert "window_vrmse" not in result and "linear_relative_l2" not in evaluate_rollout(
        ExactStep(), trajectories, baselines=False
    )


def test_a_rollout_says_when_it_is_lost(trajectories):
    result = evaluate_rollout(ExactStep(-1.0), trajectories, baselines=False)
    assert (result["correlation_time"] == TIMES[0]).all()
    lost = evaluate_rollout(ExactStep(1e200), trajectories, baselines=False)
    assert (lost["finite_until"] <= TIMES[1]).all() and np.isinf(lost["relative_l2"][-1])


def test_the_wells_windows_are_means_of_their_steps(tmp_path):
    times = tuple(round(0.1 * step, 1) for step in range(1, 31))
    spec = DatasetSpec(
        equation="advection_diffusion", parameters={"speed": 1.0, "diffusivity": 0.02}, samples=5, resolution=64,
        times=times, initial_condition="truncated_fourier",
    )  # fmt: skip
    generate(spec, tmp_path / "long.h5", progress=False)
    result = evaluate_rollout(ExactStep(1.01), tmp_path / "long.h5", baselines=False)
    expected = [result["vrmse"][5:12].mean(), result["vrmse"][12:30].mean()]
    assert list(result["window"].values) == ["6:12", "13:30"]
    np.testing.assert_allclose(result["window_vrmse"], expected)
