"""Views of paintings: crops at several scales, some in other colors, so that few paintings make many styles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from msst_jax.errors import UserError
from msst_jax.io.folders import list_pictures
from msst_jax.io.images import read_picture
from msst_jax.models.any_model import PAINTING_SCALES

RECOLORED = 0.5  # share of the views in other colors
GRAY, INVERTED = 0.08, 0.05  # shares of those that lose their colors, or are negatives


def find_paintings(folders: Sequence[str]) -> list[list[Path]]:
    """The pictures of each folder.

    Raises:
      UserError: no folder is given, one is missing, or one has no pictures.
    """
    if not folders:
        raise UserError("config.paintings is empty; give folders of paintings: --config.paintings='(\"DIR\",)'")
    found = []
    for folder in folders:
        path = Path(folder).expanduser()
        pictures = list_pictures(path, deep=True).pictures if path.is_dir() else []
        if not pictures:
            raise UserError(f"config.paintings: {folder} is no folder of pictures; give one that is")
        found.append(pictures)
    return found


def painting_view(folders: Sequence[Sequence[Path]], rng: np.random.Generator, size: int) -> np.ndarray:
    """A random view (size, size, 3), uint8, of a painting: every folder is as likely, and every painting of one.

    Raises:
      UserError: a picture is damaged.
    """
    files = folders[int(rng.integers(len(folders)))]
    painting = read_picture(files[int(rng.integers(len(files)))], "painting")
    longest = size * rng.uniform(*PAINTING_SCALES)
    factor = max(longest / max(painting.size), size / min(painting.size))
    width, height = (max(size, round(side * factor)) for side in painting.size)
    left, top = (rng.uniform(0, side - size) / factor for side in (width, height))
    box = (left, top, min(left + size / factor, painting.width), min(top + size / factor, painting.height))
    view = painting.resize((size, size), Image.Resampling.LANCZOS, box=box)
    if rng.random() < RECOLORED:
        view = _recolor(view, rng)
    return np.asarray(view)


def _recolor(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture with another hue, saturation, contrast and brightness."""
    hue, saturation, value = picture.convert("HSV").split()
    offset = int(rng.integers(256))
    turned = hue.point([(level + offset) % 256 for level in range(256)])
    picture = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    if rng.random() < GRAY:
        picture = ImageOps.grayscale(picture).convert("RGB")
    if rng.random() < INVERTED:
        picture = ImageOps.invert(picture)
    for enhancement, low, high in (
        (ImageEnhance.Color, 0.4, 1.7),
        (ImageEnhance.Contrast, 0.7, 1.3),
        (ImageEnhance.Brightness, 0.75, 1.25),
    ):
        picture = enhancement(picture).enhance(rng.uniform(low, high))
    return picture
