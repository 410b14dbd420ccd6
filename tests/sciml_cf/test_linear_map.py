"""The best linear map: exact where the truth is affine, and equal to a dense reference where it is not."""

import numpy as np
import pytest
import torch

from sciml_cf.evaluate import fit_linear_map, linear_map
from sciml_cf.metrics import relative_l2
from tests.problems import oscillator, poisson


def affine(samples, shape=(2, 5, 6), outputs=(3, 7), *, spanned=None, noise=0.0, seed=0):
    """Random inputs, in a random subspace if ``spanned``, and an affine function of them."""
    rng = np.random.default_rng(seed)
    width = int(np.prod(shape))
    if spanned is None:
        x = rng.normal(size=(samples, width))
    else:
        x = rng.normal(size=(samples, spanned)) @ rng.normal(size=(spanned, width))
    y = 2 + x @ rng.normal(size=(width, int(np.prod(outputs))))
    y += noise * rng.normal(size=y.shape)
    return torch.tensor(x).view(samples, *shape), torch.tensor(y).view(samples, *outputs)


def error(x, y, train):
    """Mean relative L2 error on the samples after the first ``train``, which the map is fitted to."""
    return float(relative_l2(fit_linear_map(x[:train], y[:train])(x[train:]), y[train:].double()).mean())


@pytest.mark.parametrize(
    ("shape", "spanned"),
    [((2, 5, 6), None), ((1, 30), None), ((1, 400), 40), ((3, 4, 5, 6), 50), ((2, 5, 6), 9)],
    ids=["plane", "line", "more-points-than-samples", "space", "dependent-inputs"],
)
def test_an_affine_map_is_found(shape, spanned):
    assert error(*affine(160, shape, spanned=spanned), 100) < 1e-9


def test_single_precision_costs_no_more_than_its_digits():
    x, y = affine(160)
    assert error(x.float(), y.float(), 100) < 1e-5


def test_poisson_between_walls_is_linear():
    assert error(*poisson(240, 32), 200) < 1e-3


@pytest.mark.slow
def test_poisson_between_walls_is_linear_on_fine_grids():
    assert error(*poisson(400, 64), 300) < 1e-3


def test_a_forced_oscillator_is_linear():
    assert error(*oscillator(150), 100) < 1e-6


def reference(x, y, new):
    """The map by singular values of dense matrices, its rank and strength by cross-validation, from the definition."""
    x, y, new = (part.flatten(1).double().numpy() for part in (x, y, new))

    def predict(x, y, new, rank, strength):
        u, s, v = np.linalg.svd(x - x.mean(0), full_matrices=False)
        u, s, v = u[:, :rank], s[:rank], v[:rank]
        weight = v.T @ ((s / (s**2 + len(x) * strength))[:, None] * (u.T @ (y - y.mean(0))))
        return y.mean(0) + (new - x.mean(0)) @ weight

    scale = (x - x.mean(0)).var(0).sum() / min(x.shape[1], len(x) - 1)
    folds = [np.arange(first, len(x), 5) for first in range(5)]
    best = (np.inf, 0, 0.0)
    for strength in (0.0, *(scale * 10 ** (step / 2) for step in range(-16, 5))):
        for rank in range(min(x.shape[1], len(x) - len(folds[0]) - 1) + 1):
            total = 0.0
            for fold in folds:
                rest = np.setdiff1d(np.arange(len(x)), fold)
                total += ((predict(x[rest], y[rest], x[fold], rank, strength) - y[fold]) ** 2).sum()
            best = min(best, (total, rank, strength))
    _, rank, strength = best
    return predict(x, y, new, rank, strength), rank, strength / scale


@pytest.mark.parametrize("width", [12, 40], ids=["raw", "components"])
def test_rank_and_strength_are_those_of_a_dense_search(width):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, width)) * np.linspace(2, 0.1, width)
    x /= np.sqrt(((x[:30] - x[:30].mean(0)) ** 2).mean())
    y = x[:, :12] @ rng.normal(size=(12, 8)) + rng.normal(size=(50, 8)) * 2
    x, y = torch.tensor(x)[:, None], torch.tensor(y)[:, None]
    fit = fit_linear_map(x[:30], y[:30])
    expected, rank, strength = reference(x[:30], y[:30], x[30:])
    assert (fit.rank, fit.strength) == (rank, pytest.approx(strength, rel=1e-6))
    assert 0 < rank < min(width, 29) or strength > 0  # noise calls for less than all
    np.testing.assert_allclose(fit(x[30:]).flatten(1), expected, rtol=1e-7, atol=1e-9)


