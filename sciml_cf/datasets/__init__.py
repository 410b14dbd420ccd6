"""Stored fields and images as torch datasets, images in idx files, CIFAR batches and folders, scikit-learn's digits."""

from sciml_cf.datasets.digits import read_digits
from sciml_cf.datasets.field import FieldDataset, Split, split_indices
from sciml_cf.datasets.idx import read_idx, read_mnist
from sciml_cf.datasets.images import ClassImages, FolderImages, read_cifar

__all__ = [
    "ClassImages",
    "FieldDataset",
    "FolderImages",
    "Split",
    "read_cifar",
    "read_digits",
    "read_idx",
    "read_mnist",
    "split_indices",
]
