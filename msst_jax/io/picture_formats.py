"""Endings of picture files: which of them can be read on this machine."""

import functools
import importlib

from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # the usual ones, for messages
PICTURE_SUFFIXES = (
    *IMAGE_SUFFIXES,
    *(".jpe", ".jfif", ".apng", ".gif", ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".dib", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".psd"),
)
UNSUPPORTED_SUFFIXES = (
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
    *(".jxl", ".svg", ".xcf", ".exr", ".hdr", ".eps"),
)
"""Pictures that are not read, so that a folder can name what it leaves out."""
ALL_SUFFIXES = frozenset((*PICTURE_SUFFIXES, *UNSUPPORTED_SUFFIXES))


def register_heif() -> bool:
    """Lets Pillow read HEIC and HEIF; False if pillow-heif is not installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """The suffixes of pictures that can be read here; some formats need a library of their own."""
    register_heif()
    return frozenset(PICTURE_SUFFIXES) & Image.registered_extensions().keys()
