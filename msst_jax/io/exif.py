"""The orientation that a camera recorded, whatever else is broken in its EXIF data."""

import struct

from absl import logging
from PIL import Image

ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_VALUE_FORMATS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG


def exif_block(picture: Image.Image) -> bytes:
    """The EXIF data of a loaded picture without its prefix, as it is in the file; b"" if there is none.

    A TIFF file has no such block: its own directory holds these tags.
    """
    block = picture.info.get("exif") or b""
    if not block and (text := picture.info.get("Raw profile type exif")):  # how ImageMagick writes it into a PNG file
        try:
            block = bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            return b""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    return bytes(block)


def apply_orientation(picture: Image.Image, opened: Image.Image, label: str) -> Image.Image:
    """A picture turned as the file that it comes from says; logs a warning if that cannot be read.

    Args:
      picture: the pixels.
      opened: the file as Pillow opened and loaded it. Of a TIFF file, Pillow has applied the orientation by then.
      label: names the file in the warning.
    """
    transpose = _TRANSPOSES.get(_read_orientation(opened, label))
    return picture if transpose is None else picture.transpose(transpose)


def _read_orientation(opened: Image.Image, label: str) -> int:
    """1 to 8; 1 = as it is."""
    try:
        found = _orientation_tag(exif_block(opened))
        if found is None:
            found = opened.getexif().get(ORIENTATION)  # XMP may have it
    except Exception:  # Pillow raises many kinds of errors on broken EXIF data
        logging.warning("%s: its EXIF data cannot be read; if the picture lies on its side, turn it first", label)
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _orientation_tag(block: bytes) -> int | None:
    """The orientation in an EXIF block; None if it has none. Reads nothing but the entries of the first directory.

    Raises:
      ValueError, struct.error: the block is broken, before the orientation at that.
    """
    if not block:
        return None
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        raise ValueError("no byte order")
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, start)
    for index in range(count):
        tag, kind, _ = struct.unpack_from(f"{order}HHI", block, start + 2 + 12 * index)
        if tag == ORIENTATION and kind in _VALUE_FORMATS:
            return int(struct.unpack_from(order + _VALUE_FORMATS[kind], block, start + 10 + 12 * index)[0])
    return None
