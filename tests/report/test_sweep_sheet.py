"""The sheet of a sweep shows every picture with its values, in cells of one size."""

import numpy as np
import pytest
from PIL import Image

from msst_jax.report.sweep_sheet import BLANK, sweep_sheet, wrapped_columns

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)]


def box_of(page: Image.Image, color: tuple[int, int, int]) -> tuple[int, ...]:
    """(left, top, width, height) of what has a color."""
    rows, columns = np.nonzero((np.asarray(page) == color).all(-1))
    return columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1


def test_pictures_of_several_sizes_stand_in_rows_and_columns_of_one_size():
    sizes = [(200, 150), (400, 300), (100, 75), (200, 151)]
    pictures = [Image.new("RGB", size, color) for size, color in zip(sizes, COLORS, strict=True)]
    page = sweep_sheet([f"content_weight {k}\nsize {k}" for k in range(4)], pictures, columns=2)
    lefts, tops, widths, heights = zip(*(box_of(page, color) for color in COLORS), strict=True)
    assert set(widths) == {400}
    assert set(heights) == {300}
    assert lefts[0] == lefts[2] < lefts[1] == lefts[3]
    assert tops[0] == tops[1] < tops[2] == tops[3]


def test_small_pictures_are_enlarged_and_large_ones_reduced():
    for side, shown in ((20, 192), (300, 300), (2000, 512)):
        page = sweep_sheet(["steps 3"], [Image.new("RGB", (side, side // 2), COLORS[0])])
        assert box_of(page, COLORS[0])[2:] == (shown, shown // 2)


def test_a_picture_that_is_not_made_leaves_its_place_gray():
    page = sweep_sheet(["steps 3", "steps 4"], [None, Image.new("RGB", (200, 200), COLORS[0])])
    left, top, *_ = box_of(page, COLORS[0])
    assert (np.asarray(page)[top : top + 200, left - 208 : left - 8] == BLANK).all()
    with pytest.raises(ValueError, match="needs a picture"):
        sweep_sheet(["steps 3"], [None])


def test_many_values_of_one_field_are_wrapped_to_about_a_square():
    assert {count: wrapped_columns(count) for count in (1, 5, 6, 7, 8, 9, 12, 36)} == {
        **{1: 1, 5: 5, 6: 3, 7: 4},
        **{8: 4, 9: 3, 12: 4, 36: 6},
    }
