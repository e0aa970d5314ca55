"""Connected components of segmented regions: removes small components and fills small holes."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage


def remove_small_components(probabilities: np.ndarray, groups: Iterable[Sequence[int]], percent: float) -> np.ndarray:
    """Reassigns small components of regions to the next likeliest classes there, and fills small holes.

    A component is an 8-connected set of the pixels whose likeliest class is one of the region's. The faint halo around
    a component is removed with it: all pixels that are nearer to it than to a component that is kept. Small components
    of the background are holes; once the regions' own small components are gone, they take the classes next to them.

    Args:
      probabilities: (H, W, C), sum 1 over the classes; class 0 is the background.
      groups: the classes of each region, without the background; classes in no group keep their components.
      percent: of the photo; smaller components are removed, 0 = none.

    Returns:
      (H, W, C), sum 1; no region, nor the background, has a component smaller than `percent`.
    """
    min_pixels = percent / 100 * probabilities[..., 0].size
    groups = [list(group) for group in groups]
    while True:  # a reassigned component can create a new speck; a class never returns to a pixel, so this ends
        likeliest = probabilities.argmax(-1)
        specks = [(group, near_small_components(np.isin(likeliest, group), min_pixels)) for group in groups]
        specks = [(group, speck) for group, speck in specks if speck.any()]
        if not specks:
            return _fill_holes(probabilities, likeliest == 0, min_pixels)
        probabilities = probabilities.copy()
        for group, speck in specks:
            probabilities[..., group] *= ~speck[..., None]
        total = probabilities.sum(-1, keepdims=True)
        probabilities[..., :1] += total <= 0
        probabilities /= np.where(total > 0, total, 1)


def _fill_holes(probabilities: np.ndarray, background: np.ndarray, min_pixels: float) -> np.ndarray:
    """Removes the components of `background` (H, W) with fewer than `min_pixels` pixels, and their halo."""
    holes = near_small_components(background, min_pixels)
    if not holes.any():
        return probabilities
    filled = probabilities.copy()
    filled[..., 0] *= ~holes
    nearest = ndimage.distance_transform_edt(holes & background, return_distances=False, return_indices=True)
    filled = filled[tuple(nearest)]
    return filled / filled.sum(-1, keepdims=True)


def near_small_components(mask: np.ndarray, min_pixels: float) -> np.ndarray:
    """Pixels (H, W) whose nearest component of the boolean `mask` (H, W) has fewer than `min_pixels` pixels."""
    labels = label_components(mask)
    small = np.bincount(labels.ravel()) < min_pixels
    small[0] = False  # label 0 is the outside
    if not small.any():
        return np.zeros_like(mask)
    return small[nearest_labels(labels)]


def label_components(mask: np.ndarray) -> np.ndarray:
    """Labels (H, W) from 1 of the 8-connected components of the boolean `mask` (H, W); 0 = outside."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return np.asarray(labels)


def nearest_labels(labels: np.ndarray) -> np.ndarray:
    """Of `labels` (H, W), one of which is not 0, the one that is nearest to each pixel: a component with its halo."""
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(nearest)])
