"""The hearts of the published dSprites file, for who has it, read without holding the file in memory."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from sciml_cf.causal.hearts import SIZE, checked_latents
from sciml_cf.errors import DatasetError

_HEART = 2  # class of the shape; its column comes after that of the colour
_ROWS = 4096  # images unpacked at a time: 16 MB
# What zipfile, zlib and numpy raise of a damaged or foreign file; numpy reads a header as Python does.
_UNREADABLE = (KeyError, ValueError, OSError, EOFError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error)
_UNREADABLE += (tokenize.TokenError,)
_PUBLISHED = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"


def read_hearts(path: str | Path, latents: Any) -> np.ndarray:
    """Images of hearts from the published dSprites file, in place of ``render_hearts``.

    The file is a zip of .npy files: ``imgs`` (737280, 64, 64) uint8 of 0 and 1, ``latents_classes`` (737280, 6) int64
    and ``latents_values`` (737280, 6) float64, in the columns colour, shape, scale, orientation, posX and posY, and
    ``metadata``, pickled, which is not touched. Images are found by their classes, so that a part of the file does if
    it has those asked for. They are unpacked once, some thousand at a time: memory is that of the images asked for.

    Args:
        path: the file, ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`` in its published form.
        latents: ``(n, 4)`` integers, as for ``render_hearts``.

    Returns:
        ``(n, 64, 64)`` uint8 of 0 and 1.

    Raises:
        DatasetError: the file is missing, damaged, of another layout, or lacks an image asked for.
        ValueError: the latents are unusable.

    References:
        Matthey, Higgins, Hassabis and Lerchner (2017), dSprites: Disentanglement testing Sprites dataset.
    """
    path, indices = Path(path), checked_latents("read_hearts", latents)
    if not path.is_file():
        raise DatasetError(f"read_hearts: {path} is not a file. Give the published {_PUBLISHED}, or use render_hearts.")
    try:
        with zipfile.ZipFile(path) as archive:
            rows = _find(path, _whole(archive, "latents_classes"), indices)
            return _pick(archive, rows)
    except _UNREADABLE as error:
        reason = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
        raise DatasetError(f"read_hearts: {path} cannot be read as {_PUBLISHED} ({reason}). Is it whole?") from None


def _find(path: Path, classes: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """``(n,)``, the rows of the images asked for."""
    if classes.ndim != 2 or classes.shape[1] != 6 or classes.dtype.kind not in "iu":
        raise ValueError(f"latents_classes must be (images, 6) integers; it is {classes.dtype} {classes.shape}")
    hearts = np.flatnonzero(classes[:, 1] == _HEART)
    sizes = (6, 40, 32, 32)
    place = np.full(sizes, -1, dtype=np.int64)
    held = classes[hearts, 2:].T
    if held.size and ((held < 0).any() or (held >= np.array(sizes)[:, None]).any()):
        raise ValueError("latents_classes has classes out of range")
    place[tuple(held)] = hearts
    rows = place[tuple(indices.T)]
    if (rows < 0).any():
        missing = indices[int((rows < 0).argmax())]
        raise DatasetError(
            f"read_hearts: {path} has no heart of the latents {missing.tolist()}; it holds {len(hearts)} hearts. "
            "Use the whole published file, or render_hearts."
        )
    return rows


def _pick(archive: zipfile.ZipFile, rows: np.ndarray) -> np.ndarray:
    """The images of these rows, in their order."""
    order = np.argsort(rows, kind="stable")
    images, done = np.zeros((len(rows), SIZE, SIZE), dtype=np.uint8), 0
    with archive.open("imgs.npy") as file:
        shape, kind = _header(file)
        if shape[1:] != (SIZE, SIZE) or kind != np.uint8:
            raise ValueError(f"imgs must be (images, 64, 64) uint8; it is {kind} {shape}")
        if rows.max() >= shape[0]:
            raise ValueError(f"imgs has {shape[0]} images, fewer than latents_classes has rows")
        for start, block in _blocks(file, shape[0]):
            last = int(np.searchsorted(rows[order], start + len(block)))
            images[order[done:last]] = block[rows[order[done:last]] - start]
            done = last
            if done == len(rows):
                break
    if images.max(initial=0) > 1:
        raise ValueError("imgs must hold 0 and 1")
    return images


def _blocks(file: IO[bytes], count: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, count, _ROWS):
        shape = (min(_ROWS, count - start), SIZE, SIZE)
        yield start, np.frombuffer(file.read(shape[0] * SIZE * SIZE), dtype=np.uint8).reshape(shape)


def _whole(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array that follows, in the order of C."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(file)
    if fortran:
        raise ValueError("imgs is stored by columns")
    return shape, kind
