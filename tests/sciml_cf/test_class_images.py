"""Readers of images with classes, on small files of the published layouts that these tests write."""

import importlib.util
import pickle
import struct

import numpy as np
import pytest
import torch

from sciml_cf.classification.images import (
    ClassImages,
    FolderImages,
    channel_statistics,
    picture_transforms,
    read_cifar,
    small_image_transforms,
)
from sciml_cf.errors import DatasetError

needs_vision = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs the extra `vision`")


def batch(rows, seed=0, classes=10, name="labels"):
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"training batch",
        name.encode(): rng.integers(classes, size=rows).tolist(),
        b"data": rng.integers(256, size=(rows, 3072), dtype=np.uint8),
        b"filenames": [b"a.png"] * rows,
    }


def write(path, content, protocol=4):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.fixture
def cifar(tmp_path):
    for k in range(1, 6):
        write(tmp_path / "cifar-10-batches-py" / f"data_batch_{k}", batch(4, seed=k))
    write(tmp_path / "cifar-10-batches-py" / "test_batch", batch(3, seed=9))
    for name in ("train", "test"):
        write(tmp_path / "cifar-100-python" / name, batch(5, classes=100, name="fine_labels"))
    return tmp_path


def test_cifar_batches_are_read_in_order_and_as_rows_of_channels(cifar):
    images, labels = read_cifar(cifar, "cifar10")
    assert images.shape == (20, 3, 32, 32) and images.dtype == torch.uint8
    third = batch(4, seed=3)
    assert labels[8:12].tolist() == third[b"labels"]
    # 1024 red, then green, then blue, each row by row
    assert images[8, 1, 2, 5] == third[b"data"][0, 1024 + 2 * 32 + 5]
    assert len(read_cifar(cifar / "cifar-10-batches-py", "cifar10", "test")[0]) == 3
    assert read_cifar(cifar, "cifar100")[1].tolist() == batch(5, classes=100, name="fine_labels")[b"fine_labels"]


def python_2_pickle(data, labels):
    """What Python 2 wrote: every string is bytes without an encoding, the array's numbers too."""

    def string(text):
        return b"T" + struct.pack("<i", len(text)) + text

    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + string(b"b") + b"tR"
    kind = (
        b"cnumpy\ndtype\n(" + string(b"u1") + b"K\x00K\x01tR(K\x03" + string(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    )
    kind += b"K\x00tb"
    shape = b"(" + b"".join(b"M" + struct.pack("<H", n) for n in data.shape) + b"t"
    array += b"(K\x01" + shape + kind + b"\x89" + string(data.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"labels") + numbers + b"u."


def test_a_batch_as_python_2_wrote_it_is_read(cifar):
    data = np.random.default_rng(0).integers(256, size=(3, 3072), dtype=np.uint8)
    (cifar / "cifar-10-batches-py" / "test_batch").write_bytes(python_2_pickle(data, [7, 0, 9]))
    images, labels = read_cifar(cifar, "cifar10", "test")
    assert labels.tolist() == [7, 0, 9]
    assert np.array_equal(images.numpy().reshape(3, -1), data)


class Evil:
    def __reduce__(self):
        return print, ("code of a stranger",)


def test_no_code_of_a_pickle_runs(cifar, capsys):
    write(cifar / "cifar-10-batches-py" / "test_batch", {**batch(3), b"more": Evil()})
    with pytest.raises(DatasetError, match=r"test_batch cannot be read \(it names builtins.print"):
        read_cifar(cifar, "cifar10", "test")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04junk", "test_batch cannot be read"),
        (pickle.dumps([1, 2], protocol=4), "test_batch has "),
        (pickle.dumps({**batch(3), b"data": np.zeros((3, 100), np.uint8)}, protocol=4), "`data` .n, 3072. uint8"),
        (pickle.dumps({**batch(3), b"labels": [1, 2]}, protocol=4), "a list `labels` of n labels"),
        (pickle.dumps({**batch(3), b"labels": [1, 2, 10]}, protocol=4), "labels from 0 to 9"),
        (None, "there is no .*test_batch"),
    ],
)
def test_a_bad_batch_is_told_in_one_line(cifar, content, message):
    path = cifar / "cifar-10-batches-py" / "test_batch"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_cifar(cifar, "cifar10", "test")
    assert "\n" not in str(caught.value)


def test_items_are_float_images_and_labels():
    images = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).to(torch.uint8)
    item = ClassImages(images, torch.tensor([4, 1]))[1]
    assert torch.equal(item["x"], images[1].float() / 255) and item["y"] == 1
    with pytest.raises(ValueError, match=r"`images` must be \(n, C, H, W\)"):
        ClassImages(images, torch.tensor([4]))


@needs_vision
def test_small_images_are_normalised_and_shifted_or_flipped_only_in_training():
    images = torch.randint(256, (50, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = channel_statistics(images)
    plain = ClassImages(images, torch.zeros(50), small_image_transforms(mean, std, augment=False))
    whole = torch.stack([plain[index]["x"] for index in range(50)])
    torch.testing.assert_close(whole.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    train = ClassImages(images, torch.zeros(50), small_image_transforms(mean, std, augment=True))
    torch.manual_seed(0)
    first, second = train[0]["x"], train[0]["x"]
    torch.manual_seed(0)
    assert torch.equal(train[0]["x"], first) and not torch.equal(first, second)
    found = 0  # the image padded by 4 with zeros, at one of 9 x 9 places, flipped or not
    padded = small_image_transforms(mean, std, augment=False)(torch.nn.functional.pad(images[0] / 255, (4,) * 4))
    for top in range(9):
        for left in range(9):
            part = padded[:, top : top + 32, left : left + 32]
            found += any(torch.allclose(one, first, atol=1e-6) for one in (part, part.flip(2)))
    assert found == 1


@needs_vision
def test_pictures_in_folders_have_their_folder_as_class(tmp_path):
    from PIL import Image

    for index, name in enumerate(("n02", "n01", "n03")):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (50, 40), (index * 100, 0, 0)).save(folder / "a.JPEG")
    data = FolderImages(tmp_path / "train", picture_transforms(32, augment=False))
    assert data.classes == ("n01", "n02", "n03") and data.labels.tolist() == [0, 1, 2]
    item = data[0]
    assert item["x"].shape == (3, 32, 32) and item["y"] == 0
    torch.testing.assert_close(item["x"][0].mean(), torch.tensor((100 / 255 - 0.485) / 0.229), atol=0.03, rtol=0)
    trained = FolderImages(tmp_path / "train", picture_transforms(32, augment=True))[2]["x"]
    assert trained.shape == (3, 32, 32) and trained.dtype == torch.float32
    (tmp_path / "train" / "n01" / "a.JPEG").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a picture must be whole; .*n01/a.JPEG cannot be read"):
        data[0]


@needs_vision
def test_a_folder_without_pictures_is_told_in_one_line(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        FolderImages(tmp_path / "train", picture_transforms(8, augment=False))
    (tmp_path / "train").mkdir()
    with pytest.raises(DatasetError, match=r"must hold a folder of pictures for each class; got .*train"):
        FolderImages(tmp_path / "train", picture_transforms(8, augment=False))
