"""Many small images on one sheet, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml_cf.errors import check_count

_SIDE = 1.1  # inches of an image
_MOST = 400


def contact_sheet(images: Any, captions: Sequence[str] | None = None, *, columns: int = 8) -> Figure:
    """Images side by side, in rows, all on one scale of grey from the smallest value to the largest.

    Args:
        images: (n, height, width), at most 400; rows of an image go down.
        captions: one line for each image, or None.
        columns: images in a row.

    Returns:
        A figure; ``figure.savefig("sheet.png")`` writes it.

    Raises:
        ValueError: another shape, too many images, or as many captions as there are images are not given.
    """
    array = np.asarray(images)
    if array.ndim != 3 or not 1 <= len(array) <= _MOST or not array.size:
        raise ValueError(f"contact_sheet: `images` must be 1 to {_MOST} of (height, width); got {array.shape}. Cut it?")
    if captions is not None and len(captions) != len(array):
        raise ValueError(f"contact_sheet: `captions` must be {len(array)}, one an image; got {len(captions)}.")
    check_count("contact_sheet", "columns", columns)
    columns = min(columns, len(array))
    rows = -(-len(array) // columns)
    height = _SIDE + (0.2 if captions is not None else 0.05)
    figure = Figure(figsize=(_SIDE * columns + 0.2, height * rows + 0.2), layout="constrained")
    low, high = float(array.min()), float(array.max())
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if place < len(array):
            axes.imshow(array[place], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            if captions is not None:
                axes.set_title(captions[place], fontsize=7)
    return figure