def test_parts_of_columns_and_of_samples_change_nothing(monkeypatch):
    x, y = affine(80, (2, 9, 10), (1, 90), noise=3.0, seed=5)
    whole = fit_linear_map(x[:60], y[:60])(x[60:])
    monkeypatch.setattr(linear_map, "_NUMBERS", 700)
    torch.testing.assert_close(fit_linear_map(x[:60], y[:60])(x[60:]), whole, rtol=1e-8, atol=1e-8)


def test_more_samples_than_are_multiplied_are_still_learned_from(monkeypatch):
    x, y = affine(300, (1, 200), (1, 150), spanned=30, seed=6)
    rng = np.random.default_rng(7)
    noisy = y + torch.tensor(y.numpy()[rng.permutation(300)] * 0.2)
    whole = fit_linear_map(x[:200], noisy[:200])(x[200:])
    few = fit_linear_map(x[:60], noisy[:60])(x[200:])
    monkeypatch.setattr(linear_map, "_COMPONENTS", 100)
    monkeypatch.setattr(linear_map, "_SPANNING", 60)
    torch.testing.assert_close(fit_linear_map(x[:200], noisy[:200])(x[200:]), whole, rtol=1e-7, atol=1e-7)
    assert float((few - whole).abs().max()) > 0.1


def test_units_of_channels_do_not_matter():
    x, y = affine(120, (2, 20), noise=1.0)
    scaled = x * torch.tensor([1.0, 1e6])[:, None]
    torch.testing.assert_close(
        fit_linear_map(x[:80], y[:80])(x[80:]), fit_linear_map(scaled[:80], y[:80])(scaled[80:]), rtol=1e-6, atol=1e-6
    )


def test_a_channel_that_never_changes_is_left_out():
    x, y = affine(120, (1, 20), noise=1.0)
    place = torch.linspace(0, 1 / 3, 20, dtype=torch.float64).expand_as(x)
    expected = fit_linear_map(x[:80], y[:80])(x[80:])
    both = torch.cat([x, place], dim=1)
    torch.testing.assert_close(fit_linear_map(both[:80], y[:80])(both[80:]), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("constant", ["x", "y"])
@pytest.mark.parametrize("width", [10, 100])
def test_constant_fields_give_the_mean(constant, width):
    x, y = affine(30, (1, width), (1, width))
    x, y = (torch.full_like(x, 0.1), y) if constant == "x" else (x, torch.full_like(y, 0.1))
    fit = fit_linear_map(x, y)
    torch.testing.assert_close(fit(x), y.mean(0).expand_as(y))
    assert constant == "y" or fit.rank == 0


@pytest.mark.parametrize("samples", [1, 2])
def test_too_few_samples_to_hold_out_give_the_mean(samples):
    x, y = affine(10)
    fit = fit_linear_map(x[:samples], y[:samples])
    assert fit.rank == 0
    torch.testing.assert_close(fit(x), y[:samples].mean(0).expand_as(y))


def test_fewer_samples_than_components_are_no_worse_than_the_mean():
    x, y = affine(100, (1, 60), (1, 20))
    fit = fit_linear_map(x[:12], y[:12])
    assert fit.rank < 12
    squares = [(guess - y[12:]).square().mean() for guess in (fit(x[12:]), y[:12].mean(0))]
    assert squares[0] < 1.1 * squares[1]


def test_outputs_that_have_nothing_to_do_with_inputs_give_about_the_mean():
    x, _ = affine(300, (1, 20))
    y = torch.randn(300, 1, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    squares = [
        (guess - y[200:]).square().mean() for guess in (fit_linear_map(x[:200], y[:200])(x[200:]), y[:200].mean(0))
    ]
    assert squares[0] < 1.05 * squares[1]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(4, 5), torch.zeros(4, 1, 5), "`x` must be floating"),
        (torch.zeros(4, 1, 5), torch.zeros(4, 1, 5, dtype=torch.int64), "`y` must be floating"),
        (torch.zeros(0, 1, 5), torch.zeros(0, 1, 5), "`x` must be floating"),
        (torch.zeros(4, 1, 5), torch.zeros(3, 1, 5), "`y` must have the 4 samples of `x`; got 3"),
        (torch.full((4, 1, 5), torch.nan), torch.zeros(4, 1, 5), "`x` must be finite"),
    ],
)
def test_bad_samples_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        fit_linear_map(x, y)


def test_fields_of_another_grid_are_refused():
    x, y = affine(20, (1, 8), (1, 8))
    with pytest.raises(ValueError, match=r"`fields` must be \(samples, 1, 8\).*got \(20, 2, 4\)"):
        fit_linear_map(x, y)(x.view(20, 2, 4))
