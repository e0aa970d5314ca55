"""Pictures side by side in a notebook, as a JPEG: a PNG of brush strokes would make the notebook ten times as large."""

import io
from collections.abc import Mapping

import jax
import numpy as np
from PIL import Image

from msst_jax.io.images import to_picture
from msst_jax.report.sheets import sheet

QUALITY = 80  # of the JPEG


class Row:
    """A row of captioned pictures, which Jupyter shows where a cell ends with it."""

    def __init__(self, captions: tuple[str, ...], page: Image.Image):
        self.captions = captions
        self.page = page

    def __repr__(self) -> str:
        """The captions, for a terminal and for those who cannot see the pictures."""
        return f"<{', '.join(self.captions)}>"

    def _repr_jpeg_(self) -> bytes:
        encoded = io.BytesIO()
        self.page.save(encoded, "jpeg", quality=QUALITY, optimize=True)
        return encoded.getvalue()


def show(pictures: Mapping[str, Image.Image | np.ndarray | jax.Array], height: int = 160, columns: int = 0) -> Row:
    """Pictures with their captions, as the last line of a notebook's cell.

    Args:
      pictures: {caption: picture}; a picture is a Pillow image, or an array (H, W, 3) or a mask (H, W), uint8 in 0 to
        255, bool, or floats in [0, 1].
      height: of every picture on the sheet, in pixels.
      columns: pictures in a row; 0 = all in one row.

    Raises:
      UserError: an array of another type.
    """
    page = sheet([(caption, _image(picture)) for caption, picture in pictures.items()], height, columns)
    return Row(tuple(pictures), page)


def _image(picture: Image.Image | np.ndarray | jax.Array) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    values = np.asarray(picture)
    if values.dtype == bool:
        values = values.astype(np.float32)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, -1)
    return Image.fromarray(values) if values.dtype == np.uint8 else to_picture(values)
