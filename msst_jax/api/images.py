"""Reads and writes image files, as arrays."""

import os

import numpy as np

from msst_jax.api.pictures import PictureLike, given_path, take_picture
from msst_jax.api.presets import positive_integer
from msst_jax.api.wording import in_callers_words
from msst_jax.io.images import save_picture, to_picture
from msst_jax.io.write_options import WriteOptions


def read_image(path: str | os.PathLike[str], *, size: int = 0) -> np.ndarray:
    """Reads an image of any format that Pillow knows.

    Args:
      path: the file; ~ is the home folder.
      size: longest side in pixels, 0 = as it is.

    Returns:
      float32 (H, W, 3) in [0, 1], sRGB, upright, over white.

    Raises:
      UserError: (a ValueError) no such file, no image, or one that cannot be read.
    """
    with in_callers_words():
        return take_picture(given_path(path, "image"), "image").fitted(positive_integer(size, "size", 0))


def write_image(image: PictureLike, path: str | os.PathLike[str], *, quality: int | None = None) -> None:
    """Writes an image file; half of one never stays.

    Args:
      image: an array (H, W, 3), uint8 in 0 to 255 or floats in [0, 1]; or a Pillow picture.
      path: the file; its suffix chooses the format: .png, .jpg, .webp, .tif, ...
      quality: of .jpg and .webp, 1 to 100; None = 95.

    Raises:
      UserError: (a ValueError) no image, an unknown suffix, or a place that cannot be written.
    """
    with in_callers_words():
        taken = take_picture(image, "image")
        picture = taken.image if taken.floats is None else to_picture(taken.floats)
        save_picture(picture, given_path(path, "path"), WriteOptions(quality))
