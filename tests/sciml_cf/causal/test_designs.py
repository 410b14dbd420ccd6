"""The designs: against their laws, and the figures published about them."""

import itertools
import zipfile

import numpy as np
import pytest

from sciml_cf.causal import (
    demand,
    demand_structural,
    demand_test,
    dsprites,
    dsprites_structural,
    dsprites_test,
    latent_values,
    read_hearts,
    render_hearts,
    sine_structural,
    sine_test,
    sine_toy,
)
from sciml_cf.errors import DatasetError

DESIGNS = [dsprites, demand, sine_toy]


@pytest.mark.parametrize("design", DESIGNS)
def test_one_seed_is_one_set_and_a_larger_one_begins_with_it(design):
    small, large, other = design(samples=5, seed=3), design(samples=40, seed=3), design(samples=5, seed=4)
    for name, values in small.arrays.items():
        assert np.array_equal(values, large.arrays[name][:5]), name
        assert not np.array_equal(values, other.arrays[name]), name
    assert small.seed == 3 and small.law and small.parameters["samples"] == 5


@pytest.mark.parametrize("design", DESIGNS)
def test_unusable_settings_are_one_line(design):
    with pytest.raises(ValueError, match=f"^{design.__name__}: `samples` must be an integer of at least 1; got 0"):
        design(samples=0)
    with pytest.raises(ValueError, match=f"^{design.__name__}: `seed` must be an integer of at least 0; got -1"):
        design(seed=-1)


def test_the_test_images_have_the_published_mean_and_variance():
    validation, test = dsprites_test()
    assert (len(validation), len(test)) == (100, 488)
    structural = np.concatenate([validation.structural, test.structural])
    assert structural.mean() == pytest.approx(-0.58, rel=0.01) and structural.var() == pytest.approx(53.3, rel=0.01)
    images = np.concatenate([validation.treatment, test.treatment]).reshape(588, -1)
    assert set(np.unique(images)) == {0.0, 1.0}
    grid = itertools.product((0, 3, 5), (0, 10, 20, 30), range(0, 31, 5), range(0, 31, 5))
    expected = render_hearts(np.array(list(grid))).reshape(588, -1)
    assert {row.tobytes() for row in images.astype(np.uint8)} == {row.tobytes() for row in expected}
    assert len({row.tobytes() for row in images}) == 588, "the parts share an image"


def test_the_structural_function_of_an_image_is_its_sum_by_columns():
    image = np.zeros((1, 64, 64))
    image[0, 10, 0] = image[0, 50, 34] = 2.0  # |32 - 0| / 32 = 1 and |32 - 34| / 32 = 1 / 16
    expected = ((2 * 1 + 2 / 16) ** 2 - 3000) / 500
    assert dsprites_structural(image) == pytest.approx(expected) == dsprites_structural(image.reshape(1, -1))
    with pytest.raises(ValueError, match=r"`images` must be \(n, 64, 64\) or \(n, 4096\); got \(1, 64\)"):
        dsprites_structural(image[0, :1])


def test_dsprites_is_confounded_by_the_height_of_noisy_hearts():
    data = dsprites(samples=600, seed=0)
    seen = np.round((data.instrument - [0.5, 0, 0]) / [0.1, 2 * np.pi / 39, 1 / 31]).astype(int)
    noise, height = np.zeros(data.treatment.shape), np.zeros(600)
    for row, (latents, image) in enumerate(zip(seen, data.treatment, strict=True)):
        gaps = image - render_hearts(np.column_stack([np.tile(latents, (32, 1)), np.arange(32)]))
        best = int(np.square(gaps).sum(axis=(1, 2)).argmin())
        noise[row], height[row] = gaps[best], best / 31
    assert noise.std() == pytest.approx(0.1, rel=0.01) and abs(noise.mean()) < 1e-3 and np.abs(noise).max() < 0.7
    rest = data.outcome - data.structural - 32 * (height - 0.5)
    assert rest.std() == pytest.approx(0.5, rel=0.08) and abs(rest.mean()) < 0.07
    assert height.std() == pytest.approx(((32**2 - 1) / 12) ** 0.5 / 31, rel=0.06)
    np.testing.assert_array_equal(data.structural, dsprites_structural(data.treatment))
    for column in data.instrument.T:
        assert abs(np.corrcoef(column, height)[0, 1]) < 0.12
    assert data.treatment.dtype == np.float32 and data.treatment.shape == (600, 64, 64)


