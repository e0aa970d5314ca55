"""Sheets show every image with its caption."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageFont

from msst_jax.report.sheets import (
    Box,
    blend_strip,
    comparison_sheet,
    inputs_sheet,
    regions_overlay,
    sheet,
    sheet_cells,
)
from msst_jax.transfer.inputs import Painting, PhotoInputs


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


def test_the_sheet_of_the_inputs_shows_no_style_for_a_region_that_is_kept(inputs: PhotoInputs):
    *styled, last = inputs.regions
    kept = inputs._replace(regions=(*styled, last._replace(paintings=())))
    assert inputs_sheet(kept, inputs.photo).width < inputs_sheet(inputs, inputs.photo).width


def test_the_sheet_of_the_inputs_shows_every_painting_of_a_region(inputs: PhotoInputs):
    first, *others = inputs.regions
    blue = np.broadcast_to(np.array([0, 0, 1.0], np.float32), first.paintings[0].image.shape)
    mixed = inputs._replace(regions=(first._replace(paintings=(*first.paintings, Painting(blue, 2.0))), *others))
    assert has_color(inputs_sheet(mixed, inputs.photo), (0, 0, 255))
    assert inputs_sheet(mixed, inputs.photo).width > inputs_sheet(inputs, inputs.photo).width


NAMES = ["person", "dog+cat", "aeroplane+bicycle+bird+boat+bottle", "sofa", "sky", "background", "Äpfel", "statue"]


def captions_of(count: int) -> list[str]:
    regions = ", ".join(f"{name} {100 // count}%" for name in NAMES[:count])
    return ["photo", f"regions: {regions}", *(f"style of {name}" for name in NAMES[:count]), "result"]


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("columns", [0, 2])
@pytest.mark.parametrize("width", [20, 90, 256, 800], ids=lambda width: f"{width}-wide")
@pytest.mark.parametrize("count", [1, 2, 4, 8], ids=lambda count: f"{count}-regions")
def test_captions_are_whole_legible_and_overlap_nothing(count: int, width: int, columns: int):
    captions = captions_of(count)
    cells = sheet_cells(captions, [(width, 384)] * len(captions), columns)
    boxes = [box for cell in cells for box in (cell.picture, *(box for _, box in cell.lines))]
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    for cell, caption in zip(cells, captions, strict=True):
        assert cell.font_size >= 14
        assert "".join(line for line, _ in cell.lines).replace(" ", "") == caption.replace(" ", "")
        for line, (left, top, right, bottom) in cell.lines:
            ink = ImageFont.load_default(cell.font_size).getbbox(line)
            assert left + ink[2] <= right + 1
            assert top + ink[3] <= bottom
            assert bottom <= cell.picture[1]


def test_a_sheet_is_as_large_as_its_captions_need():
    white = Image.new("RGB", (90, 400), "white")
    page = np.asarray(sheet([(caption, white) for caption in captions_of(4)], 384))
    ink = np.argwhere(page.min(-1) < 128)
    assert (ink.min(0) >= 8).all()
    assert (ink.max(0) < np.array(page.shape[:2]) - 4).all()


def test_captions_that_fit_leave_the_layout_to_the_pictures():
    cells = sheet_cells(["photo", "result"], [(100, 384), (50, 384)])
    assert [cell.picture for cell in cells] == [(8, 40, 108, 424), (116, 40, 166, 424)]
    assert {cell.font_size for cell in cells} == {24, 20}
