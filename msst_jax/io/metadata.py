"""What a photo's file says about it, for the picture made of it: EXIF without what no longer holds, resolution."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from absl import logging
from PIL import ExifTags, Image

from msst_jax.errors import UserError
from msst_jax.io.exif import exif_block
from msst_jax.io.picture_file import open_picture
from msst_jax.io.tiff_directories import read_directory

_IFD = ExifTags.IFD
_EXIF, _GPS = int(_IFD.Exif), int(_IFD.GPSInfo)
# Of the first directory, which in a TIFF file describes the layout of its pixels too, what describes the photo. The
# titles and comments of Windows are 40091 to 40095. Orientation is not among them: it has been applied.
_DESCRIPTIVE = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software),
    *(ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.HostComputer, ExifTags.Base.Copyright),
    *(ExifTags.Base.Rating, ExifTags.Base.RatingPercent, *range(40091, 40096)),
)
# Of the EXIF directory, what no longer holds: the size and color space, offsets into the old file (a camera's own
# notes hold such offsets, and previews of the photo).
_STALE = (
    *(ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.Base.ColorSpace),
    *(ExifTags.Base.ExifInteroperabilityOffset, ExifTags.Base.MakerNote),
)
_SRGB = 1  # a value of ColorSpace
MAX_DPI = 65535  # JPEG stores 16 bits


@dataclass(frozen=True)
class PictureMetadata:
    """What is written into a picture beside its pixels.

    Attributes:
      exif: an EXIF block with its prefix; b"" = none.
      dpi: horizontal and vertical resolution; None = unknown.
      has_profile: whether a color profile is written: that of sRGB, which the pixels are in.
    """

    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    has_profile: bool = False


NO_METADATA = PictureMetadata()


def read_metadata(path: str | Path) -> PictureMetadata:
    """The metadata of a photo that hold for a stylized copy of it; none, with a warning, if they cannot be read.

    Kept are descriptions, camera, exposure, dates, author, copyright, and the location; dropped are the orientation
    (it has been applied), the thumbnail, size and color space, and the camera's own notes.

    Args:
      path: the photo.
    """
    try:
        with open_picture(path, "photo") as opened:
            return PictureMetadata(_exif(opened), _dpi(opened.info.get("dpi")), bool(opened.info.get("icc_profile")))
    except UserError as error:
        logging.warning("the metadata are left out: %s", error)
        return NO_METADATA


class _Source(NamedTuple):
    """Where EXIF tags are read from: an EXIF block, or a TIFF file."""

    stream: IO[bytes]
    head: bytes


def _exif(opened: Image.Image) -> bytes:
    """The EXIF block to write; b"" if nothing is left."""
    block = exif_block(opened)
    if not block and opened.format == "PNG":  # it may follow the pixels
        opened.load()
        block = exif_block(opened)
    file: IO[bytes] | None = getattr(opened, "fp", None)
    if block:
        source = _Source(io.BytesIO(block), block[:16])
    elif hasattr(opened, "tag_v2") and file:
        file.seek(0)
        source = _Source(file, file.read(16))
    else:
        return b""
    first = read_directory(*source).tags
    tags: dict[int, Any] = {tag: first[tag] for tag in _DESCRIPTIVE if tag in first}
    details = _below(source, first, _EXIF)
    if details:
        tags[_EXIF] = {
            **{tag: value for tag, value in details.items() if tag not in _STALE},
            ExifTags.Base.ColorSpace: _SRGB,
        }
    if location := _below(source, first, _GPS):
        tags[_GPS] = location
    return _encode(tags)


def _below(source: _Source, first: Mapping[int, Any], pointer: int) -> Mapping[int, Any]:
    """The directory that a tag of the first one points to."""
    offset = first.get(pointer)
    return read_directory(*source, offset, pointer).tags if isinstance(offset, int) else {}


def _encode(tags: Mapping[int, Any]) -> bytes:
    """An EXIF block of those tags that can be written; b"" if there are none."""
    exif = Image.Exif()
    for tag, value in tags.items():
        if isinstance(value, Mapping):
            kept = {key: item for key, item in value.items() if _is_encodable({tag: {key: item}})}
            if kept:
                exif[tag] = kept
        elif _is_encodable({tag: value}):
            exif[tag] = value
    return exif.tobytes() if len(exif) else b""


def _is_encodable(tags: Mapping[int, Any]) -> bool:
    exif = Image.Exif()
    exif.update(tags)
    try:
        exif.tobytes()
    except Exception:  # a tag with a value that is not for it; Pillow raises many kinds of errors
        return False
    return True


def _dpi(value: Any) -> tuple[float, float] | None:
    """A resolution that means something; 1 stands for none."""
    try:
        horizontal, vertical = map(float, value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    sensible = all(math.isfinite(side) and 1 < side <= MAX_DPI for side in (horizontal, vertical))
    return (horizontal, vertical) if sensible else None
