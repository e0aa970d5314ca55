"""How well the edges of the photo survive along the borders of its regions."""

import numpy as np
from scipy import ndimage

REACH = 0.015  # half the width of the band, relative to the longest side
LEAST_REACH = 2.0  # pixels
SIGMA = 1.0  # pixels, of the Gaussian whose derivative is the gradient: forgives an edge that has moved by one


def border(labels: np.ndarray) -> np.ndarray:
    """The pixels (H, W) with a neighbor, above, below or beside, of another label."""
    found = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        changes = np.diff(labels, axis=axis) != 0
        ends = [(0, 0), (0, 0)]
        for ends[axis] in ((0, 1), (1, 0)):
            found |= np.pad(changes, ends)
    return found


def border_band(labels: np.ndarray) -> np.ndarray:
    """The pixels (H, W) near a border of labels (H, W); none if all labels are the same."""
    at_border = border(labels)
    if not at_border.any():
        return at_border
    reach = max(LEAST_REACH, REACH * max(labels.shape))
    return np.asarray(ndimage.distance_transform_edt(~at_border) <= reach)


def edge_score(picture: np.ndarray, photo: np.ndarray, band: np.ndarray) -> float:
    """Correlation of the gradient magnitudes of a picture and its photo in a band along the borders of the regions.

    1 if its edges there are those of the photo, however strong; about 0 if they have nothing to do with them. What
    lowers it: outlines that are painted over, strokes across the border, and the two marks of pasting: an edge
    along the mask where the photo has none, and a halo, which puts a second edge beside that of the photo.

    Args:
      picture: lightness (H, W).
      photo: lightness (H, W).
      band: bool (H, W), see `border_band`.

    Returns:
      The correlation, -1 to 1; 0 for a picture without any edge; NaN if the band is empty, or the photo has no edge.
    """
    picture_edges, photo_edges = (
        ndimage.gaussian_gradient_magnitude(np.asarray(image, float), SIGMA)[band] for image in (picture, photo)
    )
    if not band.any() or _is_flat(photo_edges):
        return np.nan
    return 0.0 if _is_flat(picture_edges) else float(np.corrcoef(picture_edges, photo_edges)[0, 1])


def _is_flat(values: np.ndarray) -> bool:
    return bool(np.ptp(values) < 1e-9)