def test_demand_has_the_published_moments():
    data = demand(samples=200_000, correlation=0.5, seed=0)
    # Means and deviations that the program of Hartford et al. (2017) scales by; its outcome lacks the 100 of f.
    assert data.treatment.mean() == pytest.approx(17.779, abs=0.05)
    assert data.treatment.std() == pytest.approx(3.7, abs=0.05)
    assert data.outcome.mean() == pytest.approx(-292.1 + 100, abs=5) and data.outcome.std() == pytest.approx(158, abs=3)


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.9, 1])
def test_demand_is_confounded_as_much_as_asked(correlation):
    data = demand(samples=100_000, correlation=correlation, seed=1)
    time, group = data.covariates.T
    season = 2 * ((time - 5) ** 4 / 600 + np.exp(-4 * (time - 5) ** 2) + time / 10 - 2)
    surprise = data.treatment[:, 0] - 25 - (data.instrument[:, 0] + 3) * season
    error = data.outcome - data.structural
    assert np.cov(surprise, error) == pytest.approx(np.array([[1, correlation], [correlation, 1]]), abs=0.02)
    assert abs(np.corrcoef(data.instrument[:, 0], error)[0, 1]) < 0.02
    assert set(group) == set(range(1, 8)) and ((time >= 0) & (time <= 10)).all()
    price = data.treatment[:, 0]
    np.testing.assert_allclose(data.structural, 100 + (10 + price) * group * season - 2 * price)


@pytest.mark.parametrize("correlation", [1.5, float("nan"), "0.5", True])
def test_an_unusable_correlation_is_one_line(correlation):
    with pytest.raises(ValueError, match="^demand: `correlation` must be a number from -1 to 1; got"):
        demand(samples=3, correlation=correlation)


def test_noise_scales_what_is_not_structural_and_nothing_else():
    plain, loud = demand(samples=50, seed=2), demand(samples=50, noise=158.0, seed=2)
    np.testing.assert_allclose(loud.outcome - loud.structural, 158 * (plain.outcome - plain.structural), rtol=1e-9)
    assert np.array_equal(loud.treatment, plain.treatment) and loud.parameters["noise"] == 158
    with pytest.raises(ValueError, match="^demand: `noise` must be a finite number of at least 0, .* got -1"):
        demand(samples=3, noise=-1)


def test_the_test_grid_of_demand():
    data = demand_test()
    assert data.treatment.shape == (2800, 1) and data.covariates.shape == (2800, 2)
    points = {tuple(row) for row in np.column_stack([data.treatment, data.covariates]).round(9)}
    assert len(points) == 2800 and {(10, 0, 1), (25, 10, 7)} <= points
    # psi(5) = 2 (0 + 1 + 0.5 - 2) = -1
    assert demand_structural(20, 5, 3) == 100 - 30 * 3 - 40
    row = np.flatnonzero((data.treatment[:, 0] == 25) & (data.covariates[:, 0] == 0) & (data.covariates[:, 1] == 2))
    assert data.structural[row] == pytest.approx(100 + 35 * 2 * 2 * (625 / 600 + np.exp(-100) - 2) - 50)


def test_the_sine_is_confounded():
    data = sine_toy(samples=100_000)
    x, z = data.treatment[:, 0], data.instrument[:, 0]
    error = data.outcome - sine_structural(x)
    assert np.array_equal(data.structural, sine_structural(x))
    assert np.cov(x - z, error) == pytest.approx(np.array([[1.44 + 0.09, 4.8], [4.8, 16.01]]), rel=0.02)
    assert (
        abs(np.corrcoef(z, error)[0, 1]) < 0.01 and np.abs(z).max() < 3 and z.std() == pytest.approx(3**0.5, rel=0.01)
    )
    test = sine_test(points=5)
    np.testing.assert_allclose(
        test.structural, 2 * np.sin([-3, -1.5, 0, 1.5, 3]) + np.array([-1.5, -0.75, 0, 0.75, 1.5])
    )


# The published file, of a few images in its layout.


