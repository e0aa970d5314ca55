"""Reads and writes images with Pillow: orientation, color profiles, transparency, resizing, 8-bit conversion.

In memory an image is a float32 array in [0, 1], shape (H, W, 3), sRGB; a picture is a Pillow image.
"""

import io
import warnings
from pathlib import Path
from typing import cast

import jax
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from msst_jax.errors import UserError
from msst_jax.io.files import check_regular_file, write_atomically

MIN_SIDE = 16  # VGG halves the image three times before relu4_1
MAX_PIXELS = 178_000_000  # just under Pillow's own limit for decompression bombs
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def read_picture(path: str | Path, what: str = "picture", backdrop: str = "white") -> Image.Image:
    """Reads any image format that Pillow supports as 8-bit sRGB, over a backdrop; see `read_layers`."""
    return read_layers(path, what, backdrop)[0]


def read_layers(
    path: str | Path, what: str = "picture", backdrop: str = "white"
) -> tuple[Image.Image, Image.Image | None]:
    """Reads any image format that Pillow supports as 8-bit sRGB, and its alpha channel (8-bit gray, 255 = opaque).

    EXIF orientation is applied, transparency is composited over `backdrop`, an embedded color profile is
    converted to sRGB; CMYK, palette, gray and 16-bit gray become RGB. Without transparency there is no alpha.

    Args:
      path: the file.
      what: the role of the image, named in errors ("photo", "style", "mask").
      backdrop: the color behind transparent pixels.

    Raises:
      UserError: missing file, folder, pipe or device, not an image, damaged, or larger than MAX_PIXELS.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{what} {path} is a folder; give a picture file")
        if not path.exists():
            raise UserError(f"{what} {path} does not exist; check the name")
        check_regular_file(path, what)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about large images and odd metadata
            with Image.open(path) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                opened.load()
                return _to_rgb(_apply_orientation(opened), backdrop)
    except Image.DecompressionBombError:
        raise UserError(f"{what} {path} has more than {MAX_PIXELS // 10**6} megapixels; make it smaller") from None
    except UnidentifiedImageError:
        problem = "is empty" if path.stat().st_size == 0 else "is not a picture that Pillow can read"
        raise UserError(f"{what} {path} {problem}; give a PNG, JPEG, WebP or TIFF file") from None
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds of errors on damaged data
        raise UserError(f"{what} {path} is damaged or cannot be read ({error}); give another copy") from error


def _apply_orientation(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # broken EXIF data must not make the image unreadable
        return picture


def _to_rgb(picture: Image.Image, backdrop: str) -> tuple[Image.Image, Image.Image | None]:
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return _gray_to_8_bit(picture).convert("RGB"), None
    picture, alpha = _to_srgb(picture), None
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, backdrop), picture)
    return picture.convert("RGB"), alpha


def _gray_to_8_bit(picture: Image.Image) -> Image.Image:
    """16-bit or float gray to 8 bits; Pillow's own convert would clip instead of scale."""
    values = np.nan_to_num(np.asarray(picture, np.float64))
    full_scale = 65535.0
    if picture.mode == "F" and values.max(initial=0.0) <= 1.0:
        full_scale = 1.0
    return Image.fromarray(np.round(np.clip(values / full_scale, 0, 1) * 255).astype(np.uint8))


def _to_srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return picture
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(picture, source, target, outputMode=mode))
    except (ImageCms.PyCMSError, OSError):  # a broken profile must not make the image unreadable
        return picture


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

    Source of the resizing: torchvision.transforms.Resize on a Pillow image (bilinear).

    Raises:
      UserError: as `read_picture` and `fit_size`.
    """
    picture = picture or read_picture(path, what)
    try:
        target = fit_size(*picture.size, size, square)
    except UserError as error:
        raise UserError(f"{what} {path}: {error}") from None
    return to_array(picture.resize(target, Image.Resampling.BILINEAR) if target != picture.size else picture)


def to_picture(image: np.ndarray | jax.Array) -> Image.Image:
    """float (H, W, 3) in [0, 1] (values outside are clipped) as a Pillow 8-bit RGB image."""
    values = np.clip(np.asarray(image, np.float32), 0.0, 1.0)
    return Image.fromarray(np.round(values * 255.0).astype(np.uint8))


def check_output_format(path: Path) -> None:
    """Raises UserError if the suffix of `path` is not an image format that can be written."""
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(
            f"cannot write {path}: unknown picture ending {path.suffix!r}; use one of {', '.join(OUTPUT_SUFFIXES)}"
        )


def save_picture(picture: Image.Image, path: str | Path) -> None:
    """Writes a Pillow image atomically; the suffix of `path` chooses the format.

    Raises:
      UserError: unknown suffix, unwritable path, or an image too large for the format.
    """
    path = Path(path)
    check_output_format(path)
    try:
        write_atomically(path, lambda temporary: picture.save(temporary, quality=95))
    except ValueError as error:  # WebP and JPEG limit the longest side
        raise UserError(f"cannot write {path}: {error}; choose another format, such as .png") from error


def save_image(image: np.ndarray | jax.Array, path: str | Path) -> None:
    """Writes float (H, W, 3) in [0, 1] as an image file; see `save_picture`."""
    save_picture(to_picture(image), path)
