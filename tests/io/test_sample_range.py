"""Floats beyond black and white are clipped, said, or refused; they never change the scale of the others."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from tests.helpers.pictures import save

CLIPPED = "1% of its numbers lie beyond 0 (black) to 1 (white) and are clipped"


@pytest.mark.parametrize(
    ("odd", "lines"),
    [(1.01, []), (-0.01, []), (1.02, [CLIPPED]), (255.0, [CLIPPED]), (-3.0, [CLIPPED]), (1e38, [CLIPPED])],
)
def test_one_float_beyond_white_leaves_the_others_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, odd: float, lines: list[str]
) -> None:
    values = np.full((10, 10), 0.5, np.float32)
    values[0, 0] = odd
    path = save(tmp_path / "a.tif", values)
    with caplog.at_level(logging.WARNING):
        pixels = np.asarray(read_picture(path, "photo"))
    assert (pixels[1:] == 128).all()
    assert pixels[0, 0].tolist() == [255 if odd > 0 else 0] * 3
    assert [record.getMessage() for record in caplog.records] == [f"photo {path}: {line}" for line in lines]


@pytest.mark.parametrize("scale", [255, 65535, -1])
def test_floats_of_another_scale_are_refused_with_their_range(tmp_path: Path, scale: int) -> None:
    values = np.linspace(0, scale, 100, dtype=np.float32).reshape(10, 10)
    low, high = sorted((0, scale))
    with pytest.raises(UserError, match=f"holds numbers from {low:g} to {high:g}, where 0 is black and 1 white; scale"):
        read_picture(save(tmp_path / "a.tif", values), "photo")


def test_a_float_picture_without_any_number_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(UserError, match=r"none of them is a number \(NaN\); save it again$"):
        read_picture(tmp_path / "nan.tif", "photo")


def test_a_float_picture_with_holes_says_how_much_is_black(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = np.full((8, 8), 0.5, np.float32)
    values[:2] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    read_picture(tmp_path / "nan.tif", "photo")
    assert "25% of the values are not numbers (NaN), and become black" in caplog.text