def write_archive(path, latents, *, shapes=2, **changes):
    """A file of the published layout with these hearts, ellipses of the same latents before and after them."""
    classes = np.column_stack([np.zeros(len(latents)), np.full(len(latents), shapes), latents]).astype(np.int64)
    others = classes.copy()
    others[:, 1] = 1
    classes = np.concatenate([others, classes, others])
    full = np.ones((len(latents), 64, 64), np.uint8)
    images = np.concatenate([full, render_hearts(latents), full])
    values = np.column_stack([np.ones(len(classes)), classes[:, 1] + 1, latent_values(classes[:, 2:])])
    names = ("color", "shape", "scale", "orientation", "posX", "posY")
    held = {
        "metadata": np.array({"latents_names": names}, dtype=object),
        "imgs": images,
        "latents_classes": classes,
        "latents_values": values,
    }
    held.update(changes)
    np.savez_compressed(path, **{name: value for name, value in held.items() if value is not None})
    return path


@pytest.fixture(scope="module")
def latents():
    return np.unique(np.random.default_rng(0).integers(0, [6, 40, 32, 32], (50, 4)), axis=0)


def test_published_images_are_found_by_their_latents(tmp_path, latents, monkeypatch):
    path = write_archive(tmp_path / "d.npz", latents)
    asked = latents[np.random.default_rng(1).integers(0, len(latents), 70)]  # in any order, some twice
    for rows in (4096, 7, 1):
        monkeypatch.setattr("sciml_cf.causal.dsprites_file._ROWS", rows)
        assert np.array_equal(read_hearts(path, asked), render_hearts(asked))


def test_dsprites_takes_its_images_from_the_published_file(tmp_path):
    drawn = dsprites(samples=6, seed=5)
    latents = np.random.default_rng([5, 0]).integers(0, [6, 40, 32, 32], (6, 4))
    read = dsprites(samples=6, seed=5, archive=write_archive(tmp_path / "d.npz", latents))
    assert np.array_equal(read.treatment, drawn.treatment) and np.array_equal(read.outcome, drawn.outcome)
    assert read.parameters["images"] == "published" and drawn.parameters["images"] == "drawn"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"imgs": None}, "no item named 'imgs.npy'"),
        ({"latents_classes": None}, "no item named 'latents_classes.npy'"),
        ({"imgs": np.zeros((3, 64, 64), np.uint8)}, "imgs has 3 images, fewer than"),
        ({"imgs": np.zeros((300, 64, 64))}, r"imgs must be \(images, 64, 64\) uint8; it is float64"),
        ({"imgs": np.zeros((64, 64, 300), np.uint8).T}, "imgs is stored by columns"),
        ({"imgs": np.full((300, 64, 64), 255, np.uint8)}, "imgs must hold 0 and 1"),
        ({"latents_classes": np.zeros((9, 5), int)}, r"latents_classes must be \(images, 6\) integers"),
        ({"latents_classes": np.full((9, 6), 2) * 20}, "has no heart of the latents"),
        ({"latents_classes": np.array([[0, 2, 6, 0, 0, 0]])}, "has classes out of range"),
        ({"latents_classes": np.array([None, None])}, "Object arrays cannot be loaded"),
        ({"shapes": 0}, r"has no heart of the latents \[.*it holds 0 hearts"),
    ],
)
def test_an_archive_of_another_layout_is_one_line(tmp_path, latents, changes, words):
    path = write_archive(tmp_path / "d.npz", latents, **changes)
    with pytest.raises(DatasetError, match=f"^read_hearts: .*d.npz .*{words}") as caught:
        read_hearts(path, latents)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_one_line(tmp_path, latents):
    path = write_archive(tmp_path / "d.npz", latents)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("imgs.npy").header_offset
    with pytest.raises(DatasetError, match="^read_hearts: .*none.npz is not a file. Give the published"):
        read_hearts(tmp_path / "none.npz", latents)
    for content in (whole[: len(whole) // 2], b"", b"text", whole[: start + 200] + b"\0" * 300 + whole[start + 500 :]):
        path.write_bytes(content)
        with pytest.raises(
            DatasetError, match="^read_hearts: .*d.npz cannot be read as dsprites_.*Is it whole"
        ) as caught:
            read_hearts(path, latents)
        assert "\n" not in str(caught.value)
