import numpy as np
import pytest
import torch

from sciml_cf import metrics

GRID = 2 * np.pi * np.arange(64) / 64


def fields(*waves):
    return torch.tensor(np.stack(waves))[:, None, :]


TARGET = fields(np.sin(GRID), 2 + 0 * GRID)
PREDICTION = TARGET + fields(0.5 * np.cos(3 * GRID), 0.1 + 0 * GRID)


def test_metrics_have_their_known_values():
    np.testing.assert_allclose(metrics.mse(PREDICTION, TARGET), [0.125, 0.01], rtol=1e-12)
    np.testing.assert_allclose(metrics.relative_l2(PREDICTION, TARGET), [0.5, 0.05], rtol=1e-12)
    np.testing.assert_allclose(metrics.nmse(PREDICTION, TARGET), [0.25, 0.0025], rtol=1e-12)
    np.testing.assert_allclose(metrics.max_error(PREDICTION, TARGET), [0.5, 0.1], rtol=1e-12)


def test_bands_hold_the_error_where_it_is():
    bands = metrics.band_mse(PREDICTION, TARGET)
    # bands start at 0, 1, 2, 4, ...: wavenumber 3 lies in the third, a constant in the first
    np.testing.assert_allclose(bands[0], [0, 0, 0.125, 0, 0, 0, 0, 0, 0], atol=1e-13)
    np.testing.assert_allclose(bands[1], [0.01, 0, 0, 0, 0, 0, 0, 0, 0], atol=1e-13)


@pytest.mark.parametrize("points", [(63,), (64,), (300,), (8, 8), (7, 10), (9, 7)])
def test_bands_add_up_to_the_mean_squared_error(points):
    a, b = torch.randn(2, 3, 2, *points, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(metrics.band_mse(a, b).sum(1), metrics.mse(a, b), rtol=1e-12)


NAMES = ["mse", "rmse", "relative_l2", "nmse", "vrmse", "max_error", "h1", "relative_h1", "band_mse"]


def test_h1_of_a_sine_is_known():
    # |0.5 cos 3x|^2 has mean 1/8 and its derivative 9/8; sin has 1/2 and 1/2
    np.testing.assert_allclose(metrics.h1(PREDICTION, TARGET), [np.sqrt(10 / 8), 0.1], rtol=1e-12)
    np.testing.assert_allclose(metrics.relative_h1(PREDICTION, TARGET), [np.sqrt(10 / 8), 0.05], rtol=1e-12)
    # the same points on a box of length 1: the wavenumber is 6 pi
    expected = [np.sqrt(0.125 * (1 + (6 * np.pi) ** 2)), 0.1]
    np.testing.assert_allclose(metrics.h1(PREDICTION, TARGET, extent=1.0), expected, rtol=1e-12)


def test_h1_by_differences_is_known_and_agrees_with_the_spectral_one_on_a_fine_grid():
    # e = (0, 1, 3) on three points 1/2 apart: <e^2> = 10/3, differences 2 and 4 with mean square 10
    error, target = torch.tensor([[[0.0, 1.0, 3.0]]]), torch.ones(1, 1, 3)
    found = metrics.difference_h1(target + error, target, spacing=[0.5])
    np.testing.assert_allclose(found, [np.sqrt(10 / 3 + 10)], rtol=1e-6)
    x = 2 * np.pi * np.arange(2048) / 2048
    target, error = fields(np.sin(x)), fields(0.5 * np.cos(3 * x))
    spectral = metrics.relative_h1(target + error, target)
    np.testing.assert_allclose(metrics.difference_h1(target + error, target, spacing=[x[1]]), spectral, rtol=1e-2)
    with pytest.raises(ValueError, match="difference_h1: `spacing` must be a positive length for each of 1 axes"):
        metrics.difference_h1(target, target, spacing=[1.0, 1.0])


def test_h1_in_two_dimensions_has_one_length_an_axis():
    y, x = np.meshgrid(GRID[::4], GRID[::2], indexing="ij")
    wave = torch.tensor(np.cos(3 * x + 2 * y))[None, None]
    known = np.sqrt(0.5 * (1 + 9 + 4))
    np.testing.assert_allclose(metrics.h1(wave, 0 * wave), [known], rtol=1e-12)
    known = np.sqrt(0.5 * (1 + 9 + 4 * (2 * np.pi) ** 2))
    np.testing.assert_allclose(metrics.h1(wave, 0 * wave, extent=(1.0, 2 * np.pi)), [known], rtol=1e-12)
    with pytest.raises(ValueError, match=r"h1: `extent` must be a positive length, or one for each of 2 axes; got \(1"):
        metrics.h1(wave, wave, extent=(1.0,))


def test_vrmse_of_the_mean_is_one_and_scales_each_channel():
    target = torch.cat([5 + TARGET[:1], 1e3 * TARGET[:1]], dim=1)
    np.testing.assert_allclose(metrics.vrmse(target.mean(2, keepdim=True).expand_as(target), target), 1, rtol=1e-6)
    half = target + torch.cat([PREDICTION[:1] - TARGET[:1], 0 * TARGET[:1]], dim=1)
    np.testing.assert_allclose(metrics.vrmse(half, target), [0.25], rtol=1e-6)  # 0.5 in one channel, 0 in the other
    np.testing.assert_allclose(metrics.rmse(PREDICTION, TARGET), np.sqrt([0.125, 0.01]), rtol=1e-12)


def test_bands_in_two_dimensions_are_rings():
    y, x = np.meshgrid(GRID[::4], GRID[::4], indexing="ij")
    waves = [np.cos(3 * x + 3 * y), np.cos(4 * y - 0 * x), np.sin(2 * x - 3 * y), 0 * x + 1]  # |k| = 4.2, 4, 3.6, 0
    error = torch.tensor(np.stack(waves))[:, None]
    bands = metrics.band_mse(error, 0 * error).numpy()
    assert [int(np.argmax(row)) for row in bands] == [3, 3, 2, 0]
    np.testing.assert_allclose(bands.max(1), [0.5, 0.5, 0.5, 1], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_nan_prediction_gives_nan_not_a_good_score(name):
    broken = PREDICTION.clone()
    broken[0, 0, 5] = float("nan")
    result = getattr(metrics, name)(broken, TARGET)
    assert torch.isnan(result[0].sum()) and torch.isfinite(result[1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(ValueError, match=r"got \(2, 1, 1\)"):
        getattr(metrics, name)(TARGET[..., :1], TARGET)
