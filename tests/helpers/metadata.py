"""A photo with everything that a camera writes beside the pixels."""

from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from tests.helpers import profiles
from tests.helpers.pictures import noise

EXIF, GPS, BASE = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.Base
DPI = (300.0, 300.0)


def camera_exif() -> Image.Exif:
    tags = Image.Exif()
    tags[BASE.Make], tags[BASE.Model], tags[BASE.Artist] = "Camera & Co", "C 1", "Jane Doe"
    tags[BASE.Copyright], tags[BASE.Orientation] = "(c) Jane Doe", 6
    tags[EXIF] = {
        BASE.DateTimeOriginal: "2024:05:06 07:08:09",
        BASE.ExposureTime: 0.01,
        BASE.ISOSpeedRatings: 400,
        BASE.ExifImageWidth: 4000,
        BASE.ExifImageHeight: 3000,
        BASE.ColorSpace: 65535,
        BASE.MakerNote: b"offsets into the old file",
        BASE.UserComment: b"ASCII\0\0\0a walk",
    }
    tags[GPS] = {1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 7.0)}
    return tags


def save_photo(path: Path, height: int = 32, width: int = 24, **options: Any) -> str:
    """A photo with a thumbnail's worth of metadata: EXIF, a profile, a resolution. It is shown turned."""
    settings = {"exif": camera_exif().tobytes(), "icc_profile": profiles.green_first(), "dpi": DPI, **options}
    Image.fromarray(noise(width, height)).save(path, **settings)
    return str(path)
