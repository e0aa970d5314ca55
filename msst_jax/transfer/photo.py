"""A photo file, or the picture that an optimization starts from, as pixels of the size that the options ask for."""

from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from msst_jax.io.images import flatten, load_image, read_colors, resize_picture, to_array
from msst_jax.io.transparency import extend_colors, transparency
from msst_jax.regions.mask_files import same_aspect_ratio
from msst_jax.regions.segmenter import Size
from msst_jax.transfer.options import InputOptions


def load_start(file: str, photo_size: Size, size: Size, *, keep_alpha: bool = False) -> np.ndarray:
    """The first pixels (H, W, 3) in [0, 1] of the optimization, from a picture of any size.

    Args:
      file: the picture.
      photo_size: (width, height) of the photo's file; a picture of another aspect ratio is stretched, with a warning.
      size: (width, height) of the result.
      keep_alpha: as in `load_photo`.

    Raises:
      UserError: as `read_picture`.
    """
    picture = read_colors(file, "start")
    if not any(same_aspect_ratio(picture.size, other) for other in (photo_size, size)):
        logging.warning("start %s is %dx%d, the photo %dx%d: it is stretched to fit", file, *picture.size, *photo_size)
    return _colors_and_alpha(picture, size)[0] if keep_alpha else to_array(resize_picture(_over_white(picture), size))


class Photo(NamedTuple):
    """A photo as it was read."""

    picture: Image.Image
    """As large as its file, over white."""
    pixels: np.ndarray
    """(H, W, 3) in [0, 1] at the size that the options ask for."""
    alpha: np.ndarray | None
    """Its opacity (H, W), uint8, at that size; None if it is opaque, or `pixels` are over white."""


def load_photo(options: InputOptions, file: str, *, keep_alpha: bool = False) -> Photo:
    """Reads a photo.

    Args:
      options: its size.
      file: the photo.
      keep_alpha: a transparent photo keeps its opacity, and its pixels have colors as `extend_colors` gives them; else
        it is over white, and a line says so.

    Raises:
      UserError: as `load_image`.
    """
    colors = read_colors(file, "photo")
    picture = _over_white(colors)
    pixels = load_image(file, options.size, square=options.square, what="photo", picture=picture)
    if transparency(colors) is None:
        return Photo(picture, pixels, None)
    if not keep_alpha:
        logging.info("photo %s is transparent, and is taken over white", file)
        return Photo(picture, pixels, None)
    return Photo(picture, *_colors_and_alpha(colors, (pixels.shape[1], pixels.shape[0])))


def _over_white(picture: Image.Image) -> Image.Image:
    return flatten(picture, "white") if picture.mode == "RGBA" else picture


def _colors_and_alpha(picture: Image.Image, size: Size) -> tuple[np.ndarray, np.ndarray | None]:
    """Colors (H, W, 3) in [0, 1] and opacity (H, W), uint8, of a picture at a (width, height); None if it is opaque."""
    resized = resize_picture(picture, size)
    alpha = transparency(resized)
    colors = to_array(resized.convert("RGB"))
    return (colors, None) if alpha is None else (extend_colors(colors, alpha), alpha)


def log_enlargement(file: str, photo_size: Size, size: Size) -> None:
    """Logs that a photo of a (width, height) has been enlarged, if it has."""
    if max(photo_size) < max(size):
        logging.info(
            "photo %s of %dx%d pixels is enlarged to %dx%d; --config.size=0 keeps its size",
            *(file, *photo_size, *size),
        )
