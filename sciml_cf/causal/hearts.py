"""The hearts of the dSprites images, drawn anew from their law: no file is needed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: What an index stands for, in the order of the indices, and how many values it has.
LATENTS = {"scale": 6, "orientation": 40, "posX": 32, "posY": 32}
SIZE = 64
# Half-width, half-height and offset of the heart curve, in pixels at scale 1, fitted to the published images.
_WIDTH, _HEIGHT, _OFFSET = 0.59963, 0.66216, -1.436
_REACH = 13  # no point of a heart is further from its centre than 11.3 pixels, and the centre lies between pixels
_CHUNK = 1024  # images drawn at a time: their coordinates are a few tens of megabytes


def latent_values(latents: Any) -> np.ndarray:
    """What latent indices stand for: scale, orientation in radians, and the two positions in [0, 1].

    ::

        scale = 0.5 + 0.1 i      orientation = 2 pi i / 39      posX, posY = i / 31

    Args:
        latents: ``(n, 4)`` integers: scale 0..5, orientation 0..39, posX 0..31, posY 0..31.

    Returns:
        ``(n, 4)`` float64. The first and the last orientation are the same.

    Raises:
        ValueError: another shape, not integers, or an index out of range.

    References:
        Matthey, Higgins, Hassabis and Lerchner (2017), dSprites: Disentanglement testing Sprites dataset.
    """
    indices = checked_latents("latent_values", latents)
    last = np.array([5, 39, 31, 31])
    return np.array([0.5, 0.0, 0.0, 0.0]) + indices / last * np.array([0.5, 2 * math.pi, 1.0, 1.0])


def render_hearts(latents: Any) -> np.ndarray:
    """Images of hearts, as those of dSprites, from their latent indices.

    In the frame of the heart, v down, in pixels at scale 1, its outline is the curve ::

        u = 16 a sin^3 t      v = -b (13 cos t - 5 cos 2t - 2 cos 3t - cos 4t) + c

    with a = 0.59963, b = 0.66216 and c = -1.436, and a pixel whose centre (column, row) is an integer point has ::

        u = (cos o dx - sin o dy) / s      v = (sin o dx + cos o dy) / s

    for the scale s, the orientation o and (dx, dy) its offset from (15.5 + 32 posX, 15.5 + 32 posY). The pixel is 1 if
    it lies inside. Each ``|u| < 16`` a is met by the right half of the curve at two t, that of the upper edge and pi
    minus it, so being inside is being between two values of v, with no polygon and no approximation.

    Args:
        latents: ``(n, 4)`` integers: scale 0..5, orientation 0..39, posX 0..31, posY 0..31 (see ``latent_values``).

    Returns:
        ``(n, 64, 64)`` uint8 of 0 and 1; rows go down, columns to the right.

    Raises:
        ValueError: another shape, not integers, or an index out of range.

    References:
        the curve is fitted to the images of Matthey et al. (2017), dSprites; the published animation has 192 frames of
        hearts, of which 184 are the same to the pixel and the others differ in one or two pixels.
    """
    indices = checked_latents("render_hearts", latents)
    images = np.zeros((len(indices), SIZE, SIZE), dtype=np.uint8)
    for start in range(0, len(indices), _CHUNK):
        part = slice(start, start + _CHUNK)
        _draw(images[part], latent_values(indices[part]))
    return images


def _draw(images: np.ndarray, values: np.ndarray) -> None:
    """Draw one heart into each image: only the pixels that it can reach are looked at."""
    scale, angle, pos_x, pos_y = values.T
    centres = 15.5 + 32 * np.stack([pos_y, pos_x])
    first = np.ceil(centres - _REACH).astype(np.int64)
    rows, columns = first[:, :, None] + np.arange(2 * _REACH)
    dy, dx = (rows - centres[0, :, None])[:, :, None], (columns - centres[1, :, None])[:, None, :]
    cosine, sine = ((f(angle) / scale)[:, None, None] for f in (np.cos, np.sin))
    inside = _in_heart(cosine * dx - sine * dy, sine * dx + cosine * dy)
    images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]] = inside


def _in_heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether the points (u, v) lie inside the heart of scale 1."""
    sine = np.cbrt(np.minimum(np.abs(u) / (16 * _WIDTH), 1.0))
    square = sine * sine
    cosine = np.sqrt(1 - square)
    second = 1 - 2 * square  # cos 2t, as cos 4t and cos 2t are even about t = pi / 2, and cos t and cos 3t are odd
    even = _HEIGHT * (5 * second + 2 * second * second - 1) + _OFFSET
    odd = _HEIGHT * cosine * (13 - 2 * (4 * cosine * cosine - 3))
    return (sine < 1) & (np.abs(v - even) < odd)


def checked_latents(function: str, latents: Any) -> np.ndarray:
    """Latent indices as integers ``(n, 4)``, or one line on what is wrong with them."""
    indices = np.asarray(latents)
    names = ", ".join(f"{name} 0..{count - 1}" for name, count in LATENTS.items())
    if indices.ndim != 2 or indices.shape[1] != len(LATENTS) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{function}: `latents` must be (n, 4) integers ({names}); got {indices.dtype} {indices.shape}."
        )
    for column, (name, count) in enumerate(LATENTS.items()):
        outside = (indices[:, column] < 0) | (indices[:, column] >= count)
        if outside.any():
            row = int(outside.argmax())
            raise ValueError(
                f"{function}: `latents` must have {name} in 0..{count - 1}; got {indices[row, column]} in row {row}. "
                "They are indices, not values."
            )
    return indices.astype(np.int64)
