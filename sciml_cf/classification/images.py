"""Images and their classes as torch datasets: CIFAR's python batches, and folders of pictures."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sciml_cf.classification.vision import torchvision
from sciml_cf.errors import DatasetError, check_choice

Transform = Callable[[Tensor], Tensor]
# folder, files to learn from, files of the test, name of the labels, classes
_CIFAR: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str, int]] = {
    "cifar10": ("cifar-10-batches-py", tuple(f"data_batch_{k}" for k in range(1, 6)), ("test_batch",), "labels", 10),
    "cifar100": ("cifar-100-python", ("train",), ("test",), "fine_labels", 100),
}
# What a pickled array of bytes is made of; a pickle that names anything else is refused.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
_WHOLE = "read_cifar: `folder` must hold whole python batches"


class ClassImages(Dataset[dict[str, Tensor]]):
    """Images in memory, with items ``{"x": (C, H, W) float32, "y": () int64}``.

    Args:
        images: ``(n, C, H, W)``, uint8 from 0 to 255 or floating.
        labels: ``(n,)`` integers.
        transform: of one image, float32 from 0 to 1 where the images are uint8; random ones draw from torch's default
            generator, which ``fit`` seeds for each epoch.

    Raises:
        ValueError: the shapes do not belong together.
    """

    def __init__(self, images: Tensor, labels: Tensor, transform: Transform | None = None) -> None:
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"ClassImages: `images` must be (n, C, H, W) with labels (n,); got {tuple(images.shape)} and "
                f"{tuple(labels.shape)}."
            )
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self.images[index]
        image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        return {"x": image if self.transform is None else self.transform(image), "y": self.labels[index].long()}


class FolderImages(Dataset[dict[str, Tensor]]):
    """Pictures in folders named by their class, SPLIT/CLASS/PICTURE, read one at a time by torchvision's ImageFolder.

    Args:
        folder: whose folders are the classes, in the order of their names.
        transform: of one picture, ``(3, H, W)`` uint8, to ``(3, H', W')`` float32 of one size.

    Raises:
        DatasetError: there are no such pictures; on reading, one is damaged.
        ImportError: torchvision is not installed.
    """

    def __init__(self, folder: Path | str, transform: Transform) -> None:
        if not Path(folder).is_dir():
            raise DatasetError(f"FolderImages: `folder` must hold a folder for each class; {folder} does not exist.")
        try:
            self._pictures = torchvision("datasets").ImageFolder(str(folder))
        except FileNotFoundError as error:
            raise DatasetError(
                f"FolderImages: `folder` must hold a folder of pictures for each class; got {folder} "
                f"({' '.join(str(error).split())[:120]})."
            ) from error
        self.classes, self.transform = tuple(self._pictures.classes), transform
        self.labels = torch.tensor(self._pictures.targets)
        self._to_tensor = torchvision("transforms.v2.functional").pil_to_tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        path, label = self._pictures.samples[index]
        try:
            picture = self._to_tensor(self._pictures.loader(path))
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(f"FolderImages: a picture must be whole; {path} cannot be read ({error}).") from error
        return {"x": self.transform(picture), "y": torch.tensor(label)}


def read_cifar(
    folder: Path | str, name: Literal["cifar10", "cifar100"], split: Literal["train", "test"] = "train"
) -> tuple[Tensor, Tensor]:
    """Images and (fine) labels of CIFAR-10 or CIFAR-100 from its python batches.

    The batches are pickles. They are read by an unpickler that makes arrays, numbers, strings and plain containers, and
    refuses any other class, so that a file from anywhere runs no code.

    Args:
        folder: cifar-10-batches-py or cifar-100-python, or the folder that holds it.
        name: which of the two.
        split: which files.

    Returns:
        Images ``(n, 3, 32, 32)`` uint8, and labels ``(n,)`` int64.

    Raises:
        DatasetError: a file is missing, damaged, of other contents, or names another class.

    References:
        the description on the CIFAR page, "Dataset layout / Python version" (Krizhevsky, 2009).
    """
    check_choice("read_cifar", "name", name, tuple(_CIFAR))
    check_choice("read_cifar", "split", split, ("train", "test"))
    own, train, test, key, classes = _CIFAR[name]
    folder = Path(folder) / own if (Path(folder) / own).is_dir() else Path(folder)
    parts = [_read_batch(folder / file, key, classes) for file in (train if split == "train" else test)]
    images, labels = (torch.cat(each) for each in zip(*parts, strict=True))
    return images, labels


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return super().find_class(module, name)


def _read_batch(path: Path, key: str, classes: int) -> tuple[Tensor, Tensor]:
    content = _unpickled(path)
    data, labels = content.get("data"), content.get(key)
    data = data if isinstance(data, np.ndarray) else np.empty((0, 0))
    fits = data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072
    if not fits or not isinstance(labels, list) or len(labels) != len(data) or not len(data):
        names = ", ".join(map(str, content))[:120]
        raise DatasetError(f"{_WHOLE}, `data` (n, 3072) uint8 and a list `{key}` of n labels; {path} has {names}.")
    if not all(isinstance(label, int) and 0 <= label < classes for label in labels):
        raise DatasetError(f"{_WHOLE}, with labels from 0 to {classes - 1}; {path} has others. Is it the other CIFAR?")
    return torch.from_numpy(data.reshape(-1, 3, 32, 32).copy()), torch.tensor(labels)


def _unpickled(path: Path) -> dict[Any, Any]:
    """The entries of a batch by name; none of a file that is no batch."""
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except FileNotFoundError as error:
        raise DatasetError(f"{_WHOLE}; there is no {path}.") from error
    except Exception as error:  # whatever a damaged pickle leads to
        raise DatasetError(f"{_WHOLE}; {path} cannot be read ({' '.join(str(error).split())[:120]}).") from error
    content = content if isinstance(content, dict) else {}
    return {name.decode() if isinstance(name, bytes) else name: value for name, value in content.items()}


def channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of images ``(n, C, H, W)`` uint8, as float32 images from 0 to 1."""
    flat = images.transpose(0, 1).flatten(1).double() / 255
    return flat.mean(1).tolist(), flat.std(1, correction=0).clamp(min=1e-6).tolist()


def small_image_transforms(mean: list[float], std: list[float], *, augment: bool) -> Transform:
    """Of images ``(C, H, W)`` from 0 to 1: normalize; with ``augment`` a random crop of the image padded by 4, and
    flips.

    Raises:
        ImportError: torchvision is not installed.

    References:
        He et al. (arXiv:1512.03385), section 4.2.
    """
    v2 = torchvision("transforms.v2")
    normalize = v2.Normalize(mean, std)
    if not augment:
        return normalize
    crop, flip = v2.RandomCrop, v2.RandomHorizontalFlip()

    def transform(image: Tensor) -> Tensor:
        return normalize(flip(crop(tuple(image.shape[-2:]), padding=4)(image)))

    return transform


def picture_transforms(size: int, *, augment: bool) -> Transform:
    """Of pictures ``(3, H, W)`` uint8, to ``size`` x ``size`` points: for training a random part and flip, else the
    middle.

    Raises:
        ImportError: torchvision is not installed.

    References:
        Szegedy et al., Going Deeper with Convolutions (arXiv:1409.4842), section 6; the mean and deviation of
        ImageNet's channels are those that torchvision's models use.
    """
    v2 = torchvision("transforms.v2")
    end = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    if augment:
        return v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(), *end])
    return v2.Compose([v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size), *end])
