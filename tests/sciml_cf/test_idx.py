"""Files of MNIST's layout, written here byte by byte."""

import gzip
import struct

import numpy as np
import pytest
import torch

from sciml_cf.classification import read_idx, read_mnist
from sciml_cf.errors import DatasetError


def idx(array, code=0x08):
    """The bytes of an idx file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name, rows, zipped, dot in (("train", 7, True, "-"), ("t10k", 3, False, ".")):
        images = random.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        labels = np.arange(rows, dtype=np.uint8)
        for stem, array in ((f"images{dot}idx3-ubyte", images), (f"labels{dot}idx1-ubyte", labels)):
            content = idx(array)
            path = tmp_path / f"{name}-{stem}{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
    return tmp_path


def test_images_and_labels_come_as_written(folder):
    x, labels = read_mnist(folder, "train")
    expected = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    assert x.shape == (7, 1, 28, 28) and x.dtype == torch.float32
    assert torch.equal((x[:, 0] * 255).round().to(torch.uint8), torch.from_numpy(expected))
    assert labels.tolist() == list(range(7)) and labels.dtype == torch.int64
    assert read_mnist(folder, "test")[0].shape == (3, 1, 28, 28)


@pytest.mark.parametrize(("code", "kind"), [(0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_every_type_of_number_is_read_in_its_order_of_bytes(code, kind, tmp_path):
    array = np.array([[1, -2, 3], [100, -100, 7]], dtype=kind)
    (tmp_path / "a").write_bytes(idx(array, code))
    found = read_idx(tmp_path / "a")
    assert np.array_equal(found, array) and found.dtype == np.dtype(kind).newbyteorder("=")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00", "must begin as an idx file.*begins '1f 8b 08 00'.* must end in .gz"),
        (b"", "must begin as an idx file"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "must hold 2 x 3 entries of 1 bytes; .* has 5 bytes"),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", "has 7 bytes"),
        (idx(np.zeros((2, 3), np.uint8))[:7], "Was the file cut short"),
        (None, "must be a readable idx file"),
    ],
)
def test_damaged_files_are_named(content, message, tmp_path):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_idx(tmp_path / "a")


def test_a_damaged_gzip_is_named(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(np.zeros(4, np.uint8)))[:-9])
    with pytest.raises(DatasetError, match="must be a readable idx file"):
        read_idx(tmp_path / "a.gz")


def test_files_that_do_not_belong_together_are_refused(folder):
    (folder / "t10k-labels.idx1-ubyte").write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(DatasetError, match="a label for each"):
        read_mnist(folder, "test")
    (folder / "t10k-labels.idx1-ubyte").unlink()
    with pytest.raises(DatasetError, match="one of t10k-labels-idx1-ubyte, .*; .* does not"):
        read_mnist(folder, "test")
    with pytest.raises(ValueError, match="`split` must be one of 'train', 'test'"):
        read_mnist(folder, "validation")
