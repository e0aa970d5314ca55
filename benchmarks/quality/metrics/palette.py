"""Distance of two palettes: the colors of a region against those of a painting, wherever they lie in either."""

import numpy as np

from msst_jax.errors import UserError

DIRECTIONS = 64
QUANTILES = 256


def to_lab(image: np.ndarray) -> np.ndarray:
    """sRGB (H, W, 3) in [0, 1] as CIELAB, D65: L in [0, 100].

    Raises:
      UserError: scikit-image is not installed.
    """
    try:
        from skimage.color import rgb2lab
    except ImportError as error:
        raise UserError(f"skimage cannot be imported ({error}); run pip install '.[test]'") from error
    return np.asarray(rgb2lab(image), np.float32)


def palette_distance(colors: np.ndarray, others: np.ndarray) -> float:
    """Sliced 2-Wasserstein distance of two sets of colors, (N, 3) and (M, 3) in CIELAB; NaN if one is empty.

    The root mean square over fixed directions and over quantiles, so that N and M may differ: 0 for equal palettes, and
    d / sqrt(3) for one that is the other shifted by d.

    Source: Bonneel et al. 2015, sliced Wasserstein barycenters of measures.
    """
    if not (len(colors) and len(others)):
        return np.nan
    return float(np.sqrt(np.mean(np.square(_sorted_projections(colors) - _sorted_projections(others)))))


def palette_matrix(picture: np.ndarray, labels: np.ndarray, paintings: list[np.ndarray]) -> np.ndarray:
    """Distances (K, J) of the palettes of K regions to those of J = K paintings.

    Args:
      picture: (H, W, 3) in CIELAB.
      labels: (H, W), the region of every pixel.
      paintings: (h, w, 3) in CIELAB.
    """
    regions = [picture[labels == index] for index in range(len(paintings))]
    return np.array([[palette_distance(region, other.reshape(-1, 3)) for other in paintings] for region in regions])


def _sorted_projections(colors: np.ndarray) -> np.ndarray:
    """The quantiles (DIRECTIONS, QUANTILES) of the colors along each direction, interpolated."""
    projections = np.sort(directions().astype(np.float32) @ colors.T, 1)  # ten times as fast as np.quantile
    last = projections.shape[1] - 1
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES * last
    below = places.astype(int)
    low, high = projections[:, below], projections[:, np.minimum(below + 1, last)]
    return low + (places - below) * (high - low)


def directions() -> np.ndarray:
    """DIRECTIONS unit vectors (DIRECTIONS, 3), spread evenly over half a sphere: a spiral by the golden angle."""
    steps = np.arange(DIRECTIONS)
    height = (steps + 0.5) / DIRECTIONS
    angle = steps * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], -1)
