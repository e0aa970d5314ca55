"""Windows cover a picture: every row is owned once, and seen with all that the network sees around it."""

import numpy as np
import pytest

from msst_jax.ops.row_windows import RowWindows, cut_rows

CASES = [(96, 2, 4, 2), (97, 3, 4, 2), (101, 5, 12, 4), (95, 3, 10, 4), (321, 2, 42, 8), (433, 4, 42, 8)]


def owners(windows: RowWindows, stride: int) -> np.ndarray:
    """How many windows own each row of a layer."""
    counts = np.zeros(windows.height // stride, int)
    for number in range(windows.count):
        first = int(windows.start(number)) // stride
        counts[first : first + windows.size // stride] += np.asarray(windows.owned(number, stride))
    return counts


@pytest.mark.parametrize(("height", "tiles", "reach", "stride"), CASES)
def test_every_row_of_every_layer_is_owned_by_one_window(height: int, tiles: int, reach: int, stride: int) -> None:
    windows = cut_rows(height, tiles, reach=reach, stride=stride)
    assert 1 < windows.count <= tiles
    for each in (1, 2, 4, 8):
        if each <= stride:
            assert (owners(windows, each) == 1).all()


@pytest.mark.parametrize(("height", "tiles", "reach", "stride"), CASES)
def test_an_owned_row_is_far_from_edges_that_are_not_those_of_the_picture(
    height: int, tiles: int, reach: int, stride: int
) -> None:
    windows = cut_rows(height, tiles, reach=reach, stride=stride)
    for number in range(windows.count):
        start = int(windows.start(number))
        assert start % stride == 0
        assert 0 <= start <= height - windows.size
        rows = start + np.flatnonzero(np.asarray(windows.owned(number)))
        whole_squares = start + windows.size // stride * stride
        assert start == 0 or rows[0] - reach >= start
        assert start + windows.size == height or rows[-1] + reach < whole_squares


@pytest.mark.parametrize("tiles", [1, 2, 100])
def test_windows_that_would_be_no_smaller_than_the_picture_are_one(tiles: int) -> None:
    windows = cut_rows(41, tiles, reach=42, stride=8)
    assert (windows.count, windows.size, windows.height) == (1, 41, 41)
    assert (owners(windows, 8) == 1).all()
