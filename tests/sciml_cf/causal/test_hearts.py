"""The hearts: against their areas in the published images, and a polygon of the same outline."""

import itertools

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from sciml_cf.causal import hearts, latent_values, render_hearts

SIZES = [6, 40, 32, 32]


def draws(samples, seed=0):
    return np.random.default_rng(seed).integers(0, SIZES, (samples, 4))


def test_areas_are_those_of_the_published_images():
    areas = render_hearts(np.array([[scale, 0, 0, 0] for scale in range(6)])).sum(axis=(1, 2))
    assert np.abs(areas - [58, 84, 108, 140, 182, 222]).max() <= 2


def outline(scale, angle, pos_x, pos_y):
    """The heart as a polygon in pixels, the law turned round: from the frame of the heart to that of the image."""
    t = np.linspace(0, 2 * np.pi, 3001)
    u = 0.59963 * 16 * np.sin(t) ** 3
    v = -0.66216 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) - 1.436
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return scale * (turn @ [u, v]).T + [15.5 + 32 * pos_x, 15.5 + 32 * pos_y]


def test_pixels_are_those_inside_the_curve():
    corners = np.array(list(itertools.product([0, 5], [0, 7, 20, 39], [0, 31], [0, 31])))
    points = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=-1).reshape(-1, 2)
    for latents in np.concatenate([corners, draws(40)]):
        inside = Polygon(outline(*latent_values(latents[None])[0])).contains_points(points).reshape(64, 64)
        assert np.array_equal(render_hearts(latents[None])[0], inside), latents


def test_the_first_and_the_last_orientation_are_the_same():
    latents = draws(40)
    first, last = latents.copy(), latents.copy()
    first[:, 1], last[:, 1] = 0, 39
    assert np.array_equal(render_hearts(first), render_hearts(last))


def test_values_are_those_published():
    values = latent_values(np.array([[0, 0, 0, 0], [5, 39, 31, 31], [1, 1, 1, 30]]))
    np.testing.assert_allclose(values[0], [0.5, 0, 0, 0], atol=0)
    np.testing.assert_allclose(values[1], [1, 6.28318531, 1, 1], rtol=1e-8)
    np.testing.assert_allclose(values[2], [0.6, 0.16110732, 0.03225806, 0.96774194], rtol=1e-6)


def test_many_images_are_each_as_drawn_alone_in_few_calls_that_look_at_few_pixels(monkeypatch):
    latents, looked = draws(5000), []
    whole = hearts._in_heart
    monkeypatch.setattr(hearts, "_in_heart", lambda u, v: (looked.append(u.size), whole(u, v))[1])
    images = render_hearts(latents)
    assert len(looked) <= 10 and sum(looked) <= 5000 * 26**2
    assert images.shape == (5000, 64, 64) and images.dtype == np.uint8
    for row in (0, 1023, 1024, 4999):
        assert np.array_equal(images[row], render_hearts(latents[row : row + 1])[0])


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        (np.zeros((2, 3), int), r"must be \(n, 4\) integers \(scale 0..5, .*; got int64 \(2, 3\)"),
        (np.zeros((2, 4)), r"must be \(n, 4\) integers .*; got float64 \(2, 4\)"),
        ([[0, 0, 0, 0], [0, 40, 0, 0]], r"must have orientation in 0..39; got 40 in row 1. They are indices"),
        ([[0, 0, -1, 0]], r"must have posX in 0..31; got -1 in row 0"),
    ],
)
def test_unusable_latents_are_one_line(latents, words):
    for function in (render_hearts, latent_values):
        with pytest.raises(ValueError, match=f"^{function.__name__}: `latents` {words}"):
            function(latents)
