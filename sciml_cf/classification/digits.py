"""scikit-learn's 1797 handwritten digits: real data that come with a library."""

from __future__ import annotations

import torch
from torch import Tensor


def read_digits() -> tuple[Tensor, Tensor]:
    """Images (1797, 64) float32 of 8 x 8 points from 0 to 1, and their labels (1797,) int64 from 0 to 9.

    Raises:
        ImportError: scikit-learn is not installed.

    References:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998).
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "read_digits: `scikit-learn` must be installed, for its digits. Run: pip install 'sciml-cf[bench]'."
        ) from error
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
