"""Hearts as treatments: images whose vertical position is the hidden cause, and instruments that move the rest."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from sciml_cf.causal.data import InstrumentalData, StructuralData
from sciml_cf.causal.dsprites_file import read_hearts
from sciml_cf.causal.hearts import LATENTS, SIZE, latent_values, render_hearts
from sciml_cf.errors import check_count

PIXEL_NOISE, OUTCOME_NOISE = 0.1, 0.5
_LAW = (
    "X = heart(scale, orientation, posX, posY) + N(0, 0.1^2) a pixel, Z = (scale, orientation, posX), "
    "Y = f(X) + 32 (posY - 0.5) + N(0, 0.5^2), f(X) = ((sum_ij |32 - j| / 32 X_ij)^2 - 3000) / 500, j the column"
)
_TEST_LAW = "X = heart without noise on a grid of latents, f(X) = ((sum_ij |32 - j| / 32 X_ij)^2 - 3000) / 500"
# Indices of the grid of the test images.
_POSITIONS, _SCALES, _ORIENTATIONS = range(0, 31, 5), (0, 3, 5), range(0, 31, 10)


def dsprites(*, samples: int = 10000, seed: int = 0, archive: str | Path | None = None) -> InstrumentalData:
    """Training samples of the dSprites design: noisy images of hearts, and outcomes confounded by their height.

    ::

        X = heart(scale, orientation, posX, posY) + n,   n ~ N(0, 0.1^2) for each pixel
        Z = (scale, orientation, posX)
        Y = f(X) + 32 (posY - 0.5) + e,   e ~ N(0, 0.5^2),   f as in ``dsprites_structural``, on the noisy X

    with the four latents uniform over their values (see ``latent_values``). The vertical position moves X and Y and is
    not seen. The first samples of a larger set are those of a smaller one of the same seed.

    Args:
        samples: how many.
        seed: of the latents, the noise in the images and that in the outcome, each with a stream of its own.
        archive: the published dSprites file, to take the images from; None draws them, which needs no file.

    Returns:
        InstrumentalData: treatment ``(n, 64, 64)`` float32, instrument ``(n, 3)``, outcome and structural ``(n,)``
        float64.

    Raises:
        ValueError: samples or seed are unusable.
        DatasetError: the archive is unusable.

    References:
        Xu, Chen, Srinivasan, de Freitas, Doucet and Gretton (2021), Learning deep features in instrumental variable
        regression (arXiv:2010.07154), with the structural function and the outcome as in Closed-Form Last Layer
        Optimization (arXiv:2510.04606), appendix E. Images: Matthey et al. (2017), dSprites.
    """
    check_count("dsprites", "samples", samples)
    check_count("dsprites", "seed", seed, minimum=0)
    latent, pixel, noise = (np.random.default_rng([seed, stream]) for stream in range(3))
    indices = latent.integers(0, list(LATENTS.values()), (samples, len(LATENTS)))
    treatment = _images(indices, archive)
    for image in treatment:  # one at a time: the noise of all in float64 would take twice the memory of the result
        image += PIXEL_NOISE * pixel.standard_normal(image.shape)
    values, structural = latent_values(indices), dsprites_structural(treatment)
    outcome = structural + 32 * (values[:, 3] - 0.5) + OUTCOME_NOISE * noise.standard_normal(samples)
    return InstrumentalData(
        treatment=treatment,
        instrument=values[:, :3],
        outcome=outcome,
        structural=structural,
        law=_LAW,
        parameters={"design": "dsprites", "samples": samples, "images": "drawn" if archive is None else "published"},
        seed=seed,
    )


def dsprites_test(*, seed: int = 0, archive: str | Path | None = None) -> tuple[StructuralData, StructuralData]:
    """The 588 images without noise that estimates are judged on: 100 to choose settings by, and 488 to report on.

    The latents form a grid: posX, posY in {0, 5, ..., 30}, scale in {0, 3, 5} and orientation in {0, 10, 20, 30}, as
    indices. Over all 588, f has mean -0.58 and variance 53.3.

    Args:
        seed: of the permutation that splits them; the two parts are disjoint.
        archive: as for ``dsprites``.

    Returns:
        The validation and the test set, with treatment ``(n, 64, 64)`` float32 and structural ``(n,)``.

    References:
        Xu et al. (2021), arXiv:2010.07154; the split is that of arXiv:2510.04606, appendix E.
    """
    grid = itertools.product(_SCALES, _ORIENTATIONS, _POSITIONS, _POSITIONS)
    treatment = _images(np.array(list(grid)), archive)
    whole = StructuralData(
        treatment=treatment,
        structural=dsprites_structural(treatment),
        law=_TEST_LAW,
        parameters={"design": "dsprites"},
        seed=seed,
    )
    return whole.split(100, seed=seed)


def dsprites_structural(images: Any) -> np.ndarray:
    """The structural function of the dSprites design, of images with noise or without.

    ::

        f(X) = ((sum_ij B_ij X_ij)^2 - 3000) / 500,      B_ij = |32 - j| / 32,      j = 0..63 the column

    Args:
        images: ``(n, 64, 64)`` or ``(n, 4096)``, by rows.

    Returns:
        ``(n,)`` float64.

    Raises:
        ValueError: another shape.

    References:
        Xu, Kanagawa and Gretton (2021), Deep proxy causal learning, NeurIPS, as arXiv:2510.04606 takes it in Eq. (47).
    """
    array = np.asarray(images)
    if array.shape[1:] not in ((SIZE, SIZE), (SIZE * SIZE,)):
        raise ValueError(f"dsprites_structural: `images` must be (n, 64, 64) or (n, 4096); got {array.shape}.")
    columns = array.reshape(len(array), SIZE, SIZE).sum(axis=1, dtype=np.float64)
    return (np.square(columns @ (np.abs(32 - np.arange(SIZE)) / 32)) - 3000) / 500


def _images(indices: np.ndarray, archive: str | Path | None) -> np.ndarray:
    images = render_hearts(indices) if archive is None else read_hearts(archive, indices)
    return images.astype(np.float32)
