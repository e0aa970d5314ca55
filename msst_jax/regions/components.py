"""Connected components of regions: small pieces are removed, small holes are filled."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage


def remove_small_components(probabilities: np.ndarray, groups: Iterable[Sequence[int]], percent: float) -> np.ndarray:
    """Gives small pieces of regions to the classes that are likeliest there without them, and fills small holes.

    A piece is a connected part (edges or corners touch) of the pixels whose likeliest class is one of the region's.
    With a piece goes the faint halo around it: all that lies nearer to it than to a piece that stays. Small pieces of
    the background are holes; they take what is next to them, when the regions' own small pieces are gone.

    Args:
      probabilities: (H, W, C), sum 1 over the classes; class 0 is the background.
      groups: the classes of each region, without the background; classes that are in none keep their pieces.
      percent: of the photo; smaller pieces are removed, 0 = none.

    Returns:
      (H, W, C), sum 1; of no region and of the background there is a piece smaller than `format_percent`.
    """
    smallest = percent / 100 * probabilities[..., 0].size
    pieces = [list(group) for group in groups]
    while True:  # what is given back can make a speck elsewhere; a class never returns to a pixel, so this ends
        likeliest = probabilities.argmax(-1)
        specks = [(group, _small_components(np.isin(likeliest, group), smallest)) for group in pieces]
        specks = [(group, speck) for group, speck in specks if speck.any()]
        if not specks:
            return _fill_holes(probabilities, likeliest == 0, smallest)
        probabilities = probabilities.copy()
        for group, speck in specks:
            probabilities[..., group] *= ~speck[..., None]
        total = probabilities.sum(-1, keepdims=True)
        probabilities[..., :1] += total <= 0
        probabilities /= np.where(total > 0, total, 1)


def _fill_holes(probabilities: np.ndarray, background: np.ndarray, smallest: float) -> np.ndarray:
    """Removes the pieces of `background` (H, W) with fewer than `smallest` pixels, and their halo."""
    holes = _small_components(background, smallest)
    if not holes.any():
        return probabilities
    filled = probabilities.copy()
    filled[..., 0] *= ~holes
    nearest = ndimage.distance_transform_edt(holes & background, return_distances=False, return_indices=True)
    filled = filled[tuple(nearest)]
    return filled / filled.sum(-1, keepdims=True)


def _small_components(inside: np.ndarray, smallest: float) -> np.ndarray:
    """Pixels (H, W) nearest to a piece of `inside` with fewer than `smallest` pixels."""
    pieces, _ = ndimage.label(inside, structure=np.ones((3, 3)))
    small = np.bincount(pieces.ravel()) < smallest
    small[0] = False  # piece 0 is what lies outside
    if not small.any():
        return np.zeros_like(inside)
    nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    return small[pieces[tuple(nearest)]]
