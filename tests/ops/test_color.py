"""Colors of a photo for a stylized image."""

import colorsys

import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.ops.color import luma, take_colors
from tests.helpers.pictures import noise


def unit(height: int, width: int, seed: int) -> jnp.ndarray:
    return jnp.asarray(noise(height, width, seed) / np.float32(255))


def test_taken_colors_leave_the_light_of_the_image_exactly():
    image, photo = unit(20, 30, 1), unit(20, 30, 2)
    made = take_colors(image, photo)
    np.testing.assert_allclose(luma(made), luma(image), atol=1e-6)
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1


def test_taken_colors_have_the_hue_of_the_photo_also_where_they_have_no_room():
    photo = jnp.asarray([[[0.9, 0.2, 0.1], [0.1, 0.2, 0.9], [0.3, 0.6, 0.3]]])
    image = jnp.asarray([[[0.95] * 3, [0.02] * 3, [0.5] * 3]])
    for before, after in zip(photo[0], take_colors(image, photo)[0], strict=True):
        assert colorsys.rgb_to_hsv(*after.tolist())[0] == pytest.approx(
            colorsys.rgb_to_hsv(*before.tolist())[0], abs=1e-4
        )


def test_the_photo_takes_its_own_colors_unchanged():
    photo = jnp.concatenate([unit(20, 30, 2), jnp.zeros((1, 30, 3)), jnp.ones((1, 30, 3))])
    np.testing.assert_allclose(take_colors(photo, photo), photo, atol=1e-6)
