"""Tells shades that are labels from shades that are soft edges: labels fill areas, and meet without a transition."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

MOST_VALUES = 64  # a picture with more is a gradient or a photo
AREA = 0.005  # fraction of the flat pixels from which a shade is one and not a speck
SAME = 8  # values that differ by no more are one shade: a mask that once was a JPEG file has 254 beside 255
SOFT = 0.1  # fraction of the pixels at edges that are a transition from which edges are soft
COARSE = 8  # values from which they can be the steps of a coarse gradient


def label_shades(mask: Image.Image) -> list[int]:
    """The shades of an 8-bit gray mask if they look like labels; empty if it shows a region with hard or soft edges.

    Two shades are inside and outside. More of them are labels, unless a transition lies between them, or many follow
    each other in order, as in a soft edge of few bits.
    """
    values = np.count_nonzero(mask.histogram())
    if not 2 < values <= MOST_VALUES:
        return []
    shades = _flat_shades(mask)
    if len(shades) < 3 or _share_of_transitions(mask) >= SOFT:
        return []
    return [] if values >= COARSE and _share_of_leaps(mask, shades) < SOFT else shades


def _flat_shades(mask: Image.Image) -> list[int]:
    """The shades that fill areas, rising, each by its lowest value."""
    values = np.asarray(mask)
    beside, below = values[:, 1:] == values[:, :-1], values[1:] == values[:-1]
    rows, columns = beside[:, 1:] & beside[:, :-1], below[1:] & below[:-1]
    flat = rows[1:-1] & rows[:-2] & rows[2:] & columns[:, 1:-1]  # pixels that equal their eight neighbors
    if not flat.any():
        return []
    counts = np.asarray(mask.crop((1, 1, mask.width - 1, mask.height - 1)).histogram(Image.fromarray(flat)))
    shades: list[int] = []
    for value in np.flatnonzero(counts > AREA * counts.sum()):
        if not shades or value - shades[-1] > SAME:
            shades.append(int(value))
    return shades


def _share_of_transitions(mask: Image.Image) -> float:
    """Of the pixels whose neighbors on both sides differ, the fraction with a value between them."""
    edges = transitions = 0
    for values in _both_ways(np.asarray(mask)):
        before, here, after = values[:, :-2], values[:, 1:-1], values[:, 2:]
        edges += int(np.count_nonzero(before != after))
        transitions += int(np.count_nonzero((before < here) & (here < after) | (before > here) & (here > after)))
    return transitions / max(1, edges)


def _share_of_leaps(mask: Image.Image, shades: Sequence[int]) -> float:
    """Of the neighbors of different shades, the fraction that leave one out between them."""
    ranks = np.searchsorted(shades, np.arange(256), side="right").astype(np.int8)
    edges = leaps = 0
    for values in _both_ways(ranks[np.asarray(mask)]):
        steps = np.abs(np.diff(values))
        edges += int(np.count_nonzero(steps))
        leaps += int(np.count_nonzero(steps > 1))
    return leaps / max(1, edges)


def _both_ways(values: np.ndarray) -> Iterator[np.ndarray]:
    """For what is looked at along rows, and then along columns."""
    yield values
    yield values.T
