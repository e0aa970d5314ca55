"""Transparent pixels take the colors near by, so that nothing of what lies under them shows along soft edges."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.io.images import save_picture, to_picture
from msst_jax.io.transparency import FAINT, extend_colors, over_white, transparency
from msst_jax.io.write_options import OUTPUT_SUFFIXES, holds_transparency
from tests.helpers.pictures import noise


def soft_edge(height: int, width: int) -> np.ndarray:
    """An opacity (height, width) that falls from 255 to 0 in the middle half."""
    ramp = np.clip(1.5 - 2 * (np.arange(width) + 0.5) / width, 0, 1)
    return np.tile(np.round(255 * ramp).astype(np.uint8), (height, 1))


@pytest.mark.parametrize(("height", "width"), [(20, 37), (1, 9), (33, 1), (64, 64)])
@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_of_one_color_the_hidden_pixels_take_it_whatever_lies_under_them(height: int, width: int, hidden: float):
    alpha = soft_edge(height, width)
    alpha[0, 0] = 255
    colors = np.where(alpha[..., None] > 0, np.float32([0.2, 0.4, 0.6]), np.float32(hidden))
    np.testing.assert_allclose(extend_colors(colors, alpha), np.broadcast_to([0.2, 0.4, 0.6], colors.shape), atol=1e-5)


def test_pixels_that_are_seen_keep_their_colors_exactly():
    colors, alpha = noise(40, 30) / np.float32(255), soft_edge(40, 30)
    seen = alpha >= FAINT
    assert 0 < seen.mean() < 1
    np.testing.assert_array_equal(extend_colors(colors, alpha)[seen], colors[seen])


def test_hidden_pixels_take_the_nearest_colors_without_steps():
    colors, alpha = np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.uint8)
    colors[:, :8, 0], colors[:, -8:, 2] = 1, 1
    alpha[:, :8] = alpha[:, -8:] = 255
    filled = extend_colors(colors, alpha)
    assert filled[:, :20, 0].min() > 0.7
    assert filled[:, -20:, 2].min() > 0.7
    assert np.abs(np.diff(filled, axis=1)).max() < 0.2
    np.testing.assert_allclose(filled.sum(-1), 1, atol=1e-5)


def test_a_color_so_faint_that_it_was_rounded_is_not_trusted():
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[4, 4] = 1
    colors = np.full((8, 8, 3), 0.5, np.float32)
    colors[4, 4] = 1
    assert extend_colors(colors, alpha)[4, 4].max() < 0.55


def test_a_picture_without_any_color_is_white():
    assert extend_colors(np.zeros((5, 7, 3), np.float32), np.zeros((5, 7), np.uint8)).min() == 1


def test_an_opaque_alpha_channel_is_none():
    assert transparency(Image.new("RGB", (2, 2))) is None
    assert transparency(Image.new("RGBA", (2, 2), (0, 0, 0, 255))) is None
    found = transparency(Image.new("RGBA", (2, 2), (0, 0, 0, 254)))
    assert found is not None
    assert found.tolist() == [[254] * 2] * 2


def test_over_white_shows_the_color_as_far_as_it_is_opaque():
    image = np.zeros((2, 1, 3, 3))
    np.testing.assert_allclose(over_white(image, np.uint8([[0, 51, 255]]))[1, 0, :, 0], [1, 0.8, 0], atol=1e-6)
    assert over_white(image, None) is image


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_format_that_holds_transparency_gives_it_back(tmp_path: Path, suffix: str):
    path, alpha = tmp_path / f"a{suffix}", soft_edge(16, 24)
    if not holds_transparency(path):
        assert suffix in (".jpg", ".jpeg", ".bmp")
        return
    save_picture(to_picture(noise(16, 24) / 255, alpha), path)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(np.asarray(opened)[..., 3], alpha)


def test_standard_output_is_a_png_and_holds_transparency():
    assert holds_transparency(Path("-"))
    assert holds_transparency(Path("a.PNG"))
