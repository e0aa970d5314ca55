"""Samples of more than 8 bits to 8 bits: which number is black and which is white is what the file says.

Pillow's own convert clips such numbers instead of scaling them.
"""

from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.tiff_directories import (
    BITS,
    EXTRA_SAMPLES,
    FLOAT,
    LARGEST,
    PHOTOMETRIC,
    PLANAR_CONFIGURATION,
    SAMPLE_FORMAT,
    SAMPLES,
    SEPARATE_PLANES,
    SIGNED,
    SMALLEST,
    STRAIGHT_ALPHA,
    UNSIGNED,
    Directory,
    describe_samples,
    readable_tags,
)

WHITE_IS_ZERO = 0  # a photometric interpretation
TOLERANCE = 0.01  # of the range: rounding and overshoot of a filter, which nobody sees
MAX_OUTSIDE = 0.05  # the area fraction beyond that at which the numbers cannot mean what they should
MISSING = 0.01  # fraction of values that are not numbers from which it is said
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
SUPPORTED = "save it as PNG or TIFF with 8 or 16 bits, or as a gray float TIFF from 0 (black) to 1 (white)"

_16_BIT = ("PNG", "PPM", "JPEG2000", "IM", "ICO", "ICNS")  # formats whose 16-bit samples are 0 to 65535


class SampleRange(NamedTuple):
    """The numbers that are black and white."""

    black: float
    white: float


def to_8_bit(opened: Image.Image, label: str) -> Image.Image:
    """A loaded picture with 8 bits a sample, with its profile and transparency; one of 8 bits as it is.

    Args:
      opened: as Pillow opened the file.
      label: names the file in errors and warnings.

    Raises:
      UserError: samples whose range the file does not say, or that do not keep to it.
    """
    page = _page(opened)
    signed_bytes = page is not None and opened.mode == "L" and page.number(SAMPLE_FORMAT, UNSIGNED) == SIGNED
    if opened.mode not in DEEP_MODES and not signed_bytes:
        return opened
    samples = _samples(opened, page)
    expected = _sample_range(opened, page, label)
    _check_finite(samples, label)
    scaled = (samples - expected.black) / (expected.white - expected.black)
    _check_range(scaled, samples, expected, label)
    gray = Image.fromarray(np.round(np.clip(np.nan_to_num(scaled), 0, 1) * 255).astype(np.uint8))
    key = opened.info.get("transparency")
    if key is not None:
        gray.putalpha(Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8)))
    gray.info = {name: value for name, value in opened.info.items() if name != "transparency"}
    return gray


def _check_finite(samples: np.ndarray, label: str) -> None:
    """Refuses samples of which none is a number, and says if some are not."""
    missing = float(np.isnan(samples).mean()) if samples.dtype.kind == "f" else 0.0
    if missing == 1:
        raise UserError(f"{label} has no values: none of them is a number (NaN); save it again")
    if missing > MISSING:
        logging.warning("%s: %.0f%% of the values are not numbers (NaN), and become black", label, 100 * missing)


def unsupported_samples(label: str, page: Directory) -> str:
    """The message about a TIFF page of a kind that cannot be read."""
    return f"{label} is a TIFF file of {describe_samples(page)}, which is not supported; {SUPPORTED}"


def check_planes(opened: Image.Image, label: str) -> None:
    """Refuses the TIFF pages in separate planes that Pillow takes, without a word, for others.

    Args:
      opened: as Pillow opened the file, not loaded yet.
      label: names the file in the error.

    Raises:
      UserError: planes that are not of 8-bit RGB, CMYK or straight alpha.
    """
    page = _page(opened)
    if page is None or page.number(PLANAR_CONFIGURATION, 1) != SEPARATE_PLANES or page.number(SAMPLES, 1) == 1:
        return
    straight = page.number(EXTRA_SAMPLES, STRAIGHT_ALPHA) == STRAIGHT_ALPHA
    if page.number(BITS, 8) != 8 or opened.mode not in ("RGB", "RGBA", "CMYK") or not straight:
        raise UserError(unsupported_samples(label, page))


def _page(opened: Image.Image) -> Directory | None:
    """The tags of an opened TIFF file; None for other formats."""
    return Directory(readable_tags(opened.tag_v2), 0) if hasattr(opened, "tag_v2") else None


def _samples(opened: Image.Image, page: Directory | None) -> np.ndarray:
    """The numbers in the file (H, W)."""
    if opened.mode == "L":
        return np.asarray(opened).view(np.int8).astype(np.float64)
    samples = np.asarray(opened, np.float64)
    if opened.mode == "I" and page is not None and page.number(SAMPLE_FORMAT, UNSIGNED) == UNSIGNED:
        samples = np.where(samples < 0, samples + 2.0**32, samples)  # Pillow reads unsigned numbers as signed
    return samples


def _sample_range(opened: Image.Image, page: Directory | None, label: str) -> SampleRange:
    expected = _range_of_page(page) if page is not None else _range_of_format(opened)
    if expected is None:
        kind = f"{describe_samples(page)}" if page is not None else f"{opened.format} numbers"
        raise UserError(f"{label} holds {kind} and does not say which is black and which is white; {SUPPORTED}")
    if page is not None and page.number(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO:
        return SampleRange(expected.white, expected.black)
    return expected


def _range_of_page(page: Directory) -> SampleRange | None:
    """The range of a TIFF page by its tags; None if they leave it open."""
    bits, kind = page.number(BITS, 1), page.number(SAMPLE_FORMAT, UNSIGNED)
    if kind == UNSIGNED:
        return SampleRange(0, 2.0**bits - 1)
    stated = SampleRange(*(_first(page.tags.get(tag)) for tag in (SMALLEST, LARGEST)))
    if stated.black < stated.white and np.isfinite(stated.white - stated.black):
        return stated
    return SampleRange(0, 1) if kind == FLOAT else None


def _first(value: object) -> float:
    try:
        return float(value[0] if isinstance(value, tuple) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return float("nan")


def _range_of_format(opened: Image.Image) -> SampleRange | None:
    if opened.mode == "F":
        return SampleRange(0, 1) if opened.format == "PPM" else None  # a portable float map
    if opened.mode == "I" and opened.format not in ("PNG", "PPM"):
        return None
    return SampleRange(0, 65535) if opened.format in _16_BIT else None


def _check_range(scaled: np.ndarray, samples: np.ndarray, expected: SampleRange, label: str) -> None:
    """Warns about samples beyond black and white.

    Raises:
      UserError: they are so many that the scale must be another.
    """
    beyond = np.mean((scaled < -TOLERANCE) | (scaled > 1 + TOLERANCE))
    if beyond > MAX_OUTSIDE:
        low, high = np.nanmin(samples), np.nanmax(samples)
        raise UserError(
            f"{label} holds numbers from {low:g} to {high:g}, where {expected.black:g} is black and "
            f"{expected.white:g} white; scale them, or {SUPPORTED}"
        )
    if beyond:
        logging.warning(
            "%s: %.2g%% of its numbers lie beyond %g (black) to %g (white) and are clipped",
            *(label, 100 * beyond, expected.black, expected.white),
        )
