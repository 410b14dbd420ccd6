"""Stored fields as torch datasets, images in idx files, and the digits of scikit-learn."""

from sciml_cf.datasets.digits import read_digits
from sciml_cf.datasets.field import FieldDataset, Split, split_indices
from sciml_cf.datasets.idx import read_idx, read_mnist

__all__ = ["FieldDataset", "Split", "read_digits", "read_idx", "read_mnist", "split_indices"]
