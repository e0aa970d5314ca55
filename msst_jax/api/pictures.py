"""Pictures as a caller has them: arrays, Pillow pictures or paths, checked and brought to a size."""

import os
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.array_checks import check_image_shape, check_unit_range, is_floating
from msst_jax.io.color_profile import to_srgb
from msst_jax.io.exif import apply_orientation
from msst_jax.io.images import fit_size, flatten, read_picture, resize_picture, to_array, to_picture
from msst_jax.io.paths import user_path
from msst_jax.io.sample_range import to_8_bit

Size = tuple[int, int]
"""(Width, height) in pixels."""
PictureLike: TypeAlias = np.ndarray | jax.Array | Image.Image | str | os.PathLike[str]
"""An array (H, W, 3), uint8 in 0 to 255 or floats in [0, 1]; a Pillow picture of any mode; or the path of a file."""


class Picture(NamedTuple):
    """A picture that was given.

    Attributes:
      image: 8-bit sRGB, as large as it was given, over white.
      floats: (H, W, 3) in [0, 1], what was given as an array of floats, which 8 bits would round; else None.
      name: what errors call it.
    """

    image: Image.Image
    floats: np.ndarray | None
    name: str

    @property
    def size(self) -> Size:
        """(Width, height)."""
        return self.image.size

    def fitted(self, side: int, *, square: bool = False) -> np.ndarray:
        """float32 (H, W, 3) in [0, 1] at the size of `fit_size`, whose errors name the picture."""
        try:
            size = fit_size(*self.size, side, square)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        return self.at(size)

    def at(self, size: Size) -> np.ndarray:
        """float32 (H, W, 3) in [0, 1] at a (width, height)."""
        if self.floats is None:
            return to_array(resize_picture(self.image, size))
        return np.stack([resize_floats(self.floats[..., channel], size) for channel in range(3)], -1)


def take_picture(value: PictureLike, what: str) -> Picture:
    """A picture as the caller gave it; `what` names it in errors.

    Raises:
      UserError: something else, an array of another shape, dtype or range, or as `read_picture`.
    """
    if isinstance(value, str | os.PathLike):
        return Picture(read_picture(given_path(value, what), what), None, f"{what} {os.fspath(value)}")
    if isinstance(value, Image.Image):
        upright = apply_orientation(to_8_bit(value, what), value, what)
        colors = to_srgb(upright, what)
        return Picture(flatten(colors, "white") if colors.mode == "RGBA" else colors, None, what)
    if not is_array(value):
        raise UserError(f"{what} is of the type {type(value).__name__}; give an array, a Pillow picture or a path")
    check_image_shape(np.shape(value), what)
    values = np.asarray(value)
    if values.dtype == np.uint8:
        check_not_halved(values, what)
        return Picture(Image.fromarray(np.ascontiguousarray(values)), None, what)
    if not is_floating(values):
        raise UserError(f"{what} has the dtype {values.dtype}; give uint8 (0 to 255) or floats in [0, 1]")
    check_unit_range(values, what)
    floats = np.clip(values.astype(np.float32), 0, 1)
    return Picture(to_picture(floats), floats, what)


def given_path(value: str | os.PathLike[str], what: str) -> Path:
    """A path as the caller gave it, with ~ for the home folder; UserError for an empty text or a URL."""
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{what} is of the type {type(value).__name__}; give a path")
    text = os.fspath(value)
    if not text:
        raise UserError(f"{what} is an empty text; give a path")
    return user_path(text, what)


def is_array(value: Any) -> bool:
    """Whether a value is an array, of NumPy, JAX or another library that converts to them."""
    return isinstance(value, np.ndarray | jax.Array) or (hasattr(value, "__array__") and hasattr(value, "shape"))


def check_not_halved(values: np.ndarray, what: str) -> None:
    """Raises UserError for uint8 that holds nothing but 0 and 1: floats that were cast, and would be black."""
    if values.size and values.max() == 1:
        raise UserError(f"{what} is uint8 with values up to 1; keep floats in [0, 1] as floats, or multiply by 255")


def resize_floats(values: np.ndarray, size: Size) -> np.ndarray:
    """float32 (H, W) in [0, 1] at a (width, height), by the same filter as pictures of 8 bits."""
    if values.shape[::-1] == size:
        return values
    resized = Image.fromarray(np.ascontiguousarray(values)).resize(size, Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, np.float32), 0, 1)
