"""Images on one sheet."""

import io

import numpy as np
import pytest

from sciml_cf.causal import render_hearts
from sciml_cf.report import contact_sheet


def test_every_image_is_there_under_its_caption():
    images = render_hearts(np.array([[scale, 0, 15, 15] for scale in range(6)] + [[5, 10, 0, 31]]))
    figure = contact_sheet(images, [f"heart {i}" for i in range(7)], columns=4)
    assert len(figure.axes) == 8
    for place, (axes, image) in enumerate(zip(figure.axes, images, strict=False)):
        shown = axes.get_images()[0]
        assert np.array_equal(shown.get_array(), image) and axes.get_title() == f"heart {place}"
        assert shown.get_clim() == (0, 1) and axes.yaxis_inverted()
    assert not figure.axes[7].get_images()
    figure.savefig(io.BytesIO(), format="png", dpi=40)


@pytest.mark.parametrize(
    ("images", "captions", "words"),
    [
        (np.ones((64, 64)), None, r"`images` must be 1 to 400 of \(height, width\); got \(64, 64\)"),
        (np.ones((401, 2, 2)), None, r"got \(401, 2, 2\). Cut it"),
        (np.ones((3, 2, 2)), ["a"], "`captions` must be 3, one an image; got 1"),
    ],
)
def test_unusable_images_are_one_line(images, captions, words):
    with pytest.raises(ValueError, match=f"^contact_sheet: .*{words}"):
        contact_sheet(images, captions)
