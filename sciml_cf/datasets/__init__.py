"""Stored fields as torch datasets, at any resolution."""

from sciml_cf.datasets.field import FieldDataset, Split, split_indices

__all__ = ["FieldDataset", "Split", "split_indices"]
