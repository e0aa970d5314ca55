"""Sheets show every image with its caption."""

import numpy as np
from PIL import Image

from msst_jax.report.sheets import blend_strip, comparison_sheet, inputs_sheet, regions_overlay, sheet
from msst_jax.transfer.inputs import PhotoInputs


def has_color(page: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(page) == color).all(-1).any())


def test_a_sheet_shows_every_image_and_caption():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [("word", Image.new("RGB", (10 + 30 * i, 20), color)) for i, color in enumerate(colors)]
    for columns in (0, 1, 2):
        page = sheet(pictures, 40, columns)
        for (_, picture), color in zip(pictures, colors, strict=True):
            shown = (np.asarray(page) == color).all(-1)
            assert shown.any(1).sum() == 40
            assert shown.any(0).sum() == picture.width * 2
        assert has_color(page, (0, 0, 0))


def test_every_region_of_the_overlay_has_its_own_color(inputs: PhotoInputs):
    overlay = np.asarray(regions_overlay(inputs._replace(photo=np.full_like(inputs.photo, 0.5))))
    assert len({tuple(overlay[5, x]) for x in (5, 15, 30)}) == 3
    assert (overlay[:, :10] == overlay[0, 0]).all()


def test_every_sheet_shows_its_images(inputs: PhotoInputs):
    red = np.broadcast_to(np.array([1.0, 0, 0]), inputs.photo.shape)
    results = np.stack([inputs.photo, red])
    assert has_color(inputs_sheet(inputs, red), (255, 0, 0))
    assert has_color(blend_strip([0, 0.2], results), (255, 0, 0))
    for place in range(4):
        pictures = [inputs.photo] * 4
        pictures[place] = red
        assert has_color(comparison_sheet(*pictures), (255, 0, 0))
