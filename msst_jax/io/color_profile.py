"""Pictures of any color mode to sRGB, by their color profile if they have one."""

import io
from typing import cast

import numpy as np
from absl import logging
from PIL import Image, ImageCms

_GRAY_MODES = ("1", "L", "LA", "La")
_KEPT_MODES = ("L", "CMYK", "LAB")  # a profile is for these numbers, not for RGB made of them
_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}  # color space of a profile: mode of its pictures
_CREATED = slice(24, 36)  # the bytes of a profile that say when it was made
_FIXED_DATE = bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])  # 2000-01-01


def srgb_profile() -> bytes:
    """An sRGB profile for files, the same bytes each time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_CREATED] = _FIXED_DATE
    return bytes(profile)


def to_srgb(picture: Image.Image, label: str) -> Image.Image:
    """A picture of 8 bits a sample, of any color mode, as sRGB: mode RGB, or RGBA if it has transparency.

    A profile that is broken, or for other pixels, is ignored with a warning; without one, gray, RGB and palette are
    taken for sRGB, CMYK for ideal inks, and LAB for CIELAB of white point D50.

    Args:
      picture: with the profile, if any, in its `info`.
      label: names the file in the warning.
    """
    colors, alpha = _split(picture)
    profile = picture.info.get("icc_profile")
    if profile:
        colors = _apply_profile(colors, profile, label)
    colors = colors.convert("RGB")
    if alpha is not None:
        colors.putalpha(alpha)
    return colors


def _split(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colors in a mode that a profile can be for (L, RGB, CMYK, LAB), and the opacity (L), if there is one."""
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        mode = "LA" if picture.mode in _GRAY_MODES else "RGBA"
        *colors, alpha = (picture if picture.mode == mode else picture.convert(mode)).split()
        return Image.merge(mode[:-1], colors), alpha
    if picture.mode in _GRAY_MODES:
        return picture.convert("L"), None
    return picture if picture.mode in _KEPT_MODES else picture.convert("RGB"), None


def _apply_profile(colors: Image.Image, profile: bytes, label: str) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        numbers = _numbers_for(colors, _SPACES.get(space, ""))
        if numbers is None:
            logging.warning("%s: its color profile is for %s, not for its pixels, and is ignored", label, space)
            return colors
        srgb = ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(numbers, source, srgb, outputMode="RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        logging.warning("%s: its color profile is broken and is ignored", label)
        return colors


def _numbers_for(colors: Image.Image, mode: str) -> Image.Image | None:
    """The colors in the mode of a profile; gray can be RGB of equal numbers. None = it is for others."""
    if colors.mode == mode:
        return colors
    if (colors.mode, mode) == ("L", "RGB"):
        return colors.convert("RGB")
    if (colors.mode, mode) == ("RGB", "L"):
        numbers = np.asarray(colors)
        return colors.getchannel(0) if (numbers == numbers[..., :1]).all() else None
    return None
