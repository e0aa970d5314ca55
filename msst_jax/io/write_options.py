"""How a picture is encoded: quality, subsampling, and what is written beside its pixels; by the format's suffix."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.color_profile import srgb_profile
from msst_jax.io.metadata import PictureMetadata
from msst_jax.io.paths import STANDARD_STREAM

JPEG, WEBP, TIFF = (".jpg", ".jpeg"), (".webp",), (".tif", ".tiff")
OUTPUT_SUFFIXES = (".png", *JPEG, *WEBP, *TIFF, ".bmp")
WITH_TRANSPARENCY = (".png", *WEBP, *TIFF)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
DEFAULT_QUALITY, DEFAULT_SUBSAMPLING = 95, "4:4:4"  # strokes of saturated color have sharp edges
MAX_JPEG_EXIF = 65533  # bytes that a segment of a JPEG file can hold


@dataclass(frozen=True)
class WriteOptions:
    """How pictures are encoded.

    Attributes:
      quality: of JPEG and WebP, 1 to 100; higher is better. None = DEFAULT_QUALITY.
      subsampling: of the colors in a JPEG file, one of SUBSAMPLINGS. None = DEFAULT_SUBSAMPLING.
      keep_metadata: whether a stylized photo keeps the metadata of the photo.
    """

    quality: int | None = None
    subsampling: str | None = None
    keep_metadata: bool = True


DEFAULT_OPTIONS = WriteOptions()


def recorded_flags(path: Path, options: WriteOptions) -> dict[str, Any]:
    """What the sidecar of a picture records of its options, see `presets.recorded`: those that are not the default."""
    encoding = {"quality": options.quality, "subsampling": options.subsampling}
    given = {name: value for name, value in encoding.items() if value is not None}
    ending = {"ending": _suffix(path)} if given else {}
    return {**given, **ending, **({} if options.keep_metadata else {"metadata": "none"})}


def _suffix(path: Path) -> str:
    return ".png" if path == STANDARD_STREAM else path.suffix.lower()


def holds_transparency(path: Path) -> bool:
    """Whether a picture at `path` can be transparent."""
    return _suffix(path) in WITH_TRANSPARENCY


def check_output_format(path: Path, options: WriteOptions = DEFAULT_OPTIONS) -> None:
    """Raises UserError if a picture at `path` cannot be written at all, or not with these options."""
    suffix = _suffix(path)
    if suffix not in OUTPUT_SUFFIXES:
        raise UserError(
            f"cannot write {path}: unknown picture ending {path.suffix!r}; use one of {', '.join(OUTPUT_SUFFIXES)}"
        )
    shown = "the PNG on standard output" if path == STANDARD_STREAM else path
    if options.quality is not None and suffix not in (*JPEG, *WEBP):
        raise UserError(f"the quality is {options.quality}, but {shown} has none; leave it out, or write .jpg or .webp")
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise UserError(f"the quality is {options.quality}; give 1 to 100 (best) for {suffix}")
    if options.subsampling is not None and suffix not in JPEG:
        raise UserError(f"the subsampling is {options.subsampling}, but {shown} has none; leave it out, or write .jpg")


def encoder_parameters(path: Path, options: WriteOptions, metadata: PictureMetadata) -> dict[str, Any]:
    """What Pillow's encoder of a format takes.

    Args:
      path: the file; its suffix chooses the format.
      options: see `check_output_format`.
      metadata: written where the format has a place: EXIF and profile everywhere but in BMP, resolution everywhere but
        in WebP.
    """
    suffix = _suffix(path)
    parameters: dict[str, Any] = {}
    if suffix in (*JPEG, *WEBP):
        parameters["quality"] = options.quality or DEFAULT_QUALITY
    if suffix in JPEG:
        parameters["subsampling"] = options.subsampling or DEFAULT_SUBSAMPLING
    if metadata.dpi and suffix not in WEBP:
        parameters["dpi"] = metadata.dpi
    if suffix == ".bmp":
        return parameters
    if metadata.has_profile:
        parameters["icc_profile"] = srgb_profile()
    if metadata.exif and suffix in JPEG and len(metadata.exif) > MAX_JPEG_EXIF:
        logging.warning("%s: the photo's EXIF data are too long for a JPEG file and are left out", path)
    elif metadata.exif:
        parameters["exif"] = metadata.exif
    return parameters
