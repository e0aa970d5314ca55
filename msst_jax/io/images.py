"""Reads and writes images with Pillow: resizing, 8-bit conversion, transparency over a backdrop.

In memory an image is a float32 array in [0, 1], shape (H, W, 3), sRGB; a picture is a Pillow image.
"""

import io
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.array_checks import is_floating
from msst_jax.io.color_profile import to_srgb
from msst_jax.io.files import write_atomically
from msst_jax.io.metadata import NO_METADATA, PictureMetadata
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.picture_file import MAX_PIXELS, decode_picture
from msst_jax.io.streams import write_output
from msst_jax.io.write_options import DEFAULT_OPTIONS, WriteOptions, check_output_format, encoder_parameters

MIN_SIDE = 16  # VGG halves the image three times before relu4_1


def read_picture(
    path: str | Path, what: str = "picture", backdrop: str = "white", content: bytes | None = None
) -> Image.Image:
    """Reads any image format that Pillow supports as 8-bit sRGB, over a backdrop; see `read_layers`."""
    return read_layers(path, what, backdrop, content)[0]


def read_layers(
    path: str | Path, what: str = "picture", backdrop: str = "white", content: bytes | None = None
) -> tuple[Image.Image, Image.Image | None]:
    """Reads any image format that Pillow supports as 8-bit sRGB, and its alpha channel (8-bit gray, 255 = opaque).

    EXIF orientation is applied, an embedded color profile is converted to sRGB, transparency is composited over
    `backdrop`, samples of more than 8 bits are scaled by what the file says; docs/formats.md lists how each is
    understood. Without transparency there is no alpha.

    Args:
      path: the file.
      what: the role of the image, named in errors ("photo", "style", "mask").
      backdrop: the color behind transparent pixels.
      content: of the file, which is not opened then.

    Raises:
      UserError: as `decode_picture`.
    """
    picture = read_colors(path, what, content)
    if picture.mode != "RGBA":
        return picture, None
    return flatten(picture, backdrop), picture.getchannel("A")


def read_colors(path: str | Path, what: str = "picture", content: bytes | None = None) -> Image.Image:
    """As `read_layers`, with colors and opacity in one picture: RGBA with transparency, RGB without."""
    return to_srgb(decode_picture(path, what, content), f"{what} {path}")


def flatten(picture: Image.Image, backdrop: str) -> Image.Image:
    """An RGBA picture over a color, RGB."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, backdrop), picture).convert("RGB")


def fit_size(width: int, height: int, size: int, square: bool = False) -> tuple[int, int]:
    """The (width, height) at which the longest side is `size` pixels (0 = unchanged).

    Args:
      width: of the image.
      height: of the image.
      size: the longest side.
      square: stretch to size x size.

    Raises:
      UserError: a side would fall below MIN_SIDE, or the image would have more than MAX_PIXELS.
    """
    if min(width, height) < 2:
        raise UserError(f"a picture of {width}x{height} is too small; every side must have at least 2 pixels")
    if square:
        side = size or max(width, height)
        target = (side, side)
    elif size == 0:
        target = (width, height)
    else:
        scale = size / max(width, height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    if target[0] * target[1] > MAX_PIXELS:
        raise UserError(
            f"a picture of {width}x{height} becomes {target[0]}x{target[1]} pixels, more than "
            f"{MAX_PIXELS // 10**6} megapixels: lower the size"
        )
    if min(target) < MIN_SIDE:
        raise UserError(
            f"a picture of {width}x{height} becomes {target[0]}x{target[1]} pixels; every side must have at least "
            f"{MIN_SIDE}: crop it or raise the size"
        )
    return target


def to_array(picture: Image.Image) -> np.ndarray:
    """A Pillow RGB image as float32 (H, W, 3) in [0, 1]."""
    return np.asarray(picture, np.float32) / np.float32(255.0)


def load_image(
    path: str | Path,
    size: int = 0,
    *,
    square: bool = False,
    what: str = "picture",
    picture: Image.Image | None = None,
) -> np.ndarray:
    """Reads and resizes an image: float32 (H, W, 3) in [0, 1].

    Args:
      path: the file; see `read_picture`.
      size: the longest side in pixels, 0 = unchanged.
      square: stretch to size x size, as the original program does.
      what: the role of the image, named in errors.
      picture: the result of `read_picture` for the file, if it has been read already.

    Raises:
      UserError: as `read_picture` and `fit_size`.
    """
    picture = picture or read_picture(path, what)
    try:
        target = fit_size(*picture.size, size, square)
    except UserError as error:
        raise UserError(f"{what} {path}: {error}") from None
    return to_array(resize_picture(picture, target))


def resize_picture(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture at a (width, height); one in RGBA so that the colors of its transparent pixels do not show.

    Source: torchvision.transforms.Resize on a Pillow image (bilinear).
    """
    return picture.resize(size, Image.Resampling.BILINEAR) if size != picture.size else picture


def to_picture(image: np.ndarray | jax.Array, alpha: np.ndarray | None = None) -> Image.Image:
    """float (H, W, 3) in [0, 1] (values outside are clipped) as a Pillow 8-bit image: RGB, or RGBA with an opacity.

    Args:
      image: the colors.
      alpha: the opacity (H, W), uint8; None = opaque.

    Raises:
      UserError: no floats, of which nearly all would become white.
    """
    if not is_floating(np.asarray(image)):
        raise UserError(f"an image has the dtype {image.dtype}; give floats in [0, 1]: divide by 255 if white is 255")
    values = np.clip(np.asarray(image, np.float32), 0.0, 1.0)
    picture = Image.fromarray(np.round(values * 255.0).astype(np.uint8))
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha))
    return picture


def save_picture(
    picture: Image.Image,
    path: str | Path,
    options: WriteOptions = DEFAULT_OPTIONS,
    metadata: PictureMetadata = NO_METADATA,
) -> None:
    """Writes a Pillow image atomically; the suffix of `path` chooses the format; "-", standard output, gets PNG.

    Args:
      picture: sRGB, or gray; with transparency where the format has it, see `holds_transparency`.
      path: the file.
      options: how it is encoded.
      metadata: what is written beside the pixels, where the format has a place for it.

    Raises:
      UserError: unknown suffix, options that are not for it, unwritable path, or an image too large for the format.
    """
    path = Path(path)
    check_output_format(path, options)
    parameters = encoder_parameters(path, options, metadata)
    if path == STANDARD_STREAM:
        content = io.BytesIO()
        picture.save(content, "PNG", **parameters)
        write_output(content.getvalue())
        return
    try:
        write_atomically(path, lambda temporary: picture.save(temporary, **parameters))
    except UserError:
        raise
    except ValueError as error:  # WebP and JPEG limit the longest side
        raise UserError(f"cannot write {path}: {error}; choose another format, such as .png") from error


def save_image(
    image: np.ndarray | jax.Array,
    path: str | Path,
    options: WriteOptions = DEFAULT_OPTIONS,
    metadata: PictureMetadata = NO_METADATA,
) -> None:
    """Writes float (H, W, 3) in [0, 1] as an image file; see `save_picture`."""
    save_picture(to_picture(image), path, options, metadata)
