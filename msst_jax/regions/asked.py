"""The masks of the regions that --regions-only is asked for, whether the photo has them or not."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from msst_jax.regions.masks import MaskOptions, foreground
from msst_jax.regions.points import Point
from msst_jax.regions.region_names import class_names, parse_region
from msst_jax.regions.selection import Found, select_regions


class Asked(NamedTuple):
    """The regions that were asked for, but the background."""

    masks: dict[str, np.ndarray]
    """{region: float32 (H, W) in [0, 1]} of those in the photo."""
    absent: tuple[str, ...]
    """The others: not in the photo, no class of the segmenter, or an instance beyond those in the photo."""


def asked_masks(
    options: MaskOptions,
    probabilities: np.ndarray,
    classes: Sequence[str],
    found: Found,
    names: Iterable[str],
    points: dict[Point, tuple[int, int]],
) -> Asked:
    """The masks of regions as a stylization would take them.

    Args:
      options: see `MaskOptions`.
      probabilities: (H, W, C), see `class_probabilities`.
      classes: names of the C classes.
      found: what is in the photo.
      names: the regions.
      points: as in `select_regions`.

    Raises:
      UserError: as `select_regions`; not for regions that are absent, unless they have a point.
    """
    asked = foreground(names)
    pointed = [point.region for point in points]
    possible = [name for name in asked if name in pointed or _is_possible(name, classes, found)]
    masks = select_regions(options, probabilities, classes, possible, {}, points=points, must_exist=False)
    masks = {name: mask for name, mask in masks.items() if mask.max() >= 0.5}
    return Asked(masks, tuple(name for name in asked if name not in masks))


def _is_possible(region: str, classes: Sequence[str], found: Found) -> bool:
    """Whether the segmenter knows the classes of a region, and the photo has its instances."""
    if not set(class_names(region)) <= set(classes):
        return False
    return all(
        part.number <= (found.count(classes[part.channel]) if part.number else 0)
        for part in parse_region(region, classes)
    )
