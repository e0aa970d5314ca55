"""The contact sheet of a sweep: one picture for each value of a field, or for each pair of two."""

import math
from collections.abc import Sequence

from PIL import Image

from msst_jax.report.sheets import sheet

LONGEST_SIDE = 512  # pixels of a picture on the sheet, at most
SHORTEST_SIDE = 192  # at least: room for the captions
ROW = 5  # pictures of one field that stand side by side; more are wrapped
BLANK = (232, 232, 232)
NOT_MADE = "not made yet"


def sweep_sheet(captions: Sequence[str], pictures: Sequence[Image.Image | None], columns: int = 0) -> Image.Image:
    """Captioned pictures in rows, all as large as the largest, but for what a sheet has room for.

    Args:
      captions: in reading order; lines may be broken.
      pictures: of the same aspect ratio; None for one that is not made yet, which is left gray.
      columns: pictures in a row; 0 = as `wrapped_columns`.

    Raises:
      ValueError: no picture is made.
    """
    sizes = [picture.size for picture in pictures if picture is not None]
    if not sizes:
        raise ValueError("a sheet needs a picture")
    size = _cell_size(max(sizes))
    blank = Image.new("RGB", size, BLANK)
    cells = [
        (caption if picture is not None else f"{caption}\n{NOT_MADE}", _resized(picture or blank, size))
        for caption, picture in zip(captions, pictures, strict=True)
    ]
    return sheet(cells, height=size[1], columns=columns or wrapped_columns(len(cells)))


def wrapped_columns(count: int) -> int:
    """How many of so many pictures stand in a row: all of a few, else so many that the rows are about as many."""
    return count if count <= ROW else math.ceil(count / math.isqrt(count))


def _cell_size(size: tuple[int, int]) -> tuple[int, int]:
    longest = max(size)
    scale = min(max(longest, SHORTEST_SIDE), LONGEST_SIDE) / longest
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
