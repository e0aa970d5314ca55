"""What a notebook shows is what was given, and small."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.report.notebook import show
from tests.helpers.pictures import noise

RED = np.broadcast_to(np.array([1.0, 0, 0], np.float32), (20, 30, 3))


def shown(picture: object) -> np.ndarray:
    """The middle of what Jupyter gets of a picture."""
    encoded = show({"a": picture}, height=40)._repr_jpeg_()  # type: ignore[dict-item]
    with Image.open(io.BytesIO(encoded)) as page:
        assert page.format == "JPEG"
        return np.asarray(page)[-30, 30].astype(int)


@pytest.mark.parametrize(
    "picture",
    [RED, jnp.asarray(RED), (RED * 255).astype(np.uint8), Image.fromarray((RED * 255).astype(np.uint8))],
    ids=["floats", "jax", "uint8", "pillow"],
)
def test_a_picture_in_any_form_is_shown_in_its_colors(picture: object):
    np.testing.assert_allclose(shown(picture), [255, 0, 0], atol=6)


@pytest.mark.parametrize("mask", [RED[..., 0], RED[..., 0] > 0], ids=["floats", "bool"])
def test_a_mask_is_white_inside(mask: np.ndarray):
    np.testing.assert_allclose(shown(mask), 255, atol=6)


def test_the_captions_are_told_where_no_picture_can_be_seen():
    assert repr(show({"photo": RED, "result": RED})) == "<photo, result>"


def test_what_is_kept_in_the_notebook_is_much_smaller_than_a_png():
    row = show({name: noise(300, 400, seed) for seed, name in enumerate("abc")})
    png = io.BytesIO()
    row.page.save(png, "png")
    assert len(row._repr_jpeg_()) < len(png.getvalue()) / 2


def test_an_array_of_another_range_is_refused():
    with pytest.raises(UserError, match="divide by 255"):
        show({"a": np.ones((4, 4, 3), np.int32)})
