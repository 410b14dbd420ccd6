"""Stored fields as torch datasets, and images in idx files."""

from sciml_cf.datasets.field import FieldDataset, Split, split_indices
from sciml_cf.datasets.idx import read_idx, read_mnist

__all__ = ["FieldDataset", "Split", "read_idx", "read_mnist", "split_indices"]
