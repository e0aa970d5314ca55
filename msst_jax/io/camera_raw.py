"""Tells raw files of cameras from pictures: most are TIFF files whose first page is a thumbnail."""

import re
from collections.abc import Iterable
from pathlib import Path

from msst_jax.io.tiff_directories import PHOTOMETRIC, Directory

RAW_SUFFIX = re.compile(
    r"\.(3fr|arw|cap|cr[23w]|dcr|dng|erf|fff|gpr|iiq|k25|kdc|mef|mos|mrw|nef|nrw|orf|pef|raf|raw|rw[2l]|sr[2fw]|x3f)",
    re.IGNORECASE,
)
DNG_VERSION = 50706
SENSOR_PIXELS = (32803, 34892)  # photometric interpretations: color filter array, linear raw

_SIGNATURES = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIRO"),  # Olympus
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),  # Panasonic
    (0, b"\0MRM"),  # Minolta
    (0, b"FOVb"),  # Sigma
    (4, b"ftypcrx "),  # Canon CR3
    (6, b"HEAPCCDR"),  # Canon CRW
    (8, b"CR\2"),  # Canon CR2
    (8, b"IIII"),  # Phase One
)


def is_camera_raw(path: Path, head: bytes, directories: Iterable[Directory]) -> bool:
    """Whether a file holds what a camera's sensor saw, by its name, its first bytes, or what its directories say.

    Args:
      path: the file.
      head: its first bytes, at least 16.
      directories: all those of a TIFF file; none of another.
    """
    return (
        RAW_SUFFIX.fullmatch(path.suffix) is not None
        or any(head[start : start + len(mark)] == mark for start, mark in _SIGNATURES)
        or any(DNG_VERSION in page.tags or page.number(PHOTOMETRIC) in SENSOR_PIXELS for page in directories)
    )
