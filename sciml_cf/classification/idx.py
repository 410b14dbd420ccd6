"""Images in the idx files of MNIST and Fashion-MNIST, as people have them: plain or gzipped."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_cf.errors import DatasetError, check_choice

# The code of an idx file's third byte; numbers are stored with the highest byte first.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PREFIX = {"train": "train", "test": "t10k"}


def read_idx(path: Path | str) -> NDArray[np.generic]:
    """The array of one idx file.

    Two zero bytes, a type, the number of axes; the length of each axis as four bytes; then the entries, the last axis
    fastest.

    Args:
        path: the file, gzipped if it ends in .gz.

    Returns:
        An array of the file's shape and type.

    Raises:
        DatasetError: it is missing, not an idx file, or shorter or longer than it says.

    References:
        the description of the format on the MNIST database's page (LeCun, Cortes, Burges).
    """
    path = Path(path)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DatasetError(f"read_idx: `path` must be a readable idx file; got {path} ({error}).") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise DatasetError(
            f"read_idx: `path` must begin as an idx file, 00 00 type axes; {path} begins {content[:4].hex(' ')!r}. "
            "A gzipped file must end in .gz."
        )
    axes, kind = content[3], np.dtype(_TYPES[content[2]])
    header = content[4 : 4 + 4 * axes]
    shape = tuple(int(n) for n in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
    entries = content[4 + 4 * axes :]
    if len(shape) < axes or len(entries) != math.prod(shape) * kind.itemsize:
        raise DatasetError(
            f"read_idx: `path` must hold {' x '.join(map(str, shape))} entries of {kind.itemsize} bytes; {path} has "
            f"{len(entries)} bytes of them. Was the file cut short?"
        )
    return np.frombuffer(entries, kind).reshape(shape).astype(kind.newbyteorder("="))


def read_mnist(folder: Path | str, split: Literal["train", "test"] = "train") -> tuple[Tensor, Tensor]:
    """Images and labels of MNIST or Fashion-MNIST from its files in a folder.

    The files are train-images-idx3-ubyte and train-labels-idx1-ubyte, t10k-... for the test, with a dot or a hyphen
    before idx, plain or .gz.

    Args:
        folder: where they are.
        split: which pair.

    Returns:
        Images ``(rows, 1, 28, 28)`` float32 from 0 to 1, and labels ``(rows,)`` int64.

    Raises:
        DatasetError: a file is missing or damaged, or the two do not belong together.
    """
    check_choice("read_mnist", "split", split, tuple(_PREFIX))
    images = read_idx(_find(Path(folder), f"{_PREFIX[split]}-images", "idx3-ubyte"))
    labels = read_idx(_find(Path(folder), f"{_PREFIX[split]}-labels", "idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DatasetError(
            f"read_mnist: `folder` must hold (rows, height, width) images and a label for each; {folder} has "
            f"{images.shape} and {labels.shape}."
        )
    x = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    return x, torch.from_numpy(labels.astype(np.int64))


def _find(folder: Path, stem: str, ending: str) -> Path:
    names = [f"{stem}{dot}{ending}{suffix}" for dot in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(f"read_mnist: `folder` must hold one of {', '.join(names)}; {folder} does not.")
