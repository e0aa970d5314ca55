"""The names and colors of the VOC classes equal the published ones."""

from pathlib import Path

import numpy as np
from PIL import Image

from msst_jax.models import voc
from msst_jax.regions.masks import BACKGROUND
from reference.torchvision_compat import torchvision

PUBLISHED = torchvision.models.segmentation.DeepLabV3_ResNet101_Weights.DEFAULT


def test_names_and_order_of_the_classes_are_those_of_the_published_weights():
    assert ["__background__", *voc.CLASSES[1:]] == PUBLISHED.meta["categories"]
    assert voc.CLASSES[0] == BACKGROUND


def test_colors_follow_the_voc_bit_pattern():
    """VOC spreads the bits of the class over the highest bits of red, green and blue."""
    for index, colour in enumerate(voc.COLORS):
        bits = [[index >> (3 * place + channel) & 1 for place in range(3)] for channel in range(3)]
        assert colour == tuple(sum(bit << (7 - place) for place, bit in enumerate(row)) for row in bits)
    assert len(voc.COLORS) == len(voc.CLASSES)


def test_colors_equal_the_palette_of_a_voc_mask(shared: Path):
    mask = next(iter(sorted((shared / "data" / "voc21" / "masks").glob("voc_*.png"))))
    palette = np.reshape(Image.open(mask).getpalette(), (-1, 3))[: len(voc.COLORS)]
    np.testing.assert_array_equal(palette, voc.COLORS)
