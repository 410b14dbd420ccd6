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
    np.testing.assert_allclose(bands[0], [0, 0, 0.125, 0, 0, 0, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(bands[1], [0.01, 0, 0, 0, 0, 0, 0, 0, 0], atol=1e-15)


@pytest.mark.parametrize("points", [63, 64, 300])
def test_bands_add_up_to_the_mean_squared_error(points):
    a, b = torch.randn(2, 3, 2, points, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(metrics.band_mse(a, b).sum(1), metrics.mse(a, b), rtol=1e-12)


@pytest.mark.parametrize("name", ["mse", "relative_l2", "nmse", "max_error", "band_mse"])
def test_nan_prediction_gives_nan_not_a_good_score(name):
    broken = PREDICTION.clone()
    broken[0, 0, 5] = float("nan")
    result = getattr(metrics, name)(broken, TARGET)
    assert torch.isnan(result[0].sum()) and torch.isfinite(result[1]).all()


@pytest.mark.parametrize("name", ["mse", "relative_l2", "nmse", "max_error", "band_mse"])
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(ValueError, match=r"got \(2, 1, 1\)"):
        getattr(metrics, name)(TARGET[..., :1], TARGET)
