"""Pictures with transparency: what is seen through them, and the colors that they have where nothing of them is seen.

Stylizing a cut-out over white leaves a white fringe along its soft edges, which shows on any other background. So the
pixels keep their own colors, not multiplied by their opacity, and beyond the edge the nearest colors go on: strokes
run over the edge as over any other place, and the opacity alone says where the picture ends.
"""

import numpy as np
from PIL import Image

FAINT, UNSEEN = 16, 4  # of 255: the lower the opacity, the more of the color was rounded or compressed away


def transparency(picture: Image.Image) -> np.ndarray | None:
    """The opacity (H, W), uint8, 255 = opaque, of an RGB or RGBA picture; None if it is opaque everywhere."""
    if picture.mode != "RGBA":
        return None
    alpha = np.asarray(picture.getchannel("A"))
    return None if alpha.min() == 255 else alpha


def extend_colors(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colors for every pixel of a transparent picture: its own where it is seen, those near by where it is not.

    Args:
      colors: (H, W, 3) in [0, 1], not multiplied by the opacity; of any value where it is 0.
      alpha: the opacity (H, W), uint8. Where it is 0 everywhere, the result is white.

    Returns:
      (H, W, 3) float32 in [0, 1], equal to `colors` where the opacity is at least FAINT; below, less and less so down
      to UNSEEN.
    """
    known = np.clip((alpha.astype(np.float32)[..., None] - UNSEEN) / np.float32(FAINT - UNSEEN), 0, 1)
    return _fill(np.asarray(colors, np.float32), known)


def over_white(image: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Images (..., H, W, 3) in [0, 1] of an opacity (H, W), uint8, as they show on white; None = opaque."""
    if alpha is None:
        return image
    opacity = alpha.astype(np.float32)[..., None] / np.float32(255)
    return opacity * image + (1 - opacity)


def _fill(colors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colors (H, W, 3) as far as they are known, (H, W, 1) in [0, 1], and for the rest those of half the size."""
    if known.min() == 1:
        return colors
    if max(known.shape) == 1:
        return colors if known.any() else np.ones_like(colors)
    weights = _halve(known)
    halved = _halve(colors * known) / np.maximum(weights, np.finfo(np.float32).tiny)
    below = _fill(halved, np.minimum(4 * weights, 1))  # of four pixels one will do
    height, width = known.shape[:2]
    return known * colors + (1 - known) * _double(_double(below, 0)[:height], 1)[:, :width]


def _halve(values: np.ndarray) -> np.ndarray:
    """(H, W, C) to the means of 2x2 pixels; an odd border counts twice."""
    height, width, _ = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = even[::2] + even[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _double(values: np.ndarray, axis: int) -> np.ndarray:
    """Twice as long along an axis, linearly in between."""
    values = np.moveaxis(values, axis, 0)
    bordered = np.concatenate([values[:1], values, values[-1:]])
    doubled = np.empty((2 * len(values), *values.shape[1:]), values.dtype)
    doubled[::2] = 0.75 * values + 0.25 * bordered[:-2]
    doubled[1::2] = 0.75 * values + 0.25 * bordered[2:]
    return np.moveaxis(doubled, 0, axis)
